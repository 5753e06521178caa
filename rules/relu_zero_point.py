"""A ReLU or clip does not vanish into the quantizer behind it.

## What it does

Finds activations that clamp between an operator and its output quantizer, where the quantizer's own grid
goes beyond the clamp: a ReLU in front of a grid with negative values, a ReLU6 in front of one up to 8.

## Why it matters on hardware

An integer kernel clamps when it saturates to the output type. A ReLU is free if the smallest code means
zero, a ReLU6 if the largest one means six. If the grid is wider the clamp is a step of its own, for which
the fused kernel has no room: operator and activation run in float, or one after the other. Symmetric int8
activations behind a ReLU always look like this, and waste half of their codes.

## Example

    conv ─► relu ─ QuantizeLinear(int8, zero_point=0) ─►

## Instead

    conv ─► relu ─ QuantizeLinear(int8, zero_point=-128) ─►

## Fix and its safety

Calibrate behind the activation, so that the grid starts (and ends) where the clamp does. Unsafe: the scale
changes, for the better. If the grid already lies within the clamp, removing the clamp is exact.

## References

- Jacob et al., arXiv 1712.05877, section 2.4: fused layers
- ONNX Runtime, ReluQuantFusion and ClipQuantFusion
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import absorbs


def _span(facts: Facts) -> str:
    (low, high), (least, most) = facts.causes[0].found, facts.causes[0].wanted
    if facts.several:
        return "the quantizers of the outputs go beyond the clamp"
    bounds = f"{least:.4g} to {most:.4g}" if most != float("inf") else f"values from {least:.4g} on"
    return f"the output quantizer spans {low:.4g} to {high:.4g}, the activation keeps {bounds}"


rule = Rule(
    name="relu-zero-point",
    code="QL402",
    since="0.1.0",
    what="the output quantizer has zero point {found}, which leaves codes for values that the activation cuts off",
    why="{backend} fuses {a_kind} only into a quantizer that does its clamping",
    fix="calibrate behind the activation, so that the grid of the output ends where the clamp does",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("zero_point", roles="y", where=absorbs, why="{backend} fuses {a_kind} only if the zero point is {wanted}")
rule.explains("range", roles="y", where=absorbs, what=_span)


@rule.bad(says="the output quantizer spans -6.4 to 6.35, the activation keeps values from 0 on")
def symmetric_behind_a_relu() -> Model:
    g = Graph()
    y = g.conv(g.input() | s8(), w=s8())
    return g.model(g.op("relu", y) | s8())


@rule.bad(says="the activation keeps 0 to 6")
def wider_than_relu6() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.op("clip", y, attrs={"min": 0.0, "max": 6.0}) | u8(8 / 255))


@rule.good
def smallest_code_is_zero() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.op("relu", y) | u8())


@rule.good
def near_miss_grid_within_the_clamp() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.op("clip", y, attrs={"min": 0.0, "max": 6.0}) | u8(5 / 255))
