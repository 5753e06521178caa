"""Multiply-accumulates of an op, from shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

from qlint.graph.axes import channel_axes
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
    """Each output element sums over the kernel of its channel."""
    return _out(op) * _kernel(op, channel_axes(op, "w")[0])


def _conv_transpose(op: Op) -> int:
    """Each input element meets the whole kernel of its channel."""
    return _product(_shape(op, "x")) * _kernel(op, channel_axes(op, "w")[1])


def _kernel(op: Op, axis: int | None) -> int:
    return _product(tuple(d for i, d in enumerate(_shape(op, "w")) if i != axis))


def _linear(op: Op) -> int:
    """Each output element sums over the input channels of the weight; its input may have any shape in front of it."""
    axis = channel_axes(op, "w")[1]
    return _out(op) * _number(_shape(op, "w")[axis]) if axis is not None and op.uses["w"].tensor.shape is not None else _matmul(op)


def _matmul(op: Op) -> int:
    """Each output element sums over the inner dimension."""
    shape = _shape(op, "x", "lhs")
    return _out(op) * _number(shape[-2 if op.attrs.get("transA") and len(shape) > 1 else -1])


def _recurrent(op: Op) -> int:
    """Every step of every direction: gates x hidden x (input + hidden), from the shapes of w and r, or of those of each gate."""
    weights = [_product(use.tensor.shape or (None,)) for role, use in op.uses.items() if "w" in role.split("_") or "r" in role.split("_")]
    return _product(_shape(op, "x")[:-1]) * sum(weights)


def _einsum(op: Op) -> int | None:
    """One for each combination of indices, which is what a product of two operands takes."""
    terms = op.attrs["equation"].replace(" ", "").partition("->")[0].split(",")
    if len(terms) != 2 or "." in "".join(terms):
        return None if len(terms) > 1 else 0
    sizes = {letter: dim for term, use in zip(terms, op.uses.values(), strict=True) for letter, dim in zip(term, use.tensor.shape or (None,), strict=False)}
    return _product(tuple(sizes.values()))


_RULES: dict[str, Callable[[Op], int | None]] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _linear, "matmul": _matmul, "einsum": _einsum,
    "lstm": _recurrent, "gru": _recurrent, "rnn": _recurrent,
}  # fmt: skip
