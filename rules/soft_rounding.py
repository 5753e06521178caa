"""The rounding of a weight is still being learned: its values lie between the levels.

## What it does

Finds weights that the graph computes as AdaRound does before it is done: the floor of `w / s`, plus a number
between 0 and 1 that a sigmoid gives.

## Why it matters on hardware

The learned number moves towards 0 or 1 while the layer is reconstructed, and only then is the weight on a grid.
In between it is a float that no backend takes for quantized. Whatever quantizes it afterwards rounds to the
nearest level, which is the rounding that AdaRound was to improve on.

## Example

    (floor(w / s) + clip(1.2 * sigmoid(v) - 0.1, 0, 1)) * s ─► conv

## Instead

    (floor(w / s) + (v >= 0)) * s, stored as the weight ─ Q ─ DQ ─► conv

## Fix and its safety

Make the rounding final and store the result: in MQBench `adaround = False` after the reconstruction. Unsafe
where the learned number is not yet near 0 or 1.

## References

- Nagel et al., AdaRound, arXiv 2004.10568, equations 22 to 25
- MQBench, fake_quantize/adaround.py; the export is Div, Floor, Sigmoid, Mul, Add, Clip
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, Wire, s8, u8
from qlint.lint.training import last, spelled, within
from qlint.lint.where import missing
from qlint.passes.trained import name_quantizers

NAME = "AdaRound"

rule = Rule(
    name="soft-rounding",
    code="QL706",
    since="0.1.0",
    what="a weight is rounded softly",
    why=lambda facts: f"it lies between two levels, and {facts.backend or 'a backend'} takes it for float",
    fix="make the rounding final, and store the result as the weight",
    severity="warning",
    per_kind=False,
)
rule.explains("quantizer", where=(missing, within(NAME)), model=lambda model: _any(model), about=lambda m: last(m, NAME))
rule.explains("kernel|constant", where=within(NAME), model=lambda model: _any(model), about=lambda m: last(m, NAME))


def _any(model: Model) -> bool:
    return any(True for _ in spelled(model, NAME))


@rule.check
def not_final(model: Model) -> Iterator[Issue]:
    """Each weight once, at the op that ends it."""
    for one in spelled(model, NAME):
        yield Issue(one.ops[0], dimension="rounding")


def _soft() -> Model:
    g = Graph()
    soft = g.op("clip", g.op("sub", g.op("mul", g.op("sigmoid", g.constant(8, 8, 3, 3)), _one(g, 1.2)), _one(g, 0.1)), attrs={"min": 0.0, "max": 1.0})
    down = g.op("floor", g.op("div", g.constant(8, 8, 3, 3), _one(g, 0.05)))
    weight = g.op("mul", g.op("add", down, soft), _one(g, 0.05))
    model = g.model(g.conv(g.input() | u8(), w=weight) | u8())
    for op in model.ops[:-1]:
        op.role = "constant"
    name_quantizers(model)
    return model


def _one(g: Graph, value: float) -> Wire:
    return g.constant(values=[value])


@rule.bad(says="a weight is rounded softly, in the AdaRound quantizer formed by")
def before_it_is_final() -> Model:
    return _soft()


@rule.good
def final() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_a_sigmoid_without_a_floor() -> Model:
    g = Graph()
    gate = g.op("clip", g.op("sub", g.op("mul", g.op("sigmoid", g.constant(8, 8, 3, 3)), _one(g, 1.2)), _one(g, 0.1)), attrs={"min": 0.0, "max": 1.0})
    model = g.model(g.conv(g.input() | u8(), w=gate) | u8())
    name_quantizers(model)
    return model
