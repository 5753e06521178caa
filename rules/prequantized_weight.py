"""A weight is stored as integers, and the backend wants to quantize it itself.

## What it does

Finds weights that the file holds as integers behind a DequantizeLinear alone, where the importer wants them in
float behind a QuantizeLinear and a DequantizeLinear.

## Why it matters on hardware

Both forms say the same numbers, and the first is four times smaller. A compiler that quantizes weights while it
builds, with the scale of the QuantizeLinear, may have no way to take integers that are there already: it then
refuses the DequantizeLinear, and with it the model.

## Example

    weight (int8) ─ DQ ─► conv

## Instead

    weight (float) ─ Q ─ DQ ─► conv

## Fix and its safety

Export with both nodes in front of the weight: in ONNX Runtime's tools `AddQDQPairToWeight`. Safe: quantizing again what
was dequantized gives the same integers.

## References

- NVIDIA TensorRT 8 developer guide, Explicit Quantization, Quantized Weights
- microsoft/onnxruntime#14229
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="prequantized-weight",
    code="QL228",
    since="0.1.0",
    what="{port}{origin} is stored as integers",
    why="{backend} wants it in float behind a QuantizeLinear",
    fix="export with a QuantizeLinear and a DequantizeLinear in front of {port} of the {kind}",
    per_kind=False,
)
rule.explains("prequantized")


@rule.bad(says="is stored as integers; toy wants it in float behind a QuantizeLinear, here the prelu runs in float")
def only_dequantized() -> Model:
    g = Graph()
    return g.model(g.op("prelu", g.input() | u8(), g.constant(8, 1, 1) | s8()) | u8())


@rule.good
def near_miss_where_it_may_be() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())
