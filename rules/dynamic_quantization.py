"""Activations are quantized while the model runs, with scales of the moment.

## What it does

Notes operators that get dynamically quantized activations: DynamicQuantizeLinear in front of MatMulInteger or
ConvInteger, com.microsoft's DynamicQuantizeMatMul, scales that a ReduceMax of the same tensor makes. Backends
that cannot do it are told by `dynamic-quantizer`.

## Why it matters on hardware

Every inference looks for the smallest and largest number of each activation first, in float, and then
quantizes: two passes over memory that a static scale saves. CPUs run it well, accelerators with a compiler
ahead of time hardly ever.

## Example

    x ─► DynamicQuantizeLinear ─► MatMulInteger ─► Cast ─► Mul

## Instead

    x ─ QuantizeLinear(scale=0.02) ─ DQ ─► MatMul ─ Q ─ DQ ─►

## Fix and its safety

Quantize statically, with calibration data (`quantize_static`). Unsafe: the numbers change, and outliers that
calibration has not seen are clipped.

## References

- ONNX, DynamicQuantizeLinear
- ONNX Runtime documentation, Quantize ONNX Models: dynamic quantization for RNNs and transformers, static for CNNs
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

ON_THE_FLY = ("com.microsoft::DynamicQuantizeMatMul", "com.microsoft::DynamicQuantizeLSTM")

rule = Rule(
    name="dynamic-quantization",
    code="QL224",
    since="0.1.0",
    what="{port} is quantized while the model runs",
    why="its range is looked for in every inference",
    fix="calibrate and quantize statically, if the device is not a CPU",
    per_kind=False,
)


@rule.check
def products(model: Model) -> Iterator[Issue]:
    """Every op one of whose activations is quantized on the fly."""
    for op in model.walk():
        use = next((use for use in op.uses.values() if any(q.dynamic for q in use.quantizers)), None)
        if use is not None:
            yield Issue.at(use)
        elif op.native in ON_THE_FLY and "x" in op.uses:
            yield Issue.at(op.uses["x"])


@rule.bad(says="input x is quantized while the model runs; its range is looked for in every inference")
def integer_matmul() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(None, dynamic=True), w=s8(), kind="matmul", native="MatMulInteger"))


@rule.bad(says="is quantized while the model runs")
def in_one_operator() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8(), kind="matmul", native="com.microsoft::DynamicQuantizeMatMul"))


@rule.good
def static() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), kind="matmul") | u8())


@rule.good
def near_miss_scale_as_an_input() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(None), w=s8(), kind="matmul") | u8())
