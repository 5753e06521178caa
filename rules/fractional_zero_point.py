"""A zero point lies between two integers: no integer grid has this offset.

## What it does

Finds zero points that are not whole numbers. They come from an offset that is learned (LSQ+), from DoReFa's
weights, whose levels are the odd multiples of a step, and from parameters that were saved in float. Where an
operator rounds its parameter by itself (PyTorch's learnable fake quantizers), it is a note, and only if cutting
the parameter off would give another integer.

## Why it matters on hardware

Integer hardware subtracts the zero point from the codes, so it is an integer. One tool rounds it and the next
truncates it (111.7 becomes 112 in PyTorch and 111 in an ONNX Cast): every value moves by up to one step. And
real zero is no level of such a grid: padding and ReLU, which rely on it, are off by up to half a step.

## Example

    levels -0.113, 0.087, 0.287 …          # scale 0.2, zero point 0.565

## Instead

    levels -0.2, 0, 0.2 …                  # scale 0.2, zero point 1

## Fix and its safety

`--fix --unsafe-fixes` rounds it where it is that of an operator of QONNX, MQBench or OpenVINO, which becomes
QuantizeLinear and DequantizeLinear. Better, round the offset to a multiple of the scale and train on for a while: unsafe, every level moves by up to half a
step. DoReFa's weights of k bits are exact with one bit more: `(2q - n) / n` has the odd codes of a signed grid
with scale 1/n and zero point 0, where n is 2^k - 1.

## References

- Bhalgat et al., LSQ+, arXiv 2004.09576, section 3.1
- Zhou et al., DoReFa-Net, arXiv 1606.06160, equation 9
- MQBench exports the zero point of LearnableFakeQuantize through a Cast, which truncates
"""

import math
from collections.abc import Iterator

from qlint.graph import Model, Op, Quantizer, Use
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, quantizer, s8, u8
from qlint.passes.constants import small

rule = Rule(
    name="fractional-zero-point",
    code="QL705",
    since="0.1.0",
    what="the zero point of {port}{origin} is {found}",
    why="{meaning}",
    fix="{advice}",
    cure="explicit",
    applicability="unsafe",
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
            yield Issue.at(grid.use, value, None, "odd levels" if half else "fraction", advice=advice, meaning="it is subtracted from integers and has to be one")
        elif (learned := _truncated(grid)) is not None:
            meaning = f"PyTorch rounds it to {round(learned)}, and exporters that cast it get {int(learned)}"
            yield Issue.at(grid.use, learned, None, "learned", consequence="note", meaning=meaning, advice="round the parameter before the export")


def _truncated(grid: Grid) -> float | None:
    """The parameter in float that an operator rounds by itself, if cutting it off gives another number."""
    use = grid.node.uses.get("zero_point") if grid.node is not None and grid.node.kind == "fake_quantize" else None
    values = small(use.tensor) if use is not None and use.tensor.dtype.startswith("float") else None
    return next((z for z in values or () if math.isfinite(z) and round(z) != int(z)), None)


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


def _learned(value: float, rounded: int) -> Model:
    g = Graph()
    node = Op(90, "fake", "fake_quantize", "aten::_fake_quantize_learnable_per_tensor_affine")
    node.uses["zero_point"] = Use(g.constant(1, values=[value]).tensor, node, "zero_point", 2)
    return g.model(g.conv(g.input() | u8(zp=rounded, origin="fake-quant", quantize=node), w=s8()) | u8())


@rule.bad(says="is 111.7; PyTorch rounds it to 112, and exporters that cast it get 111")
def a_parameter_that_the_operator_rounds() -> Model:
    return _learned(111.7, 112)


@rule.good
def near_miss_rounded_and_cut_off_alike() -> Model:
    return _learned(111.2, 111)


@rule.good
def whole() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(zp=3), w=s8()) | u8())


@rule.good
def near_miss_a_whole_number_in_float() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(zp=3.0), w=s8()) | u8())
