"""Fingerprints: what stays the same about a site when the next export renames everything.

A site's fingerprint hashes the rule, the port, and the op's surroundings: kinds and roles within two
hops. Ops with equal surroundings (twins) are told apart by an ordinal in graph order; a baseline that
wants to be sure looks at the op's name too. Linear in the number of uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from qlint.graph import Model, Op, Tensor

HOPS = 2
_DIGITS = 12


def digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=_DIGITS // 2).hexdigest()


class Surroundings:
    """The signature of every op of a model: `HOPS` rounds of hashing each op with its neighbours."""

    def __init__(self, model: Model) -> None:
        ops = list(model.walk())
        current = {id(op): op.kind for op in ops}
        for _ in range(HOPS):
            known: dict[tuple[object, ...], str] = {}  # blocks repeat, and so do their surroundings
            after: dict[int, str] = {}
            for op in ops:
                key = _neighbours(op, current)
                after[id(op)] = known.get(key) or known.setdefault(key, digest(op.kind, *_around(op, current)))
            current = after
        self._signatures = current
        self._tensors = model.tensors
        self._ordinals: dict[int, int] = {}
        self._twins: dict[str, list[Op]] = {}
        for op in ops:
            twins = self._twins.setdefault(current[id(op)], [])
            self._ordinals[id(op)] = len(twins)
            twins.append(op)

    def fingerprint(self, rule: str, op: Op | None, port: str, about: str = "") -> str:
        """`3f2a9c01b7de`, with `.2` behind it for the third of several twins; `about` tells apart what is about no op."""
        if op is None or id(op) not in self._signatures:
            return digest(rule, port, op.kind if op is not None else "model", *(about,) * bool(about))
        ordinal = self._ordinals[id(op)]
        return digest(rule, port, op.kind, self._signatures[id(op)]) + (f".{ordinal}" if ordinal else "")

    def twins(self, op: Op | None) -> set[str]:
        """Labels of the ops in the surroundings of this one, itself included; of no op: what else a place can be called."""
        if op is None or id(op) not in self._signatures:
            return {"", *self._tensors}
        return {twin.label for twin in self._twins[self._signatures[id(op)]]}

    def has(self, rule: str, port: str, fingerprint: str) -> bool:
        """Whether there is an op in the surroundings that a fingerprint stands for."""
        return any(digest(rule, port, twins[0].kind, signature) == twinless(fingerprint) for signature, twins in self._twins.items())


def twinless(fingerprint: str) -> str:
    """The fingerprint that all twins share."""
    return fingerprint.partition(".")[0]


def _neighbours(op: Op, current: dict[int, str]) -> tuple[object, ...]:
    """What `_around` says, not yet put in order and into words."""
    told: list[object] = [op.kind]
    for role, use in op.uses.items():
        told += (role, _maker(use.tensor, current))
    for tensor in op.outputs:
        told.append(tensor is op.outputs[0])
        for use in tensor.uses:
            told += (use.role if use.op is not None else use.kind, current.get(id(use.op)))
    return tuple(told)


def _around(op: Op, current: dict[int, str]) -> Iterable[str]:
    for role in sorted(op.uses):
        yield f"<{role}:{_maker(op.uses[role].tensor, current)}"
    for number, tensor in enumerate(op.outputs):
        readers = (f">{number}:{u.role}:{current.get(id(u.op), '')}" if u.op is not None else f">{number}:{u.kind}"
                   for u in tensor.uses if u.kind != "dead")  # fmt: skip
        yield from sorted(readers)


def _maker(tensor: Tensor, current: dict[int, str]) -> str:
    if tensor.producer is not None:
        return current.get(id(tensor.producer), "outside")
    return "constant" if tensor.constant else "input"


def combined(fingerprints: Iterable[str]) -> str:
    """The fingerprint of a finding: of its only site, or of all of them."""
    distinct = sorted(set(fingerprints))
    return distinct[0] if len(distinct) == 1 else digest(*distinct)
