"""Situations: which kernels could take an op is settled once for all ops that are alike.

Two ops are alike if all that ports and guards ask of them and of the ops behind them is the same, numbers and
relations left out: kinds, edges, shapes, containers, granularities. A network of ten thousand blocks has a handful
of situations; what is left to each op are the scales, zero points and neighbours that its kernels ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from qlint.graph import Op
from qlint.judge.kernels import NOTHING_LEFT, Kernels, Left, Ready
from qlint.judge.pattern import Chain, lengths, only_use
from qlint.judge.ports import look_at
from qlint.judge.prepare import Prepared
from qlint.judge.spelled import PARTS, Spelled, spelled_out
from qlint.judge.verdict import Miss

Key = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Run:
    """An op and those behind it, as far as some pattern could reach. Every chain from that op is the start of it."""

    ops: tuple[Op, ...]
    entries: tuple[str, ...]
    carried: tuple[bool, ...]  # whether the edge to an op has a quantizer
    situation: Key

    def chain(self, length: int) -> Chain:
        return Chain(self.ops[:length], self.entries[:length])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kernel whose pattern takes so many ops of a run. `bound`: what it misses at least, as far as the situation tells."""

    ready: Ready
    length: int
    bound: int = 0
    left: Left = NOTHING_LEFT  # to select it
    checks: tuple[tuple[int, Left | None], ...] = ()  # the numbers of those that may fail; None: the situation tells that it does


@dataclass(eq=False)
class Settled:
    """What holds of every op in a situation, in whatever graph; each graph adds to it."""

    kernels: Kernels
    numbers: dict[Key, int] = field(default_factory=dict)  # of ops that look alike from within
    reach: dict[str, tuple[int, frozenset[str] | None]] = field(default_factory=dict)
    candidates: dict[Key, tuple[Candidate, ...]] = field(default_factory=dict)
    advisers: dict[Key, tuple[Candidate, ...]] = field(default_factory=dict)

    @cached_property
    def spelled(self) -> bool:
        """Whether some pattern has a function in several ops."""
        return any(kind.endswith(PARTS) for ready in self.kernels.all for step in ready.steps for kind in step.kinds or ())


class Situations:
    """What the ops of one graph have before them."""

    def __init__(self, settled: Settled, prepared: Prepared) -> None:
        self.settled, self.kernels, self.prepared = settled, settled.kernels, prepared
        self._runs: dict[int, Run] = {}
        self._alike: dict[int, int] = {}
        self._wholes: dict[int, Spelled | None] = {}
        self._missing: dict[tuple[int, int, int], list[Miss]] = {}

    def candidates(self, run: Run) -> tuple[Candidate, ...]:
        """The kernels that could take the first op of a run, in the order in which the backend tries them."""
        found = self.settled.candidates.get(run.situation)
        if found is None:
            found = self.settled.candidates[run.situation] = tuple(self._selected(run))
        return found

    def advisers(self, run: Run) -> tuple[Candidate, ...]:
        """The integer kernels whose pattern fits the start of a run."""
        found = self.settled.advisers.get(run.situation)
        if found is None:
            fitting = (one for one in self._fitting(run) if one.ready.kernel.runs == "integer" and one.ready.kernel.advise)
            bounded = (Candidate(one.ready, one.length, self._distance(one, run)) for one in fitting)
            found = self.settled.advisers[run.situation] = tuple(bounded)
        return found

    def missing(self, one: Candidate, run: Run) -> list[Miss]:
        """All that a kernel misses at the start of a run."""
        key = (one.ready.order, id(run.ops[0]), one.length)
        found = self._missing.get(key)
        if found is None:
            found = self._missing[key] = list(one.ready.selection.misses(run.chain(one.length), self.prepared))
        return found

    def run(self, op: Op) -> Run:
        """The run that starts with an op."""
        found = self._runs.get(id(op))
        if found is None:
            found = self._runs[id(op)] = self._follow(op)
        return found

    def _follow(self, op: Op) -> Run:
        reach, kinds = self.settled.reach.get(op.kind) or self._reaching(op.kind)
        ops, entries, carried = [op], [""], [False]
        situation: list[object] = [self.like(op)]
        while len(ops) < reach:
            follower, role = self._next(ops[-1])
            if follower is None or follower in ops or (kinds is not None and follower.kind not in kinds):
                break
            quantized = bool(self.prepared.of(follower.uses[role]))
            ops.append(follower)
            entries.append(role)
            carried.append(quantized)
            situation += (role, quantized, self.like(follower))
        return Run(tuple(ops), tuple(entries), tuple(carried), tuple(situation))

    def _next(self, op: Op) -> tuple[Op | None, str]:
        """What alone reads the result of an op, and where; a function in several ops only if some pattern asks for one."""
        use = only_use(op, self.prepared)
        if use is not None and use.op is not None:
            return use.op, use.role
        if self.settled.spelled and op.outputs and id(op) not in self._wholes:
            self._wholes[id(op)] = spelled_out(op.outputs[0], self.prepared)
        return self._wholes.get(id(op)), "x"

    def _reaching(self, kind: str) -> tuple[int, frozenset[str] | None]:
        """How many ops the patterns of this kind can take, and the kinds of those behind the first; None: any."""
        patterns = [ready.steps for ready in self.kernels.starting_with(kind)]
        behind = [step.kinds for steps in patterns for step in steps[1:]]
        anything = any(kinds is None for kinds in behind)
        kinds = None if anything else frozenset().union(*(kinds for kinds in behind if kinds is not None))
        self.settled.reach[kind] = found = (max((len(steps) for steps in patterns), default=1), kinds)
        return found

    def like(self, op: Op) -> int:
        """A number that all ops have which look alike from within."""
        found = self._alike.get(id(op))
        if found is None:
            ports = [port.situation for port in look_at(op, self.prepared)]
            key = (op.kind, op.native, op.opset, *ports)
            found = self._alike[id(op)] = self.settled.numbers.setdefault(key, len(self.settled.numbers))
        return found

    def _fitting(self, run: Run) -> Iterator[Candidate]:
        kinds = [op.kind for op in run.ops]
        for ready in self.kernels.starting_with(kinds[0]):
            for length in lengths(ready.steps, kinds, run.carried):
                yield Candidate(ready, length)

    def _selected(self, run: Run) -> Iterator[Candidate]:
        for one in self._fitting(run):
            chain = run.chain(one.length)
            left = one.ready.selection.left(chain, self.prepared)
            if left is not None:
                checks = (
                    (number, wanted.left(chain, self.prepared))
                    for number, (check, wanted) in enumerate(one.ready.checks)
                    if not check.kinds or chain.anchor.kind in check.kinds
                )
                yield Candidate(one.ready, one.length, 0, left, tuple(check for check in checks if check[1] != NOTHING_LEFT))

    def _distance(self, one: Candidate, run: Run) -> int:
        return one.ready.selection.bound(run.chain(one.length), self.prepared)
