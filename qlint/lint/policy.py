"""What the settings say about a model: which rules speak where, how severe they are, and which findings are accepted.

A policy decides cause by cause, before causes are put together to findings: half of a finding may be suppressed, and
what is left still says the truth about the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from qlint.errors import RuleError
from qlint.graph import Model, Op
from qlint.lint.baseline import Accepted, Entry
from qlint.lint.finding import Severity, Suppressed
from qlint.lint.fingerprint import Surroundings
from qlint.lint.rule import Rule
from qlint.lint.select import ALL, Selection, most_specific, specificity, wanted
from qlint.lint.select import known as must_know


@dataclass(frozen=True, slots=True)
class Place:
    """One cause, as far as settings can tell causes apart. `node` is the op's label, or the tensor's name where there is no op."""

    rule: Rule
    op: Op | None
    node: str
    port: str
    dimension: str
    severity: Severity
    fingerprint: str

    @property
    def kind(self) -> str:
        return self.op.kind if self.op is not None else "tensor" if self.node else ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where something holds: each list that is not empty must have a glob that matches. A name also matches itself, brackets and all."""

    nodes: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()  # kinds (conv) or native names (Conv, CONV_2D)
    backends: tuple[str, ...] = ()  # qnn-htp meets each of its targets

    def holds(self, place: Place, backend: str) -> bool:
        """Whether a place on a backend (`qnn-htp@v73`) lies within."""
        return (
            (not self.nodes or _any(self.nodes, place.node))
            and (not self.ops or (place.op is not None and _any(self.ops, place.kind, place.op.native)))
            and self.meets(backend)
        )

    def meets(self, backend: str) -> bool:
        """Whether a backend lies within."""
        return not self.backends or _any(self.backends, backend, backend.partition("@")[0])

    def __str__(self) -> str:
        told = [*self.nodes, *(f"op {op}" for op in self.ops), *(f"on {backend}" for backend in self.backends)]
        return ", ".join(told)


EVERYWHERE, UNCHANGED = Scope(), Selection()


