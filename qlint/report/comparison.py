"""One model on several backends as plain data: what runs where, what blocks it, and which changes satisfy each and all.

These models are a contract like the report: `qlint schema comparison` prints its JSON Schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qlint.graph import Model, Quantizer, Use
from qlint.judge.edits import applied
from qlint.judge.repair import Backend, Budget, Changes, Common, Outcome, repair, said, together
from qlint.lint.finding import Finding
from qlint.lint.rule import Rule
from qlint.lint.run import lint
from qlint.profile import Profile
from qlint.report.result import Contract, Summary, Where
from qlint.report.summary import NOT_COUNTED, quantization, summarize
from qlint.version import __version__

COMPARISON_VERSION: Literal[1] = 1
BLOCKING = ("refused", "wrong", "cpu", "float", "unknown")


@dataclass(slots=True)
class Place:
    """A tensor, and the inputs of operators (`OP.PORT`) or graph outputs (`output NAME`) whose quantizer changes there."""

    tensor: str
    at: list[str]


@dataclass(slots=True)
class Change:
    """The same change at one or more places."""

    action: Literal["insert", "change", "remove"]
    what: str  # `int8 per tensor`, `int8 becomes uint8, on the same grid`
    exact: bool  # no number changes
    places: list[Place]

    @property
    def count(self) -> int:
        """At how many tensors."""
        return len(self.places)


@dataclass(slots=True)
class Obstacle:
    """Why operators are not in integer: a finding, in short."""

    rule: str
    code: str
    consequence: str
    subject: str
    message: str
    ops: list[str]


@dataclass(slots=True)
class Conflict:
    """Places that one backend wants to be quantized in another way than others can bear."""

    places: list[Place]
    backend: str
    wants: str
    against: list[str]  # backends that lose an operator if it gets that
    instead: str  # what they have there


class OnBackend(Contract):
    """One backend: the model as it is, and with the changes that bring most operators into integer."""

    target: str  # `qnn-htp@v73`
    outcome: Literal["runs", "refused"]
    reasons: list[str]
    summary: Summary
    blocked_by: list[Obstacle]
    changes: list[Change]
    summary_after: Summary
    outcome_after: Literal["runs", "refused"]
    out_of_reach: list[Obstacle]  # what still stands in the way then: no change of quantizers was found
    irreducible: bool  # leaving out any one change costs an operator its integer; False if the search was cut short


class Together(Contract):
    """Changes after which each of `satisfied` runs what it runs with changes of its own; nobody tried others if some are missing."""

    satisfied: list[str]
    unsatisfied: list[str]
    changes: list[Change]
    conflicts: list[Conflict]
    integer: dict[str, int]  # operators in integer with these changes, by backend
    irreducible: bool


@dataclass(slots=True)
class Row:
    """Where one operator of the file runs, by backend."""

    name: str
    kind: str
    placements: dict[str, Where]


class Comparison(Contract):
    """The whole comparison. `together` and the changes are empty if the model has no quantizers: then it is to be quantized first."""

    schema_version: Literal[1] = COMPARISON_VERSION
    qlint: str = __version__
    model: str
    format: str
    quantized: bool
    summary_quantization: str
    backends: list[OnBackend]
    ops: list[Row]
    together: Together | None

    def __str__(self) -> str:
        from qlint.report.compare import render

        return render(self).rstrip("\n")


def compare(name: str, model: Model, profiles: Sequence[Profile], rules: Sequence[Rule], *, fallback: bool = True) -> Comparison:
    """Hold one model against several backends, and look for the changes that satisfy each and all of them."""
    quantized = any(True for _ in model.quantizers())
    outcomes = []
    for profile in profiles:
        backend = Backend(profile, Budget.of(model), fallback)
        outcomes.append(repair(model, backend) if quantized else _as_it_is(model, backend))
    results = [summarize(name, model, outcome.before, []) for outcome in outcomes]
    rows = [
        Row(op.name, op.kind, {result.target: result.ops[number].placement or "unknown" for result in results})
        for number, op in enumerate(results[0].ops)
        if op.kind not in NOT_COUNTED
    ]
    return Comparison(
        model=name, format=model.format, quantized=quantized, summary_quantization=quantization(model),
        backends=[_on_backend(name, model, outcome, rules) for outcome in outcomes], ops=rows,
        together=_together(name, model, outcomes, together(model, outcomes)) if quantized else None,
    )  # fmt: skip


def _as_it_is(model: Model, backend: Backend) -> Outcome:
    verdict = backend.judge(model, {})
    return Outcome(backend, verdict, verdict, {}, frozenset(), [])


def _on_backend(name: str, model: Model, outcome: Outcome, rules: Sequence[Rule]) -> OnBackend:
    before = summarize(name, model, outcome.before, [])
    after = summarize(name, model, outcome.after, [])
    blocked = _obstacles(lint(outcome.before, rules, known=rules)[0])
    with applied(outcome.changes):
        left = _obstacles(lint(outcome.after, rules, known=rules)[0])
    return OnBackend(
        target=before.target, outcome=outcome.before.outcome, reasons=before.reasons, summary=before.summary, blocked_by=blocked,
        changes=changes(outcome.changes), summary_after=after.summary, outcome_after=outcome.after.outcome, out_of_reach=left, irreducible=outcome.irreducible,
    )  # fmt: skip


def _obstacles(findings: Iterable[Finding]) -> list[Obstacle]:
    return [
        Obstacle(one.rule, one.code, one.consequence, one.subject, one.clauses[0], list(dict.fromkeys([*(site.op for site in one.sites), *one.drags])))
        for one in findings
        if one.consequence in BLOCKING
    ]


def _together(name: str, model: Model, outcomes: Sequence[Outcome], common: Common) -> Together:
    integer = {target: summarize(name, model, verdict, []).summary.integer for target, verdict in common.after.items()}
    unsatisfied = [one.backend.profile.name for one in outcomes if one.backend.profile.name not in common.satisfied]
    conflicts = [Conflict(_places(one.uses), one.backend, one.wants, one.against, one.instead) for one in common.conflicts]
    return Together(
        satisfied=common.satisfied, unsatisfied=unsatisfied, changes=changes(common.changes), conflicts=conflicts, integer=integer, irreducible=common.irreducible
    )


# -- changes in words ------------------------------------------------------------------------------------


def changes(found: Changes) -> list[Change]:
    """Changes at single uses, gathered: places that change alike are one change, readers of one tensor one place."""
    groups: dict[tuple[str, str, bool, str], dict[str, Place]] = {}
    for use, sequence in sorted(found.values(), key=lambda one: (one[0].op.index if one[0].op is not None else 1 << 30, one[0].slot)):
        action, what, exact = _described(use, use.quantizers, sequence)
        role = use.role if use.role in ("w", "b") else ""
        place = groups.setdefault((action, what, exact, role), {}).setdefault(use.tensor.name, Place(use.tensor.name, []))
        place.at.append(_at(use))
    return [Change(action, what, exact, list(places.values())) for (action, what, exact, _), places in groups.items()]  # type: ignore[arg-type]


def _places(uses: Iterable[Use]) -> list[Place]:
    found: dict[str, Place] = {}
    for use in uses:
        found.setdefault(use.tensor.name, Place(use.tensor.name, [])).at.append(_at(use))
    return list(found.values())


def _described(use: Use, before: tuple[Quantizer, ...], after: tuple[Quantizer, ...]) -> tuple[str, str, bool]:
    if not after:
        return "remove", said(before).partition(",")[0], False
    if not before:
        return "insert", said(after), False
    old, new = (before[0], after[0]) if use.kind == "output" else (before[-1], after[-1])
    parts = list(_differences(old, new))
    return "change", ", ".join(parts) or said(after), _same_grid(old, new)


def _same_grid(old: Quantizer, new: Quantizer) -> bool:
    if old.scale != new.scale or old.zero_point is None or new.zero_point is None or old.granularity != new.granularity:
        return False
    moved = {b - a for a, b in zip(old.zero_point, new.zero_point, strict=False)}
    return moved <= {new.qmin - old.qmin} and new.qmax - old.qmax == new.qmin - old.qmin


def _differences(old: Quantizer, new: Quantizer) -> Iterator[str]:
    """What is different between two quantizers, most visible first."""
    if old.storage != new.storage:
        yield f"{old.storage or 'an unknown type'} becomes {new.storage}" + (", on the same grid" if _same_grid(old, new) else "")
    if old.granularity != new.granularity:
        yield f"per {new.granularity} instead of per {old.granularity}"
    elif old.axis != new.axis:
        yield f"axis {new.axis} instead of {old.axis}"
    if _same_grid(old, new):
        if old.storage == new.storage:
            yield "its parameters written in another shape" if old.scale_shape != new.scale_shape else "its zero point written out"
        return
    if old.dynamic != new.dynamic:
        yield "computed as the model runs" if new.dynamic else "a constant scale"
        return
    if new.zero_point is not None and set(old.zero_point or ()) != set(new.zero_point):
        yield "another zero point" if len(set(new.zero_point)) > 1 else f"zero point {new.zero_point[0]:g}"
    if old.scale != new.scale and old.granularity == new.granularity:
        yield "scales that are powers of two" if new.power_of_two and not old.power_of_two else "another scale"


def _at(use: Use) -> str:
    return f"{use.op.label}.{use.role}" if use.op is not None else f"output {use.name}"
