"""The Rule API. A rule is a named explanation; it never names a backend.

A *profile rule* declares which mismatches it explains, with `rule.explains(...)`; the sentence is a
template over the data. A *graph rule* looks at the canonical model, with `@rule.check`. A *proof* looks at what
a backend runs in integer and at how it computes, with `@rule.proof`. What several models of one run show only
together is looked at with `@rule.across`. A rule may be all of them.
The docstring of a rule's module is its page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from string import ascii_letters
from typing import TYPE_CHECKING, Any, overload

from qlint.errors import RuleError
from qlint.graph import Model, Op, Tensor, Use
from qlint.graph.kinds import expand
from qlint.judge.verdict import Consequence, Mismatch, Verdict
from qlint.lint.finding import Applicability, Severity
from qlint.profile.schema import Evidence

if TYPE_CHECKING:
    from qlint.lint.message import Facts
    from qlint.lint.policy import Audit, Policy

CATEGORIES = {
    "1": "structure",
    "2": "parameters",
    "3": "insertion",
    "4": "fusion",
    "5": "numerics",
    "6": "operators",
    "7": "training",
    "8": "format",
    "9": "qlint",
}
SECTIONS = ("What it does", "Why it matters on hardware", "Example", "Instead", "Fix and its safety", "References")

WHOLE_MODEL = 100  # a selector for models as a whole goes before any other

Text = str | Callable[["Facts"], str]  # a template over Facts, or a function of them
Where = Callable[[Mismatch], bool]
Build = Callable[[], Model] | Callable[[], Sequence[Model]]


@dataclass(frozen=True, slots=True)
class Issue:
    """What a graph rule sees in one place. `facts` are further values for the rule's templates."""

    op: Op | None = None
    port: str = ""
    tensor: Tensor | None = None
    found: Any = None
    wanted: Any = None
    dimension: str = ""
    consequence: Consequence | None = None  # None: the rule's own
    severity: Severity | None = None  # None: the rule's own, or what follows from the consequence
    facts: dict[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()  # of what a proof takes from the backend's profile

    @classmethod
    def at(
        cls, use: Use, found: Any = None, wanted: Any = None, dimension: str = "", *,
        consequence: Consequence | None = None, severity: Severity | None = None, **facts: Any,
    ) -> Issue:  # fmt: skip
        """An issue with the quantizer in front of a use; a graph output or dead end counts for the producer."""
        op, port = (use.op, use.role) if use.op is not None else (use.tensor.producer, "y" if use.tensor.producer is not None else "")
        return cls(op, port, use.tensor, found, wanted, dimension, consequence, severity, facts)


@dataclass(frozen=True, slots=True)
class Explains:
    """A selector of mismatches. Every field that is given must hold, and each one adds to `specificity`."""

    rule: Rule
    dimensions: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()
    where: tuple[Where, ...] = ()
    model: Callable[[Model], bool] | None = None
    about: Callable[[Mismatch], object] | None = None  # the cause (an object, or a name), if not the tensor
    what: Text = ""
    why: Text = ""

    @property
    def specificity(self) -> int:
        fields = sum(map(bool, (self.dimensions, self.kinds, self.roles))) + len(self.where)
        return fields + (WHOLE_MODEL if self.model is not None else 0)

    def fits(self, dimension: str, kind: str, port: str) -> bool:
        """Whether it is about such a dimension, operator and port."""
        names = {dimension, dimension.partition(" ")[0]}  # "attribute axis" is an "attribute"
        return (
            (not self.dimensions or not self.dimensions.isdisjoint(names))
            and (not self.kinds or kind in self.kinds)
            and (not self.roles or any(fnmatchcase(port, role) for role in self.roles))
        )


@dataclass(frozen=True, slots=True)
class Case:
    """A model (or several of one run) that a rule must stay silent on, or find something in. The function's name says what it is."""

    build: Build
    bad: bool
    sites: int = 1
    says: str = ""
    policy: Settings | None = None  # the settings it is linted under

    @property
    def name(self) -> str:
        return self.build.__name__


Settings = Callable[[Sequence["Rule"]], "Policy"]
Compare = Callable[[Sequence[Model]], Iterable[Issue]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A look at several models of one network, which is worth it only where there are operators of these kinds (none: always)."""

    look: Compare
    kinds: frozenset[str] = frozenset()

    def suits(self, kinds: Iterable[str]) -> bool:
        """Whether a network with operators of these kinds is worth a look."""
        return not self.kinds or not self.kinds.isdisjoint(kinds)


@dataclass(eq=False)
class Rule:
    """One rule. `what` says what was found, `why` what that means; both are templates over `Facts`.

    Args:
        name: kebab-case; the file has the same name with underscores.
        yields: a dimension; a check of the rule is silent about a tensor of which a backend already misses something in it.
        unasked: checks of the rule speak only where no backend is named; a backend that is says itself whether it minds.
        code: `QLnnn`, the first digit tells the category; frozen with the name once out of preview.
        since: the version of qlint that brought it.
        fix: advice (a template) shown with each finding.
        cure: the name of what `qlint check --fix` does about it (`qlint.fixing.cures`); empty if only people can.
        incurable: kinds of ops that the cure leaves as they are.
        applicability: `safe` if the cure leaves the numbers as they are, always; `unsafe` if it may change them.
        consequence: of what the rule's own check finds; a mismatch brings its own.
        severity: of what the rule's own check finds, where the consequence alone would mislead.
        per_kind: causes at ops of different kinds are different findings.
    """

    name: str
    code: str
    since: str
    what: Text = ""
    why: Text = ""
    fix: Text = ""
    cure: str = ""
    incurable: frozenset[str] = frozenset()
    applicability: Applicability = "display"
    consequence: Consequence = "note"
    severity: Severity | None = None
    per_kind: bool = True
    preview: bool = False
    yields: str = ""
    unasked: bool = False
    doc: str = field(default="", repr=False)  # filled in by the registry: the module's docstring
    origin: str = field(default="", repr=False)  # the module or file that the rule came from
    selectors: list[Explains] = field(default_factory=list, repr=False)
    checks: list[Callable[[Model], Iterable[Issue]]] = field(default_factory=list, repr=False)
    proofs: list[Callable[[Verdict], Iterable[Issue]]] = field(default_factory=list, repr=False)
    comparisons: list[Comparison] = field(default_factory=list, repr=False)
    audits: list[Callable[[Audit], Iterable[Issue]]] = field(default_factory=list, repr=False)
    cases: list[Case] = field(default_factory=list, repr=False)

    @property
    def category(self) -> str:
        return CATEGORIES.get(self.code.lstrip(ascii_letters)[:1], "other")

    @property
    def compares(self) -> bool:
        """Whether it has nothing to say of one model alone."""
        return bool(self.comparisons) and not (self.checks or self.selectors or self.proofs)

    @property
    def title(self) -> str:
        """The first line of the page."""
        return self.doc.strip().partition("\n")[0].strip()

    @property
    def sections(self) -> dict[str, str]:
        """The page by section: a Markdown document whose headings are `SECTIONS`."""
        found: dict[str, list[str]] = {}
        current: list[str] = []
        for line in self.doc.strip().splitlines()[1:]:
            if line.startswith("## "):
                current = found.setdefault(line[3:].strip(), [])
            else:
                current.append(line)
        return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}

    def explains(
        self,
        dimension: str = "",
        *,
        kinds: str = "",
        roles: str = "",
        where: Where | tuple[Where, ...] = (),
        model: Callable[[Model], bool] | None = None,
        about: Callable[[Mismatch], object] | None = None,
        what: Text = "",
        why: Text = "",
    ) -> None:
        """Claim mismatches. `dimension`, `kinds` and `roles` are alternatives (`a|b`); kinds may be classes.

        Over all rules, the most specific selector claims a mismatch.
        """
        self.selectors.append(
            Explains(
                self,
                frozenset(dimension.split("|")) if dimension else frozenset(),
                expand(kinds) if kinds else frozenset(),
                tuple(roles.split("|")) if roles else (),
                where if isinstance(where, tuple) else (where,),
                model,
                about,
                what,
                why,
            )
        )

    def check(self, function: Callable[[Model], Iterable[Issue]]) -> Callable[[Model], Iterable[Issue]]:
        """Decorator: looks at the canonical model; `qlint.lint.sweep` goes into control-flow bodies."""
        self.checks.append(function)
        return function

    def proof(self, function: Callable[[Verdict], Iterable[Issue]]) -> Callable[[Verdict], Iterable[Issue]]:
        """Decorator: looks at a verdict, and runs only where a backend is named; what it finds changes no placement."""
        self.proofs.append(function)
        return function

    def across(self, *, kinds: str = "") -> Callable[[Compare], Compare]:
        """Decorator: looks at models of one run that are the same operators, one of these kinds among them, and tells what it finds about the first."""

        def keep(look: Compare) -> Compare:
            self.comparisons.append(Comparison(look, expand(kinds) if kinds else frozenset()))
            return look

        return keep

    def audit(self, function: Callable[[Audit], Iterable[Issue]]) -> Callable[[Audit], Iterable[Issue]]:
        """Decorator: looks at the settings, after a model has been linted under them."""
        self.audits.append(function)
        return function

    @overload
    def good(self, build: Build) -> Build: ...
    @overload
    def good(self, *, policy: Settings) -> Callable[[Build], Build]: ...
    def good(self, build: Build | None = None, *, policy: Settings | None = None) -> Build | Callable[[Build], Build]:
        """Decorator: a model (clean, or a near miss) on which this rule must stay silent, under the settings `policy` makes for the known rules."""

        def keep(build: Build) -> Build:
            self.cases.append(Case(build, bad=False, policy=policy))
            return build

        return keep if build is None else keep(build)

    def bad(self, *, sites: int = 1, says: str = "", policy: Settings | None = None) -> Callable[[Build], Build]:
        """Decorator: a model in which this rule finds one thing, at `sites` places, and `says` so."""

        def keep(build: Build) -> Build:
            self.cases.append(Case(build, bad=True, sites=sites, says=says, policy=policy))
            return build

        return keep

    def __str__(self) -> str:
        return f"{self.name} {self.code}"


class Claims:
    """Which rule explains which mismatch, over all rules that are known (selected or not)."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        selectors = [s for rule in rules for s in rule.selectors]
        selectors.sort(key=lambda s: (-s.specificity, s.rule.code, s.rule.name))
        self._all = selectors
        self._fitting: dict[tuple[str, str, str], list[Explains]] = {}
        self._models: dict[tuple[int, int], bool] = {}
        self.crashes: dict[str, RuleError] = {}

    def claimants(self, mismatch: Mismatch, model: Model) -> Iterator[Explains]:
        """Every selector that would take a mismatch, the most specific first."""
        about = (mismatch.dimension, mismatch.anchor.kind, mismatch.port)
        if about not in self._fitting:
            self._fitting[about] = [selector for selector in self._all if selector.fits(*about)]
        for selector in self._fitting[about]:
            try:
                suits = selector.model is None or self._suits(selector, selector.model, model)
                selected = suits and all(holds(mismatch) for holds in selector.where)
            except Exception as error:  # a rule must not take the others down
                self.crashes.setdefault(selector.rule.name, crashed(selector.rule, error))
                continue
            if selected:
                yield selector

    def _suits(self, selector: Explains, suits: Callable[[Model], bool], model: Model) -> bool:
        key = (id(selector), id(model))
        if key not in self._models:
            self._models[key] = suits(model)
        return self._models[key]

    def claim(self, mismatch: Mismatch, model: Model) -> Explains | None:
        return next(self.claimants(mismatch, model), None)


def crashed(rule: Rule, error: Exception) -> RuleError:
    """The report of a rule that crashed: named, with the place in its own file."""
    at = error.__traceback__
    lines = []
    while at is not None:
        if at.tb_frame.f_code.co_filename == rule.origin or rule.origin.endswith(at.tb_frame.f_globals.get("__name__", "?")):
            lines.append(at.tb_lineno)
        at = at.tb_next
    where = f", line {lines[-1]}" if lines else ""
    return RuleError(
        f"crashed: {type(error).__name__}: {error}",
        subject=f"rule {rule}" + (f" ({rule.origin}{where})" if rule.origin else ""),
        hint=f"the other rules ran; --ignore {rule.name} leaves this one out",
    )
