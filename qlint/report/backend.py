"""The page of a backend: every claim of its profile, and on whose evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from qlint.profile import Profile, Space
from qlint.profile.schema import Arithmetic, Check, Guard, Requirement
from qlint.profile.validate import claims


def page(profile: Profile) -> str:
    """Everything that is known, in the order in which the judge looks at it."""
    return "\n".join(_lines(profile)) + "\n"


def summary(profile: Profile) -> str:
    """One line: id, title, targets, how much is known and how well."""
    overlays = ", ".join([*profile.targets, *profile.revision]) or "no targets"
    return f"{profile.id:12} {profile.title}\n{'':12} {overlays} · {evidence(profile)}"


def evidence(profile: Profile) -> str:
    """`54 claims measured, 3 documented`."""
    kinds = Counter(profile.evidence[ref].kind for _, claim in claims(profile) for ref in claim.evidence)
    counts = [f"{count} {kind}" for kind, count in kinds.most_common()]
    return ", ".join(counts).replace(" ", " claims ", 1) if counts else "no claims"


def _lines(profile: Profile) -> Iterator[str]:
    yield f"{profile.name} · {profile.title}" + (f" ({profile.vendor})" if profile.vendor else "")
    yield f"  established with  {profile.toolchain or 'nothing that can be named'}"
    yield f"  evidence          {evidence(profile)}"
    yield f"  reads             {', '.join(profile.ingests)}"
    yield f"  targets           {', '.join([*profile.targets, *profile.revision]) or 'none'}"
    rest = "unknown" if profile.world == "open" else {"cpu": "fall back to the CPU", "float": "run in float"}.get(profile.fallback, "are rejected")
    yield f"  all other ops     {rest}"
    if profile.segments == "one":
        yield f"  one segment       nothing behind an operator that left comes back ({_cited(profile, profile.segments_evidence)})"
    if profile.arithmetic is not None:
        yield f"  arithmetic        {_arithmetic(profile.arithmetic)} ({_cited(profile, profile.arithmetic.evidence)})"
    yield from (f"  note: {note}" for note in profile.notes)
    if profile.refuses:
        yield "\nrefuses the model if"
        yield from (f"  {refusal.because} ({refusal.id}; {_cited(profile, refusal.evidence)})" for refusal in profile.refuses)
        if (cut := profile.partition) is not None:
            yield f"  {cut.because}: {_requirement(cut.constants)} (partition; {_cited(profile, cut.evidence)})"
    if profile.prepare:
        yield "\nbefore it selects kernels"
        yield from (f"  {step.because} ({step.id}; {_cited(profile, step.evidence)})" for step in profile.prepare)
    if profile.checks:
        yield "\nwhatever kernel takes an operator"
        yield from (f"  {_check(check)} ({_cited(profile, check.evidence)})" for check in profile.checks)
    yield "\nkernels, in the order in which they are tried"
    for kernel in profile.kernels:
        yield f"\n  {kernel.id}: {kernel.match} → {kernel.runs}" + (f" · {kernel.title}" if kernel.title else "")
        yield from (f"      {port:6} {_requirement(wanted)}" for port, wanted in kernel.ports.items())
        yield from (f"      only if {_guard(guard)}" for guard in kernel.guards)
        yield from (f"      {_check(check)}" for check in kernel.checks)
        yield from ([f"      note: {kernel.note}"] if kernel.note else [])
        yield f"      {_cited(profile, kernel.evidence)}"
    if profile.spaces:
        yield "\nspaces that the ports name"
        yield from (f"  {name:20} {_requirement(wanted)}" for name, wanted in profile.spaces.items())


def _cited(profile: Profile, refs: Iterable[str]) -> str:
    return "; ".join(f"{(e := profile.evidence[ref]).kind}: {e.version or e.ref}" for ref in refs)


def _arithmetic(how: Arithmetic) -> str:
    """`accumulator of 32 bits, requantizes with a shift, rounds half up`."""
    facts = [
        f"accumulator of {how.accumulator_bits} bits" if how.accumulator_bits is not None else "",
        f"requantizes with {_REQUANTIZE[how.requantize]}" if how.requantize is not None else "",
        f"rounds {how.rounding.replace('_', ' ')}" if how.rounding is not None else "",
    ]
    return ", ".join(fact for fact in facts if fact)


_REQUANTIZE = {"float": "a float factor", "fixed_multiplier": "a fixed-point multiplier and a shift", "shift": "a shift"}


def _check(check: Check) -> str:
    needs = [*(f"{port} is {_requirement(wanted)}" for port, wanted in check.ports.items()), *map(_guard, check.guards)]
    return f"{check.otherwise} {'if it is a unit, ' if check.units else ''}unless {' and '.join(needs)}"


def _requirement(wanted: Requirement) -> str:
    return " or ".join(one if isinstance(one, str) else _said(one.model_dump(exclude_defaults=True)) for one in wanted)


def _guard(guard: Guard) -> str:
    return _said(guard.model_dump(exclude_defaults=True, by_alias=True))


def _said(value: object) -> str:
    """Fields of a claim as text: `storage int8|uint8, granularity tensor`."""
    if isinstance(value, Space):
        return _said(value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        return ", ".join(str(key).replace("_", " ") if one is True else f"{str(key).replace('_', ' ')} {_said(one)}" for key, one in value.items())
    if isinstance(value, (tuple, list)):
        nested = any(isinstance(one, (tuple, list)) for one in value)
        return " or ".join(f"({_said(one)})" for one in value) if nested else "|".join(map(_said, value))
    return {None: "not given", True: "yes", False: "no"}.get(value, str(value)) if value is None or isinstance(value, bool) else str(value)
