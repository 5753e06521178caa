"""A convolution runs twice, because its batch-norm is folded with the statistics of each batch.

## What it does

Finds pairs of convolutions of the same input and weight, of which the first one only measures: mean and variance
of its output go into weight and bias of the second, or correct what comes out of it.

## Why it matters on hardware

This is how two strategies of folding simulate a batch-norm while it is trained. The weight differs from batch to
batch, so it cannot be quantized ahead of time, and the work is done twice. Nothing of it is meant for inference,
where the same modules fold their running statistics into one convolution.

## Example

    x ─► conv(w) ─► mean, var ─► w·γ/σ_batch ─ Q ─► conv(x)

## Instead

    x ─► conv(w·γ/σ_running, β - μ·γ/σ_running)

## Fix and its safety

`model.eval()` before the export: the running statistics are used. Unsafe: the numbers change, to those of inference.

## References

- MQBench (arXiv 2111.03759), section 3.2 and Figure 3, strategies 2 and 3
- Jacob et al., arXiv 1712.05877, figure C.8; Krishnamoorthi, arXiv 1806.08342, section 3.2.2
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.passes.folding import batch_norms

STATES = {
    "batch statistics": "is folded with the statistics of the batch, which a second {} computes",
    "corrected": "is corrected by the statistics of the batch, which a second {} computes",
}

rule = Rule(
    name="training-mode-batchnorm-fold",
    code="QL406",
    since="0.1.0",
    what=lambda facts: STATES[facts.dimension].format(facts.kind),
    why="the weight is another one in each batch, and cannot be quantized ahead of time",
    fix="call model.eval() before the export",
    severity="warning",
)


@rule.check
def second_convolutions(model: Model) -> Iterator[Issue]:
    """The convolution whose result is used, of each pair."""
    for norm in batch_norms(model):
        if norm.state in STATES:
            yield Issue(norm.op, dimension=norm.state)


def _network(corrected: bool, same: bool = True) -> Model:
    g = Graph()
    x, w = g.input() | u8(), g.constant(8, 8, 3, 3)
    variance = g.op("var", g.op("conv", x, w, name="measuring"), shape=(8,))
    factor = g.op("div", g.constant(8), variance, shape=(8,))
    other = w if same else g.constant(8, 8, 3, 3)
    weight = other if corrected else g.op("mul", other, factor)
    y = g.op("conv", x, weight | s8(), name="conv")
    return g.model((g.op("mul", y, factor) if corrected else y) | u8())


@rule.bad(says="conv: is folded with the statistics of the batch, which a second conv computes; the weight is another one in each batch")
def strategy_2() -> Model:
    return _network(corrected=False)


@rule.bad(says="conv: is corrected by the statistics of the batch")
def strategy_3() -> Model:
    return _network(corrected=True)


@rule.good
def once() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), b=g.constant(8)) | u8())


@rule.good
def near_miss_two_convolutions_with_weights_of_their_own() -> Model:
    """As in a block whose one branch gates the other."""
    return _network(corrected=True, same=False)
