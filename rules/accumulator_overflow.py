"""A sum of products does not fit into the accumulator.

## What it does

For each conv and product that the backend runs in integer, adds up what the weights of each output channel make of
the codes that their input can have: every positive weight with the largest code, every negative one with the
smallest, and the bias. It speaks if the sum is beyond the accumulator that the backend's profile names. Where the
weights are not in the file, or too large to be looked through (64 MB), it says that the sum may be beyond it.
Nothing is read where the number of products and the widths alone show that every sum fits.

## Why it matters on hardware

An accumulator that overflows wraps around, or sticks at its end. Nothing fails: a large positive result becomes a
large negative one, and only for the inputs that come near the extremes. Accumulators of 32 bits hold 66 thousand
products of 8-bit codes; with activations of 16 bits 512 may be too many, and narrow accumulators in
microcontrollers and FPGAs are full after a few.

## Example

    conv: 4608 weights of int8 per channel, sum of magnitudes 94,000; activations int16: 94000 · 32767 > 2**31

## Instead

    conv: activations of 8 bits, or weights whose magnitudes sum up to 65,000 at most

## Fix and its safety

Fewer bits for activations or weights, weights trained with a bound on the sum of their magnitudes, or a backend
with a wider accumulator. Unsafe: the numbers change. Splitting the input channels over two ops is exact.

## References

- Colbert, Pappalardo, Petri-Koenig, A2Q: Accumulator-Aware Quantization, arXiv 2301.13376, section 3
- Jacob et al., arXiv 1712.05877, section 2.3: int32 accumulators
"""

from collections.abc import Iterator
from dataclasses import replace

from qlint.graph import Model, Op, Quantizer
from qlint.graph.kinds import CLASSES
from qlint.judge.verdict import Verdict
from qlint.lint.layers import Layer, grid, layers
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, s32, u8
from qlint.lint.words import numbered
from qlint.profile.schema import Arithmetic


def _what(facts: Facts) -> str:
    if facts.dimension == "possible":
        return f"the sums of the {facts.kind} may reach {facts.found} steps"
    return f"some inputs bring the sums of the {facts.kind} to {facts.found} in {facts['channels']}"


rule = Rule(
    name="accumulator-overflow",
    code="QL504",
    since="0.1.0",
    what=_what,
    why="the accumulator of {backend} ends at {wanted}",
    fix="use fewer bits for activations or weights, or bound the magnitudes of the weights in training",
)


def width(arithmetic: Arithmetic, x: Quantizer) -> int | None:
    """Bits of the accumulator for products with activations on this grid."""
    return arithmetic.accumulator_bits if x.bits <= 8 else arithmetic.accumulator_bits_16


@rule.proof
def sums(verdict: Verdict) -> Iterator[Issue]:
    """Every conv and product in integer some sum of which is, or may be, beyond the accumulator."""
    arithmetic = verdict.profile.arithmetic
    if arithmetic is None:
        return
    evidence = verdict.profile.cited(arithmetic.evidence)
    known = {id(layer.op): layer for layer in layers(verdict.model)}
    for op in verdict.model.walk():
        placement = verdict.placements.get(id(op)) if op.kind in CLASSES["weighted"] else None
        if placement is None or placement.where != "integer":
            continue
        layer = known.get(id(op))
        issue = _shown(layer, arithmetic) if layer is not None else _possible(op, arithmetic)
        if issue is not None:
            yield replace(issue, evidence=evidence)


def _shown(layer: Layer, arithmetic: Arithmetic) -> Issue | None:
    bits = width(arithmetic, layer.x)
    limit = 2 ** (bits - 1) - 1 if bits is not None else None
    if limit is None:
        return None
    bias = layer.bias_codes if layer.bias is not None and layer.bias.quantizers else None
    if layer.bound + max(map(abs, bias or (0,))) <= limit:
        return None
    found = layer.sums()
    if found is None:
        return _issue(layer.op, layer.bound, limit, "possible")
    least, most = (part + [0 if bias is None else round(bias[i % len(bias)]) for i in range(len(part))] for part in found)
    beyond = [i for i, (low, high) in enumerate(zip(least, most, strict=True)) if low < -limit - 1 or high > limit]
    if not beyond:
        return None
    worst = max((float(end[i]) for i in beyond for end in (least, most)), key=abs)
    return _issue(layer.op, worst, limit, "shown", channels=numbered("channel", beyond))


