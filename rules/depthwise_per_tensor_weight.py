"""The weight of a depthwise convolution has one scale for all channels.

## What it does

Notes depthwise convolutions with at least 8 channels whose weight is quantized per tensor.

## Why it matters on hardware

Each channel of a depthwise convolution has a filter of its own, and after batch-norms are folded their ranges
differ by factors of ten to a hundred. One scale for all leaves the small ones a few levels. On the backends that
only had scales per tensor (TVM, SNPE), MobileNetV2 and EfficientNet-Lite0 with 4 bits lost 10 to 65 points with
PACT and DSQ, and 4 to 8 with LSQ. With 8 bits it is a few points, or none.

## Example

    depthwise conv, weight (96, 1, 3, 3): scale 0.02

## Instead

    depthwise conv, weight (96, 1, 3, 3): 96 scales along axis 0

## Fix and its safety

Quantize the weight per channel, where the backend takes it: never worse. Where it does not, equalize the ranges of
neighbouring layers first (exact in real arithmetic), and train the scale (LSQ).

## References

- MQBench (arXiv 2111.03759), Table 7: MobileNetV2 and EfficientNet-Lite0 on TVM and SNPE
- Nagel et al., arXiv 1906.04721, Figure 2 and section 4.1: cross-layer equalization
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, u8

LEAST = 8  # channels

rule = Rule(
    name="depthwise-per-tensor-weight",
    code="QL714",
    since="0.1.0",
    what="the weight has one scale for {found} channels",
    why="their ranges differ, and the small ones keep a few levels",
    fix="quantize it per channel where the backend takes that, or equalize the ranges first",
)


@rule.check
def one_scale(model: Model) -> Iterator[Issue]:
    """Weights of depthwise convolutions that are quantized per tensor."""
    for graph in graphs(model):
        for op in graph.ops:
            use = op.uses.get("w")
            if use is not None and use.quantizers and use.quantizers[-1].granularity == "tensor" and (channels := _depthwise(op)) >= LEAST:
                yield Issue.at(use, channels, None, "granularity")


def _depthwise(op: Op) -> int:
    """The channels of a depthwise convolution; 0 of any other op."""
    group, shape = op.attrs.get("group", 1), op.uses["x"].tensor.shape if "x" in op.uses else None
    if op.kind != "conv" or not isinstance(group, int) or group < LEAST:
        return 0
    return group if shape is None or group in shape[1:] else 0


def _network(group: int, scale: float | list[float] = 0.02) -> Model:
    g = Graph()
    w = g.constant(8, 8 // group, 3, 3) | s8(scale)
    return g.model(g.op("conv", g.input() | u8(), w, name="dw", attrs={"group": group}) | u8())


@rule.bad(says="dw: the weight has one scale for 8 channels; their ranges differ")
def per_tensor() -> Model:
    return _network(8)


@rule.good
def per_channel() -> Model:
    return _network(8, [0.02] * 8)


@rule.good
def near_miss_two_groups() -> Model:
    return _network(2)
