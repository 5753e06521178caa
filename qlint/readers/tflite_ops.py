"""TFLite operators: canonical kinds, role names of inputs, and their options in the convention of ONNX's attributes.

The operands of each operator are documented in tflite/converter/ir/tfl_ops.td of google-ai-edge/LiteRT.
An op keeps its options under their own names; what ONNX calls otherwise stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qlint.graph import Shape
from qlint.readers.onnx_ops import KIND_ROLES

# Operators whose canonical kind is not their own name in small letters.
KINDS: dict[str, str] = {
    "CONV_2D": "conv", "DEPTHWISE_CONV_2D": "conv", "CONV_3D": "conv", "TRANSPOSE_CONV": "conv_transpose", "CONV_3D_TRANSPOSE": "conv_transpose",
    "FULLY_CONNECTED": "linear", "BATCH_MATMUL": "matmul", "AVERAGE_POOL_2D": "avg_pool", "MAX_POOL_2D": "max_pool", "L2_POOL_2D": "lp_pool",
    "CONCATENATION": "concat", "PACK": "stack", "UNPACK": "unstack", "ADD_N": "sum", "LOGISTIC": "sigmoid", "RELU6": "clip", "RELU_N1_TO_1": "clip",
    "RELU_0_TO_1": "clip", "L2_NORMALIZATION": "lp_norm", "LOCAL_RESPONSE_NORMALIZATION": "lrn", "RESIZE_BILINEAR": "resize",
    "RESIZE_NEAREST_NEIGHBOR": "resize", "EMBEDDING_LOOKUP": "gather", "PADV2": "pad", "MIRROR_PAD": "pad", "SPLIT_V": "split", "STRIDED_SLICE": "slice",
    "MEAN": "reduce_mean", "SUM": "reduce_sum", "EXPAND_DIMS": "unsqueeze", "TOPK_V2": "top_k", "MAXIMUM": "max", "MINIMUM": "min", "SELECT": "where",
    "SELECT_V2": "where", "WHERE": "argwhere", "GREATER_EQUAL": "greater_or_equal", "LESS_EQUAL": "less_or_equal", "LOGICAL_AND": "and",
    "LOGICAL_OR": "or", "LOGICAL_NOT": "not", "FLOOR_MOD": "mod", "REVERSE_V2": "reverse", "CUMSUM": "cum_sum", "BROADCAST_TO": "expand",
    "BATCH_TO_SPACE_ND": "batch_to_space", "SPACE_TO_BATCH_ND": "space_to_batch", "LSTM": "lstm", "UNIDIRECTIONAL_SEQUENCE_LSTM": "lstm",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "lstm", "UNIDIRECTIONAL_SEQUENCE_RNN": "rnn", "BIDIRECTIONAL_SEQUENCE_RNN": "rnn",
    "RANDOM_STANDARD_NORMAL": "random_normal", "BITWISE_XOR": "bitwise_xor",
}  # fmt: skip
_GATES = "ifco"
_LSTM = [
    "x", *(f"w_{g}" for g in _GATES), *(f"r_{g}" for g in _GATES), "p_i", "p_f", "p_o", *(f"b_{g}" for g in _GATES), "w_proj", "b_proj",
    "initial_h", "initial_c", *(f"gamma_{g}" for g in _GATES),
]  # fmt: skip
_BASIC_LSTM = ["x", "initial_h", "w", "b", "initial_c"]
_RNN = ["x", "w", "r", "b", "initial_h"]
_BOTH = [[f"{way}_{role}" for role in roles] for roles in (_LSTM[1:18], _RNN[1:]) for way in ("fw", "bw")]
_BINARY = ["lhs", "rhs"]
_AXES = ["x", "axes"]
# Role names by operator, then as in ONNX by kind; operands without a name are x, x1, x2 ...
ROLES: dict[str, list[str]] = {
    "EMBEDDING_LOOKUP": ["indices", "x"], "EMBEDDING_LOOKUP_SPARSE": ["ids", "indices", "dense_shape", "weights", "x"], "HASHTABLE_LOOKUP": ["lookup", "keys", "x"],
    "LSH_PROJECTION": ["hash", "x", "weights"], "RNN": _RNN, "UNIDIRECTIONAL_SEQUENCE_RNN": _RNN,
    "BIDIRECTIONAL_SEQUENCE_RNN": ["x", *_BOTH[2], *_BOTH[3], "aux", "fw_w_aux", "bw_w_aux"], "LSTM": _LSTM, "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
    "BIDIRECTIONAL_SEQUENCE_LSTM": [
        "x", *_BOTH[0], *_BOTH[1], "fw_initial_h", "fw_initial_c", "bw_initial_h", "bw_initial_c", "aux",
        *(f"fw_w_aux_{g}" for g in _GATES), *(f"bw_w_aux_{g}" for g in _GATES),
    ],
    "SVDF": ["x", "w_feature", "w_time", "b", "state"], "TRANSPOSE_CONV": ["output_shape", "w", "x", "b"], "CONV_3D_TRANSPOSE": ["output_shape", "w", "x", "b"],
    "RESIZE_BILINEAR": ["x", "sizes"], "RESIZE_NEAREST_NEIGHBOR": ["x", "sizes"], "SPACE_TO_BATCH_ND": ["x", "block_shape", "paddings"],
    "BATCH_TO_SPACE_ND": ["x", "block_shape", "crops"], "TRANSPOSE": ["x", "perm"],
    **dict.fromkeys("MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL REVERSE_V2".split(), _AXES),
    "STRIDED_SLICE": ["x", "begin", "end", "strides"], "SLICE": ["x", "begin", "size"], "TOPK_V2": ["x", "k"], "SPLIT": ["axis", "x"],
    "SPLIT_V": ["x", "split", "axis"], "ARG_MAX": ["x", "axis"], "ARG_MIN": ["x", "axis"], "PAD": ["x", "paddings"], "PADV2": ["x", "paddings", "value"],
    "MIRROR_PAD": ["x", "paddings"], "SPARSE_TO_DENSE": ["indices", "output_shape", "x", "default"], "TILE": ["x", "repeats"], "EXPAND_DIMS": ["x", "axis"],
    "ONE_HOT": ["x", "depth", "on", "off"], "FILL": ["dims", "value"], "RANGE": ["start", "limit", "delta"], "REVERSE_SEQUENCE": ["x", "sequence_lens"],
    "MATRIX_SET_DIAG": ["x", "diagonal"], "SCATTER_ND": ["indices", "updates", "shape"], "SEGMENT_SUM": ["x", "segment_ids"], "CUMSUM": ["x", "axis"],
    "NON_MAX_SUPPRESSION_V4": ["boxes", "scores", "max_output_size", "iou_threshold", "score_threshold"],
    "NON_MAX_SUPPRESSION_V5": ["boxes", "scores", "max_output_size", "iou_threshold", "score_threshold", "soft_nms_sigma"],
    "BROADCAST_TO": ["x", "shape"], "RFFT2D": ["x", "fft_length"], "HASHTABLE_FIND": ["table", "keys", "default"], "HASHTABLE_IMPORT": ["table", "keys", "values"],
    "HASHTABLE_SIZE": ["table"], "READ_VARIABLE": ["resource"], "ASSIGN_VARIABLE": ["resource", "x"], "RANDOM_STANDARD_NORMAL": ["shape"],
    "RANDOM_UNIFORM": ["shape"], "MULTINOMIAL": ["x", "num_samples"], "DYNAMIC_UPDATE_SLICE": ["x", "update", "starts"],
    **{f"UNSORTED_SEGMENT_{name}": ["x", "segment_ids", "num_segments"] for name in ("PROD", "MAX", "MIN", "SUM")}, "DILATE": ["x", "dilations", "value"],
    **dict.fromkeys("MAXIMUM MINIMUM NOT_EQUAL SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD ATAN2 BROADCAST_ARGS BITWISE_XOR RIGHT_SHIFT".split(), _BINARY),
}  # fmt: skip
_VARIADIC: dict[str, tuple[str, ...]] = {**dict.fromkeys("CONCATENATION PACK ADD_N WHILE CALL".split(), ()), "IF": ("cond",)}  # before x0, x1 ...
# How the axes of a weight lie: O output channels, I input channels (of one group), D, H, W the kernel.
WEIGHT_LAYOUTS = {
    "CONV_2D": "OHWI", "DEPTHWISE_CONV_2D": "IHWO", "TRANSPOSE_CONV": "OHWI", "CONV_3D": "DHWIO", "CONV_3D_TRANSPOSE": "DHWOI",
}  # fmt: skip
# Operators whose `fused_activation_function` acts on their output; in the recurrent ones it is the cell's own.
FUSING = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D",
    "CONCATENATION", "ADD", "SUB", "MUL", "DIV", "SVDF",
}  # fmt: skip
# What the activations are, fused or operators of their own: kind and attributes.
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "RELU": ("relu", {}), "RELU6": ("clip", {"min": 0.0, "max": 6.0}), "RELU_N1_TO_1": ("clip", {"min": -1.0, "max": 1.0}),
    "RELU_0_TO_1": ("clip", {"min": 0.0, "max": 1.0}), "TANH": ("tanh", {}), "SIGN_BIT": ("sign_bit", {}),
}  # fmt: skip
# Weight types with which an operator on float activations quantizes them on the fly, in integer: the kernels' `is_hybrid`.
HYBRID: dict[str, tuple[str, ...]] = {
    "CONV_2D": ("int8", "uint8", "int4"), "DEPTHWISE_CONV_2D": ("int8",), "TRANSPOSE_CONV": ("int8",), "BATCH_MATMUL": ("int8",),
    "FULLY_CONNECTED": ("int8", "uint8", "int4", "int2"),
    **dict.fromkeys("SVDF RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN LSTM UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM".split(),
                    ("int8", "uint8")),
}  # fmt: skip
# Custom operators that hold a network which another compiler has already lowered, and for what.
COMPILED = {
    "ethos-u": "Arm Ethos-U", "edgetpu-custom-op": "Google Edge TPU", "NeutronGraph": "NXP eIQ Neutron", "DISPATCH_OP": "an NPU",
}  # fmt: skip

Values = Callable[[str], Sequence[Any] | None]  # the elements of a small constant input, by role
Attrs = dict[str, Any]


def kind_of(native: str) -> str:
    """The canonical kind of a builtin operator."""
    return KINDS.get(native) or native.lower()


def roles(native: str, kind: str, count: int) -> list[str]:
    """One role name for each of `count` inputs."""
    named = _BASIC_LSTM if native == "LSTM" and count == len(_BASIC_LSTM) else ROLES.get(native) or KIND_ROLES.get(kind) or ["x"]
    if native in _VARIADIC:
        before = _VARIADIC[native]
        return [*before[:count], *(f"x{i}" for i in range(count - len(before)))]
    return [named[slot] if slot < len(named) else f"x{slot}" for slot in range(count)]


# -- options ------------------------------------------------------------------------------------------


def translated(native: str, options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    """What ONNX would say of an operator, from its options and constant inputs; `shapes` are those of its inputs, by role."""
    if native in ACTIVATIONS:
        return dict(ACTIVATIONS[native][1])
    rule = _RULES.get(native)
    return {} if rule is None else rule(options, shapes, values)


def _window(options: Attrs, spatial: Sequence[Any], kernel: Sequence[Any]) -> Attrs:
    """Strides, dilations and padding of a window; `SAME` puts the odd element behind, as SAME_UPPER does."""
    letters = "dhw"[-len(kernel) :]
    strides = [options.get(f"stride_{letter}", 1) for letter in letters]
    dilations = [options.get(f"dilation_{letter}_factor", 1) for letter in letters]
    found: Attrs = {"strides": strides, "dilations": dilations, "kernel_shape": list(kernel), "channels_last": True, "auto_pad": "NOTSET"}
    if options.get("padding") == "VALID":
        return {**found, "pads": [0] * 2 * len(kernel)}
    if options.get("padding") != "SAME" or not all(isinstance(d, int) for d in (*spatial, *kernel)) or min(strides, default=0) < 1:
        return {**found, "auto_pad": "SAME_UPPER"}
    total = [max((-(-d // s) - 1) * s + (k - 1) * f + 1 - d, 0) for d, s, k, f in zip(spatial, strides, kernel, dilations, strict=True)]
    return {**found, "pads": [*(t // 2 for t in total), *(t - t // 2 for t in total)]}


def _weighted(native: str) -> Callable[[Attrs, dict[str, Shape | None], Values], Attrs]:
    layout = WEIGHT_LAYOUTS[native]
    spatial = [layout.index(letter) for letter in "DHW" if letter in layout]

    def rule(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
        w, x = shapes.get("w"), shapes.get("x")
        rank = len(layout)
        w = w if w is not None and len(w) == rank else (None,) * rank
        x = x if x is not None and len(x) == rank else (None,) * rank
        found: Attrs = {"weight_layout": layout, "group": 1}
        kernel = [w[axis] for axis in spatial]
        if "TRANSPOSE" in native:
            size = values("output_shape")
            out = tuple(size)[1:-1] if size is not None and len(size) == rank else (None,) * (rank - 2)
            found |= _window(options, out, kernel)  # the forward convolution, whose input is the output
            return found | _output_padding(found, x[1:-1], out)
        of_group, channels = w[layout.index("I")], x[-1]
        if native == "DEPTHWISE_CONV_2D":
            found["group"] = channels
        elif isinstance(of_group, int) and isinstance(channels, int) and of_group and channels % of_group == 0:
            found["group"] = channels // of_group
        return found | _window(options, x[1:-1], kernel)

    return rule


def _output_padding(window: Attrs, spatial: Sequence[Any], out: Sequence[Any]) -> Attrs:
    """What the output of a transposed convolution has behind the last place that its kernel reaches."""
    kernel, pads, count = window["kernel_shape"], window.get("pads"), len(out)
    if pads is None or not all(isinstance(d, int) for d in (*spatial, *out, *kernel)):
        return {}
    reach = [s * (d - 1) + (k - 1) * f + 1 for s, d, k, f in zip(window["strides"], spatial, kernel, window["dilations"], strict=True)]
    return {"output_padding": [out[i] - reach[i] + pads[i] + pads[i + count] for i in range(count)]}


def _pool(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    x = shapes.get("x")
    spatial = x[1:3] if x is not None and len(x) == 4 else (None, None)
    return {**_window(options, spatial, (options.get("filter_height", 0), options.get("filter_width", 0))), "count_include_pad": 0, "ceil_mode": 0, "p": 2}


def _resize(mode: str) -> Callable[[Attrs, dict[str, Shape | None], Values], Attrs]:
    def rule(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
        how = "align_corners" if options.get("align_corners") else "half_pixel" if options.get("half_pixel_centers") else "asymmetric"
        rounding = "floor" if how == "asymmetric" else "round_prefer_ceil"
        return {"mode": mode, "axes": [1, 2], "coordinate_transformation_mode": how, "nearest_mode": rounding}

    return rule


def _pad(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    mode = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}.get(options.get("mode", ""), "constant")
    pairs = values("paddings")
    return {"mode": mode} if pairs is None else {"mode": mode, "pads": [*pairs[::2], *pairs[1::2]]}


_END = (1 << 31) - 1


def _slice(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    begin, size = values("begin"), values("size")
    if begin is None or size is None or len(begin) != len(size):
        return {}
    ends = [_END if s == -1 else b + s for b, s in zip(begin, size, strict=True)]
    return {"starts": list(begin), "ends": ends, "steps": [1] * len(ends), "axes": list(range(len(ends)))}


def _strided_slice(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    """Masks put into numbers: an end that is left open, an axis of which one element is taken. New axes and ellipses are not."""
    begin, end, strides = values("begin"), values("end"), values("strides")
    if begin is None or end is None or strides is None or not len(begin) == len(end) == len(strides):
        return {}
    if options.get("ellipsis_mask") or options.get("new_axis_mask"):
        return {}
    starts, ends = [], []
    for i, (b, e, step) in enumerate(zip(begin, end, strides, strict=True)):
        e = b + e if options.get("offset") else e
        if options.get("shrink_axis_mask", 0) >> i & 1:
            starts.append(b)
            ends.append(b + 1 if b != -1 else _END)
            continue
        starts.append((0 if step > 0 else _END) if options.get("begin_mask", 0) >> i & 1 else b)
        ends.append((_END if step > 0 else -_END - 1) if options.get("end_mask", 0) >> i & 1 else e)
    return {"starts": starts, "ends": ends, "steps": list(strides), "axes": list(range(len(starts)))}


def _axis(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    """An axis that is an input; None if it is not constant."""
    axis = values("axis")
    return {"axis": axis[0] if axis else None}


def _keepdims(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    axes = values("axes")
    return {"keepdims": int(bool(options.get("keep_dims"))), **({} if axes is None else {"axes": list(axes)})}


def _squeeze(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    return {"axes": list(options["squeeze_dims"])} if options.get("squeeze_dims") else {}


def _unsqueeze(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    axis = values("axis")
    return {"axes": list(axis)} if axis else {}


def _perm(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    perm = values("perm")
    return {} if perm is None else {"perm": list(perm)}


def _reshape(options: Attrs, shapes: dict[str, Shape | None], values: Values) -> Attrs:
    new = options.get("new_shape")
    return {"allowzero": 1} if new is None or "shape" in shapes else {"allowzero": 1, "shape": list(new)}


_RULES: dict[str, Callable[[Attrs, dict[str, Shape | None], Values], Attrs]] = {
    **{native: _weighted(native) for native in WEIGHT_LAYOUTS}, **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _pool),
    "FULLY_CONNECTED": lambda *_: {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0},
    "BATCH_MATMUL": lambda options, *_: {"transA": int(bool(options.get("adj_x"))), "transB": int(bool(options.get("adj_y")))},
    "RESIZE_BILINEAR": _resize("linear"), "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"), "PAD": _pad, "PADV2": _pad, "MIRROR_PAD": _pad,
    "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "SPLIT": lambda options, *rest: {**_axis(options, *rest), "num_outputs": options.get("num_splits", 0)}, "SPLIT_V": _axis, "CUMSUM": _axis,
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), lambda options, shapes, values: {**_axis(options, shapes, values), "keepdims": 0}),
    **dict.fromkeys("MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL".split(), _keepdims),
    "SQUEEZE": _squeeze, "EXPAND_DIMS": _unsqueeze, "TRANSPOSE": _perm, "RESHAPE": _reshape,
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), lambda options, *_: {"blocksize": options.get("block_size", 0), "channels_last": True, "mode": "DCR"}),
    "EMBEDDING_LOOKUP": lambda *_: {"axis": 0}, "SOFTMAX": lambda *_: {"axis": -1}, "LOG_SOFTMAX": lambda *_: {"axis": -1},
    "L2_NORMALIZATION": lambda *_: {"axis": -1, "p": 2}, "GELU": lambda options, *_: {"approximate": "tanh" if options.get("approximate") else "none"},
    "LOCAL_RESPONSE_NORMALIZATION": lambda options, *_: {"size": 2 * options.get("radius", 0) + 1, "channels_last": True},
}  # fmt: skip
