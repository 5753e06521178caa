"""Backends that run one segment of a graph: what is behind an operator that left the accelerator stays outside too.

The segment begins wherever the first operators run there; what runs elsewhere in front of it does no harm. Google's
Edge TPU compiler works like that ("More than one subgraph is not supported").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from qlint.graph import Op
from qlint.judge.verdict import Where

State = Literal["before", "inside", "perhaps", "behind"]  # of a tensor; the last of an op's inputs counts
_ORDER: tuple[State, ...] = ("before", "inside", "perhaps", "behind")
_OUTSIDE: tuple[Where, ...] = ("cpu", "rejected")


class Behind(NamedTuple):
    """An op that stays outside, or perhaps does, because of the op in front of it that left the segment."""

    op: Op
    culprit: Op
    certain: bool


def behind(ops: Iterable[Op], where: Callable[[Op], Where]) -> Iterator[Behind]:
    """Ops, in topological order, that would run on the accelerator if they were not behind the end of its segment."""
    states: dict[int, tuple[State, Op | None]] = {}
    for op in ops:
        producers = [use.tensor.producer for use in op.uses.values()]
        seen = [states.get(id(producer), ("before", None)) for producer in producers if producer is not None]
        state, culprit = max(seen, key=lambda one: _ORDER.index(one[0]), default=("before", None))
        at = where(op)
        if at in _OUTSIDE:
            state, culprit = (state, culprit) if state in ("before", "behind") else ("behind", op)
        elif at == "unknown":
            state, culprit = ("perhaps", op) if state == "inside" else (state, culprit)
        elif culprit is not None:
            yield Behind(op, culprit, state == "behind")
        elif at != "absorbed":
            state = "inside"
        states[id(op)] = (state, culprit)
