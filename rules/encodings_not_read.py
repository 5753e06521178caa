"""The backend is not told its quantizers by an encodings file of this format.

## What it does

Says that the verdict is about a model that nobody has made yet: one into which the encodings are written as quantizers.

## Why it matters on hardware

Each toolchain reads the files of its own vendor. ONNX Runtime, TFLite and OpenVINO read none: to them the model beside the file is a
float one, and it runs in float until its quantizers are written into it.

## Example

    qlint check model.onnx --encodings model.encodings --backend ort-cpu

## Instead

    qlint check model_qdq.onnx --backend ort-cpu          # exported with QuantizeLinear and DequantizeLinear

## Fix and its safety

Export the quantized model with its quantizers in it (AIMET writes ONNX with QuantizeLinear and DequantizeLinear), and check that file.
Nothing is changed in the files.

## References

- AIMET, `sim.onnx.export` and `to_onnx_qdq`
- ONNX Runtime, Quantize ONNX models: only models with QDQ or QOperator nodes run quantized
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, told, u8

rule = Rule(
    name="encodings-not-read",
    code="QL813",
    since="0.1.0",
    what="the quantizers come from {found}, which {backend} does not read",
    why="the verdict assumes that they are written into the model",
    fix="export the model with its quantizers in it, and check that file",
)
rule.explains("encodings")


@rule.bad(sites=0, says="the quantizers come from AIMET encodings 1.0.0, which toy does not read; the verdict assumes that they are written into the model")
def of_another_vendor() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), w=s8())), x=u8())


@rule.good
def near_miss_no_encodings() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8()) | u8())
