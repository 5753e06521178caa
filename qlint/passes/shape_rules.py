"""The shapes of an op's outputs, by canonical kind, over attributes in ONNX's convention.

A rule gets the op and a function that tells the elements of a small input, and gives a shape for each output, or
None. It may raise where attributes or inputs are not what the specification wants: then nothing is known. A kind
that is in no table has no rule; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from qlint.graph import Dim, Op, Shape
from qlint.graph.kinds import CLASSES
from qlint.passes.constants import slice_of

MAX_RANK = 64
Shapes = Sequence[Shape | None]
Values = Callable[[Op, str], Sequence[Any] | None]
Rule = Callable[[Op, Values], Shapes]


def _of(op: Op, *roles: str) -> Shape:
    """The shape of the first of these inputs that is there; raises if it is not known."""
    shape = next((op.uses[role].tensor.shape for role in roles if role in op.uses), None)
    if shape is None:
        raise ValueError("of no known shape")
    return shape


def _ranked(op: Op, role: str, rank: int) -> Shape:
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


def _times(*dims: Dim) -> Dim:
    """A product; one symbol times ones is the symbol."""
    rest = [d for d in dims if d != 1]
    if all(isinstance(d, int) for d in rest):
        return math.prod(d for d in rest if isinstance(d, int))
    return 0 if 0 in rest else rest[0] if len(rest) == 1 else None


def _same(op: Op, _: Values) -> Shapes:
    return [_of(op, "x", "lhs")]


def _same_twice(op: Op, _: Values) -> Shapes:
    return [_of(op, "x")] * 2


def _elementwise(op: Op, _: Values) -> Shapes:
    return [broadcast(*(_of(op, role) for role in op.uses if not role.endswith(("_scale", "_zero_point"))))]


# -- windows --------------------------------------------------------------------------------------------


def _window(op: Op, spatial: Shape, kernel: Sequence[int]) -> list[Dim]:
    count = len(spatial)
    strides, dilations = op.attrs.get("strides") or [1] * count, op.attrs.get("dilations") or [1] * count
    pads, auto, ceil = op.attrs.get("pads") or [0] * 2 * count, op.attrs.get("auto_pad", "NOTSET"), op.attrs.get("ceil_mode")
    out: list[Dim] = []
    for i, size in enumerate(spatial):
        if not isinstance(size, int):
            out.append(None)
            continue
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(-(-size // strides[i]))
            continue
        before, after = (0, 0) if auto == "VALID" else (pads[i], pads[i + count])
        room = size + before + after - dilations[i] * (kernel[i] - 1) - 1
        steps = -(-room // strides[i]) if ceil else room // strides[i]
        if ceil and steps * strides[i] >= size + before:
            steps -= 1  # a window must not start in the padding behind the input
        out.append(steps + 1 if room >= 0 else None)
    return out


def _kernel(op: Op, w: Shape) -> list[int]:
    kernel = list(op.attrs.get("kernel_shape") or w[2:])
    if not all(isinstance(k, int) for k in kernel):
        raise ValueError("a kernel of unknown size")
    return kernel


def _conv(op: Op, _: Values) -> Shapes:
    w = _of(op, "w")
    x = _ranked(op, "x", len(w))
    return [(x[0], w[0], *_window(op, x[2:], _kernel(op, w)))]


def _conv_transpose(op: Op, _: Values) -> Shapes:
    w = _of(op, "w")
    x = _ranked(op, "x", len(w))
    kernel = _kernel(op, w)
    count = len(kernel)
    channels = _times(w[1], op.attrs.get("group", 1))
    if op.attrs.get("output_shape"):
        return [(x[0], channels, *op.attrs["output_shape"][-count:])]
    strides, dilations = op.attrs.get("strides") or [1] * count, op.attrs.get("dilations") or [1] * count
    pads, extra = op.attrs.get("pads") or [0] * 2 * count, op.attrs.get("output_padding") or [0] * count
    auto = op.attrs.get("auto_pad", "NOTSET")
    out: list[Dim] = []
    for i, d in enumerate(x[2:]):
        if not isinstance(d, int):
            out.append(None)
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(d * strides[i])
        else:
            out.append(strides[i] * (d - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - (0 if auto == "VALID" else pads[i] + pads[i + count]))
    return [(x[0], channels, *out)]


def _pool(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    if op.attrs.get("channels_last") or op.native.startswith("com.microsoft::Nhwc"):
        return [(x[0], *_window(op, x[1:-1], op.attrs["kernel_shape"]), x[-1])]
    return [(*x[:2], *_window(op, x[2:], op.attrs["kernel_shape"]))] * 2


def _global_pool(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    if op.attrs.get("channels_last"):
        return [(x[0], *(1 for _ in x[1:-1]), x[-1])]
    return [(*x[:2], *(1 for _ in x[2:]))]


# -- products -------------------------------------------------------------------------------------------


def _linear(op: Op, _: Values) -> Shapes:
    x, w = _ranked(op, "x", 2), _ranked(op, "w", 2)
    return [(x[1 if op.attrs.get("transA") else 0], w[0 if op.attrs.get("transB") else 1])]


def _matmul(op: Op, _: Values) -> Shapes:
    a = _of(op, "x", "lhs")
    if op.native == "com.microsoft::MatMulNBits":
        return [(*a[:-1], op.attrs["N"])]
    b = _of(op, "w", "rhs")
    if op.attrs.get("transBatchA") or op.attrs.get("transBatchB"):
        return [None]
    if len(a) == 1:
        return [(*b[:-2], b[-1]) if len(b) > 1 else ()]
    if len(b) == 1:
        return [a[:-1]]
    return [(*broadcast(a[:-2], b[:-2]), a[-1 if op.attrs.get("transA") else -2], b[-2 if op.attrs.get("transB") else -1])]


def _einsum(op: Op, _: Values) -> Shapes:
    terms, _, result = op.attrs["equation"].replace(" ", "").partition("->")
    if "." in terms:
        return [None]
    sizes: dict[str, Dim] = {}
    for term, use in zip(terms.split(","), op.uses.values(), strict=True):
        for letter, dim in zip(term, use.tensor.shape or (), strict=True):
            sizes[letter] = dim if sizes.get(letter, 1) == 1 else sizes[letter]
    if "->" not in op.attrs["equation"]:
        result = "".join(sorted(letter for letter in set(terms) - {","} if terms.count(letter) == 1))
    return [tuple(sizes[letter] for letter in result)]


# -- layout ---------------------------------------------------------------------------------------------


def _axes(op: Op, values: Values, rank: int) -> list[int] | None:
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


def _axis(op: Op, default: int, rank: int) -> int:
    axis: int = op.attrs.get("axis", default)
    if not -rank <= axis < rank:
        raise ValueError("an axis that is not there")
    return axis % rank


def _unknown(op: Op, role: str) -> Shape:
    """A shape of which an input tells no more than its own length: the rank."""
    length = _of(op, role)[0]
    if not isinstance(length, int) or length > MAX_RANK:
        raise ValueError("of no known rank")
    return (None,) * length


def _reshape(op: Op, values: Values) -> Shapes:
    x = op.uses["x"].tensor.shape
    wanted = values(op, "shape") if "shape" in op.uses else op.attrs["shape"]
    if wanted is None:
        return [_unknown(op, "shape")]
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
    below = _times(*others)
    if not isinstance(below, int) or below == 0:
        return None
    whole = _times(*size)
    if isinstance(whole, int):
        return whole // below if whole % below == 0 else None
    return whole if below == 1 else None


def _flatten(op: Op, _: Values) -> Shapes:
    x = op.uses["x"].tensor.shape
    if x is None:
        return [(None, None)]
    axis = op.attrs.get("axis", 1)
    axis = axis + len(x) if axis < 0 else axis
    return [(_times(*x[:axis]), _times(*x[axis:]))]


def _squeeze(op: Op, values: Values) -> Shapes:
    x = _of(op, "x")
    axes = _axes(op, values, len(x))
    if axes is None and not all(isinstance(d, int) for d in x):
        return [None]
    return [tuple(d for i, d in enumerate(x) if (i not in axes if axes is not None else d != 1))]


def _unsqueeze(op: Op, values: Values) -> Shapes:
    x = _of(op, "x")
    given = op.attrs.get("axes") or values(op, "axes")
    if given is None:
        return [None]
    rank = len(x) + len(given)
    at = {axis % rank for axis in given}
    rest = iter(x)
    return [tuple(1 if i in at else next(rest) for i in range(rank))] if len(at) == len(given) else [None]


def _transpose(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    perm = op.attrs.get("perm") or range(len(x))[::-1]
    if sorted(perm) != list(range(len(x))):
        return [None]
    return [tuple(x[p] for p in perm)]


def _concat(op: Op, _: Values) -> Shapes:
    shapes = [_of(op, role) for role in op.uses if role[:1] == "x" and role[1:].isdigit()]
    rank = len(shapes[0])
    axis = _axis(op, 1, rank)
    if any(len(s) != rank for s in shapes):
        return [None]
    out = [next((s[i] for s in shapes if isinstance(s[i], int)), shapes[0][i]) for i in range(rank)]
    sizes = [s[axis] for s in shapes]
    out[axis] = sum(d for d in sizes if isinstance(d, int)) if all(isinstance(d, int) for d in sizes) else None
    return [tuple(out)]


def _split(op: Op, values: Values) -> Shapes:
    x = _of(op, "x")
    axis, count = _axis(op, 0, len(x)), len(op.outputs)
    parts = op.attrs.get("split") or values(op, "split")
    size = x[axis]
    if parts is None and "split" not in op.uses and isinstance(size, int):
        each = -(-size // count)
        parts = [min(each, max(0, size - i * each)) for i in range(count)]
    return [(*x[:axis], parts[i] if parts is not None else None, *x[axis + 1 :]) for i in range(count)]


def _slice(op: Op, values: Values) -> Shapes:
    x = _of(op, "x")
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
    x, indices = _of(op, "x"), _of(op, "indices")
    axis = _axis(op, 0, len(x))
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def _gather_elements(op: Op, _: Values) -> Shapes:
    return [_of(op, "indices")]


def _gather_nd(op: Op, _: Values) -> Shapes:
    x, indices = _of(op, "x"), _of(op, "indices")
    last = indices[-1]
    return [(*indices[:-1], *x[last + op.attrs.get("batch_dims", 0) :]) if isinstance(last, int) else None]


def _pad(op: Op, values: Values) -> Shapes:
    x = _of(op, "x")
    pads = op.attrs.get("pads") or op.attrs.get("paddings") or values(op, "pads")
    if pads is None:
        return [(None,) * len(x)]
    axes = _axes(op, values, len(x)) if "axes" in op.uses else list(range(len(x)))
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
    x = _of(op, "x")
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
    x = _of(op, "x")
    keep = op.attrs.get("keepdims", 1)
    try:
        axes = _axes(op, values, len(x))
    except ValueError:
        return [(None,) * len(x) if keep else None]
    if not axes:
        axes = [] if op.attrs.get("noop_with_empty_axes") else list(range(len(x)))
    return [tuple(1 if i in axes else d for i, d in enumerate(x) if keep or i not in axes)]


def _arg(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    axis = _axis(op, 0, len(x))
    return [tuple(1 if i == axis else d for i, d in enumerate(x) if op.attrs.get("keepdims", 1) or i != axis)]


def _expand(op: Op, values: Values) -> Shapes:
    return [broadcast(_of(op, "x"), tuple(values(op, "shape") or _unknown(op, "shape")))]


def _tile(op: Op, values: Values) -> Shapes:
    x, repeats = _of(op, "x"), values(op, "repeats")
    return [(None,) * len(x) if repeats is None else tuple(_times(d, r) for d, r in zip(x, repeats, strict=True))]


def _depth_to_space(op: Op, _: Values) -> Shapes:
    n, c, h, w = _of(op, "x")
    b = op.attrs["blocksize"]
    return [(n, c // b**2 if isinstance(c, int) else None, _times(h, b), _times(w, b))]


def _space_to_depth(op: Op, _: Values) -> Shapes:
    n, c, h, w = _of(op, "x")
    b = op.attrs["blocksize"]
    return [(n, _times(c, b**2), *(d // b if isinstance(d, int) else None for d in (h, w)))]


# -- others ---------------------------------------------------------------------------------------------


def _recurrent(op: Op, _: Values) -> Shapes:
    x, hidden = _of(op, "x"), op.attrs.get("hidden_size")
    directions = 2 if op.attrs.get("direction") == "bidirectional" else 1
    if op.attrs.get("layout"):
        batch, sequence = x[:2]
        return [(batch, sequence, directions, hidden), *[(batch, directions, hidden)] * 2]
    sequence, batch = x[:2]
    return [(sequence, directions, batch, hidden), *[(directions, batch, hidden)] * 2]


def _batch_norm(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    return [x, *[x[1:2]] * 4]


def _layer_norm(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    axis = _axis(op, -1, len(x))
    return [x, *[(*x[:axis], *(1 for _ in x[axis:]))] * 2]


def _top_k(op: Op, values: Values) -> Shapes:
    x = _of(op, "x")
    k = values(op, "k") if "k" in op.uses else (op.attrs["k"],)
    axis = _axis(op, -1, len(x))
    return [(*x[:axis], k[0] if k else None, *x[axis + 1 :])] * 2


def _one_hot(op: Op, values: Values) -> Shapes:
    x, depth = _of(op, "x"), values(op, "depth")
    axis = _axis(op, -1, len(x) + 1)
    return [(*x[:axis], int(depth[0]) if depth and isinstance(depth[0], (int, float)) else None, *x[axis:])]


def _constant_of_shape(op: Op, values: Values) -> Shapes:
    shape = values(op, "x")
    if shape is None:
        return [_unknown(op, "x")]
    return [tuple(shape)]


def _shape(op: Op, _: Values) -> Shapes:
    x = _of(op, "x")
    return [(len(x[op.attrs.get("start", 0) : op.attrs.get("end")]),)]


def _range(op: Op, values: Values) -> Shapes:
    start, limit, delta = (values(op, role) for role in op.uses)
    if not start or not limit or not delta or not all(isinstance(v[0], (int, float)) for v in (start, limit, delta)):
        return [(None,)]
    return [(max(0, math.ceil((limit[0] - start[0]) / delta[0])),)]


def _grid_sample(op: Op, _: Values) -> Shapes:
    x, grid = _of(op, "x"), _of(op, "grid")
    return [(*x[:2], *grid[1:-1])]


def _roi(op: Op, _: Values) -> Shapes:
    x, rois = _of(op, "x"), _of(op, "rois")
    size = op.attrs.get("pooled_shape") or (op.attrs.get("output_height", 1), op.attrs.get("output_width", 1))
    return [(rois[0], x[1], *size)]


def _attention(op: Op, _: Values) -> Shapes:
    q, v = _of(op, "x"), _of(op, "v")
    if len(q) == 4:
        return [(*q[:3], v[3])]
    heads, kv = op.attrs.get("q_num_heads"), op.attrs.get("kv_num_heads")
    told = isinstance(v[2], int) and heads and kv
    return [(*q[:2], v[2] // kv * heads if told else None)]  # type: ignore[operator]



def _random(op: Op, _: Values) -> Shapes:
    return [tuple(op.attrs["shape"])]


def _bodies(op: Op, _: Values) -> Shapes:
    """If: what both branches agree on. Loops: what their bodies say without the outputs that are stacked."""
    if op.kind != "if":
        return []
    out: list[Shape | None] = []
    for outputs in zip(*(body.outputs for body in op.bodies.values()), strict=True):
        shapes = [use.tensor.shape for use in outputs]
        known = [s for s in shapes if s is not None]
        agree = len(known) == len(shapes) and len({len(s) for s in known}) == 1
        out.append(tuple(dims[0] if len(set(dims)) == 1 else None for dims in zip(*known, strict=True)) if agree else None)
    return out


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        "abs acos acosh asin asinh atan atanh ceil cos cosh erf exp floor log neg not reciprocal round sign sin sinh sqrt tan tanh bitwise_not "
        "is_nan is_inf identity cast cast_like quantize dequantize softmax log_softmax hardmax shrink instance_norm group_norm lp_norm lrn "
        "mean_variance_normalization cum_sum cum_prod trilu scatter scatter_elements scatter_nd tensor_scatter reverse_sequence eye_like bernoulli "
        "random_normal_like random_uniform_like dynamic_quantize q_linear_softmax swish rotary_embedding".split(), _same,
    ),
    **dict.fromkeys(CLASSES["act"], _same), "dropout": _same_twice, "dynamic_quantize": lambda op, _: [_of(op, "x"), (), ()],
    **dict.fromkeys((*CLASSES["binary"], "equal", "greater", "less", "greater_or_equal", "less_or_equal", "and", "or", "xor", "mod", "where", "sum", "mean",
                     "bit_shift", "bitwise_and", "bitwise_or", "bitwise_xor"), _elementwise),
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "rms_norm": _layer_norm,
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _linear, "matmul": _matmul, "einsum": _einsum,
    "max_pool": _pool, "avg_pool": _pool, "lp_pool": _pool, **dict.fromkeys(("global_avg_pool", "global_max_pool", "global_lp_pool"), _global_pool),
    "reshape": _reshape, "flatten": _flatten, "squeeze": _squeeze, "unsqueeze": _unsqueeze, "transpose": _transpose, "concat": _concat,
    "split": _split, "slice": _slice, "gather": _gather, "gather_elements": _gather_elements, "gather_nd": _gather_nd, "pad": _pad,
    "resize": _resize, "upsample": _resize, "expand": _expand, "tile": _tile, "depth_to_space": _depth_to_space, "space_to_depth": _space_to_depth,
    **dict.fromkeys(CLASSES["reduce"], _reduce), "arg_max": _arg, "arg_min": _arg, "lstm": _recurrent, "gru": _recurrent, "rnn": _recurrent,
    "top_k": _top_k, "one_hot": _one_hot, "constant_of_shape": _constant_of_shape, "shape": _shape, "size": lambda op, _: [()], "range": _range,
    "grid_sample": _grid_sample, "roi_align": _roi, "max_roi_pool": _roi, "attention": _attention, "if": _bodies, "loop": _bodies, "scan": _bodies,
    "random_normal": _random, "random_uniform": _random, "non_max_suppression": lambda op, _: [(None, 3)],
    "non_zero": lambda op, _: [(len(_of(op, "x")), None)],
}  # fmt: skip
