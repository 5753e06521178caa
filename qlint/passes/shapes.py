"""Shapes and types, propagated where the file does not tell them.

A table of functions by canonical kind, over attributes in ONNX's convention. Symbols stay symbols; what
cannot be told stays unknown. Values of shape arithmetic (Shape → Gather → Concat → Reshape) are followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qlint.graph import Dim, Model, Op, Shape, Tensor
from qlint.graph.kinds import CLASSES
from qlint.graph.order import data_flow
from qlint.passes.constants import fold, small
from qlint.readers.data import DTYPES, Literal

Shapes = list[Shape | None]


def propagate_shapes(model: Model, given: dict[str, tuple[int, ...]] | None = None) -> None:
    """Fill in shapes and dtypes. `given` are shapes of inputs, by name, that replace the file's own."""
    for tensor in model.inputs:
        if given and tensor.name in given:
            tensor.shape = given[tensor.name]
    _Walk(bool(given)).run(model)


class _Walk:
    def __init__(self, overridden: bool) -> None:
        self.overridden = overridden  # the file's own shapes may no longer hold
        self.values: dict[int, tuple[Dim, ...]] = {}  # of small integer tensors, symbols included

    def run(self, model: Model) -> None:
        for op in data_flow(model.ops):
            for body in op.bodies.values():
                self.run(body)
            fold(op)
            if op.outputs:
                self._infer(op)

    def _infer(self, op: Op) -> None:
        self._follow_values(op)
        rule = _RULES.get(op.kind, _like_first)
        try:
            shapes = rule(op, self)
        except (IndexError, TypeError, ValueError, ZeroDivisionError):
            shapes = [None]
        for number, tensor in enumerate(op.outputs):
            shape = shapes[number] if number < len(shapes) else None
            tensor.shape = shape if tensor.shape is None or (self.overridden and shape is not None) else _tighten(tensor.shape, shape)
            tensor.dtype = tensor.dtype or _dtype(op, number)

    def known(self, tensor: Tensor) -> tuple[Dim, ...] | None:
        """The values of a small integer tensor, if they can be told."""
        if id(tensor) in self.values:
            return self.values[id(tensor)]
        values = small(tensor) if tensor.dtype in ("int64", "int32") else None
        return None if values is None else tuple(values)

    def _follow_values(self, op: Op) -> None:
        """Shape arithmetic on symbols; what is all numbers becomes a constant."""
        out = op.outputs[0]
        if out.data is not None or ("x" not in op.uses and "x0" not in op.uses and "lhs" not in op.uses):
            return
        values = self._values(op)
        if values is None:
            return
        self.values[id(out)] = values
        if all(isinstance(v, int) for v in values):
            scalar = op.kind == "gather" and op.uses["indices"].tensor.shape == ()
            out.data = Literal("int64", () if scalar or op.kind == "size" else (len(values),), tuple(values))
            op.role = "constant" if op.kind not in ("shape", "size") else "shape"

    def _values(self, op: Op) -> tuple[Dim, ...] | None:
        first = next(iter(op.uses.values())).tensor
        if op.kind == "shape":
            if first.shape is None:
                return None
            start, end = op.attrs.get("start", 0), op.attrs.get("end")
            return first.shape[start:end]
        inputs = [self.known(use.tensor) for use in op.uses.values()]
        if not inputs or any(v is None for v in inputs) or all(u.tensor.data is not None for u in op.uses.values()):
            return None
        if op.kind in ("identity", "cast", "unsqueeze", "squeeze", "reshape"):
            return inputs[0]
        if op.kind == "concat":
            return tuple(v for values in inputs if values is not None for v in values)
        if op.kind == "gather" and inputs[0] is not None and inputs[1] is not None:
            return tuple(inputs[0][i] for i in inputs[1] if isinstance(i, int) and -len(inputs[0]) <= i < len(inputs[0]))
        if op.kind == "slice" and inputs[0] is not None and len(inputs) > 2 and inputs[1] and inputs[2]:
            start, end = inputs[1][0], inputs[2][0]
            return inputs[0][start:end] if isinstance(start, int) and isinstance(end, int) else None
        return None


def _tighten(own: Shape, inferred: Shape | None) -> Shape:
    """The file's shape, with numbers where it has none."""
    if inferred is None or len(inferred) != len(own):
        return own
    return tuple(b if not isinstance(a, int) and (isinstance(b, int) or a is None) else a for a, b in zip(own, inferred, strict=True))


