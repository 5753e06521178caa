"""The shapes that ops give which move, join or repeat data, and reductions; see :mod:`qlint.passes.shape_rules`."""

from __future__ import annotations

import math

from qlint.graph import Dim, Op, Shape
from qlint.graph.kinds import CLASSES
from qlint.passes.constants import slice_of
from qlint.passes.dims import Rule, Shapes, Values, axes_of, axis_of, broadcast, shape_of, times, unknown_of


def _reshape(op: Op, values: Values) -> Shapes:
    x = op.uses["x"].tensor.shape
    wanted = values(op, "shape") if "shape" in op.uses else op.attrs["shape"]
    if wanted is None:
        return [unknown_of(op, "shape")]
    copied = not op.attrs.get("allowzero")
    out: list[Dim] = [(x[i] if x is not None else None) if d == 0 and copied else d for i, d in enumerate(wanted)]
    if -1 in out:
        out[out.index(-1)] = _rest(x, [d for d in out if d != -1])
    return [tuple(out)]


def _rest(x: Shape | None, others: list[Dim]) -> Dim:
    """What -1 stands for: the size of x over the other dimensions, symbols on both sides cancelled."""
    if x is None:
        return None
    size = list(x)
    for d in [d for d in others if isinstance(d, str)]:
        if d in size:
            size.remove(d)
            others.remove(d)
    below = times(*others)
    if not isinstance(below, int) or below == 0:
        return None
    whole = times(*size)
    if isinstance(whole, int):
        return whole // below if whole % below == 0 else None
    return whole if below == 1 else None


def _flatten(op: Op, _: Values) -> Shapes:
    x = op.uses["x"].tensor.shape
    if x is None:
        return [(None, None)]
    axis = op.attrs.get("axis", 1)
    axis = axis + len(x) if axis < 0 else axis
    return [(times(*x[:axis]), times(*x[axis:]))]


