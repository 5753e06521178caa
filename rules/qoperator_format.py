"""The model is written with integer operators instead of QuantizeLinear and DequantizeLinear.

## What it does

Notes that a model is in QOperator format: QLinearConv, QLinearMatMul, and com.microsoft's QLinearAdd, QGemm and
others compute on integers, with their scales as inputs. What is quantized on the fly (DynamicQuantizeLinear
with MatMulInteger) belongs to `dynamic-quantization`.

## Why it matters on hardware

The format says what ONNX Runtime's CPU kernels do, and little else reads it: TensorRT, OpenVINO and QNN import
QuantizeLinear and DequantizeLinear. A backend that knows QLinearConv but not com.microsoft's QLinearAdd stops
at the first residual connection.

## Example

    x ─► QLinearConv ─► com.microsoft::QLinearAdd ─► y

## Instead

    x ─► Q ─ DQ ─► Conv ─► Q ─ DQ ─► Add ─► Q ─ DQ ─► y

## Fix and its safety

`--fix` writes each one as the operator in float between QuantizeLinear and DequantizeLinear, with the same scales.
Safe: the same function in real arithmetic. ONNX Runtime fuses the result into the same kernels again, and gives
the same bits; without optimization integer kernels and simulated ones may round differently at ties, and kernels
for uint8 by int8 saturate on CPUs without VNNI. Where only ONNX Runtime's CPU is asked for, the file stays as it is.

## References

- ONNX Runtime documentation, Quantize ONNX Models, "ONNX quantization representation format"
- onnx-tensorrt, docs/operators.md: QLinearConv, QLinearMatMul, ConvInteger are not supported
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="qoperator-format",
    code="QL803",
    since="0.1.0",
    what="integers are computed by {native}",
    why="outside of ONNX Runtime few backends read this format",
    fix="quantize with QuantFormat.QDQ for any other backend",
    cure="explicit",
    applicability="safe",
    per_kind=False,
)


def integer_operator(op: Op) -> bool:
    """Whether an operator takes integers and the scales of its result: QLinearConv, QGemm ..."""
    name = op.native.rpartition("::")[2]
    return op.kind != "custom" and (name.startswith("QLinear") or name == "QGemm")


@rule.check
def integer_operators(model: Model) -> Iterator[Issue]:
    """Every operator of the format."""
    yield from (Issue(op) for op in model.walk() if integer_operator(op))


def _net(native: str) -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), native=native) | u8())


@rule.bad(says="integers are computed by QLinearConv; outside of ONNX Runtime few backends read this format")
def integer_conv() -> Model:
    return _net("QLinearConv")


@rule.bad(sites=2, says="integers are computed by com.microsoft::QLinearAdd and com.microsoft::QLinearConcat")
def operators_of_onnx_runtime() -> Model:
    g = Graph()
    x = g.input() | u8()
    y = g.op("add", x, g.input("b") | u8(), native="com.microsoft::QLinearAdd") | u8()
    return g.model(g.op("concat", x, y, native="com.microsoft::QLinearConcat") | u8())


@rule.good
def float_operators_between_quantizers() -> Model:
    return _net("Conv")


@rule.good
def near_miss_weights_only() -> Model:
    g = Graph()
    return g.model(g.op("matmul", g.input(), g.constant(16, 8, dtype="uint8"), native="com.microsoft::MatMulNBits"))
