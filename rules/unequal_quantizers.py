"""Tensors that an operator only moves or merges are on different grids.

## What it does

Finds operators whose input and output (or all inputs) have different quantizers, where the integer kernel
needs the same one: concatenation, pooling, slicing, reshaping. Also tensors whose readers see different
quantizers, where the kernel writes one.

## Why it matters on hardware

These kernels copy integers and do no arithmetic. If the grids differ, each value has to be requantized:
extra work at best; where the kernel cannot, the operator runs in float, and where nobody checks, the
integers are copied as they are and mean something else.

## Example

    a (scale 0.02) ─► concat ─ Q (scale 0.05) ─►
    b (scale 0.05) ───┘

## Instead

    a (scale 0.05) ─► concat ─ Q (scale 0.05) ─►
    b (scale 0.05) ───┘

## Fix and its safety

Use one quantizer, with the larger range, for all of them. Unsafe: the numbers change.

## References

- LiteRT 8-bit quantization specification: CONCATENATION, MAX_POOL_2D and others, "inputs and outputs must
  all have same scale/zero_point"
- TensorFlow issue 37544, tensorflow/model-optimization issue 1053
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import mixed

rule = Rule(
    name="unequal-quantizers",
    code="QL220",
    since="0.1.0",
    what="{port}{origin} has another quantizer ({found}) than the other side ({wanted})",
    why="{backend} {runs} in integer only if they are the same",
    fix="use one quantizer on all sides of the {kind}",
)
rule.explains("same")
rule.explains(
    "quantizer",
    where=mixed,
    what="the readers of {port} see different quantizers",
    why="{backend} {runs} in integer only if they are the same",
)
rule.explains(
    "writers",
    what="{port} is quantized by {found} nodes with parameters of their own",
    why="{backend} {runs} in integer only if one of them serves all readers",
)


@rule.bad(says="the output is quantized by 2 nodes with parameters of their own; toy runs a tanh in integer only if one")
def two_nodes_with_the_same_parameters() -> Model:
    g = Graph()
    y = g.op("tanh", g.input() | u8())
    return g.model(y | u8(), y | u8())


@rule.good
def near_miss_one_node_with_two_readers() -> Model:
    g = Graph()
    y = g.op("tanh", g.input() | u8()) | u8()
    return g.model(y, y)


@rule.bad(says="input x1 (the model's input b) has another quantizer (uint8, scale 0.02, zero point 0)")
def concat_of_two_grids() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8(0.02)) | u8())


@rule.bad(says="the readers of the output see different quantizers")
def readers_with_different_quantizers() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(y | u8(), g.op("softmax", y | u8(0.02)) | u8(1 / 256))


@rule.good
def one_grid() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8()) | u8())


@rule.good
def near_miss_an_add() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8(0.02)) | u8(0.1))