def _possible(op: Op, arithmetic: Arithmetic) -> Issue | None:
    """Of a product of two activations, or with weights that are computed: by the widths and the number of products."""
    uses = [op.uses[role] for role in ("x", "w", "lhs", "rhs") if role in op.uses]
    if len(uses) != 2 or op.kind not in ("matmul", "linear"):
        return None
    x, w = map(grid, uses)
    inner = uses[0].tensor.shape[-1] if uses[0].tensor.shape else None
    if x is None or w is None or x.grid != "affine" or w.grid != "affine" or not isinstance(inner, int) or op.attrs.get("transA"):
        return None
    bits = width(arithmetic, x)
    bound = inner * _largest(x) * _largest(w)
    return _issue(op, bound, 2 ** (bits - 1) - 1, "possible") if bits is not None and bound > 2 ** (bits - 1) - 1 else None


def _largest(q: Quantizer) -> float:
    """The largest distance of a code from the zero point; where that is not in the file, from any."""
    zeros = q.zero_point if q.zero_point is not None else (q.qmin, q.qmax)
    return max(max(abs(q.qmin - z), abs(q.qmax - z)) for z in zeros)


def _issue(op: Op, found: float, limit: float, how: str, channels: str = "") -> Issue:
    return Issue(op, "", op.outputs[0], found, limit, how, "wrong" if how == "shown" else "note", facts={"channels": channels})


def _sum(x: Quantizer, *weights: int, bias: int = 0) -> Model:
    """A 1x1 convolution of 32 input channels and one output channel; the toy's accumulator has 20 bits, and 32 with 16-bit activations."""
    g = Graph()
    w = g.constant(1, 32, 1, 1, values=[*weights] * (32 // len(weights)), dtype="int8") | s8()
    b = g.constant(1, values=[bias], dtype="int32") | s32()
    return g.model(g.op("conv", g.input(shape=(1, 32, 4, 4)) | x, w, b, shape=(1, 1, 4, 4)) | u8())


@rule.bad(says="some inputs bring the sums of the conv to 1.03632e+06 in channel 0; the accumulator of toy ends at 524287")
def large_weights() -> Model:
    return _sum(u8(), 127)


@rule.bad(says="to 524300 in channel 0")
def only_with_the_bias() -> Model:
    return _sum(u8(), 127, 0, 0, 0, bias=265220)


@rule.bad(says="the sums of the matmul may reach 1.0404e+06 steps")
def two_activations() -> Model:
    g = Graph()
    lhs, rhs = g.input("a", shape=(4, 16)) | u8(), g.input("b", shape=(16, 4)) | u8()
    return g.model(g.op("matmul", lhs, rhs, shape=(4, 4)) | u8())


@rule.good
def near_miss_two_signs() -> Model:
    return _sum(u8(), 127, -127)


@rule.good
def near_miss_half_of_the_codes() -> Model:
    return _sum(u8(qmax=127), 127)


@rule.good
def near_miss_in_float() -> Model:
    g = Graph()
    w = g.constant(1, 32, 1, 1, values=[127] * 32, dtype="int8") | s8()
    return g.model(g.op("conv", g.input(shape=(1, 32, 4, 4)) | u8(), w, shape=(1, 1, 4, 4)))


@rule.good
def near_miss_padding_that_no_kernel_leaves() -> Model:
    """Of nine taps only the middle one meets data."""
    g = Graph()
    w = g.constant(1, 8, 3, 3, values=[127] * 72, dtype="int8") | s8()
    return g.model(g.op("conv", g.input(shape=(1, 8, 1, 1)) | u8(), w, shape=(1, 1, 1, 1), attrs={"pads": [1, 1, 1, 1]}) | u8())
