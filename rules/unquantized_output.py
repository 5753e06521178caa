"""An output of the model leaves integer arithmetic without a quantizer.

## What it does

Notes outputs that the last operators compute in float though they get quantized numbers: the logits of a
classifier, the boxes of a detector. Models without any quantizer are left alone.

## Why it matters on hardware

It is often meant: a float output costs little, and a CPU has to look at it anyway. An accelerator that writes
integers only has to invent a scale for it, from its own calibration, or hands the last layer to the CPU. The
integer kernel of the last layer may need a quantizer behind it (ONNX Runtime's QLinearConv does).

## Example

    x ─ Q ─ DQ ─► gemm ─► logits

## Instead

    x ─ Q ─ DQ ─► gemm ─ Q ─ DQ ─► logits

## Fix and its safety

Add a quantizer with a calibrated range behind the last operator. Unsafe: the numbers change. Leave it where
the output is meant to stay in float.

## References

- MQBench (arXiv 2111.03759): the outputs of TensorRT and ONNX_QNN networks are not quantized, those of SNPE are
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.graph.kinds import CLASSES
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

COMPUTES = CLASSES["weighted"] | CLASSES["binary"] | CLASSES["pool"] | CLASSES["act"] | {"concat", "softmax"}

rule = Rule(
    name="unquantized-output",
    code="QL309",
    since="0.1.0",
    what="{port} leaves the model in float",
    why="what is in front of it is quantized, so its integers end here",
    fix="quantize the output too, if the device computes in integers only",
    per_kind=False,
    yields="quantizer",
)


@rule.check
def outputs(model: Model) -> Iterator[Issue]:
    """Outputs without a quantizer whose op reads quantized activations."""
    for use in model.outputs:
        op = use.tensor.producer
        if op is None or use.quantizers or op.kind not in COMPUTES or op.role != "data":
            continue
        if any(other.quantizers and not other.tensor.constant and other.quantizers[-1].origin != "requantize" for other in op.uses.values()):
            yield Issue.at(use)


@rule.bad(says="the output leaves the model in float; what is in front of it is quantized, so its integers end here")
def logits() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), kind="linear"))


@rule.good
def quantized() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), kind="linear") | u8())


@rule.good
def near_miss_integers_from_end_to_end() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input()) | s8(None, origin="requantize"), kind="linear"))


@rule.good
def near_miss_float_model() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), kind="linear"))


@rule.good
def near_miss_integers() -> Model:
    g = Graph()
    return g.model(g.op("arg_max", g.input() | u8()))
