"""Patterns of kinds: `conv ^batch_norm? act?`, and the chains of ops that match them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from qlint.errors import ProfileError
from qlint.graph import Op, Use
from qlint.graph.kinds import CLASSES

if TYPE_CHECKING:
    from qlint.judge.prepare import Prepared

Edge = Literal["bare", "quantized", "either"]


@dataclass(frozen=True, slots=True)
class Step:
    """One op of a pattern: its kinds (None: any), and what the edge that leads to it must carry."""

    kinds: frozenset[str] | None
    edge: Edge
    optional: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """Ops that a kernel takes as one unit. `entry` names the slot at which each one continues the chain."""

    ops: tuple[Op, ...]
    entries: tuple[str, ...] = ("",)

    @property
    def anchor(self) -> Op:
        return self.ops[0]

    @property
    def last(self) -> Op:
        return self.ops[-1]


def parse(pattern: str, classes: dict[str, str]) -> tuple[Step, ...]:
    """`a|b` alternatives, class names, `x?` optional, `~x` inner edge quantized, `^x` either, `*` any kind."""
    return _parse(pattern, tuple(sorted(classes.items())))


@lru_cache(maxsize=1024)
def _parse(pattern: str, classes: tuple[tuple[str, str], ...]) -> tuple[Step, ...]:
    own = dict(classes)
    steps: list[Step] = []
    for token in pattern.split():
        optional = token.endswith("?")
        edge: Edge = {"~": "quantized", "^": "either"}.get(token[0], "bare")  # type: ignore[assignment]
        names = token.lstrip("~^").rstrip("?")
        steps.append(Step(None if names == "*" else kinds_of(names, own), edge, optional))
    if not steps or steps[0].optional or steps[0].edge != "bare":
        raise ProfileError(f"the pattern {pattern!r} must start with an op that is not optional")
    return tuple(steps)


def kinds_of(names: str, own: dict[str, str], depth: int = 0) -> frozenset[str]:
    if depth > 8:
        raise ProfileError(f"the class {names!r} is defined by itself")
    kinds: set[str] = set()
    for name in names.split("|"):
        if name in own:
            kinds |= kinds_of("|".join(own[name].replace("|", " ").split()), own, depth + 1)
        else:
            kinds |= CLASSES.get(name, {name})
    return frozenset(kinds)


def chains(steps: tuple[Step, ...], anchor: Op, prepared: Prepared) -> Iterator[Chain]:
    """Every chain from `anchor` that matches, longest first.

    A chain goes on only over a tensor with exactly one use, which is not a graph output.
    """
    found = [Chain(ops, entries) for ops, entries in _extend(steps, 1, (anchor,), ("",), prepared)]
    yield from sorted(found, key=lambda chain: -len(chain.ops))


def _extend(
    steps: tuple[Step, ...], at: int, ops: tuple[Op, ...], entries: tuple[str, ...], prepared: Prepared
) -> Iterator[tuple[tuple[Op, ...], tuple[str, ...]]]:
    if at == len(steps):
        yield ops, entries
        return
    step = steps[at]
    use = only_use(ops[-1], prepared)
    if use is not None and use.op is not None and use.op not in ops and (step.kinds is None or use.op.kind in step.kinds):
        carried = bool(prepared.of(use))
        if step.edge == "either" or carried == (step.edge == "quantized"):
            yield from _extend(steps, at + 1, (*ops, use.op), (*entries, use.role), prepared)
    if step.optional:
        yield from _extend(steps, at + 1, ops, entries, prepared)


def only_use(op: Op, prepared: Prepared) -> Use | None:
    """The one reader of an op's output, if it is an op."""
    uses = prepared.uses(op.outputs[0]) if op.outputs else []
    return uses[0] if len(uses) == 1 and uses[0].kind == "op" else None
