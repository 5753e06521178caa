"""Patterns of kinds: `conv ^batch_norm? act?`, and the chains of ops that match them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from qlint.errors import ProfileError
from qlint.graph import Op, Use
from qlint.graph.kinds import CLASSES
from qlint.judge.spelled import Spelled

if TYPE_CHECKING:
    from qlint.judge.prepare import Prepared

VARIADIC = re.compile(r"x\d+$")  # roles of operands that are as many as one likes
Edge = Literal["bare", "quantized", "either"]


@dataclass(frozen=True, slots=True)
class Step:
    """One op of a pattern: its kinds (None: any), and what the edge that leads to it must carry."""

    kinds: frozenset[str] | None
    edge: Edge
    optional: bool


class Chain(NamedTuple):
    """Ops that a kernel takes as one unit. `entry` names the slot at which each one continues the chain."""

    ops: tuple[Op, ...]
    entries: tuple[str, ...] = ("",)

    @property
    def anchor(self) -> Op:
        return self.ops[0]

    @property
    def last(self) -> Op:
        return self.ops[-1]

    @property
    def members(self) -> tuple[Op, ...]:
        """The ops of the file, the parts of those that are spelled out among them."""
        return tuple(part for op in self.ops for part in (op.parts if isinstance(op, Spelled) else (op,)))


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


def lengths(steps: tuple[Step, ...], kinds: Sequence[str], carried: Sequence[bool]) -> list[int]:
    """How many ops of a run a pattern can take, the most first; `carried`: whether the edge to each one has a quantizer."""

    def match(at: int, count: int) -> Iterator[int]:
        if at == len(steps):
            yield count
            return
        step = steps[at]
        fits = count < len(kinds) and (step.kinds is None or kinds[count] in step.kinds)
        if fits and (step.edge == "either" or carried[count] == (step.edge == "quantized")):
            yield from match(at + 1, count + 1)
        if step.optional:
            yield from match(at + 1, count)

    return sorted(set(match(1, 1)), reverse=True)


def only_use(op: Op, prepared: Prepared) -> Use | None:
    """The one reader of an op's output, if it is an op."""
    uses = prepared.uses(op.outputs[0]) if op.outputs else []
    return uses[0] if len(uses) == 1 and uses[0].kind == "op" else None
