"""A scale is a vector with one element where the backend wants a scalar, or the other way round.

## What it does

Finds quantizers whose scale has the wrong rank: `[1]` and a scalar mean the same, but some kernels look.

## Why it matters on hardware

The check for "one scale" is sometimes written as "rank zero". A quantizer with a scale of shape [1] then
passes for a per-channel one and the operator runs in float, or loading fails. Exporters that write every
scale as a vector lose whole classes of operators without a message.

## Example

    scale = float32[1] {0.02}

## Instead

    scale = float32[] {0.02}

## Fix and its safety

Reshape the initializers of scale and zero point. Safe: the numbers are the same.

## References

- ONNX, QuantizeLinear: `y_scale` is a scalar for per-tensor quantization
- ONNX Runtime, QLinearBinaryOp: scale must be a scalar
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _why(facts: Facts) -> str:
    return f"{facts.backend} wants {'a scalar' if facts.wanted in ('scalar', '[]') else f'shape {facts.wanted}'}"


rule = Rule(
    name="scale-shape",
    code="QL216",
    since="0.1.0",
    what="the scale of {port}{origin} has shape {found}",
    why=_why,
    fix="write the scale and the zero point in the other shape",
    cure="quantizers",
    applicability="safe",
    per_kind=False,
)
rule.explains("scale_shape")


@rule.bad(says="the scale of input rhs (the model's input b) has shape [1]; toy wants a scalar")
def vector_of_one() -> Model:
    g = Graph()
    return g.model(g.op("div", g.input("a") | u8(), g.input("b") | u8([0.05])) | u8())


@rule.good
def scalar() -> Model:
    g = Graph()
    return g.model(g.op("div", g.input("a") | u8(), g.input("b") | u8()) | u8())


@rule.good
def near_miss_where_nobody_looks() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8([0.05])) | u8())
