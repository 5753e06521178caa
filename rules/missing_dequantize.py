"""An operator for real numbers reads integers: the DequantizeLinear in front of it is missing.

## What it does

Finds Conv, MatMul, Add and others that read the integers of a QuantizeLinear as they are. Operators that only
move data may do that, and so may those that are made for integers (QLinearConv, ConvInteger, com.microsoft's).

## Why it matters on hardware

Runtimes stop at the types: "Type 'tensor(int8)' of input parameter of operator (Conv) is invalid". Where a
type fits by chance (MatMul takes int32), the product is one of codes, and its scale is nowhere.

## Example

    x ─ QuantizeLinear ─► Conv

## Instead

    x ─ QuantizeLinear ─ DequantizeLinear ─► Conv

## Fix and its safety

Insert a DequantizeLinear with the scale and zero point of the QuantizeLinear. Safe: it is what was meant.

## References

- ONNX, Conv: T is float16, float or double
"""

from collections.abc import Iterator

from qlint.graph import INTEGER_RANGES, Model
from qlint.graph.kinds import CLASSES
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

FLOAT_ONLY = CLASSES["weighted"] | CLASSES["act"] - {"clip", "relu"} | CLASSES["norm"] | {"softmax", "avg_pool", "global_avg_pool"}

rule = Rule(
    name="missing-dequantize",
    code="QL105",
    since="0.1.0",
    what="{port}{origin} is {found}, which is not turned back into real numbers",
    why="a {kind} computes with real numbers, and runtimes stop at the type",
    fix="insert a DequantizeLinear in front of {port}",
    consequence="refused",
)


@rule.check
def integers_into_float_operators(model: Model) -> Iterator[Issue]:
    """Uses of float operators of the specification whose last quantizer nobody reads back."""
    for op in model.walk():
        if op.domain or op.dialect or op.kind not in FLOAT_ONLY or op.native.startswith("QLinear") or op.native.endswith("Integer"):
            continue
        for use in op.uses.values():
            q = use.quantizers[-1] if use.quantizers else None
            if q is not None and q.quantize is not None and q.dequantize is None and q.origin == "qdq" and q.storage in INTEGER_RANGES:
                yield Issue.at(use, q.storage)


def _half(native: str = "") -> Model:
    g = Graph()
    model = g.model(g.op("conv", g.input() | s8(), g.constant(8, 8, 3, 3) | s8(), native=native) | u8())
    for use in (use for tensor in model.tensors.values() for use in tensor.uses if use.role == "x"):
        use.quantizers = tuple(q.placed(dequantize=None) for q in use.quantizers)
    return model


@rule.bad(says="input x (the model's input x) is int8, which is not turned back into real numbers; a conv computes with real numbers")
def codes_into_a_conv() -> Model:
    return _half()


@rule.good
def dequantized() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), w=s8()) | u8())


@rule.good
def near_miss_integer_operator() -> Model:
    return _half(native="ConvInteger")


@rule.good
def near_miss_moving_integers() -> Model:
    g = Graph()
    model = g.model(g.op("transpose", g.input() | s8()))
    use = next(use for use in model.tensors["x"].uses)
    use.quantizers = tuple(q.placed(dequantize=None) for q in use.quantizers)
    return model
