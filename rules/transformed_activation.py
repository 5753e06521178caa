"""Another number is quantized than the one that comes in: QIL's interval in front of an activation's quantizer.

## What it does

Finds activations that QIL quantizes: an interval of them is stretched to [0, 1] before they are rounded, and
what lies below it is pruned.

## Why it matters on hardware

A quantizer is a scale and a zero point, and hands on the number that came in, rounded. This one hands on
`clip(a*x + b, 0, 1)`, which no scale and zero point say. Between two layers a compiler would have to compute the
line in front of each quantizer, in float or with integers of its own; a graph that just puts a quantizer there
computes other numbers.

## Example

    x ─► Mul(4.56) ─► Add(-0.04) ─► Clip(0, 1) ─► round(15·) / 15 ─► conv

## Instead

    x ─► round(clip(x / s, 0, 15)) * s ─► conv

## Fix and its safety

Train activations with LSQ or PACT, and keep QIL for weights, which can be computed ahead of time: unsafe, the
network has to be trained again. Where a batch-norm stands in front, the line can be folded into it: exact.

## References

- Jung et al., QIL, arXiv 1808.05779, section 3.1
- MQBench (arXiv 2111.03759), Table 2: QIL is not deployable
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, Wire, s8, u8
from qlint.passes.trained import trained

rule = Rule(
    name="transformed-activation",
    code="QL710",
    since="0.1.0",
    what="{port}{origin} is stretched to an interval before it is quantized (QIL)",
    why="no scale and zero point say that",
    fix="train activations with a quantizer that hands on what comes in (LSQ, PACT)",
    severity="warning",
    per_kind=False,
)


@rule.check
def intervals(model: Model) -> Iterator[Issue]:
    """Each activation that QIL transforms."""
    for one in trained(model):
        if one.algorithm == "QIL" and one.ops and one.use.role != "w" and not one.use.tensor.constant:
            yield Issue.at(one.use, None, None, "QIL")


def _interval(g: Graph, x: Wire) -> Wire:
    line = g.op("add", g.op("mul", x, g.constant(values=[4.5])), g.constant(values=[-0.04]))
    return g.op("div", g.op("round", g.op("mul", g.op("clip", line, attrs={"min": 0.0, "max": 1.0}), g.constant(values=[15.0]))), g.constant(values=[15.0]), name="q")


def _network(weights: bool) -> Model:
    g = Graph()
    w = g.constant(8, 8, 3, 3)
    inner = g.op("clip", g.op("add", g.op("mul", g.op("abs", w), g.constant(values=[5.0])), g.constant(values=[0.1])), attrs={"min": 0.0, "max": 1.0})
    weight = g.op("mul", inner, g.op("sign", w)) if weights else w
    return g.model(g.conv(_interval(g, g.input()) | u8(origin="decomposed"), w=weight | s8()) | u8())


@rule.bad(says="input x (from q) is stretched to an interval before it is quantized (QIL)")
def beside_weights_of_qil() -> Model:
    return _network(weights=True)


@rule.good
def near_miss_a_line_in_front_of_a_quantizer() -> Model:
    """Without QIL's weights beside it, it may be a normalization, or a hard sigmoid."""
    return _network(weights=False)
