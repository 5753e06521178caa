"""A batch-norm stands behind a convolution or matrix product in a quantized model.

## What it does

Finds batch-norms that were not folded into the operator in front of them. The finding covers what follows
from it: the operator in front has no quantizer behind it, and the batch-norm itself stays in float.

## Why it matters on hardware

At inference a batch-norm is a scale and an offset per channel, which vanish into weight and bias. Left in
the graph it separates the operator from its output quantizer. Compilers fold it into float weights, but
not into weights that are already integers, so convolution and batch-norm both run in float.

## Example

    conv ─► batch_norm ─► relu ─ Q ─►

## Instead

    conv (weight·γ/σ, bias·γ/σ + β - μ·γ/σ) ─► relu ─ Q ─►

## Fix and its safety

Fold before quantizing: exact in real arithmetic. Under a quantized weight `--fix` keeps the integers and multiplies the
scales, which is exact as well, but gives the weight a scale for each output channel. Where a backend wants one for the
tensor, the weight has to be quantized again: unsafe. During training, simulate the folding (there are several ways, which
differ in the statistics that they use).

## References

- Krishnamoorthi, arXiv 1806.08342, section 3.2.2
- MQBench (arXiv 2111.03759), section 3.2 and Figure 3: five strategies of folding
"""

from qlint.graph import Model, Op
from qlint.graph.kinds import CLASSES
from qlint.judge import Mismatch
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing, unwanted

rule = Rule(
    name="unfolded-batchnorm",
    code="QL401",
    since="0.1.0",
    what="stands behind {producer} and is not folded into it",
    why="{backend} runs it in integer only as part of the operator in front",
    fix="fold the batch-norm into the operator in front of it",
    cure="fold",
    applicability="unsafe",
)


def _batch_norm(m: Mismatch) -> Op | None:
    """The batch-norm that a mismatch of it, or of the op in front of it, is about."""
    if m.anchor.kind == "batch_norm":
        return m.anchor
    readers = [use.op for use in m.tensor.uses] if m.tensor is not None else []
    return next((op for op in readers if op is not None and op.kind == "batch_norm"), None)


def _in_front(m: Mismatch) -> bool:
    """Whether it is about a batch-norm that something weighted stands in front of; one on its own has standalone-batchnorm."""
    norm = _batch_norm(m)
    made = norm.uses["x"].tensor.producer if norm is not None and "x" in norm.uses else None
    return made is not None and made.kind in CLASSES["weighted"] | {"div", "mul"}


rule.explains("kernel", kinds="batch_norm", about=_batch_norm)
rule.explains("quantizer", kinds="batch_norm", roles="x", where=missing, about=_batch_norm)
rule.explains("quantizer", roles="y", where=(missing, _in_front), about=_batch_norm)


def _in_chain(m: Mismatch) -> object:
    """The batch-norm of a kernel that folds it into the weights of the op in front."""
    return next((op for op in m.chain if op.kind == "batch_norm"), None) if m.anchor.kind != "batch_norm" else None


def _folds(m: Mismatch) -> bool:
    return _in_chain(m) is not None


for dimension, roles, where in (("quantizer", "w|b", (unwanted, _folds)), ("presence", "b", (_folds,))):
    rule.explains(
        dimension, roles=roles, where=where, about=_in_chain,
        what="a batch-norm stands behind the {kind} and is not folded into it", why="{backend} folds it into weights and biases in float only",
    )  # fmt: skip


@rule.bad(says="bn: stands behind conv1 and is not folded into it")
def behind_a_conv() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8(), name="conv1")
    return g.model(g.op("relu", g.op("batch_norm", y, name="bn")) | u8())


@rule.good
def folded() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8(), b=g.constant(8))
    return g.model(g.op("relu", y) | u8())


@rule.good
def near_miss_another_normalization() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.op("instance_norm", y) | u8())
