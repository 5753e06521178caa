"""The run: what the judge found and what the rules see in the model become findings.

A placement never depends on a rule: the verdict is complete before the first one runs. Mismatches are
claimed over all known rules, selected or not, so that leaving a rule out makes nothing else speak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import TypeVar

from qlint.errors import RuleError
from qlint.graph import Model, Op
from qlint.graph.kinds import QUANTIZER_KINDS
from qlint.judge.verdict import SEVERITY, Consequence, Mismatch, RefusalReason, Verdict
from qlint.lint import where
from qlint.lint.finding import GRIDS, SEARCHED, SEVERITIES, WRITABLE, Finding, Fix, Severity, Site
from qlint.lint.fingerprint import Surroundings, combined, digest
from qlint.lint.message import Cause, Facts, plain, render, sentence
from qlint.lint.policy import Audit, Place, Policy
from qlint.lint.rule import Claims, Explains, Issue, Rule, crashed
from qlint.lint.trace import because
from qlint.lint.words import FORMATS

Key = tuple[object, ...]
WHOLE = "model"  # what a cause without a tensor and an op is about
_T = TypeVar("_T")


def lint(
    subject: Verdict | Model, rules: Iterable[Rule], *, known: Iterable[Rule] | None = None, policy: Policy | None = None, others: Sequence[Model] = ()
) -> tuple[list[Finding], list[RuleError]]:
    """Findings of `rules` about a verdict (or a model without a backend), and the rules that crashed.

    Args:
        known: every rule there is, for deciding who explains what; by default all that are installed.
        policy: what the settings say: where a rule is silent, how severe it is, and which findings are accepted.
        others: further models of the run, which are the same network. If there are any, only what compares them runs.
    """
    explained, crashes = explain(subject, rules, known=known, policy=policy, others=others)
    return [finding for finding, _ in explained], crashes


def explain(
    subject: Verdict | Model, rules: Iterable[Rule], *, known: Iterable[Rule] | None = None, policy: Policy | None = None, others: Sequence[Model] = ()
) -> tuple[list[tuple[Finding, list[Cause]]], list[RuleError]]:
    """As `lint`, each finding with its causes in the model."""
    selected = list(rules)
    if known is None:
        from qlint.lint import registry

        known = registry.load().rules
    run = _Run(subject, selected, [*selected, *(rule for rule in known if rule not in selected)], others)
    found = run.findings(policy)
    if policy is not None:
        policy.crashed |= set(run.crashes)
    return found, list(run.crashes.values())


def audit(policy: Policy, seen: Audit | None = None) -> tuple[list[Finding], list[RuleError]]:
    """What the rules about the settings themselves find, once a model has been linted under them, and those that crashed.

    Args:
        seen: what they look at; by default what the policy says about the settings that are for this model alone.
    """
    seen = policy.audit() if seen is None else seen
    found: list[Finding] = []
    crashes: list[RuleError] = []
    for rule in policy.rules:
        for look in rule.audits:
            try:
                for cause in [_cause(rule, issue) for issue in look(seen)]:
                    severity = policy.severity_of(rule) or _severity(cause)
                    fingerprint = digest(rule.name, "", "model", str(cause.found))
                    advice = render(rule.fix, Facts([cause], ""))
                    found.append(
                        Finding(rule.name, rule.code, severity, cause.consequence, sentence([cause], ""), (), fix=Fix("display", advice), fingerprint=fingerprint)
                    )
            except Exception as error:
                crashes.append(crashed(rule, error))
    return found, crashes


class _Run:
    def __init__(self, subject: Verdict | Model, selected: list[Rule], known: list[Rule], others: Sequence[Model]) -> None:
        self.verdict = subject if isinstance(subject, Verdict) else None
        self.model = subject.model if isinstance(subject, Verdict) else subject
        self.backend = self.verdict.profile.name if self.verdict is not None else ""
        self.selected, self.others = dict.fromkeys(selected), others
        self.claims = Claims(known)
        self.crashes = self.claims.crashes
        self.curable = curable(self.model)
        self.causes: dict[Key, list[Cause]] = {}

    def findings(self, policy: Policy | None) -> list[tuple[Finding, list[Cause]]]:
        if self.verdict is not None:
            self._explain(self.verdict)
        for rule in self.selected:
            self._check(rule)
        causes = [_worst(seen) for seen in self.causes.values()]
        mine = [cause for cause in causes if cause.rule in self.selected]
        if policy is not None:
            policy.begin(self.backend, self.model)
        if not mine:
            return []
        surroundings = Surroundings(self.model)
        if policy is not None:
            mine = self._decided(mine, policy, surroundings)
        order = {id(op): number for number, op in enumerate(self.model.walk())}

        def place(cause: Cause) -> tuple[int, str]:
            return (order.get(id(cause.op), -1), cause.port)

        groups: dict[Key, list[Cause]] = {}
        for cause in sorted(mine, key=place):
            groups.setdefault(_alike(cause), []).append(cause)
        found = [(self._finding(group, surroundings), group) for group in groups.values()]
        return sorted(found, key=lambda each: (SEVERITIES.index(each[0].severity), each[0].code))

    def _decided(self, causes: list[Cause], policy: Policy, surroundings: Surroundings) -> list[Cause]:
        """Causes that the settings do not silence, as severe as they say, and marked if they are accepted."""
        places = [_place(cause, surroundings) for cause in causes]
        kept = []
        for cause, decision in zip(causes, policy.decide(places, surroundings, self.backend), strict=True):
            if not decision.silent:
                cause.override, cause.suppressed = decision.severity, decision.suppressed
                kept.append(cause)
        return kept

    @cached_property
    def composites(self) -> dict[str, list[Op]]:
        """The members of every composite of the model."""
        members: dict[str, list[Op]] = defaultdict(list)
        for op in self.model.walk():
            for group in op.groups:
                members[group].append(op)
        return members

    # -- causes -------------------------------------------------------------------------------

    def _explain(self, verdict: Verdict) -> None:
        """Mismatches by what causes them: one missing quantizer is one cause, whoever suffers from it."""
        folded = _folded_refusals(verdict)
        for mismatch in _without_echoes(verdict.mismatches):
            selector = self.claims.claim(mismatch, self.model)
            if selector is None:
                continue
            evidence = (*mismatch.evidence, *(e for reason in folded.get(id(mismatch.op), ()) for e in reason.evidence))
            cause = Cause(
                selector.rule, selector, mismatch.anchor, mismatch.port, mismatch.tensor, mismatch.dimension,
                mismatch.found, mismatch.wanted, mismatch.consequence, _unique(evidence), because(mismatch), mismatch.readers,
            )  # fmt: skip
            cause.affects(mismatch.op, mismatch.consequence)
            self._add(self._key(selector, mismatch), cause)
        for reason in verdict.refusals:
            if reason not in folded.get(id(reason.op), ()):
                self._refuse(reason)
        read = verdict.profile.ingests
        if self.model.format and read and self.model.format not in (*read, *verdict.profile.converts):
            found, *wanted = (FORMATS.get(form, form) for form in (self.model.format, *read))
            self._convert("format", found, " or ".join(wanted), "unknown" if verdict.profile.conversion == "unknown" else "note")
        told = self.model.encodings
        if told is not None and told.format.family not in verdict.profile.encodings:
            self._convert("encodings", told.format.title, "", "note")

    def _key(self, selector: Explains, m: Mismatch) -> Key:
        if selector.about is not None:
            try:
                return (selector.rule.name, _identity(selector.about(m)))
            except Exception as error:
                self.crashes.setdefault(selector.rule.name, crashed(selector.rule, error))
        if m.tensor is not None and m.dimension == "quantizer" and where.missing(m):
            return ("missing quantizer", id(m.tensor))
        about = m.tensor if m.tensor is not None else m.anchor
        return (selector.rule.name, id(about), m.dimension, repr(m.found))

    def _refuse(self, reason: RefusalReason) -> None:
        """A refusal has no port and no placement: it is claimed as the dimension `refusal`."""
        nobody = reason.op or Op(-1, "", "", "")
        seen = Mismatch("", nobody, nobody, "", None, "refusal", reason.found, reason.because, "refused")
        selector = self.claims.claim(seen, self.model)
        if selector is None:
            return
        cause = Cause(
            selector.rule, selector, reason.op, "", None, "refusal", reason.found, reason.because, "refused", reason.evidence
        )
        self._add((selector.rule.name, reason.claim, id(reason.op)), cause)

    def _convert(self, dimension: str, found: str, wanted: str, consequence: Consequence) -> None:
        """What the backend does not take as it is: a model in another `format`, `encodings` beside it. It was judged as if it were converted, or not at all."""
        nobody = Op(-1, "", "", "")
        selector = self.claims.claim(Mismatch("", nobody, nobody, "", None, dimension, found, wanted, consequence), self.model)
        if selector is not None:
            self._add((selector.rule.name, found), Cause(selector.rule, selector, None, "", None, dimension, found, wanted, consequence))

    def _check(self, rule: Rule) -> None:
        if rule.unasked and self.verdict is not None:
            return
        told = self._told(rule.yields) if rule.yields else ()
        looks: list[Callable[[], Iterable[Issue]]] = [partial(check, self.model) for check in rule.checks]
        if self.others:
            looks = [partial(comparison.look, [self.model, *self.others]) for comparison in rule.comparisons]
        if self.verdict is not None:
            looks += [partial(proof, self.verdict) for proof in rule.proofs]
        for look in looks:
            try:
                causes = [_cause(rule, issue) for issue in look()]
            except Exception as error:  # a rule must not take the others down
                self.crashes.setdefault(rule.name, crashed(rule, error))
                continue
            for cause in causes:
                if id(cause.tensor) not in told:
                    self._add((rule.name, _identity(cause.tensor or cause.op or WHOLE)), cause)

    def _told(self, dimension: str) -> set[int]:
        """Tensors, by id, of which a rule that was selected says what the backend misses in a dimension."""
        causes = (cause for seen in self.causes.values() for cause in seen)
        return {id(cause.tensor) for cause in causes if cause.dimension == dimension and cause.tensor is not None and cause.rule in self.selected}

    def _add(self, key: Key, cause: Cause) -> None:
        self.causes.setdefault(key, []).append(cause)

    # -- findings -----------------------------------------------------------------------------

    def _finding(self, causes: list[Cause], surroundings: Surroundings) -> Finding:
        first = causes[0]
        rule = first.rule
        try:
            message = sentence(causes, self.backend, self.composites)
            advice = render(rule.fix, Facts(causes, self.backend))
        except Exception as error:
            self.crashes.setdefault(rule.name, crashed(rule, error))
            message, advice = plain(causes, self.backend), ""
        sites = tuple(_site(cause, surroundings) for cause in causes if cause.op is not None or cause.tensor is not None)
        at = {id(cause.op) for cause in causes}
        drags = {key: op for cause in causes for key, (op, _) in cause.affected.items() if key not in at}
        return Finding(
            rule.name,
            rule.code,
            _severity(first),
            first.consequence,
            message,
            sites,
            tuple(op.label for op in sorted(drags.values(), key=lambda op: op.index)),
            _unique(tuple(e for cause in causes for e in cause.evidence)),
            Fix(rule.applicability if self._cured(causes) else "display", advice) if advice else None,
            combined(site.fingerprint for site in sites) if sites else _place(first, surroundings).fingerprint,
            first.suppressed,
        )

    def _cured(self, causes: list[Cause]) -> bool:
        """Whether `--fix` has something to go by: the search follows what a backend misses, unless it runs in integer all the same."""
        rule = causes[0].rule
        cure = rule.cure
        if all(cause.op is not None and cause.op.kind in rule.incurable for cause in causes):
            return False
        return cure in self.curable and (cure not in SEARCHED or any(cause.selector is not None and cause.consequence not in ("slow", "note") for cause in causes))


def curable(model: Model) -> frozenset[str]:
    """The cures (`Rule.cure`) that can be written into a model's file; quantizers that only one tool knows are not written."""
    foreign = any(node.dialect and node.kind in QUANTIZER_KINDS for node in model.nodes)
    return WRITABLE.get(model.format, frozenset()) - (GRIDS if foreign else frozenset())


