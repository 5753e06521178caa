"""A batch-norm is folded by half: its factor is in the weight, and is taken out again behind the operator.

## What it does

Finds the form in which convolutions with batch-norm are trained for quantization: the quantized weight holds
`w·γ/σ`, the output is divided by `γ/σ`, and the batch-norm follows. Everything that stands between the operator
and its output quantizer is one finding. In training mode it is [training-mode].

## Why it matters on hardware

The form gives training the statistics of the batch and the quantizer the folded weight. Exported as it is, a
division and a batch-norm in float stand behind each convolution, which then has no output quantizer of its own.
PyTorch's `convert_fx` knows the form and folds it; an ONNX export of it is taken literally.

## Example

    w·γ/σ ─ Q ─► conv ─► Div(γ/σ) ─► BatchNormalization ─► relu ─ Q ─►

## Instead

    w·γ/σ ─ Q ─► conv(bias β + (b - μ)·γ/σ) ─► relu ─ Q ─►

## Fix and its safety

Remove the division and the batch-norm, and give the operator the bias `β + (b - μ)·γ/σ`, where b is its own; the
weight and its quantizer stay. Exact in real arithmetic, the integers of the weight are the same: safe, if the
factor is the batch-norm's own. If statistics went on after the factor was computed it is not: unsafe.
MQBench's `convert_merge_bn` does it for all backends but Academic and Tensorrt_NLP.

## References

- MQBench (arXiv 2111.03759), section 3.2, strategy 4; Krishnamoorthi, arXiv 1806.08342, figure 8
- PyTorch, torch/ao/nn/intrinsic/qat/modules/conv_fused.py: `_ConvBnNd._forward_approximate`
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.graph.kinds import CLASSES
from qlint.judge.verdict import Mismatch
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.passes.folding import batch_norm, batch_norms, divided, fold

rule = Rule(
    name="partly-folded-batchnorm",
    code="QL405",
    since="0.1.0",
    what="belongs to a batch-norm that is folded by half, its factor is in the weight and is taken out again",
    why=lambda facts: _meaning(facts.causes[0].op),
    fix="remove the division and the batch-norm, and set the bias to β + (b - μ)·γ/σ",
    cure="fold",
    applicability="unsafe",
    per_kind=False,
    unasked=True,
)


def _meaning(op: Op | None) -> str:
    """Whether the fold is exact, if the values are in the file."""
    norm = _behind(op) if op is not None else None
    predicted = fold(batch_norm(norm)) if norm is not None else None
    if predicted is None:
        return "the division and the batch-norm stand between the operator and its quantizer"
    exact = "folding it changes nothing, the weight keeps its integers"
    return exact if predicted.exact else "the factor is not the batch-norm's own, folding it changes numbers"


def _behind(op: Op) -> Op | None:
    """The batch-norm of this form that an op is, or that stands a few ops behind it."""
    for _ in range(4):
        if op.kind == "batch_norm":
            return op if divided(op) is not None else None
        behind = next((use.op for tensor in op.outputs for use in tensor.uses if use.op is not None), None)
        if behind is None:
            return None
        op = behind
    return None


def _norm(m: Mismatch) -> Op | None:
    """The batch-norm that a mismatch is about: at it, at the division in front of it, between the two, or between it and its activation."""
    near = [m.anchor]
    made = m.tensor.producer if m.tensor is not None else None
    if made is not None and made.kind == "batch_norm" and m.anchor.kind in CLASSES["clamp"] and len(made.outputs[0].uses) == 1:
        near.append(made)
    if m.port == "y" and m.tensor is not None:
        near += [use.op for use in m.tensor.uses if use.op is not None]
    for op in near:
        norm = _behind(op)
        if norm is not None and (op is norm or op is divided(norm) or op is norm.uses["x"].tensor.producer):
            return norm
    return None


def _any(model: Model) -> bool:
    return any(norm.state == "divided" for norm in batch_norms(model))


rule.explains("kernel|quantizer|constant|presence", where=lambda m: _norm(m) is not None, model=_any, about=_norm)


@rule.check
def divided_out(model: Model) -> Iterator[Issue]:
    """Each batch-norm of this form."""
    for norm in batch_norms(model):
        if norm.state == "divided" and not norm.training:
            yield Issue(norm.op, dimension="divided")


def _network(factor: float) -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8(), name="conv1")
    y = g.op("div", y, g.constant(1, 8, 1, 1, values=[factor] * 8))
    parameters = [g.constant(8, values=[value] * 8) for value in (2.0, 0.5, 0.1, 4.0)]
    return g.model(g.op("relu", g.op("batch_norm", y, *parameters, name="bn", attrs={"epsilon": 0.0})) | u8())


@rule.bad(says="belongs to a batch-norm that is folded by half, its factor is in the weight and is taken out again; folding it changes nothing")
def strategy_4() -> Model:
    return _network(1.0)


@rule.bad(says="the factor is not the batch-norm's own, folding it changes numbers")
def statistics_went_on() -> Model:
    return _network(1.3)


@rule.good
def folded() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.conv(g.input() | u8(), w=s8(), b=g.constant(8))) | u8())


@rule.good
def near_miss_not_folded_at_all() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.op("batch_norm", g.conv(g.input() | u8(), w=s8()))) | u8())
