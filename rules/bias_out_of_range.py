"""A bias does not fit on the grid that it is added on.

## What it does

Compares the numbers of each bias with the grid of the accumulator, input scale times weight scale: those that are
beyond int32 there, integers that stand at the very end of int32, and biases of which the grid leaves nothing
although they are larger than half a step of the output. A bias with a quantizer of its own is compared with that.

## Why it matters on hardware

Integer kernels add the bias as an int32 in the accumulator. One that is larger is cut off at 2**31 - 1 or wraps
around: the channel then has a constant that is wrong by any amount. It happens in channels whose weights are
(nearly) zero, as pruning and batch-norms with a tiny gamma leave them: their weight scale is tiny, and the bias in
such steps is huge. With 16-bit activations a bias has 64 bits, of which some accelerators take 40. A grid that is too coarse is the opposite: the bias is rounded to zero.

## Example

    weight scale of channel 7: 1e-12, input scale 0.02, bias 0.3         0.3 / 2e-14 = 1.5e13

## Instead

    weight scale of channel 7: 1e-6 (its weights are zero on either grid)

## Fix and its safety

Give such channels a larger weight scale, as large as the bias needs: safe where the weights of the channel are
zero, else some of them are rounded to zero. Where the bias is lost, quantize it with input scale times weight scale.

## References

- LiteRT 8-bit quantization specification: a bias is int32, with the scale of input times weight
- Vela, supported operators: "Optional Bias tensor values must fit within 40-bits"
- microsoft/onnxruntime, quantization: weight scales are raised where a bias would not fit into int32 (pull request 22020)
"""

from collections.abc import Iterator

from qlint.graph import INTEGER_RANGES, Model
from qlint.lint.layers import Layer, layers
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, Wire, s8, s32, u8
from qlint.lint.words import numbered

LOW, HIGH = INTEGER_RANGES["int32"]
_ENDS = {LOW, -HIGH, HIGH}
_WHAT = {
    "beyond": "the bias is {found} steps of the accumulator in {channels}",
    "end": "the bias stands at the end of int32 in {channels}",
    "lost": "the bias is rounded to zero everywhere, where its largest number is {found}",
}
_WHY = {
    "beyond": "an int32 ends at {wanted}, and such a bias is cut off or wraps around",
    "end": "it was cut off, and nothing in the file says how large it was",
    "lost": "half a step of the output is {wanted}, so that it would have made a difference",
}


def _text(texts: dict[str, str], facts: Facts) -> str:
    return texts[facts.dimension].format_map(facts)


rule = Rule(
    name="bias-out-of-range",
    code="QL505",
    since="0.1.0",
    what=lambda facts: _text(_WHAT, facts),
    why=lambda facts: _text(_WHY, facts),
    fix="give the channel a weight scale that its bias fits",
    severity="warning",
    per_kind=False,
)

rule.explains("values", what="{port} has a number of {found}", why="{backend} takes {wanted}")


@rule.check
def biases(model: Model) -> Iterator[Issue]:
    """Each bias whose numbers can be had, on the grid that it is added on."""
    for layer in layers(model):
        use = layer.bias
        codes = layer.bias_codes
        if use is None or codes is None:
            continue
        data = use.tensor.data
        assert data is not None
        if data.dtype.startswith("int"):
            if data.dtype == "int32" and not _ENDS.isdisjoint(values := data.values()):
                ends = [i for i, v in enumerate(values) if v in _ENDS]
                yield Issue.at(use, max(map(abs, values)), HIGH, "end", channels=numbered("channel", ends))
        elif beyond := [i for i, code in enumerate(codes) if not LOW - 0.5 <= code <= HIGH + 0.5 and code == code]:
            if not use.quantizers or use.quantizers[-1].storage == "int32":
                yield Issue.at(use, max((codes[i] for i in beyond), key=abs), HIGH, "beyond", channels=numbered("channel", beyond))
        elif (lost := _lost(layer, data.values())) is not None:
            yield Issue.at(use, *lost, "lost")


def _lost(layer: Layer, values: tuple[float, ...]) -> tuple[float, float] | None:
    """The largest number of a bias that its grid rounds to zero, and half a step of the output, if that is less."""
    assert layer.bias is not None
    q = layer.bias.quantizers[-1] if layer.bias.quantizers else None
    steps = layer.scales if q is None else q.scale or ()
    largest, y = max(map(abs, values), default=0.0), layer.y
    if y is None or not y.scale or not steps or min(steps) <= 0 or (q is not None and any(q.zero_point or ())):
        return None
    half = min(y.scale) / 2
    gone = all(abs(v) < steps[i % len(steps)] / 2 for i, v in enumerate(values))
    return (largest, half) if gone and largest >= half else None


def _net(*bias: float, weight: float = 0.05, out: float = 0.05, dtype: str = "float32", grid: bool = False) -> Model:
    g = Graph()
    w = g.constant(8, 8, 1, 1) | s8(weight)
    b: Wire = g.constant(8, values=[*bias] * (8 // len(bias)), dtype=dtype)
    if grid or dtype == "int32":
        b = b | s32(0.05 * weight)
    return g.model(g.op("conv", g.input() | u8(), w, b) | u8(out))


@rule.bad(says="the bias is 1.5e+14 steps of the accumulator in 8 channels (0, 1, 2 …); an int32 ends at 2.14748e+09")
def tiny_weights() -> Model:
    return _net(0.3, weight=4e-14)


@rule.bad(says="the bias stands at the end of int32 in 4 channels (1, 3, 5 …); it was cut off")
def was_cut_off() -> Model:
    return _net(1000, 2**31 - 1, dtype="int32")


@rule.bad(says="the bias is rounded to zero everywhere, where its largest number is 0.3; half a step of the output is 0.025")
def coarse_grid() -> Model:
    return _net(0.3, -0.1, weight=20.0)


@rule.good
def usual() -> Model:
    return _net(0.3, -0.1)


@rule.good
def near_miss_large_but_fitting() -> Model:
    return _net(2.0**31 * 0.0025 - 1)


@rule.good
def near_miss_too_small_to_matter() -> Model:
    return _net(1e-4)


@rule.good
def near_miss_int32_zeros() -> Model:
    return _net(0, dtype="int32")
