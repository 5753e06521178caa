"""The nearest integer kernel: what would have had to be different for an op to run in integer."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from qlint.graph import Op
from qlint.judge.kernels import Kernels, Ready
from qlint.judge.pattern import Chain, only_use
from qlint.judge.ports import RELATION
from qlint.judge.prepare import Prepared, readers
from qlint.judge.situations import Candidate, Run, Situations
from qlint.judge.verdict import Miss, Verdict

LONGEST_PATTERN = 6


def explain(op: Op, situations: Situations, verdict: Verdict) -> tuple[Ready, Chain, list[Miss]] | None:
    """The integer kernel that is nearest to taking `op`, its chain and what it misses; None if there is none.

    The longest chain that matches structurally and contains the op wins, then the smallest weighted
    distance, then file order. Only kernels with `advise` explain.
    """
    kernels, prepared = situations.kernels, situations.prepared
    anchors = _anchors(op, prepared)
    options: list[tuple[tuple[int, int, int, int], Candidate, Run]] = []
    for number, run in enumerate(map(situations.run, anchors)):
        at = run.ops.index(op) if op in run.ops else len(run.ops)
        options += (((-one.length, one.bound, one.ready.order, number), one, run) for one in situations.advisers(run) if at < one.length)
    best: tuple[tuple[int, int, int, int], Candidate, Run] | None = None
    for (length, bound, order, number), one, run in sorted(options, key=itemgetter(0)):
        if best is not None and (length, bound, order, number) >= best[0]:
            break
        misses = situations.missing(one, run)
        key = (length, sum(miss.weight for miss in misses), order, number)
        if misses and (best is None or key < best[0]):
            best = (key, one, run)
    if best is None:
        return None
    _, one, run = best
    return one.ready, run.chain(one.length), [_because_of_rewrite(miss, kernels, prepared) for miss in situations.missing(one, run)]


def _anchors(op: Op, prepared: Prepared) -> Iterator[Op]:
    """The op, and the ops from which a chain could reach it."""
    yield op
    current = op
    for _ in range(LONGEST_PATTERN):
        before = [
            use.tensor.producer
            for use in current.uses.values()
            if use.tensor.producer is not None and only_use(use.tensor.producer, prepared) is use
        ]
        if not before:
            return
        current = before[0]
        yield from before


def _because_of_rewrite(miss: Miss, kernels: Kernels, prepared: Prepared) -> Miss:
    """A wrong container that a storage rewrite would have mended is that rewrite's unmet condition."""
    if miss.dimension not in ("storage", "same_storage") or miss.tensor is None:
        return miss
    for step in kernels.profile.prepare:
        if step.step != "storage" or step.from_ != miss.found or step.readers is None:
            continue
        firsts = [q[0] for use in prepared.uses(miss.tensor) if (q := prepared.of(use)[:1])]
        if firsts and step.to in _names(miss.wanted) and readers(miss.tensor, firsts[0], prepared) != step.readers:
            count = readers(miss.tensor, firsts[0], prepared)
            return miss._replace(dimension="readers", found=count, wanted=step.readers, weight=RELATION)
    return miss


def _names(wanted: object) -> tuple[str, ...]:
    return wanted if isinstance(wanted, tuple) else (str(wanted),)
