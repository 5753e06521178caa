"""A narrow grid stands in a wide type, and nothing in the file says how narrow it is.

## What it does

Finds 8-bit and 16-bit containers of fewer bits in two forms. The bounds stand in attributes that the
specification does not know (`quant_min` and `quant_max` of MQBench). Or nearly all weights use only a few of
the codes that their type has, as those of a network do that was trained with 4 bits. An integer Clip between
QuantizeLinear and DequantizeLinear says it properly, and so do the types int4 and int2.

## Why it matters on hardware

A runtime takes all codes of the type. Weights survive that, because they are rounded and clipped already;
activations do not: what was clipped at 15 in training goes on to 255. Nothing fails, only the accuracy is gone
(a network of 4 bits exported that way differed from its simulation by 14.7 % of the largest output). And a
device that has 4-bit kernels does not use them.

## Example

    QuantizeLinear(int8, quant_min=-8, quant_max=7) ─► DequantizeLinear

## Instead

    QuantizeLinear(int8) ─► Clip(-8, 7) ─► DequantizeLinear

## Fix and its safety

Export with int4 (opset 21), or put an integer Clip between the two nodes. Safe for weights, which stay the
same; for activations the numbers change, to those of the training.

## References

- MQBench (arXiv 2111.03759): academic W4A4 settings, exported as QuantizeLinear and DequantizeLinear
- Brevitas documentation, ONNX export, QCDQ: quantize, clip, dequantize
"""

import math
from collections.abc import Iterator

from qlint.graph import INTEGER_RANGES, Model, Quantizer
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, quantizer, s8, u8
from qlint.lint.weights import SMALL, Weight, weights

FEW = 16  # steps from the zero point: twice what 4 bits have, because what is trained is clipped only at export
LEAST = 64  # elements that a weight must have to tell
SHARE = 0.5  # of the 8-bit weights that have to look like it: first and last layers may have 8 bits

rule = Rule(
    name="lost-bit-width",
    code="QL225",
    since="0.1.0",
    what="{port}{origin} uses {found} of the codes of {wanted}",
    why="{meaning}",
    fix="export with int4 or int2, or put an integer Clip between QuantizeLinear and DequantizeLinear",
    severity="warning",
    per_kind=False,
)


@rule.check
def bounds_in_attributes(model: Model) -> Iterator[Issue]:
    """Quantizers whose bounds only an unknown attribute says."""
    for grid in grids(model) if model.format == "onnx" else ():  # arguments of PyTorch's operators are read
        q, node = grid.quantizer, grid.node
        low, high = INTEGER_RANGES.get(q.storage, (0, 0))
        if node is not None and "quant_min" in node.attrs and not node.dialect and 0 < q.levels <= (high - low + 1) // 2:
            meaning = "its bounds stand in attributes that no runtime reads"
            yield Issue.at(grid.use, f"{q.qmin:g} to {q.qmax:g}", q.storage, "attributes", meaning=meaning)


@rule.check
def weights_of_few_codes(model: Model) -> Iterator[Issue]:
    """8-bit weights of few codes, if most of the 8-bit weights are like that."""
    wide = [weight for weight in weights(model) if _of_8_bits(weight.quantizer) and weight.size >= LEAST and weight.readable]
    suspects = [weight for weight in wide if _looks_narrow(weight)]
    if len(suspects) <= SHARE * len(wide):
        return
    narrow = [(weight, reach) for weight in suspects if 0 < (reach := _reach(weight)) <= FEW]
    if len(narrow) > SHARE * len(wide):
        bits = max(2, math.ceil(math.log2(max(reach for _, reach in narrow))) + 1)
        for weight, _ in narrow:
            meaning = f"it looks like a network of {min(bits, 4)} bits, and runtimes take all 8 for activations too"
            yield Issue.at(weight.use, "a few", weight.quantizer.storage if weight.quantizer else "", "weights", meaning=meaning)


def _of_8_bits(q: Quantizer | None) -> bool:
    return q is not None and q.grid == "affine" and q.bits == 8 and q.constant and q.origin == "qdq"


def _looks_narrow(weight: Weight) -> bool:
    """Whether no element at a few places lies further from the zero point than a narrow grid reaches."""
    q = weight.quantizer
    assert q is not None and q.scale is not None and q.zero_point is not None
    if weight.stored:
        low, high = min(q.zero_point) - FEW, max(q.zero_point) + FEW
    else:
        high = FEW * max(q.scale)
        low = -high
    places = list(weight.some())
    return bool(places) and all(low <= min(values) and max(values) <= high for values in places)


def _reach(weight: Weight) -> float:
    """The code that is furthest from the zero point, of all elements."""
    q = weight.quantizer
    if weight.size <= SMALL and weight.stored and q is not None and q.zero_point and len(set(q.zero_point)) == 1:
        return max((max(max(values) - q.zero_point[0], q.zero_point[0] - min(values)) for values in weight.some()), default=0.0)
    if q is None or q.granularity == "block" or weight.axis is None:
        return 0.0
    return max((float(abs(codes).max(initial=0)) for codes in weight.slabs()), default=0.0)


def _net(low: int, high: int, q: Quantizer) -> Model:
    g = Graph()
    values = [low + i % (high - low + 1) for i in range(72)]
    w = g.constant(4, 2, 3, 3, values=values, dtype="int8")
    return g.model(g.op("conv", g.input() | u8(), w | q) | u8())


@rule.bad(says="the weight (the constant c0) uses a few of the codes of int8; it looks like a network of 4 bits")
def four_bits_in_int8() -> Model:
    return _net(-8, 7, s8())


@rule.bad(says="uses -8 to 7 of the codes of int8; its bounds stand in attributes that no runtime reads")
def bounds_of_mqbench() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | quantizer("int8", qmin=-8, qmax=7), w=s8()) | u8())
    for node in model.nodes:
        node.attrs |= {"quant_min": -8, "quant_max": 7}
    return model


@rule.good
def eight_bits() -> Model:
    return _net(-127, 127, s8())


@rule.good
def near_miss_clip_between_the_nodes() -> Model:
    return _net(-8, 7, s8(qmin=-8, qmax=7))


@rule.good
def near_miss_one_small_weight_of_three() -> Model:
    g = Graph()
    x = g.input() | u8()
    for low, high in ((-8, 7), (-127, 127), (-100, 90)):
        w = g.constant(4, 2, 3, 3, values=[low + (i * 7) % (high - low + 1) for i in range(72)], dtype="int8")
        x = g.op("conv", x, w | s8()) | u8()
    return g.model(x)