_nobody = Op(-1, "", "", "")


def _identity(about: object) -> object:
    return about if isinstance(about, str) else id(about)


def _without_echoes(mismatches: list[Mismatch]) -> Iterator[Mismatch]:
    """Mismatches but those that only repeat a wrong container or a missing quantizer.

    uint8 with zero point 128 is the same grid as int8 with 0: where int8 with 0 is wanted, the container
    is the one thing that is wrong. And an operator that is not quantized has its tensors in float32, the bias among them, for that reason.
    An operator on positions or counts would not be taken with constants either.
    """
    stored = {(id(m.op), id(m.tensor), m.port) for m in mismatches if m.dimension == "storage"}
    in_float = {id(m.op) for m in mismatches if m.dimension in ("written", "stored") or (m.dimension == "quantizer" and where.missing(m) and m.port != "b")}
    counting = {id(m.op) for m in mismatches if m.dimension == "dtype" and str(m.found).startswith("int")}
    for m in mismatches:
        if m.dimension == "constant" and id(m.op) in counting:
            continue
        if m.dimension == "zero_point" and (id(m.op), id(m.tensor), m.port) in stored and where.in_the_middle(m):
            continue
        floating = (m.dimension == "dtype" and m.found == "float32") or (m.dimension == "quantizer" and m.port == "b" and where.missing(m))
        if floating and id(m.op) in in_float:
            continue
        yield m