def _squeeze(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    axes = axes_of(op, values, len(x))
    if axes is None and not all(isinstance(d, int) for d in x):
        return [None]
    return [tuple(d for i, d in enumerate(x) if (i not in axes if axes is not None else d != 1))]


def _unsqueeze(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    given = op.attrs.get("axes") or values(op, "axes")
    if given is None:
        return [None]
    rank = len(x) + len(given)
    at = {axis % rank for axis in given}
    rest = iter(x)
    return [tuple(1 if i in at else next(rest) for i in range(rank))] if len(at) == len(given) else [None]


def _transpose(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    perm = op.attrs.get("perm") or (() if "perm" in op.uses else range(len(x))[::-1])
    if sorted(perm) != list(range(len(x))):
        return [None]
    return [tuple(x[p] for p in perm)]


def _concat(op: Op, _: Values) -> Shapes:
    shapes = [shape_of(op, role) for role in op.uses if role[:1] == "x" and role[1:].isdigit()]
    rank = len(shapes[0])
    axis = axis_of(op, 1, rank)
    if any(len(s) != rank for s in shapes):
        return [None]
    out = [next((s[i] for s in shapes if isinstance(s[i], int)), shapes[0][i]) for i in range(rank)]
    sizes = [s[axis] for s in shapes]
    out[axis] = sum(d for d in sizes if isinstance(d, int)) if all(isinstance(d, int) for d in sizes) else None
    return [tuple(out)]


def _split(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    axis, count = axis_of(op, 0, len(x)), len(op.outputs)
    parts = op.attrs.get("split") or values(op, "split")
    size = x[axis]
    if parts is None and "split" not in op.uses and isinstance(size, int):
        each = -(-size // count)
        parts = [min(each, max(0, size - i * each)) for i in range(count)]
    return [(*x[:axis], parts[i] if parts is not None else None, *x[axis + 1 :]) for i in range(count)]


def _slice(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    given = {name: op.attrs.get(name) or values(op, name) for name in ("starts", "ends", "axes", "steps")}
    if given["axes"] is None and "axes" in op.uses:
        return [(None,) * len(x)]
    starts, ends, steps = given["starts"], given["ends"], given["steps"]
    count = len(given["axes"] or starts or ends or ())
    out: list[Dim] = list(x)
    for i, axis in enumerate(given["axes"] or range(count)):
        size, start, end = x[axis], starts[i] if starts else None, ends[i] if ends else None
        step = steps[i] if steps else None if "steps" in op.uses else 1
        told = isinstance(size, int) and isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
        out[axis] = len(range(*slice_of(start, end, step).indices(size))) if told else None  # type: ignore[arg-type]
    return [tuple(out) if count else (None,) * len(x)]


def _gather(op: Op, _: Values) -> Shapes:
    x, indices = shape_of(op, "x"), shape_of(op, "indices")
    axis = axis_of(op, 0, len(x))
    return [(*x[:axis], *indices[op.attrs.get("batch_dims", 0) :], *x[axis + 1 :])]


def _gather_elements(op: Op, _: Values) -> Shapes:
    return [shape_of(op, "indices")]


def _gather_nd(op: Op, _: Values) -> Shapes:
    x, indices = shape_of(op, "x"), shape_of(op, "indices")
    last = indices[-1]
    return [(*indices[:-1], *x[last + op.attrs.get("batch_dims", 0) :]) if isinstance(last, int) else None]


def _pad(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    pads = op.attrs.get("pads") or op.attrs.get("paddings") or values(op, "pads")
    if pads is None:
        return [(None,) * len(x)]
    axes = axes_of(op, values, len(x)) if "axes" in op.uses else list(range(len(x)))
    out: list[Dim] = list(x)
    for i, axis in enumerate(axes or ()):
        out[axis] = _plus(x[axis], pads[i], pads[i + len(axes or ())])
    return [tuple(out)]


def _plus(*dims: Dim) -> Dim:
    rest = [d for d in dims if d != 0]
    if all(isinstance(d, int) for d in rest):
        return sum(d for d in rest if isinstance(d, int))
    return rest[0] if len(rest) == 1 else None


def _resize(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    axes = [axis % len(x) for axis in op.attrs.get("axes") or range(len(x))]
    sizes, scales = values(op, "sizes"), values(op, "scales") or op.attrs.get("scales")
    if not (sizes or scales) or (op.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch" and sizes):
        return [(None,) * len(x)]
    out: list[Dim] = list(x)
    for i, axis in enumerate(axes):
        size = x[axis]
        if sizes:
            out[axis] = sizes[i]
        elif scales:
            out[axis] = math.floor(size * scales[i]) if isinstance(size, int) else size if scales[i] == 1 else None
    return [tuple(out)]


def _reduce(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    keep = op.attrs.get("keepdims", 1)
    try:
        axes = axes_of(op, values, len(x))
    except ValueError:
        return [(None,) * len(x) if keep else None]
    if not axes:
        axes = [] if op.attrs.get("noop_with_empty_axes") else list(range(len(x)))
    return [tuple(1 if i in axes else d for i, d in enumerate(x) if keep or i not in axes)]


def _arg(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    axis = axis_of(op, 0, len(x))
    return [tuple(1 if i == axis else d for i, d in enumerate(x) if op.attrs.get("keepdims", 1) or i != axis)]


def _expand(op: Op, values: Values) -> Shapes:
    return [broadcast(shape_of(op, "x"), tuple(values(op, "shape") or unknown_of(op, "shape")))]


def _tile(op: Op, values: Values) -> Shapes:
    x, repeats = shape_of(op, "x"), values(op, "repeats")
    return [(None,) * len(x) if repeats is None else tuple(times(d, r) for d, r in zip(x, repeats, strict=True))]


def _depth_to_space(op: Op, _: Values) -> Shapes:
    n, c, h, w = _channels_first(op)
    b = op.attrs["blocksize"]
    return [_as_it_lies(op, n, c // b**2 if isinstance(c, int) else None, times(h, b), times(w, b))]


def _space_to_depth(op: Op, _: Values) -> Shapes:
    n, c, h, w = _channels_first(op)
    b = op.attrs["blocksize"]
    return [_as_it_lies(op, n, times(c, b**2), *(d // b if isinstance(d, int) else None for d in (h, w)))]


def _channels_first(op: Op) -> Shape:
    x = shape_of(op, "x")
    return (x[0], x[-1], *x[1:-1]) if op.attrs.get("channels_last") else x


def _as_it_lies(op: Op, n: Dim, c: Dim, *spatial: Dim) -> Shape:
    return (n, *spatial, c) if op.attrs.get("channels_last") else (n, c, *spatial)


LAYOUT_RULES: dict[str, Rule] = {
    "reshape": _reshape, "flatten": _flatten, "squeeze": _squeeze, "unsqueeze": _unsqueeze, "transpose": _transpose, "concat": _concat,
    "split": _split, "slice": _slice, "gather": _gather, "gather_elements": _gather_elements, "gather_nd": _gather_nd, "pad": _pad,
    "resize": _resize, "upsample": _resize, "expand": _expand, "tile": _tile, "depth_to_space": _depth_to_space, "space_to_depth": _space_to_depth,
    **dict.fromkeys(CLASSES["reduce"], _reduce), "arg_max": _arg, "arg_min": _arg,
}  # fmt: skip
