"""A weight has one value everywhere, or channels that are all zero.

## What it does

Looks at a few numbers of each weight, and reads it whole only if they are all the same. A weight of one value
is reported; of channels that are zero, or that their scale rounds to zero, it is noted how many there are.
Weights with fewer than 16 numbers are left alone, and so are those of more than 8 MB. Only the first 4 MB of a
model's weights are looked through for such channels.

## Why it matters on hardware

A network whose weights were clipped to a wrong range still loads and runs. MQBench's port to torch 2 wraps the
zero point around at 256 and clips every weight to a constant, a file that nothing else complains about. A
channel of zeros costs as much as any other, and one whose scale is too large for its numbers has lost them.

## Example

    weight (64, 3, 3, 3): 0.0312 everywhere

## Instead

    weight (64, 3, 3, 3): -0.41 … 0.38

## Fix and its safety

Export again, and compare the weights with those of the checkpoint. Channels of zeros can be pruned: safe. A
box filter or a sum may be meant to have one value everywhere: ignore the rule there.

## References

- MQBench at 00f477d (2025-04-20), deploy_linear.py: the zero point is uint8 in `quant_min - zero_point`
- Nagel et al., arXiv 1906.04721, section 3: dead channels in MobileNets
"""

from collections.abc import Iterator, Sequence

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.weights import SMALL, Weight, weights
from qlint.lint.words import numbered

LEAST = 16  # elements that a weight has to have
MAX_BYTES = 4 << 20  # of weights that are looked through channel by channel, in one model

rule = Rule(
    name="degenerate-weight",
    code="QL503",
    since="0.1.0",
    what="{port} is {found}",
    why="{meaning}",
    fix="compare it with the checkpoint, and export again",
    per_kind=False,
)


@rule.check
def one_value_or_dead_channels(model: Model) -> Iterator[Issue]:
    """Weights of one value first; then the channels, while the bytes that may be looked through last."""
    left = MAX_BYTES
    for weight in weights(model):
        if weight.size < LEAST:
            continue
        if _one_value(weight):
            meaning = "it multiplies everything with the same number"
            yield Issue.at(weight.use, "the same number everywhere", None, "one value", severity="warning", meaning=meaning)
        elif weight.data.nbytes <= left:
            left -= weight.data.nbytes
            if dead := _dead(weight):
                yield Issue.at(weight.use, f"zero in {numbered('channel', dead)}", None, "channels", meaning="such channels cost time and compute nothing")


def _one_value(weight: Weight) -> bool:
    seen: set[float] = set()
    for values in weight.some():
        seen.update(values)
        if len(seen) > 1:
            return False
    if weight.size <= SMALL:
        return len(seen) == 1
    return len(seen) == 1 and weight.readable and bool((weight.array() == seen.pop()).all())


def _dead(weight: Weight) -> list[int]:
    """Channels all of whose codes are the zero point; candidates come from the first elements of each channel."""
    q, heads = weight.quantizer, weight.heads
    if not heads or q is None or not q.constant or q.grid != "affine" or q.granularity == "block":
        return []
    count = len(heads)
    zeros, scales = q.zero_point or (0,), q.scale or (0.0,)
    if not any(head and _all_zero(head, weight.stored, zeros[i % len(zeros)], scales[i % len(scales)]) for i, head in enumerate(heads)):
        return []
    used = {number % count for number, channel in enumerate(channel for codes in weight.slabs() for channel in codes) if channel.any()}
    return [i for i in range(count) if i not in used]


def _all_zero(values: Sequence[float], stored: bool, zero_point: float, scale: float) -> bool:
    return values.count(zero_point) == len(values) if stored else max(map(abs, values)) <= scale / 2


def _net(values: Sequence[float], dtype: str = "float32", zp: float = 0) -> Model:
    g = Graph()
    w = g.constant(4, 2, 3, 3, values=values, dtype=dtype)
    return g.model(g.op("conv", g.input() | u8(), w | s8(0.01, zp)) | u8())


@rule.bad(says="the weight is the same number everywhere; it multiplies everything with the same number")
def clipped_to_a_constant() -> Model:
    return _net([0.0312] * 72)


@rule.bad(says="the weight is zero in channels 1 and 3; such channels cost time and compute nothing")
def dead_channels() -> Model:
    return _net([0.1, -0.2] * 9 + [0.0] * 18 + [0.3, 0.1] * 9 + [0.001, -0.002] * 9)


@rule.bad(says="the weight is zero in channel 2")
def integers_at_their_zero_point() -> Model:
    return _net([1, 5] * 9 + [7, 2] * 9 + [3] * 18 + [9, 3] * 9, "int8", zp=3)


@rule.good
def usual() -> Model:
    return _net([i / 100 for i in range(72)])


@rule.good
def near_miss_zeros_at_the_beginning() -> Model:
    return _net([0.0] * 17 + [0.5] + [i / 100 for i in range(54)])


@rule.good
def near_miss_few_numbers() -> Model:
    g = Graph()
    w = g.constant(1, 1, 3, 3, values=[0.11] * 9)
    return g.model(g.op("conv", g.input(), w | s8(0.01)) | u8())
