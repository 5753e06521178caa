"""A scale is computed while the model runs, and the backend wants it in the file.

## What it does

Finds quantizers whose scale or zero point is not a constant: dynamic quantization, a scale that is an
input of the model, a default of such an input, or one that is computed by operators. Also the reverse, where a kernel quantizes on
the fly and is given a static quantizer. Without a backend, only scales that are inputs of the model or their
defaults and those that operators compute from constants are noted: what is dynamic is meant to be.

## Why it matters on hardware

An ahead-of-time compiler turns scales into multipliers and shifts. A scale that is only known at run time
leaves nothing to turn, so the operator stays in float or the model is refused.

## Example

    x ─► DynamicQuantizeLinear ─► MatMulInteger

## Instead

    x ─ QuantizeLinear(scale=0.02, zero_point=128) ─ DQ ─► MatMul

## Fix and its safety

Calibrate, and write the scales as constants. Unsafe: the numbers change. If a scale is constant but
computed by operators (a learned scale passed through abs or exp), constant folding is enough and exact. Initializers
that an exporter lists among the graph's inputs can be taken out of that list: safe, if no caller replaces them.

## References

- ONNX, DynamicQuantizeLinear
- ONNX, IR.md, "Graphs": from IR version 4 on an initializer that is an input too is its default value
- Nagel et al., arXiv 2106.08295, section 2.2: static and dynamic activation ranges
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, u8
from qlint.lint.where import found_is, wanted_is


def _what(facts: Facts) -> str:
    if facts.extra:
        return f"the scale of {facts.port}{facts.origin} is {facts['source']}"
    known = facts.found == "no"
    return f"the scale of {facts.port}{facts.origin} is {'fixed' if known else 'not a constant'}"


def _why(facts: Facts) -> str:
    if facts.extra:
        return "a compiler that turns scales into multipliers needs it in the file"
    return f"{facts.backend} wants it {'computed at run time' if facts.wanted == 'yes' else 'in the file'}"


def _fix(facts: Facts) -> str:
    if facts.dimension == "default":
        return "export without initializers among the graph's inputs (torch: keep_initializers_as_inputs=False), or take them out of that list"
    return "calibrate, and store scale and zero point as constants"


rule = Rule(
    name="dynamic-quantizer",
    code="QL217",
    since="0.1.0",
    what=_what,
    why=_why,
    fix=_fix,
    per_kind=False,
)


@rule.check
def scales_that_stand_elsewhere(model: Model) -> Iterator[Issue]:
    """Static quantizers whose scale is an input of the model, or its default, or computed from constants; what is dynamic is meant to be."""
    for grid in grids(model):
        scale = grid.node.uses.get("scale") if grid.node is not None and grid.quantizer.scale is None else None
        made = scale.tensor.producer if scale is not None else None
        if scale is not None and scale.tensor.is_input:
            yield Issue.at(grid.use, scale.tensor.name, dimension="input", source="an input of the model")
        elif scale is not None and scale.tensor.overridable:
            yield Issue.at(grid.use, scale.tensor.name, dimension="default", source="the default of a graph input, and no constant")
        elif made is not None and made.role == "constant":
            yield Issue.at(grid.use, made.label, dimension="folding", source=f"computed from constants by {made.label}")


rule.explains("dynamic", about=lambda m: m.tensor)
rule.explains("scale", where=wanted_is("constant"), about=lambda m: m.tensor)
rule.explains("zero_point|scale|range|same", where=found_is("not constant"), model=lambda _: True, about=lambda m: m.tensor)


@rule.bad(says="the scale of input x (the model's input x) is not a constant; toy wants it in the file")
def computed_at_run_time() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input() | u8(scale=None, dynamic=True)) | u8())


@rule.bad(says="the scale of input x (the model's input x) is the default of a graph input, and no constant; a compiler that turns scales into")
def a_default_that_callers_may_replace() -> Model:
    g = Graph()
    model = g.model(g.op("leaky_relu", g.input() | u8(scale=None)) | u8())
    for _, q in model.quantizers():
        if q.scale is None and q.quantize is not None:
            q.quantize.uses["scale"].tensor.overridable = True
    return model


@rule.good
def constant() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input() | u8()) | u8())


@rule.good
def near_miss_where_it_is_allowed() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(scale=None, dynamic=True), g.input("b") | u8()) | u8())
