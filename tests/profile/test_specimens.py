"""Claims that nobody measured prove at least to be consistent: a generated model is taken by each kernel as its page says, and
for each requirement another one is not, with a finding that cites the claim.

Measured claims have the ledger (`tests/conformance`). What could not be generated is listed in the summary of the run: a
kernel for which there is no model may stand behind others that take everything it would.
"""

import warnings
from functools import cache
from itertools import chain, islice

import pytest
from specimens import Bench

from qlint.judge import judge
from qlint.lint import registry
from qlint.lint.run import lint
from qlint.profile import load, names

WHERE = {"refused": "rejected"}  # where an op is that a kernel of this sort takes, if not there
CONSEQUENCE = {"rejected": "refused"}
RULES = registry.load().rules
TRIES = 80  # changes, before a kernel is given up
MISSED, FEW = 1 / 3, 8  # how many of a profile's kernels may be without a model: a generator that makes none proves nothing


def overlays(name):
    profile = load(name)
    return [name, *(f"{name}@{overlay}" for overlay in dict.fromkeys((*profile.targets, *profile.target, *profile.revision)))]


def unmeasured(profile, ready):
    refs = {*ready.kernel.evidence, *(ref for check, _ in ready.checks for ref in check.evidence)}
    return any(profile.evidence[ref].kind != "measured" for ref in refs)


def text(profile, ready, claim):
    """All that a claim of a kernel says: what two targets have in common is looked at once."""
    kind, which = claim
    check = ready.checks[which] if kind == "check" else None
    ports = {which: ready.selection.ports[which]} if kind == "port" else check[1].ports if check else {}
    guards = check[0].guards if check else ready.kernel.guards
    return profile.id, ready.kernel.id, repr((kind, ports, guards, check and (check[0].otherwise, check[0].evidence)))


def taken(bench, ready, draft):
    """Whether the judge has a draft taken by the kernel, as a whole and with nothing to say about it."""
    model, ops = bench.build(draft)
    verdict = judge(model, bench.profile)
    placement, runs = verdict.of(ops.anchor), ready.kernel.runs
    here = placement.kernel == ready.kernel.id and len(placement.chain) == len(ops.ops)
    silent = runs != "integer" or not any(m.op in ops.ops for m in verdict.mismatches)
    importer = {refusal.id for refusal in bench.profile.refuses}  # says no to models, whatever kernels there are
    refused = runs == "refused" or all(reason.claim in importer for reason in verdict.refusals)
    return here and silent and refused and placement.where == WHERE.get(runs, runs)


def good(bench, ready):
    """A draft that the kernel takes; where others take what it was made of first, one with a change."""
    fitting = list(bench.fitting(ready)) or list(bench.fitting(ready, whole=True))
    changed = (changed for draft in fitting[:1] for changed in islice(bench.changed(ready, draft), TRIES) if not bench.misses(ready, changed))
    return next((draft for draft in chain(fitting, changed) if taken(bench, ready, draft)), None)


def longest(bench, ready):
    """The model with the longest chain, if a pattern has optional ops: what is said of them shows only there."""
    fitting = bench.fitting(ready, whole=True) if any(step.optional for step in ready.steps) else ()
    return next((draft for draft in fitting if taken(bench, ready, draft)), None)


def claims_of(ready):
    yield from (("port", name) for name, wanted in ready.selection.ports.items() if not all(space == type(space)() for space in wanted))
    yield from (("guard", number) for number in range(len(ready.kernel.guards)))
    yield from (("check", number) for number in range(len(ready.checks)))


def shown(missed, ready):
    """The claim that a draft with one change shows: the only one of the selection, or the first check if the selection holds."""
    selection = [claim for claim in missed if claim[0] != "check"]
    checks = [claim for claim in missed if claim[0] == "check"]
    return selection[0] if len(selection) == 1 else min(checks) if checks and not selection else None


def prove(bench, ready, claim, draft):
    """The judge and the rules agree with what a claim says of a draft that misses it."""
    model, ops = bench.build(draft)
    verdict = judge(model, bench.profile)
    placement = verdict.of(ops.anchor)
    whole = placement.kernel == ready.kernel.id and len(placement.chain) == len(ops.ops)
    findings, crashes = lint(verdict, RULES, known=RULES)
    assert not crashes
    if claim[0] != "check":
        assert not whole, f"{claim} does not hold, and the kernel takes it"
        if placement.where not in ("integer", "absorbed"):
            assert any(m.op is ops.anchor for m in verdict.mismatches) or verdict.refusals
        return
    check, _ = ready.checks[claim[1]]
    assert whole, f"{claim}: a check that fails does not let go of the op"
    wanted = CONSEQUENCE.get(check.otherwise, check.otherwise)
    about = [m for m in verdict.mismatches if m.op in ops.ops and m.kernel == ready.kernel.id]
    assert {m.consequence for m in about} == {wanted}, claim
    cited = {bench.profile.evidence[ref] for ref in check.evidence or ready.kernel.evidence}
    assert any(cited <= set(finding.evidence) for finding in findings), f"{claim}: no finding cites it"


@cache
def proven():
    return set()


def examine(name):
    """(number of kernels looked at, those without a model, claims without one) of a profile with one overlay."""
    profile = load(name)
    bench, asked, kernels, left = Bench(profile), 0, [], []
    for ready in bench.kernels.all:
        if not unmeasured(profile, ready):
            continue
        everywhere = {("check", number) for number, (check, _) in enumerate(ready.checks) if check in profile.checks}
        open_ = {claim: key for claim in claims_of(ready) if (key := (text(profile, ready, claim) if claim not in everywhere else (profile.id, claim))) not in proven()}
        if not open_.keys() - everywhere and (profile.id, ready.kernel.id) in proven():
            continue
        proven().add((profile.id, ready.kernel.id))
        asked += 1
        draft = good(bench, ready)
        if draft is None:
            kernels.append(ready.kernel.id)
            proven().update(key for claim, key in open_.items() if claim not in everywhere)
            continue
        drafts = (one for make in (lambda: draft, lambda: longest(bench, ready)) if open_.keys() - everywhere and (one := make()) is not None)  # noqa: B023
        for changed in (changed for one in drafts for changed in bench.changed(ready, one)):
            if not open_.keys() - everywhere:
                break
            claim = shown(bench.misses(ready, changed), ready)
            if claim in open_:
                prove(bench, ready, claim, changed)
                proven().add(open_.pop(claim))
        proven().update(key for claim, key in open_.items() if claim not in everywhere)  # not to be tried again for each target
        left += [f"{ready.kernel.id}: {kind} {which}" for kind, which in open_ if (kind, which) not in everywhere]
    return asked, kernels, left


@pytest.mark.parametrize("name", names())
def test_claims_that_nobody_measured(name):
    for overlay in overlays(name):
        asked, kernels, left = examine(overlay)
        assert len(kernels) <= MISSED * asked or asked < FEW, f"{overlay}: no model for {', '.join(kernels)}"
        if kernels or left:
            said = [f"no model for {', '.join(kernels)}"] * bool(kernels) + [f"none that misses {', '.join(left)}"] * bool(left)
            warnings.warn(f"{overlay}: {'; '.join(said)}", stacklevel=1)
