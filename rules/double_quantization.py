"""A tensor is quantized twice in a row.

## What it does

Finds uses with several quantizers in series. Twice to the same grid changes nothing and is noted. To
different grids is a requantization: an extra step if somebody reads the first grid as well, and a loss of
resolution for nothing if nobody does.

## Why it matters on hardware

Each value is rounded and clipped twice. Backends treat the series in different ways: one runs both steps,
one merges them into a grid that neither describes, one takes the last. The numbers of the simulation are
those of one of them. It happens where one tool quantizes outputs and another one inputs, and where a module
with quantizers at its ends is put behind another one.

## Example

    conv ─ Q(0.02) ─ DQ ─ Q(0.05) ─ DQ ─► conv

## Instead

    conv ─ Q(0.05) ─ DQ ─► conv

## Fix and its safety

The same grid twice: remove one pair, safe and bit-exact. Different grids: keep the one that the reader
needs. Unsafe: the numbers change, they come closer to the float model.

## References

- ONNX Runtime, `QDQFinalCleanupTransformer` and `DoubleQDQPairsRemover`
- MQBench (arXiv 2111.03759), Figure 4: quantizers at the outputs of operators, or at their inputs
"""

from collections.abc import Iterator
from itertools import pairwise

from qlint.graph import Model, Quantizer, Tensor, Use
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs, same_grid
from qlint.lint.testing import Graph, quantizer, s8, u8

rule = Rule(
    name="double-quantization",
    code="QL307",
    since="0.1.0",
    what="{port}{origin} is quantized {wanted} and then {found}",
    why="{meaning}",
    fix="keep one quantizer in front of {port}",
    cure="single",
    applicability="unsafe",
    per_kind=False,
)


@rule.check
def series(model: Model) -> Iterator[Issue]:
    """The first two quantizers in a row of each use that has such."""
    for graph in graphs(model):
        for tensor in graph.tensors.values():
            for use in tensor.uses:
                issue = _issue(tensor, use) if use.kind != "dead" and len(use.quantizers) > 1 else None
                if issue is not None:
                    yield issue


def _issue(tensor: Tensor, use: Use) -> Issue | None:
    known = [(a, b) for a, b in pairwise(use.quantizers) if a.constant and b.constant]
    if not known:  # as in a graph of integers, whose scales no file holds
        return None
    different = next(((a, b) for a, b in known if not _equal(a, b)), None)
    if different is None:
        return Issue.at(use, "the same way", "once", "same", meaning="the second time changes nothing")
    first, second = different
    texts = f"to {second}", f"to {first}"
    if first.quantize is None or _read_by_somebody(tensor, first):
        return Issue.at(use, *texts, "requantized", consequence="slow", meaning="going from one to the other is an extra step")
    return Issue.at(use, *texts, "useless", severity="warning", meaning="nobody reads the first grid, which only costs resolution")


def _equal(one: Quantizer, other: Quantizer) -> bool:
    return one.storage == other.storage and one.axis == other.axis and same_grid(one, other)


def _read_by_somebody(tensor: Tensor, q: Quantizer) -> bool:
    return any(use.kind != "dead" and use.quantizers and use.quantizers[-1].quantize is q.quantize for use in tensor.uses)


@rule.bad(says="is quantized to uint8, scale 0.02, zero point 0 and then to uint8, scale 0.05, zero point 0; nobody reads the first grid")
def two_grids() -> Model:
    g = Graph()
    return g.model(g.op("max_pool", g.input() | u8(0.02) | u8(0.05)) | u8(0.05))


@rule.bad(says="is quantized once and then the same way; the second time changes nothing")
def the_same_grid() -> Model:
    g = Graph()
    return g.model(g.op("max_pool", g.input() | u8() | u8()) | u8())


@rule.bad(says="going from one to the other is an extra step")
def other_precision_for_one_of_two_readers() -> Model:
    g = Graph()
    x = g.input() | quantizer("uint16", 0.001)
    return g.model(g.op("avg_pool", x) | u8(), g.conv(x | u8(), w=s8()) | u8())


@rule.good
def once() -> Model:
    g = Graph()
    return g.model(g.op("max_pool", g.input() | u8()) | u8())


@rule.good
def near_miss_different_grids_for_different_readers() -> Model:
    g = Graph()
    x = g.input()
    return g.model(g.op("avg_pool", x | u8()) | u8(), g.conv(x | u8(0.04), w=s8()) | u8())