@dataclass(frozen=True, slots=True)
class Override:
    """Other settings for a part of the models."""

    scope: Scope = EVERYWHERE
    selection: Selection = UNCHANGED
    severity: Mapping[str, Severity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Findings that somebody accepts. Without a reason it hides nothing. `source` is the file it stands in, `number` counts from 1."""

    rules: tuple[str, ...] = (ALL,)
    scope: Scope = EVERYWHERE
    reason: str = ""
    source: str = ""
    number: int = 1
    private: bool = True  # of one model; otherwise of all that a configuration governs

    def holds(self, place: Place, backend: str) -> bool:
        """Whether it accepts what a rule says in a place."""
        return any(specificity(selector, place.rule) for selector in self.rules) and self.scope.holds(place, backend)

    def __str__(self) -> str:
        scope = str(self.scope)
        return f"{', '.join(self.rules)}{f' ({scope})' if scope else ''}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a cause."""

    silent: bool = False
    severity: Severity | None = None  # None: what follows from the consequence
    suppressed: Suppressed | None = None


Fate = Literal["used", "idle", "unjudged"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What rules about the settings look at: suppressions that accept nothing or do not say why, entries that the baseline has in vain."""

    idle: tuple[Suppression, ...] = ()
    without_reason: tuple[Suppression, ...] = ()
    gone: tuple[Entry, ...] = ()
    baseline: str = ""


@dataclass
class Policy:
    """The settings for one model; `used` collects the suppressions that accepted something, `backends` what it was held against.

    Args:
        known: every rule there is.
        base: the selection that overrides go over.
        severity: by selector.
        last: the selection that has the last word: the command line's.
        accepted: what the baseline has of this model.
        heeds: whether what the file says itself counts, too.
    """

    known: Sequence[Rule]
    base: Selection = UNCHANGED
    severity: Mapping[str, Severity] = field(default_factory=dict)
    overrides: Sequence[Override] = ()
    last: Selection = UNCHANGED
    suppressions: Sequence[Suppression] = ()
    accepted: Accepted | None = None
    heeds: bool = True
    used: set[Suppression] = field(default_factory=set)
    backends: list[str] = field(default_factory=list)
    crashed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rules_under: dict[tuple[int, ...], frozenset[str]] = {}

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules that may speak anywhere in the model."""
        numbers = range(len(self.overrides))
        always = [number for number in numbers if self.overrides[number].scope == EVERYWHERE]
        ways = [tuple(sorted({*always, *some})) for some in ((), *((number,) for number in numbers), numbers)]
        anywhere = frozenset[str]().union(*(self._under(way) for way in ways))
        return [rule for rule in self.known if rule.name in anywhere]

    def begin(self, backend: str, model: Model) -> None:
        """Note that the rules are about to look at the model on a backend; the empty name is none.

        Raises:
            RuleError: the model accepts findings of a rule that there is not.
        """
        self.backends.append(backend)
        if self.heeds:
            self.suppressions = list(dict.fromkeys([*self.suppressions, *self._stated(model)]))
        if self.accepted is not None:
            self.accepted.judged.add(backend)

    def _stated(self, model: Model) -> Iterator[Suppression]:
        """The suppressions that the file states itself."""
        for number, one in enumerate(model.ignored, 1):
            where = f"node {one.node}" if one.node else "the model"
            try:
                must_know((one.rule,), self.known)
            except RuleError as error:
                raise RuleError(f"{where}: the property qlint.ignore/{one.rule} names no rule", hint=f"{error.hint}; --no-suppressions takes no notice of it") from error
            yield Suppression((one.rule,), Scope(nodes=(one.node,) if one.node else ()), one.reason.strip(), "the properties of the model", number)

    def decide(self, places: Sequence[Place], surroundings: Surroundings, backend: str) -> list[Decision]:
        """A decision for each place, all of one model on one backend."""
        decisions = [self._decide(place, backend) for place in places]
        if self.accepted is None:
            return decisions
        severities = [decision.severity or place.severity for place, decision in zip(places, decisions, strict=True)]
        known = self.accepted.match(list(zip(places, severities, strict=True)), surroundings, backend)
        return [replace(one, suppressed=one.suppressed or accepted) for one, accepted in zip(decisions, known, strict=True)]

    def _decide(self, place: Place, backend: str) -> Decision:
        within = tuple(number for number, override in enumerate(self.overrides) if override.scope.holds(place, backend))
        holding = [one for one in self.suppressions if one.reason and one.holds(place, backend)]
        self.used.update(holding)
        suppressed = Suppressed("suppression", holding[0].reason, holding[0].source) if holding else None
        return Decision(place.rule.name not in self._under(within), self.severity_of(place.rule, within), suppressed)

    def severity_of(self, rule: Rule, overrides: Iterable[int] = ()) -> Severity | None:
        """What the settings say of a rule, by these overrides; None if nothing."""
        severity: Severity | None = None
        for table in (self.severity, *(self.overrides[number].severity for number in overrides)):
            severity = most_specific(table, rule) or severity
        return severity

    def _under(self, overrides: tuple[int, ...]) -> frozenset[str]:
        """Names of the rules that run where these overrides hold."""
        if overrides not in self._rules_under:
            layers = [self.base, *(self.overrides[number].selection for number in overrides), self.last]
            self._rules_under[overrides] = frozenset(rule.name for rule in self.known if wanted(rule, layers))
        return self._rules_under[overrides]

    # -- afterwards -----------------------------------------------------------------------------

    def audit(self) -> Audit:
        """What there is to say about the settings that are for this model alone."""
        mine = [one for one in self.suppressions if one.private]
        gone = self.accepted.gone(self._ran) if self.accepted is not None else []
        return Audit(tuple(one for one in mine if self.fate(one) == "idle"), tuple(one for one in mine if not one.reason), tuple(gone), self.source)

    def fate(self, one: Suppression) -> Fate:
        """Whether a suppression accepted something, or nothing although every rule that it names has run on a backend that it is about."""
        if one in self.used:
            return "used"
        named = [rule for selector in one.rules for rule in self.known if specificity(selector, rule) and not rule.audits]
        meant = {rule.name for rule in named if not rule.compares}
        judged = one.reason and (meant or not named) and meant <= self._ran and any(one.scope.meets(backend) for backend in self.backends)
        return "idle" if judged else "unjudged"

    @property
    def source(self) -> str:
        return self.accepted.source if self.accepted is not None else ""

    @cached_property
    def _ran(self) -> set[str]:
        """A rule that only explains what a backend misses has not run where no backend was named; one that compares models runs later, if at all."""
        return {rule.name for rule in self.rules if not rule.compares and (rule.checks or any(self.backends))} - self.crashed


def _any(patterns: Iterable[str], *names: str) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns for name in names if name)
