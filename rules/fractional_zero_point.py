"""A zero point lies between two integers: no integer grid has this offset.

## What it does

Finds zero points that are not whole numbers. They come from an offset that is learned (LSQ+), from DoReFa's
weights, whose levels are the odd multiples of a step, and from parameters that were saved in float.

## Why it matters on hardware

Integer hardware subtracts the zero point from the codes, so it is an integer. One tool rounds it and the next
truncates it (111.7 becomes 112 in PyTorch and 111 in an ONNX Cast): every value moves by up to one step. And
real zero is no level of such a grid: padding and ReLU, which rely on it, are off by up to half a step.

## Example

    levels -0.113, 0.087, 0.287 …          # scale 0.2, zero point 0.565

## Instead

    levels -0.2, 0, 0.2 …                  # scale 0.2, zero point 1

## Fix and its safety

Round the offset to a multiple of the scale and train on for a while: unsafe, every level moves by up to half a
step. DoReFa's weights of k bits are exact with one bit more: `(2q - n) / n` has the odd codes of a signed grid
with scale 1/n and zero point 0, where n is 2^k - 1.

## References

- Bhalgat et al., LSQ+, arXiv 2004.09576, section 3.1
- Zhou et al., DoReFa-Net, arXiv 1606.06160, equation 9
- MQBench exports the zero point of LearnableFakeQuantize through a Cast, which truncates
"""

import math
from collections.abc import Iterator

from qlint.graph import Model, Quantizer
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, quantizer, s8, u8

rule = Rule(
    name="fractional-zero-point",
    code="QL705",
    since="0.1.0",
    what="the zero point of {port}{origin} is {found}",
    why="it is subtracted from integers and has to be one",
    fix="{advice}",
    consequence="wrong",
    per_kind=False,
)


@rule.check
def between_two_codes(model: Model) -> Iterator[Issue]:
    """The first zero point of each quantizer that is no integer."""
    for grid in grids(model):
        q = grid.quantizer
        value = next((z for z in q.zero_point or () if z != z or (math.isfinite(z) and z % 1)), None)
        if value is not None and q.grid != "float":
            half = _odd_levels(q)
            advice = f"store it with {q.bits + 1} bits, half the scale and zero point 0: exact" if half else "round it, and train on with it fixed"
            yield Issue.at(grid.use, value, None, "odd levels" if half else "fraction", advice=advice)


def _odd_levels(q: Quantizer) -> bool:
    """Whether zero lies in the middle between two levels, as many above it as below: with half the scale all levels are odd integers."""
    return q.zero_point is not None and all(z == (q.qmin + q.qmax) / 2 for z in q.zero_point)


@rule.bad(says="the zero point of input lhs (the model's input x) is 3.5; it is subtracted from integers and has to be one")
def learned_offset_that_was_not_rounded() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("x") | u8(zp=3.5), g.input("y") | u8()) | u8())


@rule.bad(says="the zero point of the weight (the constant c2) is 7.5")
def weights_of_dorefa() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=quantizer("uint4", 2 / 15, zp=7.5, origin="decomposed")) | u8())


@rule.good
def whole() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(zp=3), w=s8()) | u8())


@rule.good
def near_miss_a_whole_number_in_float() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(zp=3.0), w=s8()) | u8())
