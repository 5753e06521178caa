"""The shapes that PyTorch's own operators give: those that ONNX spells in several nodes, or leaves to other attributes."""

from __future__ import annotations

from qlint.graph import Dim, Op
from qlint.passes.dims import Rule, Shapes, Values, axis_of, broadcast, shape_of, times, unknown_of


def flattened(op: Op) -> Shapes:
    """`torch.flatten(x, start, end)`: the axes from start to end become one."""
    x = shape_of(op, "x")
    start, end = (axis % max(1, len(x)) for axis in op.attrs["flattened"])
    return [(*x[:start], times(*x[start : end + 1]), *x[end + 1 :])]


def swapped(op: Op) -> Shapes:
    """`torch.transpose(x, a, b)`; the permutation, which needs the rank, is told to the op."""
    x = shape_of(op, "x")
    perm = list(range(len(x)))
    a, b = (axis % len(x) for axis in op.attrs["swap"])
    perm[a], perm[b] = perm[b], perm[a]
    op.attrs["perm"] = perm
    return [tuple(x[p] for p in perm)]


def _adaptive(op: Op, _: Values) -> Shapes:
    x, size = shape_of(op, "x"), op.attrs["output_size"]
    return [(*x[: -len(size)], *size)] * 2


def _stack(op: Op, _: Values) -> Shapes:
    shapes = [shape_of(op, role) for role in op.uses]
    axis = axis_of(op, 0, len(shapes[0]) + 1)
    joined = broadcast(*shapes)
    return [(*joined[:axis], len(shapes), *joined[axis:])]


def _unbind(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    axis = axis_of(op, 0, len(x))
    return [(*x[:axis], *x[axis + 1 :])] * len(op.outputs)


def _glu(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    axis = axis_of(op, -1, len(x))
    size = x[axis]
    return [(*x[:axis], size // 2 if isinstance(size, int) else None, *x[axis + 1 :])]


def unflattened(op: Op, values: Values) -> Shapes:
    """`torch.unflatten(x, dim, sizes)`: one axis becomes several."""
    x = shape_of(op, "x")
    axis, sizes = axis_of(op, 0, len(x)), list(op.attrs.get("sizes") or values(op, "sizes") or unknown_of(op, "sizes"))
    whole = x[axis]
    if -1 in sizes:
        rest = times(*(d for d in sizes if d != -1))
        sizes[sizes.index(-1)] = whole // rest if isinstance(whole, int) and isinstance(rest, int) and rest else None
    return [(*x[:axis], *sizes, *x[axis + 1 :])]


def recurrent(op: Op) -> Shapes:
    """`torch.lstm` and its like: (sequence, batch, directions * hidden), and the last states of all layers."""
    x, r = shape_of(op, "x"), shape_of(op, "r")
    directions = 2 if op.attrs.get("direction") == "bidirectional" else 1
    hidden: Dim = r[1]
    layers = op.attrs.get("num_layers", 1) * directions
    batch = x[0 if op.attrs.get("batch_first") else 1] if len(x) == 3 else None
    state = (layers, batch, hidden) if len(x) == 3 else (layers, hidden)
    return [(*x[:-1], times(directions, hidden)), state, state]


def _lstm_cell(op: Op, _: Values) -> Shapes:
    x, r = shape_of(op, "x"), shape_of(op, "r")
    return [(*x[:-1], r[1])] * 2


def _same(op: Op, _: Values) -> Shapes:
    return [shape_of(op, "x", "lhs")]


def _binary(op: Op, _: Values) -> Shapes:
    return [broadcast(shape_of(op, "lhs"), shape_of(op, "rhs"))]


TORCH_RULES: dict[str, Rule] = {
    "adaptive_avg_pool": _adaptive, "adaptive_max_pool": _adaptive, "stack": _stack, "unbind": _unbind, "glu": _glu,
    "lstm_cell": _lstm_cell, "gru_cell": _lstm_cell, "floor_div": _binary, "not_equal": _binary, "rank": lambda op, _: [()],
    **dict.fromkeys("rsqrt log2 log10 log1p expm1 exp2 trunc frac square flip roll channel_shuffle fill_like int_repr copy index_put".split(), _same),
}  # fmt: skip
