"""Several files of one network have the same weights, and batch-norms with different statistics.

## What it does

Compares the models of one run that are the same operators, as `qlint check rank0.pt rank1.pt` does: where their weights
agree bit for bit and the running mean or variance of a batch-norm does not, they are told. Weights that
differ make them other networks, or other epochs of one, of which nothing is said. `qlint.differing_statistics` compares any models.

## Why it matters on hardware

Ranks that train one network together share the gradients, and so the weights. Without synchronization each rank keeps the
statistics of the data that it saw. In float that is a small difference. Folded it is none: the factor γ/σ goes into the weight,
so each rank quantizes other weights than the next one, the gradients that are averaged belong to different
quantized networks, and the file of one rank is not what was trained. With 4 bits and folding, MobileNetV2 loses 5.3
points that way and does not converge with PACT; in networks that are not folded it is hardly seen.

## Example

    rank0.pt: conv1.weight, bn1.running_var 0.91, 1.20 …
    rank1.pt: conv1.weight, bn1.running_var 1.35, 1.18 …

## Instead

    rank0.pt, rank1.pt: conv1.weight, bn1.running_var 1.13, 1.19 …

## Fix and its safety

Train with synchronized batch-norms (`torch.nn.SyncBatchNorm.convert_sync_batchnorm`), or freeze the statistics before
batch-norms are folded. For networks that are trained already: average the statistics, or take those of one rank, and
measure that one. Unsafe: the numbers change.

## References

- MQBench (arXiv 2111.03759), section 3.2 and Table 5, column 4*: asynchronous statistics with folding, 70.1 → 64.8 for MobileNetV2
- PyTorch documentation, torch.nn.SyncBatchNorm
"""

from collections.abc import Iterator, Sequence

from qlint.graph import Model, Op
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.words import few
from qlint.passes.folding import differing_statistics, same_weights

rule = Rule(
    name="inconsistent-batchnorm-statistics",
    code="QL409",
    since="0.1.0",
    what="the same weights have other batch-norm statistics in {others}",
    why="folded into the weights they make a difference of up to {apart}",
    fix="train with synchronized batch-norms, or take the statistics of one rank for all",
    severity="warning",
    per_kind=False,
)


@rule.across
def of_the_same_weights(models: Sequence[Model]) -> Iterator[Issue]:
    """The batch-norms of the first model whose statistics are others in one that has its weights."""
    first, *rest = models
    differing = [(other, found) for other in rest if (found := differing_statistics([first, other]))]
    twins = same_weights([first, *(other for other, _ in differing)])[0] if differing else []  # weights are read only then
    differing = [(other, found) for other, found in differing if other in twins]
    others = few(dict.fromkeys(other.name if other.name != first.name else f"another {other.name}" for other, _ in differing))
    factor = max((one.factor for _, found in differing for one in found), default=1.0)
    at = {op.label: op for op in first.ops}
    for name in dict.fromkeys(one.name for _, found in differing for one in found):
        yield Issue(at.get(name) or _reader(first, name), dimension="statistics", facts={"others": others, "apart": f"{(factor - 1):.0%}"})


def _reader(model: Model, name: str) -> Op | None:
    """What reads the variance of a batch-norm that the graph folds itself."""
    tensor = model.tensors.get(f"{name}.running_var")
    return next((use.op for use in tensor.uses if use.op is not None), None) if tensor is not None else None


def _rank(variance: float, weight: float = 1.0, name: str = "rank0.pt") -> Model:
    g = Graph(name)
    y = g.conv(g.input() | u8(), w=g.constant(8, 8, 3, 3, values=[weight] * 576) | s8(), name="conv1")
    statistics = [g.constant(8, values=[value] * 8) for value in (1.0, 0.0, 0.1, variance)]
    return g.model(g.op("relu", g.op("batch_norm", y, *statistics, name="bn1")) | u8())


@rule.bad(says="bn1: the same weights have other batch-norm statistics in rank1.pt and rank2.pt; folded into the weights they make a difference of up to 41%")
def asynchronous_ranks() -> list[Model]:
    return [_rank(1.0), _rank(1.5, name="rank1.pt"), _rank(2.0, name="rank2.pt")]


@rule.good
def synchronized_ranks() -> list[Model]:
    return [_rank(1.0), _rank(1.0, name="rank1.pt")]


@rule.good
def near_miss_another_epoch() -> list[Model]:
    """Its weights are others, too."""
    return [_rank(1.0), _rank(2.0, weight=1.1, name="epoch2.pt")]


@rule.good
def near_miss_one_model() -> Model:
    return _rank(1.0)
