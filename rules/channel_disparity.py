"""Channels of a weight share one scale, and some of them are too small for it.

## What it does

Finds weights with one scale for all output channels, an eighth or more of whose channels use less than a sixteenth
of the codes: of 8 bits, four and fewer are left there. Channels that are all zero do not count. The first elements
of each channel are looked at, and all of a weight only if those are small; of a model 32,768 channels and
16 MB at most.

## Why it matters on hardware

The scale is that of the largest channel. Folding a batch-norm multiplies each channel by a factor of its own, and in
depthwise convolutions these differ by hundreds: then most channels are left with a few levels, and the network loses
tens of percent (MobileNet with one scale per tensor). The file is valid and runs.

## Example

    depthwise conv, one scale 0.03: channel 0 has codes -127 … 120, channel 5 has -2 … 3

## Instead

    one scale per output channel, or channels made alike by moving factors into the next layer

## Fix and its safety

One scale per channel where the backend takes it, else cross-layer equalization before quantizing: exact in float for
networks of ReLUs. Unsafe: the numbers change, they come closer to the float model. `--fix --unsafe-fixes` equalizes
weights that stand in the file as floats with the layer behind them; activations in between take --calibration.

## References

- Nagel et al., arXiv 1906.04721, section 3.1 and figure 2: ranges of channels in MobileNetV2, equalization
- MQBench, arXiv 2111.03759, table 7: MobileNet and EfficientNet with one scale per tensor
- PyTorch, torch.ao.quantization.fx._model_report: PerChannelDetector and InputWeightEqualizationDetector, ratio 10
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.weights import Weight, weights

SMALL = 1 / 16  # of the codes on one side of the zero point
SHARE = 1 / 8  # of the channels
LEAST = 8  # channels that a weight has to have
MAX_BYTES = 16 << 20  # that are looked through in one model
MAX_CHANNELS = 1 << 15  # the first elements of which are looked at in one model

def _what(facts: Facts) -> str:
    if facts.several:
        return f"up to {max(cause.found / cause.wanted for cause in facts.causes):.0%} of the channels of these weights use less than a sixteenth of the codes"
    return f"{facts.found} of the {facts.wanted} channels of the weight use less than a sixteenth of its codes"


rule = Rule(
    name="channel-disparity",
    code="QL512",
    since="0.1.0",
    what=_what,
    why="they share one scale with larger channels",
    fix="use one scale per channel, or make the channels alike (equalization) before quantizing",
    cure="equalize",
    applicability="unsafe",
    per_kind=False,
)


@rule.check
def disparities(model: Model) -> Iterator[Issue]:
    """Weights with one scale that many channels make little of."""
    left, channels = MAX_BYTES, MAX_CHANNELS
    for weight in weights(model):
        q = weight.quantizer
        if q is None or q.granularity != "tensor" or not q.constant or q.grid != "affine" or q.bits < 5 or len(q.scale or ()) != 1 or (q.scale or (0.0,))[0] <= 0:
            continue
        limit = SMALL * max(q.qmax - (q.zero_point or (0,))[0], (q.zero_point or (0,))[0] - q.qmin)
        channels -= weight.data.shape[weight.axis] if weight.axis is not None else 0
        if channels < 0:
            return
        if weight.data.nbytes > left or not _suspicious(weight, limit):
            continue
        left -= weight.data.nbytes
        reaches = [float(abs(channel).max(initial=0)) for codes in weight.slabs() for channel in codes]
        small = [reach for reach in reaches if 0 < reach < limit]
        if len(small) >= SHARE * len(reaches) and max(reaches) >= limit / SMALL / 2:
            yield Issue.at(weight.use, len(small), len(reaches), "channels")


def _suspicious(weight: Weight, limit: float) -> bool:
    q, heads = weight.quantizer, weight.heads
    assert q is not None and q.scale is not None and q.zero_point is not None
    zero, unit = (q.zero_point[0], 1.0) if weight.stored else (0.0, q.scale[0])
    small = sum(1 for head in heads if head and max(abs(v - zero) for v in head) / unit < limit)
    return len(heads) >= LEAST and small >= SHARE * len(heads)


def _net(small: int, reach: int, kind: str = "conv") -> Model:
    """A depthwise convolution of 16 channels, some of which have small weights; integers."""
    g = Graph()
    values = [v for channel in range(16) for v in [reach if channel < small else 120, -1, 1] * 3]
    w = g.constant(16, 1, 3, 3, values=values, dtype="int8")
    return g.model(g.op(kind, g.input(shape=(1, 16, 8, 8)) | u8(), w | s8(0.01), attrs={"group": 16}) | u8())


@rule.bad(says="4 of the 16 channels of the weight use less than a sixteenth of its codes; they share one scale with larger channels")
def depthwise() -> Model:
    return _net(4, 3)


@rule.good
def near_miss_one_channel() -> Model:
    return _net(1, 3)


@rule.good
def near_miss_a_tenth_of_the_codes() -> Model:
    return _net(4, 13)


@rule.good
def near_miss_a_scale_per_channel() -> Model:
    g = Graph()
    w = g.constant(16, 1, 3, 3, values=[3, -1, 1] * 48, dtype="int8")
    return g.model(g.op("conv", g.input(shape=(1, 16, 8, 8)) | u8(), w | s8([0.01] * 16), attrs={"group": 16}) | u8())
