"""Claims that nobody measured prove at least to be consistent: a generated model is taken by each kernel as its page says, and
for each requirement another one is not, with a finding that cites the claim.

Measured claims have the ledger (`tests/conformance`). What could not be generated is listed in the summary of the run: a
kernel for which there is no model may stand behind others that take everything it would.
"""

import json
import warnings
from functools import cache
from itertools import chain

import pytest
from specimens import Bench

from qlint.judge import judge
from qlint.lint import registry
from qlint.lint.run import lint
from qlint.profile import load, names
from qlint.profile.validate import claims as all_claims

WHERE = {"refused": "rejected"}  # where an op is that a kernel of this sort takes, if not there
CONSEQUENCE = {"rejected": "refused"}
RULES = registry.load().rules


def overlays(name):
    profile = load(name)
    return [name, *(f"{name}@{overlay}" for overlay in dict.fromkeys((*profile.targets, *profile.target, *profile.revision)))]


def unmeasured(profile, ready):
    refs = {*ready.kernel.evidence, *(ref for check, _ in ready.checks for ref in check.evidence)}
    return any(profile.evidence[ref].kind != "measured" for ref in refs)


def text(profile, ready):
    """All that decides what a kernel takes; equal kernels of two targets are looked at once."""
    spaces = {name: ready.selection.whole.ports.get(name) for name in ready.kernel.ports}
    checks = [wanted.whole.ports for check, wanted in ready.checks if check not in profile.checks]
    return json.dumps([ready.kernel.model_dump(mode="json"), repr(spaces), repr(checks), repr(profile.prepare)])


def taken(bench, ready, draft):
    """Whether the judge has a draft taken by the kernel, as a whole and with nothing to say about it."""
    model, ops = bench.build(draft)
    verdict = judge(model, bench.profile)
    placement, runs = verdict.of(ops.anchor), ready.kernel.runs
    here = placement.kernel == ready.kernel.id and len(placement.chain) == len(ops.ops)
    silent = runs != "integer" or not any(m.op in ops.ops for m in verdict.mismatches)
    refused = runs == "refused" or not verdict.refusals
    return here and silent and refused and placement.where == WHERE.get(runs, runs)


def good(bench, ready):
    """A draft that the kernel takes; where others take what it was made of first, one with a change."""
    fitting = list(bench.fitting(ready))
    changed = (changed for draft in fitting[:1] for changed in bench.changed(ready, draft) if not bench.misses(ready, changed))
    return next((draft for draft in chain(fitting, changed) if taken(bench, ready, draft)), None)


def longest(bench, ready):
    """The model with the longest chain, if a pattern has optional ops: what is said of them shows only there."""
    optional = any(step.optional for step in ready.steps)
    fitting = [draft for draft in bench.fitting(ready) if len(draft.kinds) == len(ready.steps)] if optional else []
    return next((draft for draft in fitting if taken(bench, ready, draft)), None)


def claims_of(ready):
    yield from (("port", name) for name, wanted in ready.selection.whole.ports.items() if not all(space == type(space)() for space in wanted))
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
    findings, crashes = lint(verdict, RULES)
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
    """(kernels without a model, claims without one) of a profile with one overlay."""
    profile = load(name)
    bench, kernels, left = Bench(profile), [], []
    for ready in bench.kernels.all:
        key = (profile.id, text(profile, ready))
        if key in proven() or not unmeasured(profile, ready):
            continue
        proven().add(key)
        draft = good(bench, ready)
        if draft is None:
            kernels.append(ready.kernel.id)
            continue
        everywhere = {("check", number) for number, (check, _) in enumerate(ready.checks) if check in profile.checks}
        open_ = dict.fromkeys(claim for claim in claims_of(ready) if claim not in everywhere or (profile.id, claim) not in proven())
        for changed in (changed for one in (draft, longest(bench, ready)) if one is not None for changed in bench.changed(ready, one)):
            if not open_.keys() - everywhere:
                break
            claim = shown(bench.misses(ready, changed), ready)
            if claim in open_:
                prove(bench, ready, claim, changed)
                del open_[claim]
                proven().add((profile.id, claim))
        left += [f"{ready.kernel.id}: {kind} {which}" for kind, which in open_ if (kind, which) not in everywhere]
    return kernels, left


@pytest.mark.parametrize("name", names())
def test_claims_that_nobody_measured(name):
    for overlay in overlays(name):
        kernels, left = examine(overlay)
        if kernels or left:
            warnings.warn(f"{overlay}: no model for {', '.join(kernels) or 'nothing'}; none that misses {', '.join(left) or 'nothing'}", stacklevel=1)


@pytest.mark.parametrize("name", names())
def test_most_of_them_can_be_shown(name):
    """A generator that makes no models proves nothing."""
    profile = load(name)
    bench = Bench(profile)
    asked = [ready for ready in bench.kernels.all if unmeasured(profile, ready)]
    found = [ready for ready in asked if good(bench, ready) is not None]
    assert len(found) >= 0.7 * len(asked), sorted({r.kernel.id for r in asked} - {r.kernel.id for r in found})


def test_the_page_says_that_it_is_documented():
    """Every claim names its evidence, and a profile that nobody measured says so in its counts."""
    from qlint.report.backend import evidence

    for name in names():
        profile = load(name)
        kinds = {profile.evidence[ref].kind for _, claim in all_claims(profile) for ref in claim.evidence}
        assert all(kind in evidence(profile) for kind in kinds)
