"""An operator copies integers from one grid to another, and nobody rescales them.

## What it does

Finds operators that take or leave integers as they are (pooling, padding, reshaping, slicing, maximum) whose
input and output are on different grids, on backends whose kernels do not compare the two.

## Why it matters on hardware

Nothing fails. An integer that meant 1.0 in front of the operator means 2.0 behind it, in every inference, for
every value. Converters give both tensors one grid; files that were edited, merged from parts or quantized by
a tool of one's own do not always.

## Example

    int8 (scale 0.02) ─► RESHAPE ─► int8 (scale 0.04)

## Instead

    int8 (scale 0.02) ─► RESHAPE ─► int8 (scale 0.02)

## Fix and its safety

Give both sides one grid, and what reads the output the factor that follows from it; or put a QUANTIZE, which
rescales, in front. Unsafe: the numbers change, to what they were meant to be.

## References

- LiteRT 8-bit quantization specification: "inputs and outputs must all have same scale/zero_point" of
  AVERAGE_POOL_2D, RESHAPE, PAD, TRANSPOSE and others
"""

from qlint.graph import Model
from qlint.judge.verdict import Mismatch
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _wrong(m: Mismatch) -> bool:
    return m.consequence == "wrong"


rule = Rule(
    name="shared-quantizer-mismatch",
    code="QL504",
    since="0.1.0",
    what="{port}{origin} is on another grid ({found}) than the other side ({wanted})",
    why="{backend} takes the integers over as they are",
    fix="use one quantizer on all sides of the {kind}, or rescale in front of it",
)
rule.explains("same", where=_wrong)
rule.explains(
    "step",
    what="the output is quantized in steps of {found}, and the kernel leaves steps of {wanted}",
    why="{backend} drops the quantizer behind {a_kind}",
)


@rule.bad(says="toy takes the integers over as they are, here the squeeze gives other numbers")
def two_scales() -> Model:
    g = Graph()
    return g.model(g.op("squeeze", g.input() | u8(0.02)) | u8(0.04))


@rule.good
def one_scale() -> Model:
    g = Graph()
    return g.model(g.op("squeeze", g.input() | u8(0.02)) | u8(0.02))


@rule.good
def near_miss_scales_that_are_as_good_as_equal() -> Model:
    g = Graph()
    return g.model(g.op("squeeze", g.input() | u8(0.02)) | u8(0.02 * (1 + 1e-5)))
