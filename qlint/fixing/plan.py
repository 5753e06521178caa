"""What to do about the findings of a model: proposals, and refusals with their reasons."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace

from qlint.fixing.activations import swaps
from qlint.fixing.cures import CURES
from qlint.fixing.edits import (
    Changes,
    Clamp,
    Depthwise,
    Edit,
    Equalize,
    Explicit,
    Freeze,
    NoCure,
    Proposal,
    RaiseOpset,
    Requantize,
    Sequence,
    exact,
    keeps,
    scale_type_of,
    storable,
)
from qlint.fixing.equalize import measured
from qlint.fixing.held import Held
from qlint.fixing.ranges import RELU, NoRange, Ranges
from qlint.fixing.state import State
from qlint.graph import Model, Op, Quantizer, Use
from qlint.judge.repair import WORK, Backend, Budget, Outcome, good, repair, said
from qlint.judge.verdict import Mismatch, Verdict
from qlint.lint.finding import SEARCHED, Finding
from qlint.lint.policy import Policy
from qlint.lint.rule import Claims, Rule
from qlint.lint.run import curable


@dataclass(frozen=True, slots=True)
class Refusal:
    """A fix that is not made, and why."""

    rule: str
    code: str
    sites: tuple[str, ...]
    why: str
    conflict: bool = False  # between backends


@dataclass(slots=True)
class Plan:
    """What to do, and what not."""

    proposals: list[Proposal] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    complete: bool = False  # a search that was not cut short proposed them: once all are made, searching again seldom finds anything


def plan(
    state: State, rules: Iterable[Rule], known: Iterable[Rule], *, unsafe: bool, ranges: Ranges, fallback: bool = True, tried: Container[object] = (),
    swap: str = "", searching: bool = True, policy: Policy | None = None,
) -> Plan:
    """The fixes that rules declare for the findings of a model: first those about the file, then those about quantizers.

    What was `tried` (`Proposal.key`) is not proposed again. `swap`: activations without integer kernels are exchanged for this one first.
    Without `searching` nothing is looked for about quantizers. `policy`: what is accepted, and left as it is.
    """
    made, later, can = Plan(), [], curable(state.model)
    made.proposals = [one for one in swaps(state.model, swap) if one.key not in tried] if swap else []
    if made.proposals:
        return made
    for finding, causes in state.findings():
        cure = causes[0].rule.cure
        if cure in CURES and cure in can:
            where = places(finding)
            try:
                found = [measured(edit, ranges) if isinstance(edit, Equalize) else edit for edit in CURES[cure](state.model, causes)]
            except NoCure as problem:
                found = [problem]
            found = found or [NoCure("there is nothing in the file that qlint could change for it")]
            edits = [edit for edit in found if not isinstance(edit, NoCure)]
            for each in found:
                if isinstance(each, NoCure):
                    made.refusals.append(Refusal(finding.rule, finding.code, each.sites or where, str(each)))
                    where = tuple(one for one in where if one not in each.sites)
            safe = all(_exact(edit) for edit in edits)
            one = Proposal(finding.rule, finding.code, where, finding.fix.text if finding.fix else "", safe, edits, worth=True)
            one.text = next((said for edit in edits if (said := _said(edit))), SAID.get(cure, one.text))
            if any(isinstance(edit, Depthwise) for edit in edits):
                later += [one] if one.key not in tried else []
            elif one.key in tried:
                continue
            elif edits and (one.safe or unsafe) and one not in made.proposals:
                made.proposals.append(one)
            elif edits and not one.safe and not unsafe:
                made.refusals.append(Refusal(one.rule, one.code, where, UNSAFE))
    made.proposals = [one for one in made.proposals if any(isinstance(edit, Explicit) for edit in one.edits)][:1] or made.proposals  # others see its nodes then
    if made.proposals:
        return made
    searches = [
        _Search(state, Backend(view.profile, Budget(max(WORK // 3, 6 * len(state.model.ops))), fallback), Claims(known), set(map(id, rules)), unsafe, ranges, can, Held(view, policy))
        for view in state.views if searching and view.profile is not None
    ]
    for search in searches:
        for (rule, code), nodes in search.clamps.items():
            text = "a relu in front of quantizers whose grid begins at zero, so that they need not stand for it"
            clamp = Proposal(rule, code, tuple(op.label for op in nodes.values()), text, True, [Clamp(tuple(nodes.values()))])
            made.proposals += [clamp] if clamp.key not in tried else []
    if not made.proposals:
        _combine(state.model, searches, made)
        made.proposals = [one for one in made.proposals if one.key not in tried]
        made.complete = bool(made.proposals) and len(searches) == 1 and searches[0].outcome.irreducible
    if not made.proposals and unsafe:  # what may only be worth it once its weights are quantized
        made.proposals += later
    return made


def _exact(edit: Edit) -> bool:
    """Whether the numbers stay as they are."""
    if isinstance(edit, (Explicit, Equalize)):
        return isinstance(edit, Explicit) and edit.exact
    return all(keeps(use, new) for use, new in edit.changes.values()) if isinstance(edit, Requantize) else not isinstance(edit, Freeze)


def _said(edit: Edit) -> str:
    """What an edit does, where that is not what the advice of its rule says."""
    if isinstance(edit, Depthwise):
        return "a depthwise convolution in its place"
    if isinstance(edit, Freeze):
        return "their observers are switched off"
    if isinstance(edit, Explicit):
        what = "operators in float between QuantizeLinear and DequantizeLinear" if edit.operators else "QuantizeLinear and DequantizeLinear"
        return f"{what} in their place" + (f", in opset {edit.opset}" if edit.opset else "")
    if isinstance(edit, Equalize):
        return f"channels equalised with {edit.second.label}" + ("; ranges from calibration data" if edit.between else "")
    return f"opset {edit.version}" if isinstance(edit, RaiseOpset) else ""


SAID = {"half-range": "weights on half of their codes, at twice the scale"}  # what a cure does, where the advice of its rule leaves a choice
DOUBLES = {"pt2": "float64"}  # formats that write the scale of a tensor as a Python number
UNSAFE = "the numbers would change: --unsafe-fixes allows that"


@dataclass(slots=True)
class _Search:
    """The search for one backend, with what it was not allowed to do."""

    state: State
    backend: Backend
    claims: Claims
    rules: set[int]
    unsafe: bool
    ranges: Ranges
    curable: frozenset[str]
    held: Held
    outcome: Outcome = field(init=False)
    rule_of: dict[int, Rule] = field(default_factory=dict)  # by use
    source_of: dict[int, str] = field(default_factory=dict)
    clamps: dict[tuple[str, str], dict[int, Op]] = field(default_factory=dict)  # quantizers that stand for a relu, by rule
    refused: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)  # sites by rule, code and reason

    def __post_init__(self) -> None:
        self.backend.consent, self.backend.begin = self._consent, self.ranges.forget
        self.outcome = repair(self.state.model, self.backend)
        for key, (use, sequence) in self.outcome.changes.items():  # also what came along without being asked for
            self.outcome.changes[key] = use, tuple(self._stored(use, q) for q in sequence)
        unified = {key: change for key, change in _unified(self.outcome.changes).items() if key in self.outcome.changes or key not in self.held.uses}
        if len(unified) > len(self.outcome.changes) and self.outcome.reached <= good(self.backend.judge(self.state.model, unified)):
            self.outcome.changes = unified

    def _consent(self, mismatch: Mismatch, use: Use, sequence: Sequence) -> Sequence | None:
        """The change, if a selected rule asks for it, its numbers are known, and it is as safe as it has to be."""
        selector = self.claims.claim(mismatch, self.state.model)
        if selector is None or id(selector.rule) not in self.rules or selector.rule.cure not in SEARCHED & self.curable:
            return None
        rule = selector.rule
        if self.held.accepts(rule, mismatch):
            return None
        if why := self.held.keeps(use):
            self._refuse(rule, why, use)
            return None
        try:
            filled, source = self.ranges.fill(use, sequence)
        except NoRange as problem:
            self._refuse(rule, str(problem), use)
            return None
        new = tuple(self._stored(use, q) for q in filled)
        if new == use.quantizers:
            return None
        if not keeps(use, new):
            why = UNSAFE if not self.unsafe else self.ranges.loses(use, new)
            if why:
                quantize = use.quantizers[0].quantize if use.quantizers else None
                if why == RELU and quantize is not None and quantize.kind == "quantize" and quantize.index >= 0:  # a node of the file
                    self.clamps.setdefault((rule.name, rule.code), {})[id(quantize)] = quantize
                self._refuse(rule, why, use)
                return None
        self.rule_of[id(use)] = rule
        if source:
            self.source_of[id(use)] = source
        return new

    def _stored(self, use: Use, q: Quantizer) -> Quantizer:
        """A quantizer as the file can hold it; a scale that it holds already stays what it is."""
        made = storable(q, (q.granularity == "tensor" and DOUBLES.get(self.state.model.format)) or scale_type_of(use))
        return replace(made, scale=q.scale) if any(old.scale == q.scale for old in use.quantizers) else made

    def _refuse(self, rule: Rule, why: str, use: Use) -> None:
        sites = self.refused.setdefault((rule.name, rule.code, why), [])
        if site(use) not in sites:
            sites.append(site(use))


def places(finding: Finding) -> tuple[str, ...]:
    """The sites of a finding, as reports of fixes name them."""
    return tuple(dict.fromkeys(f"{one.op}.{one.port}" if one.port else one.op for one in finding.sites))


def site(use: Use) -> str:
    """`conv1.x`, or the name of a graph output."""
    return f"{use.op.label}.{use.role}" if use.op is not None else use.name or use.tensor.name


def _combine(model: Model, searches: list[_Search], made: Plan) -> None:
    """The changes of all backends, without those that cost another one an operator."""
    accepted: dict[int, tuple[Use, Sequence]] = {}
    for one in searches:
        for (rule, code, _, _), part in _groups(one).items():
            text, source, safe = _described(one, part)
            where = tuple(site(use) for use, _ in part.values())
            trial = {**accepted, **part}
            against = [other.backend.profile.name for other in searches if other is not one and _loses(other, model, accepted, trial)]
            if against:
                made.refusals.append(Refusal(rule, code, where, f"{one.backend.profile.name} wants {text}, which {' and '.join(against)} cannot use", True))
                continue
            there = {key: accepted[key][1] == sequence for key, (_, sequence) in part.items() if key in accepted}
            if len(there) == len(part) or not all(there.values()):
                continue  # another backend has already got the same, or what it wants there
            accepted = trial
            edits = [Requantize(part)]
            made.proposals.append(Proposal(rule, code, where, text + (f"; range from {source}" if source else ""), safe, list(edits)))
        made.refusals += [Refusal(rule, code, tuple(sites), why) for (rule, code, why), sites in one.refused.items() if _still(one, sites)]


def _loses(one: _Search, model: Model, before: Changes, after: Changes) -> bool:
    """Whether a backend has more to complain of than before, or an operator less in integer."""
    was, now = one.backend.judge(model, dict(before)), one.backend.judge(model, dict(after))
    return not good(was) <= good(now) or not _complaints(now) <= _complaints(was)


def _complaints(verdict: Verdict) -> set[tuple[int, str, str]]:
    return {(id(m.op), m.port, m.dimension) for m in verdict.mismatches if m.consequence in ("refused", "wrong", "cpu", "float")}


def _still(one: _Search, sites: list[str]) -> bool:
    """Whether what was refused is still missing at the end."""
    changed = {site(use) for use, _ in one.outcome.changes.values()}
    return not set(sites) <= changed


def _groups(one: _Search) -> dict[tuple[str, str, str, str], Changes]:
    """The changes of one backend: those of one rule that do the same."""
    groups: dict[tuple[str, str, str, str], dict[int, tuple[Use, Sequence]]] = {}
    for key, (use, sequence) in one.outcome.changes.items():
        rule = one.rule_of.get(key) or _shared_rule(one, use)
        name, code = (rule.name, rule.code) if rule is not None else ("", "")
        groups.setdefault((name, code, said(use.quantizers), said(sequence)), {})[key] = (use, sequence)
    return dict(groups)


def _unified(changes: Changes) -> dict[int, tuple[Use, Sequence]]:
    """Changes, and the same container for other readers of a tensor that are on the same grid, so that one node serves them all."""
    found = dict(changes)
    for use, sequence in changes.values():
        for other in use.tensor.uses if sequence and not use.tensor.constant else ():
            if id(other) not in changes and other.kind != "dead" and other.quantizers != sequence and exact(other.quantizers, sequence):
                found[id(other)] = (other, sequence)
    return found


def _shared_rule(one: _Search, use: Use) -> Rule | None:
    """The rule behind a change that came along, because another reader shares the quantizer, or the operator's other inputs have one."""
    beside = [*use.tensor.uses, *(use.op.uses.values() if use.op is not None else ())]
    return next((one.rule_of[id(other)] for other in beside if id(other) in one.rule_of), next(reversed(one.rule_of.values()), None))


def _described(one: _Search, part: Changes) -> tuple[str, str, bool]:
    """(what is changed into what, where new ranges come from, whether the numbers stay)."""
    pairs = [(use.quantizers, sequence) for use, sequence in part.values()]
    old, new = pairs[0]
    before, after = said(old), said(new)
    if before == after:
        numbers = dict.fromkeys((_scales(a), _scales(b)) for a, b in pairs)
        first, *more = numbers
        before, after = first
        after += f" (and {len(more)} more)" if more else ""
    sources = dict.fromkeys(one.source_of[key] for key, (_, sequence) in part.items() if sequence and key in one.source_of)
    return f"{before} → {after}", ", ".join(sources), all(keeps(use, new) for use, new in part.values())


def _scales(sequence: Sequence) -> str:
    return ", ".join("scale " + (f"{q.scale[0]:.6g}" if q.scale and len(q.scale) == 1 else f"{len(q.scale or ())} values") for q in sequence)
