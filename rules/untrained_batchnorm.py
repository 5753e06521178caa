"""A batch-norm has the statistics that it began with: mean 0 and variance 1 in every channel.

## What it does

Finds batch-norms whose running mean is 0 and whose running variance is 1 everywhere.

## Why it matters on hardware

Statistics are collected in training only. Where they were not (a checkpoint that was loaded without them, a
batch-norm made anew by a tool, statistics that are not tracked), folding leaves the weights as they are, and
ranges that were calibrated behind it belong to activations that the trained network never had. On several
ranks, a batch-norm that was never run on the first one is saved like this.

## Example

    batch_norm(mean=[0, 0, …], var=[1, 1, …])

## Instead

    batch_norm(mean=[0.31, -0.07, …], var=[0.8, 1.9, …])

## Fix and its safety

Load the checkpoint with its buffers, or run some batches in training mode to collect them before calibrating.
Unsafe: the numbers change. For a network that was never trained, ignore the rule.

## References

- PyTorch documentation, torch.nn.BatchNorm2d: running_mean and running_var
- MQBench (arXiv 2111.03759), Table 5: statistics of one rank only cost MobileNetV2 5.3 points
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, u8
from qlint.passes.constants import small

LEAST = 4  # channels: of fewer it may be so by chance

rule = Rule(
    name="untrained-batchnorm",
    code="QL407",
    since="0.1.0",
    what="has mean 0 and variance 1 in every channel",
    why="its statistics were never collected, or not loaded",
    fix="load the checkpoint with its buffers, or collect statistics before calibrating",
)


@rule.check
def statistics(model: Model) -> Iterator[Issue]:
    """Batch-norms in a quantized model whose statistics are the initial ones."""
    if not any(True for graph in graphs(model) for _ in graph.quantizers()):
        return
    for graph in graphs(model):
        for op in graph.ops:
            if op.kind != "batch_norm" or op.attrs.get("training_mode") or not {"mean", "var"} <= op.uses.keys():
                continue
            mean, var = (small(op.uses[role].tensor) for role in ("mean", "var"))
            if mean and var and len(mean) >= LEAST and not any(mean) and all(v == 1 for v in var):
                yield Issue(op, dimension="statistics")


def _network(mean: float, var: float) -> Model:
    g = Graph()
    parameters = [g.constant(8, values=[value] * 8) for value in (1.3, 0.5, mean, var)]
    return g.model(g.op("batch_norm", g.conv(g.input() | u8(), w=s8()), *parameters, name="bn") | u8())


@rule.bad(says="bn: has mean 0 and variance 1 in every channel; its statistics were never collected, or not loaded")
def as_it_began() -> Model:
    return _network(0.0, 1.0)


@rule.good
def collected() -> Model:
    return _network(0.2, 0.7)


@rule.good
def near_miss_zero_mean() -> Model:
    return _network(0.0, 0.7)
