"""The readers of one tensor see different quantizers.

## What it does

Finds results that are quantized more than once: their readers see different grids, or the same grid from several
nodes, where the integer kernel writes one.

## Why it matters on hardware

A kernel writes its result once. If two readers want two grids, the backend has to keep the accumulator or a
float in between, and the operator that produces the tensor runs in float.

## Example

    conv ─┬─ Q (scale 0.02) ─ DQ ─► conv
          └─ Q (scale 0.05) ─ DQ ─► add

## Instead

    conv ─── Q (scale 0.05) ─┬─ DQ ─► conv
                             └─ DQ ─► add

## Fix and its safety

Use one quantizer, with the larger range, for all readers. Unsafe: the numbers change, unless the grids are the
same already.

## References

- ONNX Runtime, QDQ selectors: all consumers of the output must be the same QuantizeLinear
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import mixed

rule = Rule(
    name="unequal-quantizers",
    code="QL227",
    since="0.1.0",
    what="the readers of {port} see different quantizers",
    why="{backend} {runs} in integer only if they are the same",
    fix="use one quantizer for all readers of the {kind}",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("quantizer", where=mixed)
rule.explains(
    "writers",
    what="{port} is quantized by {found} nodes with parameters of their own",
    why="{backend} {runs} in integer only if one of them serves all readers",
)
rule.explains(
    "dequantizers",
    what="{port} is dequantized by {found} nodes with parameters of their own, for different readers",
    why="{backend} {runs} in integer only if one of them serves all readers",
)


@rule.bad(says="the output is quantized by 2 nodes with parameters of their own; toy runs a tanh in integer only if one")
def two_nodes_with_the_same_parameters() -> Model:
    g = Graph()
    y = g.op("tanh", g.input() | u8())
    return g.model(y | u8(), y | u8())


@rule.bad(says="the readers of the output see different quantizers")
def readers_with_different_quantizers() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(y | u8(), g.op("softmax", y | u8(0.02)) | u8(1 / 256))


@rule.good
def near_miss_one_node_with_two_readers() -> Model:
    g = Graph()
    y = g.op("tanh", g.input() | u8()) | u8()
    return g.model(y, y)
