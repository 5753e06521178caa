"""The model has no quantizer at all, or none with a fixed range on any activation.

## What it does

Says once that a model is not quantized, instead of once for each operator that lacks quantizers: because it has
none, because only weights have, or because the few operators that are quantized look for the range of their input
while they run. Operators that have no integer kernel whatever their quantizers are still reported, because that
is worth knowing before the model is quantized.

## Why it matters on hardware

A backend runs such a model in float, if it can, or calibrates it by itself with ranges that nobody has
seen. Often the wrong file was exported: the float checkpoint, a model whose fake quantizers were switched
off or traced away, or one whose quantizers are operators of a training tool. Weight-only and dynamic quantization
are made for CPUs and GPUs that compute in float; an integer accelerator gains nothing from them.

## Example

    x ─► conv ─► relu ─► conv ─►

## Instead

    x ─ Q ─ DQ ─► conv ─► relu ─ Q ─ DQ ─► conv ─ Q ─ DQ ─►

## Fix and its safety

Quantize after training (calibrate with a few hundred samples) or train with fake quantizers, and export
them as QuantizeLinear and DequantizeLinear. A TFLite file gets its quantizers from the converter, which calibrates
with a representative dataset, or from ai-edge-quantizer. Unsafe: the numbers change.

## References

- Krishnamoorthi, arXiv 1806.08342: post-training quantization and quantization-aware training
- ONNX Runtime documentation, Quantize ONNX Models
"""

import re
from collections.abc import Iterator

from qlint.graph import FLOAT_GRIDS, Model, Op, Use
from qlint.judge.verdict import Mismatch
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.run import WHOLE
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing
from qlint.lint.words import few
from qlint.passes.trained import trained

_NARROW = {f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16)} | set(FLOAT_GRIDS)
_NOT_ARITHMETIC = frozenset({"cast", "gather", "shape", "identity", "constant"})
# Operators whose names say that they may be quantizers of a training tool.
_QUANTIZER_NAME = re.compile(r"(?i)quant|bipolar|binary|ternary|round|clamp|pact|lsq|dorefa")
# Operators whose names say that they compute on integers of their own (com.microsoft: MatMulNBits, QMoE, QOrdered...).
_QUANTIZED_NAME = re.compile(r"Q[A-Z]|.*(NBits|Bnb4|FpQ4|Quant|Integer)")
# Those of them that quantize nothing but their weights.
_WEIGHT_ONLY = frozenset({"MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized", "QMoE"})


def _what(facts: Facts) -> str:
    if facts["moving"] != "0":
        some = "operator quantizes its input" if facts["moving"] == "1" else "operators quantize their input"
        return f"no activation has a quantizer with a fixed range, {facts['moving']} {some} while the model runs"
    known = "only weights have a quantizer, no activation" if facts["weights"] else "the model has no quantizer"
    return f"{known} that qlint knows, {facts['unknown']} may be some" if facts["unknown"] else known


def _why(facts: Facts) -> str:
    if facts.causes and all(cause.consequence == "wrong" for cause in facts.causes):
        return f"{facts.backend} quantizes it all the same, on grids of its own"
    if facts["weights"] and facts["moving"] == "0":
        return "integer arithmetic takes quantized activations, too"
    what = "nothing else in it" if facts["moving"] != "0" else "nothing in it"
    return f"{'as far as can be told ' if facts['unknown'] else ''}{what} can run in integer arithmetic"


rule = Rule(
    name="no-quantization",
    code="QL101",
    since="0.1.0",
    what=_what,
    why=_why,
    fix="{advice}",
)
ADVICE = {
    "tflite": "quantize this file (ai-edge-quantizer), or convert the network again with tf.lite.Optimize.DEFAULT and a representative dataset",
    "onnx": "quantize it (onnxruntime.quantization and calibration data, or training with fake quantizers), and export what that gives",
    "pt2": "quantize it before the export (prepare_pt2e, calibration data, convert_pt2e)",
}


def unquantized(model: Model) -> bool:
    """Whether nothing in the model is on an integer grid; a model without arithmetic has nothing to quantize."""
    ops = _arithmetic(model)
    return bool(ops) and not _has_quantizers(model) and not trained(model) and not any(map(_on_integers, ops))


def without_activations(model: Model) -> bool:
    """Whether no activation is on a grid that is known before the model runs."""
    ops = _arithmetic(model)
    return bool(ops) and not trained(model) and not any(any(map(_fixed, op.uses.values())) or _on_integers_of_its_own(op) for op in ops) and not any(
        any(map(_fixed, graph.outputs)) for graph in graphs(model)
    )


