"""The page of a backend: every claim of its profile, and on whose evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from qlint.judge.verdict import weakest
from qlint.lint.words import FORMATS
from qlint.profile import Profile, Space
from qlint.profile.schema import EVIDENCE_STRENGTH, Arithmetic, Check, Guard, Kernel, Requirement, When
from qlint.profile.validate import claims


def page(profile: Profile) -> str:
    """Everything that is known, in the order in which the judge looks at it."""
    return "\n".join(_lines(profile)) + "\n"


def table(profiles: Iterable[Profile]) -> str:
    """A line for each backend: how many claims rest on which evidence, what it is, and its targets."""
    rows = [(p.id, p.vendor or "-", *(str(bases(p)[kind]) for kind in EVIDENCE_STRENGTH), _what(p)) for p in profiles]
    head = ("backend", "vendor", *EVIDENCE_STRENGTH, "what it is, and its targets (the default with *)")
    widths = [max(len(row[column].partition("\n")[0]) for row in (head, *rows)) for column in range(len(head) - 1)]
    margin = " " * (sum(widths) + 2 * len(widths))
    lines = []
    for row in (head, *rows):
        *cells, last = row
        aligned = [cell.rjust(width) if 2 <= column < len(head) - 1 else cell.ljust(width) for column, (cell, width) in enumerate(zip(cells, widths, strict=True))]
        lines.append("  ".join([*aligned, last.replace("\n", f"\n{margin}")]))
    return "\n".join(lines) + "\n"


def listed(profile: Profile) -> dict[str, Any]:
    """What the list says of a backend, as plain data."""
    return {
        "id": profile.id, "title": profile.title, "vendor": profile.vendor, "aliases": [*profile.aliases], "targets": overlays(profile),
        "default_target": profile.default_target, "ingests": [*profile.ingests], "converts": [*profile.converts], "encodings": [*profile.encodings], "toolchain": profile.toolchain,
        "claims": {kind: bases(profile)[kind] for kind in EVIDENCE_STRENGTH},
    }  # fmt: skip


def overlays(profile: Profile) -> list[str]:
    """The names that may follow an @: targets, then revisions."""
    return list(dict.fromkeys((*profile.targets, *profile.target, *profile.revision)))


def _what(profile: Profile) -> str:
    targets = ", ".join(f"{name}*" if name == profile.default_target else name for name in overlays(profile))
    return f"{profile.title}\n{targets}" if targets else profile.title


def evidence(profile: Profile) -> str:
    """`54 claims measured, 3 documented`: each claim by the weakest evidence it rests on."""
    counts = [f"{count} {kind}" for kind, count in bases(profile).most_common()]
    return ", ".join(counts).replace(" ", " claims ", 1) if counts else "no claims"


def bases(profile: Profile) -> Counter[str]:
    """How many claims rest on which kind of evidence. A kernel's check without evidence of its own rests on the kernel's."""
    found: Counter[str] = Counter()
    kernel: tuple[str, ...] = ()
    for _, claim in claims(profile):
        kernel = claim.evidence if isinstance(claim, Kernel) else kernel
        found[weakest(tuple(profile.evidence[ref] for ref in claim.evidence or kernel))] += 1
    return found


def _lines(profile: Profile) -> Iterator[str]:
    yield f"{profile.name} · {profile.title}" + (f" ({profile.vendor})" if profile.vendor else "")
    yield f"  established with  {profile.toolchain or 'nothing that can be named'}"
    yield f"  evidence          {evidence(profile)}"
    yield f"  reads             {', '.join(FORMATS.get(form, form) for form in (*profile.ingests, *profile.converts))}" + (f"; encodings files of {', '.join(profile.encodings)}" if profile.encodings else "")
    yield f"  targets           {', '.join(overlays(profile)) or 'none'}" + (f" (default {profile.default_target})" if profile.default_target else "")
    rest = "unknown" if profile.world == "open" else {"cpu": "fall back to the CPU", "float": "run in float"}.get(profile.fallback, "are rejected")
    yield f"  all other ops     {rest}"
    if profile.segments == "one":
        yield f"  one segment       nothing behind an operator that left comes back ({cited(profile, profile.segments_evidence)})"
    if profile.bodies == "left":
        yield f"  control flow      the operators in its branches and loops stay outside ({cited(profile, profile.bodies_evidence)})"
    if (how := profile.arithmetic) is not None:
        yield f"  arithmetic        {_arithmetic(how)}" + (f" ({cited(profile, how.evidence)})" if how.evidence else "")
    yield from (f"  note: {note}" for note in profile.notes)
    if profile.refuses or profile.partition is not None:
        yield "\nrefuses the model if"
        yield from (f"  {refusal.because} ({refusal.id}; {cited(profile, refusal.evidence)})" for refusal in profile.refuses)
        if (cut := profile.partition) is not None:
            which = f": {requirement(cut.constants)}" if cut.constants else ""
            yield f"  {cut.because}{which} (partition; {cited(profile, cut.evidence)})"
            if cut.inputs is not None:
                yield f"  {cut.inputs.because} (inputs; {cited(profile, cut.inputs.evidence)})"
    if profile.prepare:
        yield "\nbefore it selects kernels"
        yield from (f"  {step.because} ({step.id}; {cited(profile, step.evidence)})" for step in profile.prepare)
    if profile.checks:
        yield "\nwhatever kernel takes an operator"
        yield from (f"  {checked(check)} ({cited(profile, check.evidence)})" for check in profile.checks)
    yield "\nkernels, in the order in which they are tried"
    for kernel in profile.kernels:
        yield f"\n  {kernel.id}: {kernel.match} → {kernel.runs}" + (f" · {kernel.title}" if kernel.title else "")
        yield from (f"      {port:6} {requirement(wanted)}" for port, wanted in kernel.ports.items())
        yield from (f"      only if {guarded(guard)}" for guard in kernel.guards)
        yield from (f"      unless the graph has {_node(when)}" for when in kernel.unless)
        for check in kernel.checks:
            yield f"      {checked(check)}" + (f" ({cited(profile, check.evidence)})" if check.evidence else "")
        yield from ([f"      note: {kernel.note}"] if kernel.note else [])
        yield f"      {cited(profile, kernel.evidence)}"
    for title, named in (("spaces that the ports name", profile.spaces), ("classes of operators", profile.classes)):
        if named:
            yield f"\n{title}"
            width = max(map(len, named))
            yield from (f"  {name:{width}}  {wanted if isinstance(wanted, str) else requirement(wanted)}" for name, wanted in named.items())
    if profile.evidence:
        yield "\nevidence"
        for name, one in profile.evidence.items():
            yield f"  {name}: {one.kind}, {', '.join(part for part in (one.version, one.date) if part)}".rstrip(" ,")
            yield f"      {one.ref}"
            yield from ([f"      {one.note}"] if one.note else [])


def _arithmetic(how: Arithmetic) -> str:
    """`accumulator of 32 bits, requantizes with a shift, rounds half up`."""
    facts = [
        f"accumulator of {how.accumulator_bits} bits" if how.accumulator_bits is not None else "",
        f"of {how.accumulator_bits_16} bits with activations of more than 8 bits" if how.accumulator_bits_16 is not None else "",
        f"requantizes with {_REQUANTIZE[how.requantize]}" if how.requantize is not None else "",
        f"rounds {how.rounding.replace('_', ' ')}" if how.rounding is not None else "",
        f"shifts by {_said(how.shift.model_dump(exclude_none=True))} bits" if how.shift is not None else "",
        {True: "saturates", False: "wraps around", None: ""}[how.saturates],
    ]
    return ", ".join(fact for fact in facts if fact) or "unknown"


_REQUANTIZE = {"float": "a float factor", "fixed_multiplier": "a fixed-point multiplier and a shift", "shift": "a shift"}


def cited(profile: Profile, refs: Iterable[str]) -> str:
    """`measured: selectors`: the kind of some pieces of evidence, and what the profile calls them."""
    return "; ".join(f"{profile.evidence[ref].kind}: {ref}" for ref in refs)


def checked(check: Check) -> str:
    """`rejected unless w is per-tensor`."""
    return f"{check.otherwise} {'if it is a unit, ' if check.units else ''}unless {_needed(check)}"


def _node(when: When) -> str:
    """`a conv|linear where w is float-constant`."""
    rest = when.model_dump(exclude_defaults=True, exclude={"kinds", "ports", "guards"})
    said = [text for text in (_needed(when), _said(rest)) if text]
    return f"a {'|'.join(when.kinds) or 'node'}" + (f" where {' and '.join(said)}" if said else "")


def _needed(claim: Check | When) -> str:
    """What ports and guards want."""
    return " and ".join([*(f"{port} is {requirement(wanted)}" for port, wanted in claim.ports.items()), *map(guarded, claim.guards)])


def requirement(wanted: Requirement) -> str:
    """What a port wants: names of spaces, and spaces in full."""
    return " or ".join(one if isinstance(one, str) else _said(one.model_dump(exclude_defaults=True)) for one in wanted)


def guarded(guard: Guard) -> str:
    """What a guard wants: `same storage x|y`, `uint8 with uint8|int8 at x and w`."""
    parts = [_said(rest)] if (rest := guard.model_dump(exclude_defaults=True, by_alias=True, exclude={"dtypes"})) else []
    if (tuples := guard.dtypes) is not None:
        parts.append(f"{' or '.join(' with '.join(row) for row in tuples.allow)} at {' and '.join(tuples.ports)}")
    return ", ".join(parts)


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