_BOOLEAN = {"equal", "greater", "less", "greater_or_equal", "less_or_equal", "and", "or", "xor", "not", "is_nan", "is_inf"}


def _dtype(op: Op, number: int) -> str:
    if op.kind in ("shape", "size", "arg_max", "arg_min", "non_zero") or (number and op.kind in ("max_pool", "top_k")):
        return "int64"
    if op.kind in _BOOLEAN:
        return "bool"
    if op.kind == "cast":
        return DTYPES.get(op.attrs.get("to", 0), "")
    if op.kind == "quantize":
        zero_point = op.uses.get("zero_point")
        return zero_point.tensor.dtype if zero_point is not None else DTYPES.get(op.attrs.get("output_dtype", 0), "uint8")
    if op.kind == "dequantize":
        declared = DTYPES.get(op.attrs.get("output_dtype", 0), "")
        return declared or (op.uses["scale"].tensor.dtype if "scale" in op.uses else "float32")
    if op.kind == "dynamic_quantize":
        return ("uint8", "float32", "uint8")[number]
    if op.native in ("ConvInteger", "MatMulInteger"):
        return "int32"
    if "y_zero_point" in op.uses:
        return op.uses["y_zero_point"].tensor.dtype
    if "y_scale" in op.uses:
        return "uint8"
    if op.native in ("com.microsoft::MatMulIntegerToFloat", "com.microsoft::DynamicQuantizeMatMul", "com.microsoft::QGemm"):
        return "float32"
    if op.kind == "constant_of_shape":
        value = op.attrs.get("value")
        return str(value.dtype) if value is not None and hasattr(value, "dtype") else "float32"
    role = "lhs" if op.kind == "where" else "x" if "x" in op.uses else next(iter(op.uses), "")
    return op.uses[role].tensor.dtype if role in op.uses and op.kind != "custom" else ""


# -- rules by kind: the shapes of the outputs ---------------------------------------------------------


def _shape_of(op: Op, *roles: str) -> Shape | None:
    for role in roles:
        if role in op.uses:
            return op.uses[role].tensor.shape
    return None


def _like_first(op: Op, _: _Walk) -> Shapes:
    """Element-wise ops of one input; anything unknown has no shape."""
    if op.kind in ("custom", "if", "loop", "scan", "non_zero", "unique", "non_max_suppression", "einsum", "compress", "optional"):
        return [None]
    return [_shape_of(op, "x")]


def broadcast(*shapes: Shape | None) -> Shape | None:
    """numpy's rule, with symbols: a number above 1 wins over a symbol, equal symbols stay."""
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    rank = max((len(s) for s in known), default=0)
    out: list[Dim] = []
    for i in range(rank):
        dims = [s[i - rank + len(s)] for s in known if i - rank + len(s) >= 0]
        numbers = [d for d in dims if isinstance(d, int) and d != 1]
        symbols = {d for d in dims if not isinstance(d, int)}
        out.append(numbers[0] if numbers else 1 if not symbols else symbols.pop() if len(symbols) == 1 else None)
    return tuple(out)


def _elementwise(op: Op, _: _Walk) -> Shapes:
    return [broadcast(*(u.tensor.shape for r, u in op.uses.items() if not r.endswith(("_scale", "_zero_point"))))]


