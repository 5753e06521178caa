"""A weight or parameter is computed while the model runs, and the backend wants a constant.

## What it does

Finds inputs that are not constant where the integer kernel was compiled for constant ones.

## Why it matters on hardware

Constant weights are packed, transposed and summed up ahead of time. A weight that is an input of the model,
or the result of operators (a weight that is normalized or transformed in the graph), cannot be. From IR
version 4 of ONNX on, an initializer that is also listed as an input of the model is only its default: callers
may replace it, and a runtime does not count on it.

## Example

    tanh(w) / max(tanh(w)) ─ Q ─ DQ ─► conv

## Instead

    weight (int8) ─ DQ ─► conv

## Fix and its safety

Fold the computation of the weight into a constant, or take the initializer off the list of inputs. Safe: exact up
to float rounding.

## References

- Zhou et al., DoReFa-Net, arXiv 1606.06160: weights that are transformed in the forward pass
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import wanted_is


def _defaults(facts: Facts) -> bool:
    """Constants of the file that are inputs of the model, too."""
    return all(cause.tensor is not None and cause.tensor.overridable for cause in facts.causes)


def _what(facts: Facts) -> str:
    said = "{port} ({tensor}) is only the default of an input of the model, which callers may replace" if _defaults(facts) else "{port}{origin} is not a constant"
    return said.format_map(facts)


def _why(facts: Facts) -> str:
    return f"{facts.backend} {facts.runs} in integer only if it is {'a constant' if _defaults(facts) else 'one'}"


def _fix(facts: Facts) -> str:
    return ("take {tensor} off the inputs of the model" if _defaults(facts) else "fold what computes {port} of the {kind} into a constant").format_map(facts)


rule = Rule(
    name="variable-weight",
    code="QL605",
    since="0.1.0",
    what=_what,
    why=_why,
    fix=_fix,
)
rule.explains("constant", where=wanted_is(True))
rule.explains(
    "clip_bounds",
    what="the bounds of the activation behind it are not constants",
    why="{backend} fuses it only if they are known",
)


@rule.bad(says="the bounds of the activation behind it are not constants; toy fuses it only if they are known")
def bound_that_is_an_input() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.op("clip", y, min=g.input("low", ())) | u8())


@rule.bad(says="the weight (the model's input w) is not a constant")
def weight_is_an_input() -> Model:
    g = Graph()
    w = g.input("w", (8, 8, 3, 3)) | s8()
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.bad(says="the weight (w) is only the default of an input of the model, which callers may replace; toy runs a conv in integer only if it is a constant")
def default_of_an_input() -> Model:
    g = Graph()
    weight = g.constant(8, 8, 3, 3, name="w")
    weight.tensor.overridable = True
    return g.model(g.conv(g.input() | u8(), w=weight | s8()) | u8())


@rule.good
def constant_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_product_of_two_activations() -> Model:
    g = Graph()
    return g.model(g.op("matmul", g.input("q") | u8(), g.input("k") | u8()) | u8())
