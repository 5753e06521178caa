"""A weight is quantized per tensor, and the backend wants a scale for each channel.

## What it does

Finds weights with one scale at operators whose integer kernel takes per-channel scales only. Low
bit-widths are the usual case: kernels for 4-bit weights often exist for per-channel scales only.

## Why it matters on hardware

The kernel for the other granularity was never written, so the layer is refused or runs in float.

## Example

    weight (int4) ─ DequantizeLinear(scale=0.1) ─► conv

## Instead

    weight (int4) ─ DequantizeLinear(scale=[0.1, 0.1, …], axis=0) ─► conv

## Fix and its safety

Repeat the scale for every output channel. Safe: the same grid, written differently. Quantizing each
channel with a range of its own is better, but changes the numbers.

## References

- ONNX, DequantizeLinear: per-tensor, per-axis and blocked quantization
- Nagel et al., arXiv 2106.08295, section 2.4.2
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import found_is, weight

rule = Rule(
    name="per-tensor-weight",
    code="QL211",
    since="0.1.0",
    what="the weight{origin} is quantized per tensor",
    why="{backend} wants a scale for each channel",
    fix="give the weight of the {kind} a scale for each output channel",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("granularity", where=(weight, found_is("tensor")))


@rule.bad(says="wants a scale for each channel")
def one_scale() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=s8()) | u8())


@rule.good
def one_per_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=s8([0.01] * 8, axis=1)) | u8())


@rule.good
def near_miss_where_one_scale_is_taken() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())
