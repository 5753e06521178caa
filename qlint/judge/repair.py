"""The changes that bring a model's operators into integer: found by following mismatches, proven by judging again.

Every round judges the model with the changes so far and adds what the mismatches ask for. Then whatever can be left out
without losing an operator is left out. What remains is irreducible, which is not to say that no other set is smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from qlint.graph import Model, Op, Quantizer, Use
from qlint.graph.kinds import QUANTIZER_KINDS
from qlint.judge import cover
from qlint.judge.edits import Sequence as Quantizers
from qlint.judge.edits import Template, applied, edits, rewritten
from qlint.judge.kernels import Kernels
from qlint.judge.situations import Settled
from qlint.judge.verdict import Mismatch, Verdict
from qlint.profile import Profile

ROUNDS = 10
TURNS = 3
WORK = 30_000  # operators judged for one backend before what was found until then is taken as it is
LEAST = 12  # judgements that a model may cost however large it is
Changes = dict[int, tuple[Use, Quantizers]]  # by id of the use
# What becomes of a change that a mismatch asks for: the quantizers with numbers in place of placeholders, or None if it is not to be made.
Consent = Callable[[Mismatch, Use, Quantizers], Quantizers | None]


@dataclass(slots=True)
class Budget:
    """How many operators may still be judged: enough for small models to be searched through, and for large ones to end."""

    left: int

    @classmethod
    def of(cls, model: Model) -> Budget:
        """What searching for one backend may cost."""
        return cls(max(WORK, LEAST * len(model.ops)))


@dataclass(slots=True)
class Backend:
    """A profile, ready to judge one model again and again."""

    profile: Profile
    budget: Budget
    fallback: bool = True
    consent: Consent = lambda mismatch, use, sequence: sequence
    settled: Settled = field(init=False)

    def __post_init__(self) -> None:
        self.settled = Settled(Kernels(self.profile))

    def judge(self, model: Model, changes: Changes) -> Verdict:
        """The verdict on a model with some changes."""
        self.budget.left -= len(model.ops)
        with applied(changes):
            return cover.judge(model, self.profile, fallback=self.fallback, settled=self.settled)


@dataclass(slots=True)
class Outcome:
    """What the changes lead to on one backend."""

    backend: Backend
    before: Verdict
    after: Verdict
    changes: Changes
    reached: frozenset[int]  # ops (by id) in integer with the right numbers
    out_of_reach: list[Op]  # ops that no change was found for
    irreducible: bool = True  # False where the search was cut short as well


@dataclass(frozen=True, slots=True)
class Conflict:
    """Places that one backend wants to be otherwise than others can bear: what is there for them, and what it wants."""

    uses: list[Use]
    backend: str
    wants: str
    against: list[str]  # backends that lose an operator if it gets that
    instead: str


@dataclass(slots=True)
class Common:
    """Changes that satisfy several backends at once; `conflicts` if there are none that were found."""

    changes: Changes
    after: dict[str, Verdict]
    satisfied: list[str]  # names of the backends that reach with them what they reach alone
    conflicts: list[Conflict] = field(default_factory=list)
    irreducible: bool = True


def good(verdict: Verdict) -> frozenset[int]:
    """Ops (by id) that run in integer, with the numbers that were trained."""
    if verdict.outcome == "refused":
        return frozenset()
    wrong = off(verdict)
    return frozenset(key for key, placed in verdict.placements.items() if placed.where in ("integer", "absorbed") and key not in wrong)


def off(verdict: Verdict) -> frozenset[int]:
    """Ops (by id) that compute with other numbers than were trained."""
    return frozenset(id(m.op) for m in verdict.mismatches if m.consequence == "wrong")


def working(model: Model) -> list[Op]:
    """Ops that could run in integer at all: those that work on data."""
    return [op for op in model.walk() if op.role == "data" and op.kind not in (*QUANTIZER_KINDS, "constant")]


def repair(model: Model, backend: Backend) -> Outcome:
    """The changes after which as many ops as possible run in integer on a backend.

    A change counts only if judging the changed model shows it: what cannot be reached is in `out_of_reach`.
    """
    before = backend.judge(model, {})
    found = [_search(model, backend, {}, before, containers) for containers in (True, False)]
    changes, after = max(found, key=lambda one: len(good(one[1])))  # of equals the first, which keeps more grids as they are
    reached = good(after)
    changes, irreducible = _reduced(model, [(backend, reached)], changes)
    left = [op for op in working(model) if id(op) not in reached]
    return Outcome(backend, before, backend.judge(model, changes), changes, reached, left, irreducible and backend.budget.left >= 0)


def together(model: Model, outcomes: Sequence[Outcome]) -> Common:
    """Changes with which every backend reaches what it reaches with changes of its own.

    Starting from each backend's own changes in turn, and then with all activations in one container, the others add
    what they still miss. Where one undoes what another needs, the place is a conflict.
    """
    for one in outcomes:
        one.backend.budget.left = Budget.of(model).left
    best: tuple[Changes, list[Outcome]] = ({}, [])
    turns = [(outcomes[start].changes, [*outcomes[start:], *outcomes[:start]]) for start in range(len(outcomes))]
    for start, turn in (*turns, *((_throughout(model, storage), list(outcomes)) for storage in ("uint8", "int8"))):
        changes = _merged(model, start, turn)
        satisfied = [one for one in outcomes if one.reached <= good(one.backend.judge(model, changes))]
        if len(satisfied) > len(best[1]):
            best = (changes, satisfied)
        if len(satisfied) == len(outcomes) or outcomes[0].backend.budget.left < 0:
            break
    changes, satisfied = best
    changes, irreducible = _reduced(model, [(one.backend, one.reached) for one in satisfied], changes)
    after = {one.backend.profile.name: one.backend.judge(model, changes) for one in outcomes}
    conflicts = [conflict for one in outcomes if one not in satisfied for conflict in _conflicts(model, one, satisfied, changes)]
    return Common(changes, after, [one.backend.profile.name for one in satisfied], conflicts, irreducible)


def _conflicts(model: Model, one: Outcome, satisfied: Sequence[Outcome], changes: Changes) -> Iterator[Conflict]:
    """What a backend wants beside changes that satisfy others, where it would cost one of them an operator."""
    groups: dict[tuple[str, str], Changes] = {}
    for key, (use, sequence) in one.changes.items():
        there = changes[key][1] if key in changes else use.quantizers
        if there != sequence:
            short = (said(there, zero_point=False), said(sequence, zero_point=False))
            groups.setdefault(short if short[0] != short[1] else (said(there), said(sequence)), {})[key] = (use, sequence)
    for (now, wanted), part in groups.items():
        against = [other.backend.profile.name for other in satisfied if not other.reached <= good(other.backend.judge(model, {**changes, **part}))]
        if against:
            yield Conflict([use for use, _ in part.values()], one.backend.profile.name, wanted, against, now)


def _throughout(model: Model, storage: str) -> Changes:
    """Every 8-bit activation on the grid that it is on, in one container."""
    found: Changes = {}
    for tensor in model.tensors.values():
        for use in tensor.uses if not tensor.constant else ():
            moved = tuple(rewritten(q, storage) if q.storage in ("int8", "uint8") and q.read_as is None else q for q in use.quantizers)
            if moved != use.quantizers:
                found[id(use)] = (use, moved)
    return found


def _search(model: Model, backend: Backend, start: Changes, verdict: Verdict, containers: bool) -> tuple[Changes, Verdict]:
    """Follow the mismatches until nothing gets better; the best that was seen."""
    template = Template.of(model)
    changes = dict(start)
    best, most = (dict(start), verdict), len(good(verdict))
    seen = {_key(changes)}
    for _ in range(ROUNDS):
        with applied(changes):
            asked = list(_asked(verdict.mismatches, template, containers, backend.consent))
        changes.update({id(use): (use, sequence) for use, sequence in asked})
        if not asked or _key(changes) in seen or backend.budget.left < 0:
            break
        seen.add(_key(changes))
        verdict = backend.judge(model, changes)
        if len(good(verdict)) > most:
            best, most = (dict(changes), verdict), len(good(verdict))
    return best


def _asked(mismatches: Iterable[Mismatch], template: Template, containers: bool, consent: Consent) -> Iterator[tuple[Use, Quantizers]]:
    """What mismatches ask for, the first for each use that is consented to."""
    taken: set[int] = set()
    for mismatch in mismatches:
        if mismatch.consequence in ("slow", "note"):
            continue
        for use, sequence in edits(mismatch, template, containers=containers):
            agreed = None if id(use) in taken else consent(mismatch, use, sequence)
            if agreed is not None:
                taken.add(id(use))
                yield use, agreed


def _key(changes: Changes) -> frozenset[tuple[int, Quantizers]]:
    return frozenset((key, sequence) for key, (_, sequence) in changes.items())


def _merged(model: Model, start: Changes, outcomes: Sequence[Outcome]) -> Changes:
    """Changes, and what backends add to them, in turns until all are content or it goes in circles."""
    changes: Changes = dict(start)
    seen: set[frozenset[tuple[int, Quantizers]]] = set()
    while _key(changes) not in seen and len(seen) < TURNS:
        seen.add(_key(changes))
        for one in outcomes:
            verdict = one.backend.judge(model, changes)
            if not one.reached <= good(verdict):
                found = [_search(model, one.backend, changes, verdict, containers) for containers in (True, False)]
                changes, _ = max(found, key=lambda each: len(good(each[1])))
    return changes


def _reduced(model: Model, goals: Sequence[tuple[Backend, frozenset[int]]], changes: Changes) -> tuple[Changes, bool]:
    """Changes without those that no goal needs: first all that do the same, then those at one tensor, then each by itself.

    What one node quantizes for several readers stays one change.
    """
    kept = {key: (use, sequence) for key, (use, sequence) in changes.items() if use.quantizers != sequence}
    alike: dict[object, list[int]] = {}
    for key, (use, sequence) in kept.items():
        alike.setdefault((said(use.quantizers), said(sequence)), []).append(key)
        alike.setdefault(("tensor", id(use.tensor)), []).append(key)
    singles: dict[object, list[int]] = {}
    for key, (use, _) in kept.items():
        singles.setdefault((id(use.tensor), use.quantizers) if use.quantizers else key, []).append(key)
    wrong = [off(backend.judge(model, kept)) for backend, _ in goals]
    cost = len(model.ops) * len(singles)
    too_many = any(backend.budget.left < cost for backend, _ in goals)
    for keys in (*alike.values(), *(() if too_many else singles.values())):
        trial = {key: value for key, value in kept.items() if key not in keys}
        if len(trial) == len(kept):
            continue
        if goals and goals[0][0].budget.left < 0:
            return kept, False
        verdicts = [backend.judge(model, trial) for backend, _ in goals]
        if all(reached <= good(now) and off(now) <= was for now, (_, reached), was in zip(verdicts, goals, wrong, strict=True)):
            kept = trial
    return kept, not too_many


def said(sequence: Quantizers, *, zero_point: bool = True) -> str:
    """A sequence of quantizers without its scales: `int8 per tensor, zero point 0`."""
    return ", then ".join(_said(q) + _zero_point(q) * zero_point for q in sequence) or "no quantizer"


def _said(q: Quantizer) -> str:
    where = {"tensor": "per tensor", "channel": f"per channel (axis {q.axis})", "block": f"per block of {q.block_size}"}[q.granularity]
    return f"{q.storage or 'unknown type'} {where}" + (", dynamic" if q.dynamic else "")


def _zero_point(q: Quantizer) -> str:
    found = sorted(set(q.zero_point or ()))
    return "" if not found or q.grid != "affine" else f", zero point {found[0]:g}" + (f" to {found[-1]:g}" if found[1:] else "")
