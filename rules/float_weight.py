"""Weights stand in the file as floats, behind a QuantizeLinear.

## What it does

Finds constant weights in float that a QuantizeLinear of the file quantizes when it is loaded. Fake quantizers of
training graphs are left alone: they are converted anyway.

## Why it matters on hardware

The file is four times as large as it has to be, and the integers are made by whoever loads it. If their rounding
was chosen (AdaRound, GPTQ, a trained grid), the floats have to be on the grid already, or the choice is lost. Some
compilers take only floats there, some only integers: their profiles say so in [prequantized-weight] and
[unsupported-storage].

## Example

    weight (float32, 9.4 MB) ─ QuantizeLinear ─ DequantizeLinear ─► conv

## Instead

    weight (int8, 2.3 MB) ─ DequantizeLinear ─► conv

## Fix and its safety

Quantize the constants: safe, it is what a runtime does when it folds them.

## References

- ONNX Runtime, quantize_static: AddQDQPairToWeight is off by default, so that weights are stored as integers
- NVIDIA TensorRT documentation, explicit quantization: quantized weights in float behind Q are supported
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.weights import weights


def _what(facts: Facts) -> str:
    return f"weights of {sum(cause.found for cause in facts.causes):,} bytes are stored as floats in front of a quantizer"


rule = Rule(
    name="float-weight",
    code="QL821",
    since="0.1.0",
    what=_what,
    why="the file is larger than it has to be, and who loads it rounds them",
    fix="store the integers (fold the QuantizeLinear)",
    per_kind=False,
)


@rule.check
def stored_as_floats(model: Model) -> Iterator[Issue]:
    """Weights that a QuantizeLinear of an ONNX file quantizes."""
    for weight in weights(model) if model.format == "onnx" else ():
        q = weight.quantizer
        if q is not None and q.origin == "qdq" and q.quantize is not None and not q.quantize.dialect and weight.data.dtype.startswith("float"):
            yield Issue.at(weight.use, weight.data.nbytes, None, "storage")


@rule.bad(says="weights of 2,304 bytes are stored as floats in front of a quantizer")
def floats() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | u8(), w=s8()) | u8())
    return _quantized_in_the_file(model)


def _quantized_in_the_file(model: Model) -> Model:
    for op in model.ops:
        use = op.uses["w"]
        use.quantizers = tuple(q.placed(quantize=q.dequantize) for q in use.quantizers)
    return model


@rule.good
def near_miss_only_dequantized() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())
