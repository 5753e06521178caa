"""The scale of a weight does not fit its numbers.

## What it does

Finds weights of which no number reaches a quarter of the grid, and weights a tenth of which is cut off at its ends:
numbers beyond the grid in front of a quantizer, or integers that stand at the smallest or largest code (two in each
channel are left out of account). Grids of
fewer than 5 bits are left alone, as are weights with fewer than 64 numbers or with two or three different ones, and a network most of whose weights are
narrow is another matter: [lost-bit-width]. A few places of a weight are looked at, and all of it only if those are
suspicious; of a model 16 MB at most.

## Why it matters on hardware

Codes that are never used are bits that were paid for: a quarter of the grid is two bits. They are left over where
a scale belongs to an earlier checkpoint, to another tensor, or to activations. Clipping a few outliers helps; what
cuts off a tenth was computed from other numbers. Converters that compute the scale of a weight again, from its
largest number, give other results than the file in both cases.

## Example

    weight -0.11 … 0.12, scale 0.02                         # codes -6 … 6 of -128 … 127

## Instead

    weight -0.11 … 0.12, scale 0.00095

## Fix and its safety

Compute the scale from the weight: largest magnitude / 127. Unsafe: the numbers change, they come closer to the float
model. If the weights were trained with the scale, the checkpoint and the scale are not of the same step.

## References

- OpenPPL PPQ, parameter_analyse: used range and clipped share of each parameter
- ModelTC/MQBench issues 22 and 187: SNPE computes weight scales from the weights, whatever was trained
"""

from collections.abc import Iterator

from qlint.graph import Model, Quantizer
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, quantizer, s8, u8
from qlint.lint.weights import Weight, weights

LEAST = 64  # elements that a weight has to have
BITS = 5  # that a grid has to have
UNUSED = 1 / 4  # of the codes on one side of the zero point
CLIPPED = 1 / 10  # of all elements
FEW = 3  # different numbers are no more than those of a binary or ternary weight
MAX_BYTES = 16 << 20  # that are looked through in one model

def _what(facts: Facts) -> str:
    if facts.dimension == "unused":
        return f"no code of the weight is further than {facts.found} from the zero point, of {facts.wanted}"
    return f"{facts['share']} of the weight {'is' if not facts.several else 'are'} cut off at the ends of its grid"


rule = Rule(
    name="weight-range",
    code="QL511",
    since="0.1.0",
    what=_what,
    why=lambda facts: "bits were left over" if facts.dimension == "unused" else "what was trained is not what is computed",
    fix="compute the scale from the numbers of the weight",
    per_kind=False,
)


@rule.check
def ranges(model: Model) -> Iterator[Issue]:
    """Weights whose numbers use little of their grid, or that many numbers are beyond."""
    left, narrow, seen = MAX_BYTES, list[Issue](), 0
    for weight in weights(model):
        q = weight.quantizer
        if q is None or not _looked_at(weight, q):
            continue
        seen += 1
        unused, clipped = _suspicious(weight, q)
        if not (unused or clipped) or weight.data.nbytes > left:
            continue
        left -= weight.data.nbytes
        top = max(q.qmax - min(q.zero_point or (0,)), max(q.zero_point or (0,)) - q.qmin)
        if unused and 0 < (most := _reach(weight)) < UNUSED * top:
            narrow.append(Issue.at(weight.use, most, top, "unused"))
        elif clipped and (share := _share(weight, q)) >= CLIPPED + _natural(weight, q):
            yield Issue.at(weight.use, share, CLIPPED, "clipped", severity="warning", share=f"{share:.0%}")
    if len(narrow) < 2 or len(narrow) < seen / 2:
        yield from narrow


def _looked_at(weight: Weight, q: Quantizer) -> bool:
    plain = q.grid == "affine" and q.granularity != "block" and q.constant and q.bits >= BITS and weight.axis is not None
    return plain and weight.size >= LEAST and min(q.scale or (0.0,)) > 0


