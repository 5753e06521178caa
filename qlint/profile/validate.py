"""What the schema cannot say: references inside a profile must lead somewhere."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from qlint.graph.kinds import CLASSES
from qlint.profile.schema import Arithmetic, Check, Kernel, Partition, Ports, Prepare, Profile, Refusal, Space

# Spaces that every profile may name; a profile's own definition of the same name wins.
BUILTIN_SPACES: dict[str, Space] = {
    "any": Space(),
    "absent": Space(absent=True),
    "float": Space(quantized=False),
    "quantized": Space(quantized=True),
    "constant": Space(constant=True),
    "variable": Space(constant=False),
    "float-constant": Space(quantized=False, constant=True),
    "float-initializer": Space(quantized=False, initializer=True),
    "float-variable": Space(quantized=False, constant=False),
    "quantized-constant": Space(quantized=True, constant=True),
    "per-tensor": Space(granularity=("tensor",)),
    "per-channel": Space(granularity=("channel",)),
    "per-out-channel": Space(granularity=("channel",), axis="out"),
    "per-in-channel": Space(granularity=("channel",), axis="in"),
    "per-block": Space(granularity=("block",)),
}


def problems(profile: Profile) -> list[str]:
    """Sentences about dangling references; empty if there are none."""
    return [*_dangling_spaces(profile), *_dangling_evidence(profile)]


def claims(profile: Profile) -> Iterator[tuple[str, Refusal | Prepare | Kernel | Check | Partition | Arithmetic]]:
    """Every claim of the profile with the name it has in messages."""
    for refusal in profile.refuses:
        yield f"refuses {refusal.id}", refusal
    for step in profile.prepare:
        yield f"prepare {step.id}", step
    for number, check in enumerate(profile.checks, 1):
        yield f"check {number}", check
    if profile.partition is not None:
        yield "partition", profile.partition
    if profile.arithmetic is not None:
        yield "arithmetic", profile.arithmetic
    for kernel in profile.kernels:
        yield f"kernel {kernel.id}", kernel
        for number, check in enumerate(kernel.checks, 1):
            yield f"kernel {kernel.id}, check {number}", check


def _dangling_spaces(profile: Profile) -> Iterator[str]:
    known = {*BUILTIN_SPACES, *profile.spaces}
    ports: list[tuple[str, Ports]] = [("spaces", profile.spaces)]
    ports += [(name, claim.ports) for name, claim in claims(profile) if isinstance(claim, (Kernel, Check))]
    ports += [(name, when.ports) for name, claim in claims(profile) if isinstance(claim, (Kernel, Refusal)) for when in claim.unless]
    ports += [(f"refuses {refusal.id}", refusal.when.ports) for refusal in profile.refuses]
    ports += [("partition", {"constants": profile.partition.constants})] if profile.partition is not None else []
    for name, requirement in ports:
        for port, alternatives in requirement.items():
            for space in alternatives:
                if isinstance(space, str) and space not in known:
                    yield f"{name}: {port} names the space {space!r}, which is not defined"


def _dangling_evidence(profile: Profile) -> Iterator[str]:
    known = set(profile.evidence)
    for name, claim in claims(profile):
        for ref in claim.evidence:
            if ref not in known:
                yield f"{name}: evidence {ref!r} is not defined"
        if not claim.evidence and (not isinstance(claim, Check) or claim in profile.checks):  # a kernel's check may rest on its evidence
            yield f"{name}: has no evidence"


def unlike(profile: Profile, kinds: Collection[str]) -> list[str]:
    """Doubts: kinds in patterns that nobody knows, where one that somebody knows is spelled almost alike."""
    known = {*kinds, *CLASSES, *profile.classes}
    patterns = [(f"kernel {kernel.id}", kernel.match.replace("|", " ")) for kernel in profile.kernels]
    patterns += [(f"class {name}", kinds.replace("|", " ")) for name, kinds in profile.classes.items()]
    patterns += [(f"prepare {step.id}", " ".join(step.kinds)) for step in profile.prepare]
    doubts = []
    for claim, pattern in patterns:
        for name in (token.strip("~^?") for token in pattern.split()):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if name not in known and name != "*" else []
            if close:
                doubts.append(f"{claim}: no reader makes an op of kind {name!r}; did you mean {close[0]}?")
    return doubts