def _arithmetic(model: Model) -> list[Op]:
    return [op for op in model.walk() if op.role == "data"]


def _moving(op: Op) -> bool:
    return any(q.dynamic for use in op.uses.values() for q in use.quantizers)


def _fixed(use: Use) -> bool:
    return not use.tensor.constant and (use.role != "b") and any(not q.dynamic for q in use.quantizers)


def _on_integers(op: Op) -> bool:
    if op.kind != "custom" and _QUANTIZED_NAME.match(op.native):
        return True
    return op.kind not in _NOT_ARITHMETIC and any(use.tensor.dtype in _NARROW for use in op.uses.values())


def _weight_only(op: Op) -> bool:
    return op.native.rpartition("::")[2] in _WEIGHT_ONLY


def _on_integers_of_its_own(op: Op) -> bool:
    """As above, of activations."""
    if _weight_only(op):
        return False
    if op.kind != "custom" and _QUANTIZED_NAME.match(op.native):
        return not _moving(op)
    return op.kind not in _NOT_ARITHMETIC and any(use.tensor.dtype in _NARROW and not use.tensor.constant for use in op.uses.values())


def _has_quantizers(model: Model) -> bool:
    return any(True for graph in graphs(model) for _ in graph.quantizers())


def _of_the_reader(m: Mismatch) -> bool:
    """What is behind an output is no quantizer of it, but of a reader that quantizes its input by itself."""
    return m.tensor is not None and any(q.dynamic for use in m.tensor.uses for q in use.quantizers)


def _in_float(m: Mismatch) -> bool:
    """What is wrong follows from the model's being in float: the tensor, or the place of an operator that would be part of an integer one."""
    return m.dimension == "fused" or m.found in ("float16", "float32", "bfloat16", "float64")


rule.explains("quantizer", where=missing, model=without_activations, about=lambda _: WHOLE)
rule.explains("dynamic|scale", roles="y", where=_of_the_reader, model=without_activations, about=lambda _: WHOLE)
rule.explains("constant|presence", model=without_activations, about=lambda _: WHOLE)
rule.explains("dtype|fused", where=_in_float, model=without_activations, about=lambda _: WHOLE)
rule.explains("written|stored", model=without_activations, about=lambda _: WHOLE)


@rule.check
def whole_model(model: Model) -> Iterator[Issue]:
    """One issue with the model as a whole."""
    if without_activations(model):
        unknown = few(dict.fromkeys(op.native for op in model.walk() if op.kind == "custom" and _QUANTIZER_NAME.search(op.native)))
        yield Issue(facts={"unknown": unknown, "moving": sum(map(_moving, model.walk())), "weights": "weights" * (_has_quantizers(model) or any(map(_weight_only, model.walk()))),
                           "advice": ADVICE.get(model.format, "quantize it (calibrate, or train with fake quantizers), and export what that gives")})


@rule.bad(sites=0, says="the model has no quantizer; nothing in it can run in integer arithmetic, here 3 convs and the relu run in float")
def float_model() -> Model:
    g = Graph()
    y = g.op("relu", g.conv(g.conv(g.input())))
    return g.model(g.conv(y))


@rule.bad(sites=0, says="the model has no quantizer that qlint knows, BipolarQuant may be some")
def quantizers_of_a_training_tool() -> Model:
    g = Graph()
    return g.model(g.conv(g.op("custom", g.input(), native="BipolarQuant")))


@rule.good
def quantized() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.bad(sites=0, says="only weights have a quantizer, no activation; integer arithmetic takes quantized activations, too")
def weights_only() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.conv(g.input(), w=s8())))


@rule.bad(sites=0, says="a fixed range, 1 operator quantizes its input while the model runs; nothing else in it can run in integer")
def while_it_runs() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.conv(g.input() | u8(None, dynamic=True), w=s8(), kind="matmul")))


@rule.bad(sites=0, says="the model has no quantizer; nothing in it can run in integer arithmetic")
def an_operator_of_somebody() -> Model:
    g = Graph()
    return g.model(g.conv(g.op("custom", g.input(), native="Convolution2DTransposeBias")))


@rule.good
def near_miss_one_activation() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.conv(g.input() | u8(), w=s8())))


@rule.bad(sites=0, says="only weights have a quantizer, no activation; integer arithmetic takes quantized activations, too")
def weights_in_blocks_of_their_own() -> Model:
    g = Graph()
    return g.model(g.op("mat_mul_n_bits", g.input(), g.constant(16, 8, dtype="uint8"), native="MatMulNBits"))
