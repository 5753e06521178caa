"""Dimensions: numbers, symbols and unknowns, and what rules of shapes ask of an op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from qlint.graph import Dim, Op, Shape

MAX_RANK = 64
Shapes = Sequence[Shape | None]
Values = Callable[[Op, str], Sequence[Any] | None]
Rule = Callable[[Op, Values], Shapes]


def shape_of(op: Op, *roles: str) -> Shape:
    """The shape of the first of these inputs that is there; raises if it is not known."""
    for role in roles:
        if role in op.uses:
            shape = op.uses[role].tensor.shape
            if shape is not None:
                return shape
            break
    raise ValueError("of no known shape")


def ranked(op: Op, role: str, rank: int) -> Shape:
    """The shape of an input that has this rank, whatever is known of it."""
    shape = op.uses[role].tensor.shape
    return (None,) * rank if shape is None or len(shape) != rank else shape


def broadcast(*shapes: Shape) -> Shape:
    """numpy's rule, with symbols: a number above 1 wins over a symbol, equal symbols stay."""
    rank = max((len(s) for s in shapes), default=0)
    out: list[Dim] = []
    for i in range(rank):
        dims = [s[i - rank + len(s)] for s in shapes if i - rank + len(s) >= 0]
        numbers = {d for d in dims if isinstance(d, int) and d != 1}
        symbols = {d for d in dims if not isinstance(d, int)}
        if len(numbers) == 1:
            out.append(numbers.pop())
        else:
            out.append(1 if not numbers and not symbols else symbols.pop() if not numbers and len(symbols) == 1 else None)
    return tuple(out)


def times(*dims: Dim) -> Dim:
    """A product; one symbol times ones is the symbol."""
    rest = [d for d in dims if d != 1]
    if all(isinstance(d, int) for d in rest):
        return math.prod(d for d in rest if isinstance(d, int))
    return 0 if 0 in rest else rest[0] if len(rest) == 1 else None


def axes_of(op: Op, values: Values, rank: int) -> list[int] | None:
    """The axes of an attribute or input, from the front; None if they are left out."""
    axes = op.attrs.get("axes")
    if axes is None and "axes" in op.uses:
        axes = values(op, "axes")
        if axes is None:
            raise ValueError("of no known axes")
    if axes is None:
        return None
    if not all(-rank <= axis < rank for axis in axes):
        raise ValueError("an axis that is not there")
    return [axis % rank for axis in axes]


def axis_of(op: Op, default: int, rank: int) -> int:
    axis: int = op.attrs.get("axis", default)
    if not -rank <= axis < rank:
        raise ValueError("an axis that is not there")
    return axis % rank


def unknown_of(op: Op, role: str) -> Shape:
    """A shape of which an input tells no more than its own length: the rank."""
    length = shape_of(op, role)[0]
    if not isinstance(length, int) or length > MAX_RANK:
        raise ValueError("of no known rank")
    return (None,) * length
