"""A file, read, judged and linted: what a fix starts from, and what it has to show for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qlint.graph import Model
from qlint.judge.verdict import WORST, Verdict, Where
from qlint.lint.finding import SEVERITIES, Finding
from qlint.lint.message import Cause
from qlint.lint.policy import Policy
from qlint.lint.rule import Rule
from qlint.profile import Profile
from qlint.report.result import Result
from qlint.report.summary import summarize

NUMBERED = frozenset({"tflite"})  # formats whose operators have no names


@dataclass(frozen=True, slots=True)
class View:
    """A model on one backend, or on none."""

    profile: Profile | None
    verdict: Verdict | None
    result: Result
    found: list[tuple[Finding, list[Cause]]]
    accepted: list[tuple[Finding, list[Cause]]] = field(default_factory=list)  # those that somebody has suppressed

    @property
    def name(self) -> str:
        return self.profile.name if self.profile is not None else ""


@dataclass(frozen=True, slots=True)
class Question:
    """What files are held against."""

    profiles: tuple[Profile, ...]
    rules: Sequence[Rule]
    known: Sequence[Rule]
    fallback: bool = True
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One file as it is at some point."""

    path: Path
    model: Model
    views: tuple[View, ...]

    @classmethod
    def of(cls, path: Path, question: Question, like: Model | None = None) -> State:
        """Read, judge and lint a file. Operators that a format calls by their number are called as those of `like`, which it was made from.

        Raises:
            ReadError: it cannot be read.
        """
        from qlint.judge import judge
        from qlint.lint.run import explain
        from qlint.passes import canonical
        from qlint.readers import read

        model = canonical(read(path), question.input_shapes)
        if like is not None and like.format in NUMBERED and len(like.ops) == len(model.ops):
            for op, before in zip(model.ops, like.ops, strict=True):
                op.name = before.name
        views = []
        for profile in question.profiles or (None,):
            verdict = None if profile is None else judge(model, profile, fallback=question.fallback)
            found = explain(verdict or model, question.rules, known=question.known, policy=question.policy)[0]
            counted, accepted = ([each for each in found if bool(each[0].suppressed) is held] for held in (False, True))
            views.append(View(profile, verdict, summarize("", model, verdict, [finding for finding, _ in counted]), counted, accepted))
        return cls(path, model, tuple(views))

    def findings(self) -> Iterator[tuple[Finding, list[Cause]]]:
        """Those of all backends."""
        for view in self.views:
            yield from view.found


def worse(before: State, after: State) -> str:
    """What runs worse than before, as a sentence; '' if nothing does."""
    for old, new in zip(before.views, after.views, strict=True):
        if old.verdict is None or new.verdict is None:
            continue
        if old.verdict.outcome == "runs" and new.verdict.outcome == "refused":
            reason = next((r.because for r in new.verdict.refusals), "an operator is rejected")
            return f"{new.name} would refuse the model: {reason}"
        if old.verdict.outcome == "refused":
            continue  # nothing runs: where operators would is not to be lost
        was, now = _placed(old.verdict), _placed(new.verdict)
        for name, place in now.items():
            if name in was and WORST.index(place) < WORST.index(was[name]) and place != "integer":
                return f"{name[0]} would run in {place} on {new.name}, not in {was[name]}"
        lost = (_wrong(new.verdict) - _wrong(old.verdict)) & {name for name, _ in was}
        if lost:
            return f"{next(iter(lost))} would compute with other numbers on {new.name}"
    return ""


def new_findings(before: State, after: State) -> list[Finding]:
    """Errors and warnings that were not there; the same trouble under another name is not new.

    An operator that did not run in integer and still does not, nor any worse, may have another explanation now; so may
    any of a model that was refused and runs now.
    """
    found = []
    for old, new in zip(before.views, after.views, strict=True):
        seen = {(finding.rule, site.op, site.port) for finding, _ in old.found for site in finding.sites}
        whole = {finding.rule for finding, _ in old.found if not finding.sites}
        lost = set() if old.verdict is None else {name for (name, _), place in _placed(old.verdict).items() if place not in ("integer", "absorbed")}
        for finding, _ in new.found:
            fresh = {site.op for site in finding.sites if (finding.rule, site.op, site.port) not in seen}
            known = finding.consequence in ("float", "cpu", "unknown") and (fresh <= lost or (old.result.outcome, new.result.outcome) == ("refused", "runs"))
            if SEVERITIES.index(finding.severity) < 2 and not known and (fresh or (not finding.sites and finding.rule not in whole)):
                found.append(finding)
    return found


def _placed(verdict: Verdict) -> dict[tuple[str, int], Where]:
    """Placements by name; twins are told apart by their order."""
    seen: Counter[str] = Counter()
    placed: dict[tuple[str, int], Where] = {}
    for op in verdict.model.walk():
        if id(op) in verdict.placements:
            placed[op.label, seen[op.label]] = verdict.where(op)
            seen[op.label] += 1
    return placed


def _wrong(verdict: Verdict) -> set[str]:
    return {m.op.label for m in verdict.mismatches if m.consequence == "wrong"}