def _folded_refusals(verdict: Verdict) -> dict[int, list[RefusalReason]]:
    """Refusals that come from judging an op, by op, where mismatches of that op explain them already: one cause, one finding."""
    explained = {id(m.op) for m in verdict.mismatches if m.consequence == "refused"}
    claims = {"memory", *(kernel.id for kernel in verdict.profile.kernels)}
    folded: dict[int, list[RefusalReason]] = {}
    for reason in verdict.refusals:
        if reason.claim in claims and id(reason.op) in explained:
            folded.setdefault(id(reason.op), []).append(reason)
    return folded


def _cause(rule: Rule, issue: Issue) -> Cause:
    consequence: Consequence = issue.consequence or rule.consequence
    return Cause(
        rule, None, issue.op, issue.port, issue.tensor, issue.dimension, issue.found, issue.wanted, consequence, issue.evidence,
        extra=issue.facts, severity=issue.severity or rule.severity, own=True,
    )  # fmt: skip


def _worst(seen: list[Cause]) -> Cause:
    """One cause of all that share a key: the reader's view goes first, then the most specific rule's."""

    def rank(cause: Cause) -> tuple[bool, bool, int]:
        return (not cause.own, cause.port == "y", -(cause.selector.specificity if cause.selector is not None else 0))

    best = min(seen, key=rank) if len(seen) > 1 else seen[0]  # the first of equals
    if len(seen) > 1:
        every = [best, *(cause for cause in seen if cause is not best)]
        for cause in every[1:]:
            for op, consequence in cause.affected.values():
                best.affects(op, consequence)
        best.evidence = _unique(tuple(e for cause in every for e in cause.evidence))
        best.trace = _unique(tuple(step for cause in every for step in cause.trace))
        best.readers = _unique(tuple(reader for cause in every for reader in cause.readers))
    return best


