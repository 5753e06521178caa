"""An activation is quantized per channel, and the backend has one scale per activation.

## What it does

Finds activations with a scale for each channel, at operators whose integer kernel takes one scale. Also
the reverse, behind operators on constants that are quantized per channel and only moved.

## Why it matters on hardware

An output accumulates over all input channels. If each of them has its own scale, the products cannot be
added as integers: they have to be rescaled one by one, which is float arithmetic with extra steps.
(Per-channel weights are different: their scales belong to the outputs and are applied after the sum.)

## Example

    x ─ QuantizeLinear(scale=[0.1, 0.02, 0.05, …], axis=1) ─► conv

## Instead

    x ─ QuantizeLinear(scale=0.1) ─► conv

## Fix and its safety

Use the largest range for all channels. Unsafe: the channels with small ranges lose precision. Cross-layer
equalization before quantization brings the ranges together.

## References

- Nagel et al., arXiv 2106.08295, section 2.4.2: why activations are quantized per tensor
- NVIDIA TensorRT documentation: per-channel quantization is for weights only
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import activation, found_is

rule = Rule(
    name="per-channel-activation",
    code="QL209",
    since="0.1.0",
    what="{port}{origin} is quantized per channel",
    why="{backend} wants one scale for the tensor",
    fix="quantize the activation per tensor",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("granularity", where=(activation, found_is("channel")))
rule.explains(
    "granularity", where=(activation, found_is("tensor")),
    what="{port}{origin} is quantized per tensor", why="{backend} wants a scale for each {wanted}",
)  # fmt: skip


@rule.bad(says="input x (the model's input x) is quantized per channel")
def scale_per_input_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8([0.1] * 8, axis=1), w=s8()) | u8())


@rule.good
def per_tensor() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_one_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(shape=(1, 1, 8, 8)) | u8([0.1]), w=s8()) | u8())
