"""The type of a tensor is not one that the backend's integer kernel takes.

## What it does

Finds tensors in float16, bfloat16 or float64 where the integer kernel wants another float type around it, and
arithmetic on int32, int64 or booleans (positions, sizes, conditions) where it is for quantized activations.

## Why it matters on hardware

A Q/DQ pair names two types: the integers and the float type that they stand for. Kernels are matched on
both. A model that was converted to half precision after it was quantized loses all of them.

## Example

    x (float16) ─ Q ─ DQ ─► conv

## Instead

    x (float32) ─ Q ─ DQ ─► conv

## Fix and its safety

Quantize the float32 model, or convert back. Scales that were rounded to half precision stay rounded.

## References

- ONNX, DequantizeLinear: the type of the scale is the type of the output
"""

from qlint.graph import COUNTS, Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _fix(facts: Facts) -> str:
    if facts.dimension == "integers":
        return "write a QuantizeLinear and a DequantizeLinear around each operator"
    if all(cause.found in COUNTS for cause in facts.causes):
        return "leave it to the CPU: these are positions or counts, and no activations to be quantized"
    return f"quantize the model in {facts.wanted}"


rule = Rule(
    name="unsupported-dtype",
    code="QL606",
    since="0.1.0",
    what="{port}{origin} is {found}",
    why="{backend} {runs} in integer only around {wanted}",
    fix=_fix,
    per_kind=False,
)
rule.explains("dtype")
rule.explains(
    "integers",
    what="{port}{origin} is passed on as plain integers, without scale and zero point",
    why="{backend} {runs} in integer only where they stand around each data movement",
)


@rule.bad(says="is float16; toy runs a transpose in integer only around float32")
def half_precision() -> Model:
    g = Graph()
    return g.model(g.op("transpose", g.input(dtype="float16") | u8()) | u8())


@rule.bad(says="input x (the model's input x) is int32; toy runs a leaky relu in integer only around uint8 or int8")
def positions() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input(dtype="int32")) | u8())


@rule.good
def single_precision() -> Model:
    g = Graph()
    return g.model(g.op("transpose", g.input() | u8()) | u8())


@rule.good
def near_miss_half_precision_where_nobody_looks() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input(dtype="float16") | u8()) | u8())
