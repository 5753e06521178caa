"""The shapes of an op's outputs, by canonical kind, over attributes in ONNX's convention.

A rule gets the op and a function that tells the elements of a small input, and gives a shape for each output, or
None. It may raise where attributes or inputs are not what the specification wants: then nothing is known. A kind
that is in no table has no rule; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qlint.graph import Dim, Op, Shape
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES
from qlint.passes.dims import Rule, Shapes, Values, axis_of, broadcast, ranked, shape_of, times, unknown_of
from qlint.passes.layouts import LAYOUT_RULES


def _same(op: Op, _: Values) -> Shapes:
    return [shape_of(op, "x", "lhs")]


def _same_twice(op: Op, _: Values) -> Shapes:
    return [shape_of(op, "x")] * 2


def _elementwise(op: Op, _: Values) -> Shapes:
    return [broadcast(*(shape_of(op, role) for role in op.uses if not role.endswith(("_scale", "_zero_point"))))]


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
    w = shape_of(op, "w")
    x = ranked(op, "x", len(w))
    spatial = x[1:-1] if op.attrs.get("channels_last") else x[2:]
    return [_placed(op, x[0], w[channel_axes(op, "w")[0] or 0], _window(op, spatial, _kernel(op, w)))]


def _placed(op: Op, batch: Dim, channels: Dim, spatial: Sequence[Dim]) -> Shape:
    return (batch, *spatial, channels) if op.attrs.get("channels_last") else (batch, channels, *spatial)


def _conv_transpose(op: Op, _: Values) -> Shapes:
    w = shape_of(op, "w")
    x = ranked(op, "x", len(w))
    kernel = _kernel(op, w)
    count = len(kernel)
    channels = times(w[channel_axes(op, "w")[0] or 0], op.attrs.get("group", 1))
    if op.attrs.get("output_shape"):
        return [_placed(op, x[0], channels, op.attrs["output_shape"][-count:])]
    strides, dilations = op.attrs.get("strides") or [1] * count, op.attrs.get("dilations") or [1] * count
    pads, extra = op.attrs.get("pads") or [0] * 2 * count, op.attrs.get("output_padding") or [0] * count
    auto = op.attrs.get("auto_pad", "NOTSET")
    out: list[Dim] = []
    for i, d in enumerate(x[1:-1] if op.attrs.get("channels_last") else x[2:]):
        if not isinstance(d, int):
            out.append(None)
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(d * strides[i])
        else:
            out.append(strides[i] * (d - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - (0 if auto == "VALID" else pads[i] + pads[i + count]))
    return [_placed(op, x[0], channels, out)]


def _pool(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    if op.attrs.get("channels_last") or op.native.startswith("com.microsoft::Nhwc"):
        return [(x[0], *_window(op, x[1:-1], op.attrs["kernel_shape"]), x[-1])]
    return [(*x[:2], *_window(op, x[2:], op.attrs["kernel_shape"]))] * 2


def _global_pool(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    if op.attrs.get("channels_last"):
        return [(x[0], *(1 for _ in x[1:-1]), x[-1])]
    return [(*x[:2], *(1 for _ in x[2:]))]


# -- products -------------------------------------------------------------------------------------------


def _linear(op: Op, _: Values) -> Shapes:
    x, w = ranked(op, "x", 2), ranked(op, "w", 2)
    return [(x[1 if op.attrs.get("transA") else 0], w[0 if op.attrs.get("transB") else 1])]


def _matmul(op: Op, _: Values) -> Shapes:
    a = shape_of(op, "x", "lhs")
    if op.native == "com.microsoft::MatMulNBits":
        return [(*a[:-1], op.attrs["N"])]
    b = shape_of(op, "w", "rhs")
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


# -- others --------------------------------------------------------------------------------------------


def _recurrent(op: Op, _: Values) -> Shapes:
    x, hidden = shape_of(op, "x"), op.attrs.get("hidden_size")
    if "fused_activation_function" in op.attrs:
        return []  # TFLite's have other results
    directions = 2 if op.attrs.get("direction") == "bidirectional" else 1
    if op.attrs.get("layout"):
        batch, sequence = x[:2]
        return [(batch, sequence, directions, hidden), *[(batch, directions, hidden)] * 2]
    sequence, batch = x[:2]
    return [(sequence, directions, batch, hidden), *[(directions, batch, hidden)] * 2]


def _batch_norm(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    return [x, *[x[1:2]] * 4]


def _layer_norm(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    axis = axis_of(op, -1, len(x))
    return [x, *[(*x[:axis], *(1 for _ in x[axis:]))] * 2]


def _top_k(op: Op, values: Values) -> Shapes:
    x = shape_of(op, "x")
    k = values(op, "k") if "k" in op.uses else (op.attrs["k"],)
    axis = axis_of(op, -1, len(x))
    return [(*x[:axis], k[0] if k else None, *x[axis + 1 :])] * 2


def _one_hot(op: Op, values: Values) -> Shapes:
    x, depth = shape_of(op, "x"), values(op, "depth")
    axis = axis_of(op, -1, len(x) + 1)
    return [(*x[:axis], int(depth[0]) if depth and isinstance(depth[0], (int, float)) else None, *x[axis:])]


def _constant_of_shape(op: Op, values: Values) -> Shapes:
    shape = values(op, "x")
    if shape is None:
        return [unknown_of(op, "x")]
    return [tuple(shape)]


def _shape(op: Op, _: Values) -> Shapes:
    x = shape_of(op, "x")
    return [(len(x[op.attrs.get("start", 0) : op.attrs.get("end")]),)]


def _range(op: Op, values: Values) -> Shapes:
    start, limit, delta = (values(op, role) for role in op.uses)
    if not start or not limit or not delta or not all(isinstance(v[0], (int, float)) for v in (start, limit, delta)):
        return [(None,)]
    return [(max(0, math.ceil((limit[0] - start[0]) / delta[0])),)]


def _grid_sample(op: Op, _: Values) -> Shapes:
    x, grid = shape_of(op, "x"), shape_of(op, "grid")
    return [(*x[:2], *grid[1:-1])]


def _roi(op: Op, _: Values) -> Shapes:
    x, rois = shape_of(op, "x"), shape_of(op, "rois")
    size = op.attrs.get("pooled_shape") or (op.attrs.get("output_height", 1), op.attrs.get("output_width", 1))
    return [(rois[0], x[1], *size)]


def _attention(op: Op, _: Values) -> Shapes:
    q, v = shape_of(op, "x"), shape_of(op, "v")
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
    **dict.fromkeys(CLASSES["act"], _same), "dropout": _same_twice, "dynamic_quantize": lambda op, _: [shape_of(op, "x"), (), ()],
    **dict.fromkeys((*CLASSES["binary"], "equal", "greater", "less", "greater_or_equal", "less_or_equal", "and", "or", "xor", "mod", "where", "sum", "mean",
                     "bit_shift", "bitwise_and", "bitwise_or", "bitwise_xor"), _elementwise),
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "rms_norm": _layer_norm,
    "conv": _conv, "conv_transpose": _conv_transpose, "linear": _linear, "matmul": _matmul, "einsum": _einsum,
    "max_pool": _pool, "avg_pool": _pool, "lp_pool": _pool, **dict.fromkeys(("global_avg_pool", "global_max_pool", "global_lp_pool"), _global_pool),
    **LAYOUT_RULES,
    "lstm": _recurrent, "gru": _recurrent, "rnn": _recurrent,
    "top_k": _top_k, "one_hot": _one_hot, "constant_of_shape": _constant_of_shape, "shape": _shape, "size": lambda op, _: [()], "range": _range,
    "grid_sample": _grid_sample, "roi_align": _roi, "max_roi_pool": _roi, "attention": _attention, "if": _bodies, "loop": _bodies, "scan": _bodies,
    "random_normal": _random, "random_uniform": _random, "non_max_suppression": lambda op, _: [(None, 3)],
    "non_zero": lambda op, _: [(len(shape_of(op, "x")), None)],
}  # fmt: skip
