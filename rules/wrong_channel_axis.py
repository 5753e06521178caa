"""The scales of a per-channel weight lie along the wrong axis.

## What it does

Finds per-channel weights whose scales do not belong to the output channels of the operator. Which axis
that is depends on the operator: 0 for a convolution, 1 for a transposed one, the last one for a matrix
product, and for Gemm it depends on `transB`.

## Why it matters on hardware

Scales of output channels are applied after the accumulation, once per output. Scales along any other
axis would have to be applied inside the sum. Where the weight happens to be square nothing in the file
looks wrong: the shapes fit, and only the backend notices, or nobody does.

## Example

    weight (64, 64, 3, 3) ─ DequantizeLinear(scale: 64, axis=1) ─► conv

## Instead

    weight (64, 64, 3, 3) ─ DequantizeLinear(scale: 64, axis=0) ─► conv

## Fix and its safety

Quantize the weight again along the right axis. Unsafe: the numbers change. If only the attribute is
wrong, set it; whether it is cannot be seen in the file.

## References

- ONNX, DequantizeLinear, attribute `axis` (default 1)
- microsoft/onnxruntime issue 17718
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

_CHANNELS = {"in": "input channels", "out": "output channels"}


def _what(facts: Facts) -> str:
    along = _CHANNELS.get(facts.found, f"axis {facts.found}")
    return f"{facts.port}{facts.origin} has its scales along the {along}"


def _why(facts: Facts) -> str:
    return f"{facts.backend} wants them along the {_CHANNELS.get(facts.wanted, facts.wanted)}"


rule = Rule(
    name="wrong-channel-axis",
    code="QL212",
    since="0.1.0",
    what=_what,
    why=_why,
    fix="quantize the weight of the {kind} along the other axis",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("axis")
rule.explains("axis_from_end", what="{port}{origin} has its axis counted from the end", why="{backend} wants it counted from the front")
rule.explains("scales", what="{port}{origin} has {found}", why="{backend} wants one for each output channel")


@rule.bad(says="scales along the input channels; toy wants them along the output channels")
def conv_along_the_input_channels() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([0.01] * 8, axis=1)) | u8())


@rule.bad(says="along the input channels")
def transposed_conv_along_axis_zero() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), kind="conv_transpose", w=s8([0.01] * 8, axis=0)) | u8())


@rule.good
def conv_along_the_output_channels() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([0.01] * 8, axis=0)) | u8())


@rule.good
def near_miss_transposed_conv_along_axis_one() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), kind="conv_transpose", w=s8([0.01] * 8, axis=1)) | u8())
