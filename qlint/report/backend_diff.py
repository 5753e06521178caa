"""What differs between two profiles, claim by claim: two targets of a backend, two revisions, or two backends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from qlint.judge.kernels import Kernels
from qlint.judge.ports import Spaces
from qlint.profile import Profile
from qlint.profile.schema import Check, Kernel, Ports, Requirement
from qlint.report.backend import checked, cited, guarded, requirement

Facts = dict[str, str]  # what a claim says, by field
WHOLE = "backend"


@dataclass(frozen=True, slots=True)
class Change:
    """A claim that only one side has, or that says something else. `fields` holds what differs: (before, after), '' if it says nothing."""

    claim: str
    only: Literal["before", "after", ""]
    title: str
    fields: dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two profiles by name, how many claims say the same, and those that do not."""

    before: str
    after: str
    same: int
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(before: Profile, after: Profile) -> Difference:
    """Hold two profiles against each other.

    Claims are paired by id; of what is left, kernels that start with the same kinds and run alike are paired, most
    kinds in common first. Spaces and classes are written out, so that what counts is what they mean here.
    """
    ours, theirs = _claims(before), _claims(after)
    pairs = {name: name for name in ours if name in theirs}
    pairs |= _alike(before, after, pairs)
    changes, same = [], 0
    for name, (title, facts) in ours.items():
        other = pairs.get(name)
        if other is None:
            changes.append(Change(name, "before", title, {field: (said, "") for field, said in facts.items()}))
            continue
        found = {field: (facts.get(field, ""), theirs[other][1].get(field, "")) for field in dict.fromkeys((*facts, *theirs[other][1]))}
        differing = {field: both for field, both in found.items() if both[0] != both[1]}
        same += not differing
        if differing:
            changes.append(Change(name if name == other else f"{name} | {other}", "", title or theirs[other][0], differing))
    for name, (title, facts) in theirs.items():
        if name not in pairs.values():
            changes.append(Change(name, "after", title, {field: ("", said) for field, said in facts.items()}))
    return Difference(before.name, after.name, same, tuple(changes))


def render(found: Difference) -> str:
    """For people: `-` stands for the first profile, `+` for the second, as in a patch."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Difference) -> Iterator[str]:
    count = Counter(change.only for change in found.changes)
    yield f"- {found.before}"
    yield f"+ {found.after}"
    yield f"{found.same} claims say the same, {count['']} differ, {count['before']} only in {found.before}, {count['after']} only in {found.after}"
    for change in found.changes:
        mark = {"before": "- ", "after": "+ ", "": "  "}[change.only]
        yield f"\n{mark}{change.claim}" + (f" · {change.title}" if change.title else "")
        width = max((len(field) for field in change.fields), default=0)
        for field, sides in change.fields.items():
            yield from (f"    {sign} {field:{width}}  {said}" for sign, said in zip("-+", sides, strict=True) if said)


def _claims(profile: Profile) -> dict[str, tuple[str, Facts]]:
    """Every claim by name, with its title and what it says."""
    text = _Text(profile)
    rest = "unknown" if profile.world == "open" else profile.fallback
    found: dict[str, tuple[str, Facts]] = {
        WHOLE: ("", {"toolchain": profile.toolchain, "reads": ", ".join((*profile.ingests, *profile.converts)), "all other ops": rest, "misplaced tensors": profile.misplaced}),
    }  # fmt: skip
    for refusal in profile.refuses:
        when = refusal.when.model_dump(exclude_defaults=True, exclude={"ports", "guards"})
        facts = {"when": ", ".join(f"{key} {'|'.join(map(str, value)) if isinstance(value, tuple) else value}" for key, value in when.items())}
        found[f"refuses {refusal.id}"] = (refusal.because, {**facts, **text.ports(refusal.when.ports), **text.guards(refusal.when.guards)})
    for number, step in enumerate(profile.prepare, 1):
        said = step.model_dump(exclude_defaults=True, exclude={"id", "because", "evidence"}, by_alias=True)
        facts = {key: "|".join(map(str, value)) if isinstance(value, tuple) else str(value) for key, value in said.items()}
        found[f"prepare {step.id}"] = (step.because, {"order": str(number), **facts})
    for number, check in enumerate(profile.checks, 1):
        found[f"check {number}"] = ("", {"check": text.check(check)})
    if profile.partition is not None:
        found["partition"] = (profile.partition.because, {"constants": text.requirement(profile.partition.constants)})
    for kernel in profile.kernels:
        found[f"kernel {kernel.id}"] = (kernel.title, text.kernel(kernel))
    for name, one in profile.evidence.items():
        found[f"evidence {name}"] = ("", {"kind": one.kind, "ref": one.ref, "version": one.version})
    return found


class _Text:
    """What a profile's claims say, with its own names of spaces and classes written out."""

    def __init__(self, profile: Profile) -> None:
        self.profile, self.spaces = profile, Spaces(profile)

    def requirement(self, wanted: Requirement) -> str:
        return requirement(tuple(dict.fromkeys(requirement((space,)) or "anything" for space in self.spaces.resolve(wanted))))

    def ports(self, wanted: Ports) -> Facts:
        return {port: self.requirement(one) for port, one in wanted.items()}

    def guards(self, guards: Iterable[Any]) -> Facts:
        said = [guarded(guard) for guard in guards]
        return {"only if": " and ".join(said)} if said else {}

    def check(self, check: Check) -> str:
        ports = {port: tuple(self.spaces.resolve(wanted)) for port, wanted in check.ports.items()}
        return checked(check.model_copy(update={"ports": ports}))

    def kernel(self, kernel: Kernel) -> Facts:
        checks = {f"check {number}": self.check(check) for number, check in enumerate(kernel.checks, 1)}
        return {
            "match": " ".join(self._token(token) for token in kernel.match.split()), "runs": kernel.runs, **self.ports(kernel.ports),
            **self.guards(kernel.guards), **checks, **({"note": kernel.note} if kernel.note else {}),
            "evidence": cited(self.profile, kernel.evidence),
        }  # fmt: skip

    def _token(self, token: str) -> str:
        """A token of a pattern, with the profile's own classes written out."""
        names = token.strip("~^?")
        expanded = names
        for _ in range(8):
            expanded = "|".join(self.profile.classes.get(name, name).replace(" ", "|") for name in expanded.split("|"))
        return token.replace(names, expanded)


def _alike(before: Profile, after: Profile, taken: dict[str, str]) -> dict[str, str]:
    """Kernels of either side, by name, that start with the same kinds and run alike; those with most in common first."""
    ours, theirs = (
        [(f"kernel {ready.kernel.id}", ready.kernel.runs, ready.steps[0].kinds, len(ready.steps)) for ready in Kernels(profile).all]
        for profile in (before, after)
    )
    scored = []
    for number, (name, runs, kinds, length) in enumerate(ours):
        for second, (other, also, those, steps) in enumerate(theirs):
            if name not in taken and other not in taken.values() and runs == also and kinds and those and kinds & those:
                scored.append((-len(kinds & those) / len(kinds | those), abs(length - steps), number, second, name, other))
    pairs: dict[str, str] = {}
    for *_, name, other in sorted(scored):
        if name not in pairs and other not in pairs.values():
            pairs[name] = other
    return pairs
