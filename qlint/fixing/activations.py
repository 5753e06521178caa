"""Activations that no integer kernel is made for, exchanged for one that every backend fuses. Only where the user asks for it: the network is another one then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from qlint.fixing.edits import Proposal, Swap
from qlint.graph import Model, Op, Use

SWAPPED = frozenset({"swish", "hard_swish", "gelu", "mish", "silu"})
INTO = ("relu", "relu6")  # what they can be exchanged for
RULE = ("swish-activation", "QL716")  # what the report calls it


def swaps(model: Model, into: str) -> Iterator[Proposal]:
    """One proposal for all activations of the main graph that are exchanged; nothing if there are none."""
    found = list(_found(model, into))
    if found:
        kinds = sorted({one.kind.replace("_", " ") for one in found})
        yield Proposal(*RULE, tuple(one.last.label for one in found), f"{into} in place of {' and '.join(kinds)}: train on with it", False, list(found))


def _found(model: Model, into: str) -> Iterator[Swap]:
    groups: dict[str, list[Op]] = defaultdict(list)
    for op in model.ops:
        if op.kind in SWAPPED and "x" in op.uses:
            yield Swap(op.kind, op.uses["x"], (op,), op, into)
        for group in op.groups:
            if group.partition(":")[0] in SWAPPED and op.kind not in SWAPPED:
                groups[group].append(op)
    for group, members in groups.items():
        if (one := _composite(group.partition(":")[0], members, into)) is not None:
            yield one


def _composite(kind: str, members: list[Op], into: str) -> Swap | None:
    """A function that several operators spell out: one tensor goes in, one comes out."""
    inside = {id(op) for op in members}
    entries: dict[int, Use] = {}
    for op in members:
        for use in op.uses.values():
            made = use.tensor.producer
            if not use.tensor.constant and (made is None or (id(made) not in inside and made.role != "constant")):
                entries.setdefault(id(use.tensor), use)
    exits = [op for op in members if any(use.op is None or id(use.op) not in inside for tensor in op.outputs for use in tensor.uses if use.kind != "dead")]
    return Swap(kind, next(iter(entries.values())), tuple(members), exits[0], into) if len(entries) == len(exits) == 1 else None