def _window(op: Op, spatial: tuple[Dim, ...], kernel: list[int]) -> list[Dim]:
    count = len(spatial)
    strides = op.attrs.get("strides") or [1] * count
    dilations = op.attrs.get("dilations") or [1] * count
    pads = op.attrs.get("pads") or [0] * 2 * count
    auto = op.attrs.get("auto_pad", "NOTSET")
    out: list[Dim] = []
    for i, size in enumerate(spatial):
        if not isinstance(size, int):
            out.append(None)
            continue
        extent = dilations[i] * (kernel[i] - 1) + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            out.append(-(-size // strides[i]))
            continue
        padded = size + (0 if auto == "VALID" else pads[i] + pads[i + count]) - extent
        ceil = op.attrs.get("ceil_mode")
        steps = -(-padded // strides[i]) if ceil else padded // strides[i]
        if ceil and steps * strides[i] >= size + pads[i]:
            steps -= 1  # a window must not start in the padding behind the input
        out.append(steps + 1)
    return out


def _conv(op: Op, _: _Walk) -> Shapes:
    x, w = _shape_of(op, "x"), _shape_of(op, "w")
    if x is None or w is None:
        return [None]
    kernel = list(op.attrs.get("kernel_shape") or [d for d in w[2:] if isinstance(d, int)])
    if len(kernel) != len(w) - 2:
        return [(x[0], w[0] if op.kind == "conv" else None, *(None for _ in x[2:]))]
    if op.kind == "conv":
        return [(x[0], w[0], *_window(op, x[2:], kernel))]
    count = len(kernel)
    strides, dilations = op.attrs.get("strides") or [1] * count, op.attrs.get("dilations") or [1] * count
    pads, extra = op.attrs.get("pads") or [0] * 2 * count, op.attrs.get("output_padding") or [0] * count
    channels = w[1] * op.attrs.get("group", 1) if isinstance(w[1], int) else None
    if op.attrs.get("output_shape"):
        return [(x[0], channels, *op.attrs["output_shape"])]
    same = op.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    out = [
        None if not isinstance(d, int) else d * strides[i] if same
        else strides[i] * (d - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[i + count]
        for i, d in enumerate(x[2:])
    ]  # fmt: skip
    return [(x[0], channels, *out)]


def _pool(op: Op, _: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]
    if op.kind.startswith("global"):
        return [(*x[:2], *(1 for _ in x[2:]))]
    shape = (*x[:2], *_window(op, x[2:], op.attrs["kernel_shape"]))
    return [shape, shape]


def _linear(op: Op, _: _Walk) -> Shapes:
    x, w = _shape_of(op, "x"), _shape_of(op, "w")
    if x is None or w is None:
        return [None]
    return [(x[1] if op.attrs.get("transA") else x[0], w[0] if op.attrs.get("transB") else w[1])]


def _matmul(op: Op, _: _Walk) -> Shapes:
    a, b = _shape_of(op, "x", "lhs"), _shape_of(op, "w", "rhs")
    if a is None:
        return [None]
    if op.native == "com.microsoft::MatMulNBits":
        return [(*a[:-1], op.attrs.get("N"))]
    if b is None:
        return [None]
    if len(a) == 1:
        return [(*b[:-2], b[-1]) if len(b) > 1 else ()]
    if len(b) == 1:
        return [a[:-1]]
    batch = broadcast(a[:-2], b[:-2])
    return [None if batch is None else (*batch, a[-2], b[-1])]


def _axes(op: Op, walk: _Walk, rank: int) -> list[int] | None:
    axes = op.attrs.get("axes")
    if axes is None and "axes" in op.uses:
        known = walk.known(op.uses["axes"].tensor)
        if known is None:
            return None
        axes = [a for a in known if isinstance(a, int)]
    return None if axes is None else [a % rank if rank else 0 for a in axes]


def _reshape(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    wanted = walk.known(op.uses["shape"].tensor) if "shape" in op.uses else op.attrs.get("shape")
    if wanted is None:
        rank = op.uses["shape"].tensor.shape if "shape" in op.uses else None
        return [(None,) * rank[0] if rank and isinstance(rank[0], int) else None]
    out: list[Dim] = [
        (x[i] if x is not None and i < len(x) else None) if d == 0 and not op.attrs.get("allowzero") else d for i, d in enumerate(wanted)
    ]
    if -1 in out:
        at = out.index(-1)
        rest: list[Dim] = [d for d in out if d != -1]
        size: list[Dim] = list(x) if x is not None else [None]
        for d in list(rest):  # symbols on both sides cancel
            if not isinstance(d, int) and d is not None and d in size:
                rest.remove(d)
                size.remove(d)
        numeric = all(isinstance(d, int) for d in rest) and all(isinstance(d, int) for d in size)
        product = math.prod(d for d in rest if isinstance(d, int))
        out[at] = math.prod(d for d in size if isinstance(d, int)) // product if numeric and product else None
        if out[at] is None and len(size) == 1 and not rest and size[0] is not None:
            out[at] = size[0]
    return [tuple(out)]


def _flatten(op: Op, _: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [(None, None)]
    axis = op.attrs.get("axis", 1) % (len(x) + 1) if x else 0

    def product(dims: Shape) -> Dim:
        if all(isinstance(d, int) for d in dims):
            return math.prod(d for d in dims if isinstance(d, int))
        return dims[0] if len(dims) == 1 else None

    return [(product(x[:axis]), product(x[axis:]))]


def _squeeze(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]
    axes = _axes(op, walk, len(x))
    if axes is None and ("axes" in op.uses or any(not isinstance(d, int) for d in x)):
        return [None]
    return [tuple(d for i, d in enumerate(x) if (i not in axes if axes is not None else d != 1))]


def _unsqueeze(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    given = op.attrs.get("axes") or (walk.known(op.uses["axes"].tensor) if "axes" in op.uses else None)
    if x is None or given is None:
        return [None]
    rank = len(x) + len(given)
    at = {a % rank for a in given if isinstance(a, int)}
    rest = iter(x)
    return [tuple(1 if i in at else next(rest) for i in range(rank))]


def _transpose(op: Op, _: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]
    perm = op.attrs.get("perm") or list(range(len(x)))[::-1]
    return [tuple(x[p] for p in perm)]


def _concat(op: Op, _: _Walk) -> Shapes:
    shapes = [u.tensor.shape for r, u in op.uses.items() if r[:1] == "x" and r[1:].isdigit()]
    if not shapes or any(s is None for s in shapes):
        return [None]
    known = [s for s in shapes if s is not None]
    axis = op.attrs.get("axis", 0) % len(known[0])
    out = [next((s[i] for s in known if isinstance(s[i], int)), known[0][i]) for i in range(len(known[0]))]
    sizes = [s[axis] for s in known]
    out[axis] = sum(d for d in sizes if isinstance(d, int)) if all(isinstance(d, int) for d in sizes) else None
    return [tuple(out)]


def _split(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None] * len(op.outputs)
    axis = op.attrs.get("axis", 0) % len(x)
    parts = op.attrs.get("split") or (walk.known(op.uses["split"].tensor) if "split" in op.uses else None)
    size = x[axis]
    if parts is None and isinstance(size, int):
        each = -(-size // len(op.outputs))
        parts = [min(each, size - i * each) for i in range(len(op.outputs))]
    return [(*x[:axis], parts[i] if parts is not None else None, *x[axis + 1 :]) for i in range(len(op.outputs))]


def _slice(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]

    def values(name: str) -> Any:
        return op.attrs.get(name) or (walk.known(op.uses[name].tensor) if name in op.uses else None)

    starts, ends = values("starts"), values("ends")
    if starts is None or ends is None:
        return [(None,) * len(x)]
    axes = values("axes") or range(len(starts))
    steps = values("steps") or [1] * len(starts)
    out: list[Dim] = list(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        size = x[axis]
        numbers = isinstance(size, int) and isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
        out[axis] = len(range(*slice(start, end, step).indices(size))) if numbers else None
    return [tuple(out)]


def _gather(op: Op, _: _Walk) -> Shapes:
    x, indices = _shape_of(op, "x"), _shape_of(op, "indices")
    if x is None or indices is None:
        return [None]
    if op.kind == "gather_elements":
        return [indices]
    if op.kind == "gather_nd":
        last = indices[-1]
        return [(*indices[:-1], *x[last + op.attrs.get("batch_dims", 0) :]) if isinstance(last, int) else None]
    axis = op.attrs.get("axis", 0) % len(x)
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def _pad(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    pads = op.attrs.get("pads") or (walk.known(op.uses["pads"].tensor) if "pads" in op.uses else None)
    if x is None or pads is None:
        return [None if x is None else (None,) * len(x)]
    axes = _axes(op, walk, len(x)) or list(range(len(x)))
    out: list[Dim] = list(x)
    for i, axis in enumerate(axes):
        size, before, after = x[axis], pads[i], pads[i + len(axes)]
        out[axis] = size + before + after if isinstance(size, int) and isinstance(before, int) and isinstance(after, int) else None
    return [tuple(out)]


def _resize(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]
    axes = [a % len(x) for a in op.attrs.get("axes") or range(len(x))]
    out: list[Dim] = list(x)
    sizes = walk.known(op.uses["sizes"].tensor) if "sizes" in op.uses else None
    scales = small(op.uses["scales"].tensor) if "scales" in op.uses else op.attrs.get("scales")
    if not sizes and not scales:
        return [(None,) * len(x)]
    for i, axis in enumerate(axes):
        size = x[axis]
        if sizes:
            out[axis] = sizes[i]
        elif scales:
            out[axis] = math.floor(size * scales[i]) if isinstance(size, int) else size if scales[i] == 1 else None
    return [tuple(out)]


def _reduce(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]
    keep = op.attrs.get("keepdims", 1)
    axes: list[int] | None
    if op.kind in ("arg_max", "arg_min"):
        axes = [op.attrs.get("axis", 0) % len(x)]
    else:
        axes = _axes(op, walk, len(x))
        if axes is None and "axes" in op.uses:
            return [(None,) * len(x) if keep else None]
        axes = axes or ([] if op.attrs.get("noop_with_empty_axes") else list(range(len(x))))
    return [tuple(1 if i in axes else d for i, d in enumerate(x) if keep or i not in axes)]


def _expand(op: Op, walk: _Walk) -> Shapes:
    shape = walk.known(op.uses["shape"].tensor) if "shape" in op.uses else None
    return [broadcast(_shape_of(op, "x"), shape)]


def _tile(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    repeats = walk.known(op.uses["repeats"].tensor) if "repeats" in op.uses else None
    if x is None or repeats is None:
        return [None if x is None else (None,) * len(x)]
    return [tuple(d * r if isinstance(d, int) and isinstance(r, int) else d if r == 1 else None for d, r in zip(x, repeats, strict=False))]


def _blocks(op: Op, _: _Walk) -> Shapes:
    x, b = _shape_of(op, "x"), op.attrs.get("blocksize", 1)
    if x is None or len(x) != 4:
        return [None]
    n, c, h, w = x
    if op.kind == "depth_to_space":
        return [(n, c // b**2 if isinstance(c, int) else None, *(d * b if isinstance(d, int) else None for d in (h, w)))]
    return [(n, c * b**2 if isinstance(c, int) else None, *(d // b if isinstance(d, int) else None for d in (h, w)))]


def _recurrent(op: Op, _: _Walk) -> Shapes:
    x, hidden = _shape_of(op, "x"), op.attrs.get("hidden_size")
    if x is None:
        return [None]
    directions = 2 if op.attrs.get("direction") == "bidirectional" else 1
    sequence, batch = (x[1], x[0]) if op.attrs.get("layout") else (x[0], x[1])
    last = (directions, batch, hidden)
    return [(sequence, directions, batch, hidden), last, last]


def _top_k(op: Op, walk: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if x is None:
        return [None]
    k = walk.known(op.uses["k"].tensor) if "k" in op.uses else (op.attrs.get("k"),)
    axis = op.attrs.get("axis", -1) % len(x)
    shape = (*x[:axis], k[0] if k else None, *x[axis + 1 :])
    return [shape, shape]


def _from_shape_input(op: Op, walk: _Walk) -> Shapes:
    return [walk.known(op.uses["x"].tensor)]


def _shape_op(op: Op, _: _Walk) -> Shapes:
    x = _shape_of(op, "x")
    if op.kind == "size":
        return [()]
    return [None if x is None else (len(x[op.attrs.get("start", 0) : op.attrs.get("end")]),)]


def _bodies(op: Op, _: _Walk) -> Shapes:
    """If: what both branches agree on. Loops: unknown."""
    if op.kind != "if":
        return [None]
    branches = [body.outputs for body in op.bodies.values()]
    out: Shapes = []
    for outputs in zip(*branches, strict=False):
        shapes = [use.tensor.shape for use in outputs]
        ranks = {None if s is None else len(s) for s in shapes}
        same = None if None in ranks or len(ranks) != 1 else tuple(d[0] if len(set(d)) == 1 else None for d in zip(*(s for s in shapes if s is not None), strict=True))
        out.append(same)
    return out


_RULES: dict[str, Callable[[Op, _Walk], Shapes]] = {
    "conv": _conv, "conv_transpose": _conv, "linear": _linear, "matmul": _matmul, "reshape": _reshape, "flatten": _flatten,
    "squeeze": _squeeze, "unsqueeze": _unsqueeze, "transpose": _transpose, "concat": _concat, "split": _split, "slice": _slice,
    "gather": _gather, "gather_elements": _gather, "gather_nd": _gather, "pad": _pad, "resize": _resize, "upsample": _resize,
    "expand": _expand, "tile": _tile, "depth_to_space": _blocks, "space_to_depth": _blocks, "lstm": _recurrent, "gru": _recurrent,
    "rnn": _recurrent, "top_k": _top_k, "constant_of_shape": _from_shape_input, "shape": _shape_op, "size": _shape_op,
    "if": _bodies, "loop": _bodies, "scan": _bodies, "where": _elementwise, "sum": _elementwise, "mean": _elementwise,
    "constant": lambda op, _: [op.outputs[0].shape], "range": lambda _op, _: [(None,)],
    **dict.fromkeys(CLASSES["pool"], _pool),
    **dict.fromkeys(CLASSES["reduce"], _reduce),
    **dict.fromkeys((*CLASSES["binary"], "equal", "greater", "less", "greater_or_equal", "less_or_equal", "and", "or", "xor", "mod"), _elementwise),
}  # fmt: skip
