"""The algorithm did badly with this granularity where it was measured.

## What it does

Notes combinations that lost many points, or did not converge, in MQBench's measurements with 4 bits: PACT with
weights per tensor; DoReFa and DSQ in networks with depthwise convolutions.

## Why it matters on hardware

Which algorithm is best depends on what the backend has. Where scales are per channel, PACT was the best or close
to it; on TVM, where they are per tensor, it lost 13 to 27 points (LSQ 2 to 8), and ResNet-50 and RegNetX did not
converge there and on SNPE. DoReFa never converged on MobileNetV2 and EfficientNet-Lite0. DSQ lost 19 to 65 points
on these two on all backends but ACL, where one did not converge on TVM.

## Example

    PACT, W4 per-tensor

## Instead

    LSQ, W4 per-tensor        PACT, W4 per-channel

## Fix and its safety

Train with LSQ for backends whose scales are per tensor, with PACT or LSQ for those whose scales are per channel.
It is a statement about networks that were measured, for ImageNet and 4 bits; a network whose accuracy is known to be
good may ignore it.

## References

- MQBench (arXiv 2111.03759), Table 7 and section 5: "PACT for per-channel, LSQ for per-tensor"
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, quantizer, u8
from qlint.passes.trained import trained

BITS = 4
MEASURED = {
    "PACT": "on TVM, per tensor, it lost 13 to 27 points where LSQ lost 2 to 8, or did not converge",
    "DoReFa": "it did not converge with depthwise convolutions",
    "DSQ": "it lost 19 to 65 points with depthwise convolutions on all backends but ACL",
}

rule = Rule(
    name="algorithm-granularity",
    code="QL715",
    since="0.1.0",
    what="{found}",
    why="{measured} (4 bits, ImageNet)",
    fix="train with LSQ for scales per tensor, with PACT or LSQ for scales per channel",
)


@rule.check
def combinations(model: Model) -> Iterator[Issue]:
    """One issue for each algorithm that was measured to fail in this situation."""
    names = {one.algorithm for one in trained(model)}
    if not names & MEASURED.keys():
        return
    weights = [(op, op.uses["w"].quantizers[-1]) for op in model.ops if "w" in op.uses and op.uses["w"].quantizers]
    narrow = [(op, q) for op, q in weights if q.grid == "affine" and 1 < q.bits <= BITS]
    if "PACT" in names and any(q.granularity == "tensor" for _, q in narrow):
        yield Issue(found="PACT with weights per tensor", dimension="PACT", facts={"measured": MEASURED["PACT"]})
    if any(_depthwise(op) for op, _ in weights):
        for name in ("DoReFa", "DSQ"):
            if name in names and (narrow or name == "DSQ"):
                yield Issue(found=f"{name} in a network with depthwise convolutions", dimension=name, facts={"measured": MEASURED[name]})


def _depthwise(op: Op) -> bool:
    group, shape = op.attrs.get("group", 1), op.uses["x"].tensor.shape if "x" in op.uses else None
    return op.kind == "conv" and isinstance(group, int) and group >= 8 and (shape is None or group in shape[1:])


def _network(algorithm: str, scale: float | list[float], group: int = 1) -> Model:
    g = Graph()
    x = g.op("fake", g.input(), native="FakeQuantize")
    w = g.constant(8, 8 // group, 3, 3) | quantizer("int4", scale)
    return g.model(g.op("conv", x | u8(algorithm=algorithm, quantize=x.tensor.producer), w, attrs={"group": group}) | u8())


@rule.bad(sites=0, says="PACT with weights per tensor; on TVM, per tensor, it lost 13 to 27 points where LSQ lost 2 to 8, or did not converge")
def pact_per_tensor() -> Model:
    return _network("PACT", 0.02)


@rule.bad(sites=0, says="DoReFa in a network with depthwise convolutions; it did not converge")
def dorefa_with_depthwise_convolutions() -> Model:
    return _network("DoReFa", 0.02, group=8)


@rule.good
def pact_per_channel() -> Model:
    return _network("PACT", [0.02] * 8)


@rule.good
def near_miss_lsq_per_tensor() -> Model:
    return _network("LSQ", 0.02, group=8)
