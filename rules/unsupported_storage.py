"""A tensor is quantized to a type that the backend has no kernel for.

## What it does

Finds tensors in a container of the right width that the operator's integer kernel still does not take:
an unsigned weight where signed ones are wanted, a float8 grid, or a type that does not go together with
the types at the other ports.

## Why it matters on hardware

Kernels exist for certain tuples of types: unsigned activations with signed weights, say, or signed with
signed. A tuple for which there is none runs in float, even if each type alone is supported somewhere.

## Example

    x (int8) ─► conv ◄─ weight (uint8, zero_point=128)

## Instead

    x (int8) ─► conv ◄─ weight (int8, zero_point=0)

## Fix and its safety

Between signed and unsigned, shift container and zero point by half of the range: the same grid, exact.
Any other change of type is unsafe: the numbers change.

## References

- ONNX, QLinearConv: the types of input, weight and output are independent; kernels are not
- ONNX Runtime documentation, Quantize ONNX Models: choice of data types
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, quantizer, s8, u8

rule = Rule(
    name="unsupported-storage",
    code="QL214",
    since="0.1.0",
    what="{port}{origin} {is_} quantized to {found}",
    why="{backend} wants {wanted} there",
    fix="quantize to {wanted}",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("storage")
rule.explains("rewritten", what="the type of {port}{origin} is changed before kernels are chosen", why="{backend} wants the type that the file says")


@rule.bad(says="is quantized to uint8; toy wants int8 there")
def unsigned_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=u8(zp=128)) | u8())


@rule.bad(says="float8e4m3fn")
def float_grid() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | quantizer("float8e4m3fn"), w=s8()) | u8())


@rule.good
def signed_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_another_width() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | quantizer("int16"), w=s8()) | u8())
