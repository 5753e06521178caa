"""A batch-norm stands on its own: there is no convolution or matrix product in front that it could be folded into.

## What it does

Finds batch-norms behind a concat, an add, an activation or the input (DenseNet, pre-activation ResNets, a
normalization of the input), and those that share the operator in front with other readers, where the backend has
no integer kernel for them alone. Behind an operator of their own it is [unfolded-batchnorm].

## Why it matters on hardware

At inference it is a scale and an offset for each channel, for which few integer backends have a kernel: it runs
in float, between two quantizers that it separates. Networks of this kind lose most: DenseNet-121 had 1.7 % in
quantization-aware training until such batch-norms were handled.

## Example

    concat ─► batch_norm ─► relu ─► conv

## Instead

    concat ─ Q ─► depthwise conv 1x1 (weight γ/σ, bias β - μ·γ/σ) ─► relu ─ Q ─► conv

## Fix and its safety

Write it as a depthwise 1x1 convolution and quantize that one: the real numbers are the same, its quantized
weight is not: unsafe. Where the convolution behind has no padding and no relu stands in between, it can be
folded forward into that one: exact in real arithmetic.

## References

- PyTorch PR 115715; MQBench issue 171 (DenseNet-121)
- Nagel et al., arXiv 2106.08295, section 2.3.1
"""

from qlint.graph import Model
from qlint.graph.kinds import CLASSES
from qlint.judge import Mismatch
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing

rule = Rule(
    name="standalone-batchnorm",
    code="QL408",
    since="0.1.0",
    what="has no operator in front that it could be folded into",
    why="{backend} has no integer kernel for it alone",
    fix="write it as a depthwise 1x1 convolution",
    cure="fold",
    applicability="unsafe",
)


def _alone(m: Mismatch) -> bool:
    """Nothing weighted makes its input, or others read that too."""
    if m.anchor.kind != "batch_norm" or "x" not in m.anchor.uses:
        return False
    x = m.anchor.uses["x"].tensor
    return x.producer is None or x.producer.kind not in CLASSES["weighted"] | {"div", "mul"} or len(x.uses) > 1


rule.explains("kernel", kinds="batch_norm", where=_alone)
rule.explains("quantizer", kinds="batch_norm", roles="x", where=(missing, _alone), about=lambda m: m.anchor)


@rule.bad(says="bn: has no operator in front that it could be folded into; toy has no integer kernel for it alone")
def behind_a_concat() -> Model:
    g = Graph()
    x = g.op("concat", g.input("a") | u8(), g.input("b") | u8()) | u8()
    return g.model(g.conv(g.op("batch_norm", x, name="bn") | u8(), w=s8()) | u8())


@rule.good
def near_miss_behind_a_conv() -> Model:
    g = Graph()
    return g.model(g.op("batch_norm", g.conv(g.input() | u8(), w=s8())) | u8())
