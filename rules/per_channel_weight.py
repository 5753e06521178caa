"""A weight is quantized per channel, and the backend has one scale per weight.

## What it does

Finds weights with a scale for each channel, at operators whose integer kernel takes one scale.

## Why it matters on hardware

A scale per output channel needs a requantization multiplier per channel. Older and smaller accelerators
have one multiplier per layer, some compilers support per-channel weights for convolutions but not for
fully connected layers, and some not for transposed or grouped convolutions.

## Example

    weight ─ DequantizeLinear(scale=[0.01, 0.003, …], axis=0) ─► linear

## Instead

    weight ─ DequantizeLinear(scale=0.01) ─► linear

## Fix and its safety

Quantize the weight with one scale. Unsafe: channels with small weights lose precision. It needs no data.

## References

- Krishnamoorthi, arXiv 1806.08342, section 3.1.2: what per-layer weights cost
- MQBench (arXiv 2111.03759), Table 2: granularity by backend
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8
from qlint.lint.where import found_is, weight

rule = Rule(
    name="per-channel-weight",
    code="QL210",
    since="0.1.0",
    what="the weight{origin} is quantized per channel",
    why="{backend} wants one scale for the weight of {a_kind}",
    fix="quantize the weight of the {kind} per tensor",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("granularity", where=(weight, found_is("channel")))


@rule.bad(says="wants one scale for the weight of a linear layer")
def linear_per_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), kind="linear", w=s8([0.01] * 8, axis=1)) | s8())


@rule.good
def per_tensor() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), kind="linear", w=s8()) | s8())


@rule.good
def near_miss_conv_per_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), w=s8([0.01] * 8)) | s8())
