"""Multiply-accumulates of an op, from shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

from qlint.graph.model import Dim, Op, Shape


def macs(op: Op) -> int | None:
    """Multiply-accumulates for one run; 0 for ops without any, None if a shape is unknown."""
    rule = _RULES.get(op.kind)
    if rule is None:
        return 0
    try:
        return rule(op)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _product(dims: Shape) -> int:
    """Raises TypeError for a dimension that is no number."""
    return math.prod(_number(d) for d in dims)


def _number(dim: Dim) -> int:
    if not isinstance(dim, int):
        raise TypeError("a dimension that is no number")
    return dim


def _shape(op: Op, *roles: str) -> Shape:
    shape = next((op.uses[role].tensor.shape for role in roles if role in op.uses), None)
    if shape is None:
        raise TypeError("no known shape")
    return shape


def _out(op: Op) -> int:
    size = op.outputs[0].size
    if size is None:
        raise TypeError("no known size")
    return size


def _conv(op: Op) -> int:
    return _out(op) * _product(_shape(op, "w")[1:])


def _conv_transpose(op: Op) -> int:
    """Each input element meets the whole kernel."""
    return _product(_shape(op, "x")) * _product(_shape(op, "w")[1:])


def _matmul(op: Op) -> int:
    """Each output element sums over the inner dimension."""
    shape = _shape(op, "x", "lhs")
    return _out(op) * _number(shape[-2 if op.attrs.get("transA") and len(shape) > 1 else -1])


def _recurrent(op: Op) -> int:
    """Every step of every direction: gates x hidden x (input + hidden), from the shapes of w and r."""
    sequence, batch = _shape(op, "x")[:2]
    return _number(sequence) * _number(batch) * (_product(_shape(op, "w")) + _product(_shape(op, "r")))


def _einsum(op: Op) -> int | None:
    """One for each combination of indices, which is what a product of two operands takes."""
    terms = op.attrs["equation"].replace(" ", "").partition("->")[0].split(",")
    if len(terms) != 2 or "." in "".join(terms):
        return None if len(terms) > 1 else 0
    sizes = {letter: dim for term, use in zip(terms, op.uses.values(), strict=True) for letter, dim in zip(term, use.tensor.shape or (None,), strict=False)}
    return _product(tuple(sizes.values()))


_RULES: dict[str, Callable[[Op], int | None]] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _matmul, "matmul": _matmul, "einsum": _einsum,
    "lstm": _recurrent, "gru": _recurrent, "rnn": _recurrent,
}  # fmt: skip
