"""An operator that keeps one grid for what it reads and what it writes has two of them.

## What it does

Finds operators whose tensors must share a quantizer and do not: pooling, padding, slicing, reshaping, maximum
and others that move or compare integers. Concatenation has a rule of its own, `concat-scale-mismatch`.

## Why it matters on hardware

These kernels copy integers and do no arithmetic. If the grids differ, each value has to be requantized: extra
work at best. Where the kernel compares the two it refuses them, or leaves the operator to floats. Where nobody
compares, nothing fails: an integer that meant 1.0 in front of the operator means 2.0 behind it, in every
inference, for every value. Converters give all sides one grid; files that were edited, merged from parts or
quantized by a tool of one's own do not always.

## Example

    int8 (scale 0.02) ─► RESHAPE ─► int8 (scale 0.04)

## Instead

    int8 (scale 0.02) ─► RESHAPE ─► int8 (scale 0.02)

## Fix and its safety

Give all sides one grid, that with the larger range, and what reads the output the factor that follows from
it; or put a quantizer, which rescales, in front. Unsafe: the numbers change.

## References

- LiteRT 8-bit quantization specification: "inputs and outputs must all have same scale/zero_point" of
  AVERAGE_POOL_2D, MAX_POOL_2D, RESHAPE, PAD, TRANSPOSE and others
"""

from qlint.graph import Model
from qlint.judge.verdict import Mismatch
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _wrong(m: Mismatch) -> bool:
    return m.consequence == "wrong"


rule = Rule(
    name="shared-quantizer-mismatch",
    code="QL220",
    since="0.1.0",
    what="{port}{origin} is on another grid ({found}) than the other side ({wanted})",
    why="{backend} {runs} in integer only if they are the same",
    fix="use one quantizer on all sides of the {kind}, or rescale in front of it",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("same")
rule.explains("same", where=_wrong, why="{backend} takes the integers over as they are")
rule.explains(
    "step",
    what="the output is quantized in steps of {found}, and the kernel leaves steps of {wanted}",
    why="{backend} drops the quantizer behind {a_kind}",
)


@rule.bad(says="toy takes the integers over as they are, here the squeeze gives other numbers")
def two_scales_and_nobody_compares() -> Model:
    g = Graph()
    return g.model(g.op("squeeze", g.input() | u8(0.02)) | u8(0.04))


@rule.bad(says="toy runs a max pool in integer only if they are the same")
def two_scales_where_the_kernel_compares() -> Model:
    g = Graph()
    return g.model(g.op("max_pool", g.input() | u8(0.02)) | u8(0.04))


@rule.good
def one_scale() -> Model:
    g = Graph()
    return g.model(g.op("squeeze", g.input() | u8(0.02)) | u8(0.02))


@rule.good
def near_miss_scales_that_are_as_good_as_equal() -> Model:
    g = Graph()
    return g.model(g.op("squeeze", g.input() | u8(0.02)) | u8(0.02 * (1 + 1e-5)))


@rule.good
def near_miss_an_add() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8(0.02)) | u8(0.1))
