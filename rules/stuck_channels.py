"""Channels of a conv or product have the same result whatever comes in.

## What it does

Bounds the result of each output channel from its weights, its bias and the range of the input, and compares it with
the grid and the clamp behind it. It reports channels all of whose results are cut off at one end (a ReLU that is
always zero, a grid that is always at its last code), and ops whose largest possible result is less than half a step
of the output. Only channels whose bias makes that possible are looked at, of a model 16 MB at most; channels whose
weights are all zero are another rule's, [degenerate-weight].

## Why it matters on hardware

The channel is computed and carries nothing. A few dead channels behind a ReLU are a common waste. Many of them, or
one step of the output for everything, mean that scales and weights do not belong together: a bias in the wrong unit,
an output scale of another tensor, a scale that collapsed.

## Example

    conv + relu, channel 3: bias -9.1, the weights reach +4.2 at most

## Instead

    the channel pruned, or the bias of the checkpoint

## Fix and its safety

Compare scales and biases with the checkpoint. Channels that are always zero behind a ReLU can be pruned: exact.

## References

- QONNX 1.0, qonnx.util.range_analysis: stuck channels
- Nagel et al., arXiv 1906.04721, section 3: dead channels
"""

from collections.abc import Iterator
from itertools import cycle

from qlint.graph import Model
from qlint.judge.relations import clamp
from qlint.lint.layers import Layer, layers
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import meant
from qlint.lint.testing import Graph, s8, s32, u8
from qlint.lint.words import numbered

MAX_BYTES = 16 << 20  # of weights that are added up in one model
MAX_CHANNELS = 1 << 13  # with a bias that makes it possible, in one layer


def _what(facts: Facts) -> str:
    if facts.dimension == "step":
        return f"the result of the {facts.kind} is at most {facts.found}, and half a step of the output is {facts.wanted}"
    many = sum(cause.extra["count"] for cause in facts.causes)
    if facts.several:
        return f"{many} channels have one result each, whatever comes in"
    return f"the result of the {facts.kind} is {facts.found} for every input in {facts['channels']}"


rule = Rule(
    name="stuck-channels",
    code="QL513",
    since="0.1.0",
    what=_what,
    why="what is computed there carries nothing",
    fix="compare the scales and the bias with the checkpoint, or prune the channels",
    per_kind=False,
)


@rule.check
def channels(model: Model) -> Iterator[Issue]:
    """Channels that are proven to have one result."""
    left = MAX_BYTES
    for layer in layers(model):
        y = layer.y
        if y is None or y.grid != "affine" or y.range is None or len(y.scale or ()) != 1 or min(layer.scales) <= 0 or (y.scale or (0.0,))[0] <= 0:
            continue
        if not all(meant(q) for q in (layer.x, layer.weight.quantizer, y) if q is not None):
            continue
        half, bias = (y.scale or (0.0,))[0] / 2, layer.bias_codes
        if layer.bias is not None and bias is None:
            continue
        most = (layer.bound + max(map(abs, bias or (0,)))) * max(layer.scales)
        if most < half:
            yield Issue(layer.op, "", layer.op.outputs[0], most, half, "step", severity="warning")
        elif bias is not None and layer.weight.data.nbytes <= left and (low_high := _ends(layer)) is not None and _possible(layer, bias, *low_high):
            left -= layer.weight.data.nbytes
            if stuck := _stuck(layer, bias, *low_high):
                yield Issue(layer.op, "", layer.op.outputs[0], "the same", None, "stuck", facts={"channels": numbered("channel", stuck), "count": len(stuck), "numbers": stuck})


def _ends(layer: Layer) -> tuple[float, float] | None:
    """Where the grid of the output and the clamps in front of it end."""
    y, tensor = layer.y, layer.op.outputs[0]
    assert y is not None and y.range is not None
    low, high = y.range
    while tensor is not layer.behind:
        op = tensor.uses[0].op
        bounds = clamp(op) if op is not None else None
        if op is None or bounds is None:
            return None
        low, high, tensor = max(low, bounds[0]), min(high, bounds[1]), op.outputs[0]
    return low, high


def _possible(layer: Layer, bias: tuple[float, ...], low: float, high: float) -> bool:
    """Whether the bias of some channel is beyond an end, and no weight that was looked at brings the result back."""
    candidates = [i for i, (b, scale) in enumerate(zip(bias, cycle(layer.scales), strict=False)) if not low < b * scale < high]
    return len(candidates) <= MAX_CHANNELS and any(_stays(layer, i, bias[i], low, high) for i in candidates)


def _stays(layer: Layer, channel: int, bias: float, low: float, high: float) -> bool:
    q, scale = layer.weight.quantizer, layer.scales[channel % len(layer.scales)]
    assert q is not None and q.scale is not None and q.zero_point is not None
    zero, unit = (q.zero_point[channel % len(q.zero_point)], 1.0) if layer.weight.stored else (0.0, q.scale[channel % len(q.scale)])
    least, most = layer.codes
    up = down = bias
    if layer.op.kind != "conv_transpose":
        for piece in layer.weight.channel(channel):
            top, bottom = (max(piece) - zero) / unit, (min(piece) - zero) / unit  # one product is enough, mostly
            if low < (up + max(top * most, bottom * least)) * scale and (down + min(top * least, bottom * most)) * scale < high:
                return False
            codes = [(v - zero) / unit for v in piece]
            up += sum(max(c * least, c * most) for c in codes)
            down += sum(min(c * least, c * most) for c in codes)
            if low < up * scale and down * scale < high:
                return False
    return up * scale <= low or down * scale >= high


def _stuck(layer: Layer, bias: tuple[float, ...], low: float, high: float) -> list[int]:
    found = layer.sums()
    if found is None:
        return []
    ends = zip(*(part.tolist() for part in found), strict=True)
    scales, stuck = layer.scales, []
    for i, (least, most) in enumerate(ends):
        scale, b = scales[i % len(scales)], bias[i % len(bias)]
        if least < most and ((most + b) * scale <= low or (least + b) * scale >= high):
            stuck.append(i)
    return stuck


def _net(bias: int, out: float = 0.05, relu: bool = True, zp: int = 0) -> Model:
    """Four channels; in the last one the weights reach -255 to 255 steps of the accumulator, which is 0.0025."""
    g = Graph()
    w = g.constant(4, 2, 1, 1, values=[9, -9, 8, -8, 7, -7, 1, -1], dtype="int8") | s8()
    y = g.op("conv", g.input(shape=(1, 2, 4, 4)) | u8(), w, g.constant(4, values=[0, 5, -5, bias], dtype="int32") | s32())
    return g.model((g.op("relu", y) if relu else y) | u8(out, zp=zp))


@rule.bad(says="the result of the conv is the same for every input in channel 3; what is computed there carries nothing")
def a_dead_relu() -> Model:
    return _net(-300)


@rule.bad(says="in channel 3")
def always_the_largest_code() -> Model:
    return _net(6000, relu=False)


@rule.bad(says="the result of the conv is at most 163.213, and half a step of the output is 500")
def an_output_scale_of_something_else() -> Model:
    return _net(-5, out=1000.0)


@rule.good
def near_miss_one_input_gets_through() -> Model:
    return _net(-254)


@rule.good
def near_miss_negative_without_a_relu() -> Model:
    return _net(-300, relu=False, zp=128)


@rule.good
def usual() -> Model:
    return _net(-5)