def _alike(cause: Cause) -> Key:
    """Causes with the same key are one finding with several sites."""
    kind = cause.op.kind if cause.rule.per_kind and cause.op is not None else ""
    # That there is one is what is wrong, or that it is what it is.
    whatever = (cause.dimension == "quantizer" and cause.wanted is None) or (cause.dimension == "kernel" and not cause.rule.per_kind)
    found = cause.found if isinstance(cause.found, str) and not whatever else None
    wanted = cause.wanted if isinstance(cause.wanted, str) else None
    shape = (cause.role, found, wanted) if cause.selector is not None else ()
    return (cause.rule.name, kind, cause.consequence, cause.severity, cause.override, cause.suppressed, cause.trace, cause.dimension, *shape)


def _severity(cause: Cause) -> Severity:
    if cause.override is not None:
        return cause.override
    if cause.severity is not None and not cause.affected:
        return cause.severity
    return SEVERITY[cause.consequence]


def _site(cause: Cause, surroundings: Surroundings) -> Site:
    tensor = cause.tensor.name if cause.tensor is not None else ""
    label, kind = (cause.op.label, cause.op.kind) if cause.op is not None else (tensor, "tensor")
    fingerprint = surroundings.fingerprint(cause.rule.name, cause.op, cause.port)
    return Site(label, cause.port, tensor, cause.found, cause.wanted, kind, fingerprint, cause.dimension)


def _place(cause: Cause, surroundings: Surroundings) -> Place:
    node = cause.op.label if cause.op is not None else cause.tensor.name if cause.tensor is not None else ""
    about = "" if node else f"{cause.dimension} {cause.found}"  # the model as a whole has no surroundings
    fingerprint = surroundings.fingerprint(cause.rule.name, cause.op, cause.port, about)
    return Place(cause.rule, cause.op, node, cause.port, cause.dimension if node else "", _severity(cause), fingerprint)


def _unique(items: Sequence[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items)) if len(items) > 1 else tuple(items)