def _suspicious(weight: Weight, q: Quantizer) -> tuple[bool, bool]:
    """Whether a few places look as if the grid was too wide, or too narrow."""
    zeros, scales = q.zero_point or (0,), q.scale or (1.0,)
    unit, low, high = (1.0, q.qmin, q.qmax) if weight.stored else (max(scales), q.qmin - max(zeros), q.qmax - min(zeros))
    zero = zeros[0] if weight.stored else 0
    reach, count, beyond, distinct = 0.0, 0, 0, set[float]()
    for values in weight.some():
        count += len(values)
        distinct |= set(values)
        reach = max(reach, (max(values) - zero) / unit, (zero - min(values)) / unit)
        if weight.stored:
            beyond += values.count(low) + values.count(high)
        else:
            beyond += sum(not low - 0.5 <= v / min(scales) <= high + 0.5 for v in values)
    return len(distinct) > 1 and reach < UNUSED * max(abs(q.qmin - zero), abs(q.qmax - zero)), beyond >= CLIPPED * count > 0 and len(distinct) > FEW


def _reach(weight: Weight) -> float:
    return max((float(abs(codes).max(initial=0)) for codes in weight.slabs()), default=0.0)


def _natural(weight: Weight, q: Quantizer) -> float:
    """The share of integers that stand at an end because the scale of each channel is that of its largest number, or of two."""
    return 2 * len(q.scale or ()) / weight.size if weight.stored else 0.0


def _share(weight: Weight, q: Quantizer) -> float:
    """The share of elements that stand at an end of the grid; of those that are stored as numbers, that are beyond it."""
    import numpy as np

    if weight.stored:
        values = weight.array()
        return float(np.mean((values == q.qmin) | (values == q.qmax)))
    values = weight.array()
    shape = [1] * values.ndim
    if q.granularity == "channel" and q.axis is not None and q.axis < values.ndim:
        shape[q.axis] = -1
    scale, zero = (np.asarray(list(v), np.float64).reshape(shape if len(v) > 1 else [1] * values.ndim) for v in (q.scale or (), q.zero_point or ()))
    with np.errstate(over="ignore", invalid="ignore"):  # scales that no network has are invalid-scale's
        return float(np.mean((values < scale * (q.qmin - zero - 0.5)) | (values > scale * (q.qmax - zero + 0.5))))


def _net(values: list[float], q: Quantizer, dtype: str = "float32") -> Model:
    g = Graph()
    w = g.constant(8, 8, 1, 1, values=values, dtype=dtype)
    return g.model(g.op("conv", g.input() | u8(), w | q) | u8())


def _spread(most: float) -> list[float]:
    return [most * (2 * i / 63 - 1) for i in range(64)]


@rule.bad(says="no code of the weight is further than 6 from the zero point, of 128; bits were left over")
def a_scale_that_is_too_large() -> Model:
    return _net(_spread(0.12), s8(0.02))


@rule.bad(says="38% of the weight is cut off at the ends of its grid; what was trained is not what is computed")
def a_scale_that_is_too_small() -> Model:
    return _net(_spread(0.12), s8(0.0006, qmin=-128))


@rule.bad(says="50% of the weight is cut off")
def integers_at_the_ends() -> Model:
    return _net([-128, 3, 127, -9] * 16, s8(0.01), "int8")


@rule.good
def fitting() -> Model:
    return _net(_spread(0.12), s8(0.12 / 127))


@rule.good
def near_miss_half_of_the_codes() -> Model:
    return _net(_spread(0.12), s8(0.12 / 60))


@rule.good
def near_miss_an_outlier_is_cut_off() -> Model:
    return _net([*_spread(0.12)[:-1], 4.0], s8(0.12 / 127))


@rule.good
def near_miss_the_largest_of_each_channel() -> Model:
    return _net([127, 3, -5, 9, -8, 60, 4, 2] * 8, s8([0.01] * 8), "int8")


@rule.good
def near_miss_binary() -> Model:
    return _net([127, -128, -128, 127] * 16, s8(0.01), "int8")


@rule.good
def near_miss_four_bits() -> Model:
    return _net([-8, 7, 7, -8] * 16, quantizer("int4", 0.1), "int4")
