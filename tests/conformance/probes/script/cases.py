"""Operators in two spellings: on floats, to be followed by fake quantizers, and on quantized tensors."""

from __future__ import annotations

from dataclasses import dataclass

ATEN, OPS = "torch.ops.aten", "torch.ops.quantized"
IMAGE, ROWS, TOKENS, SIGNAL, VOLUME = (1, 8, 6, 6), (2, 16), (1, 5, 8), (1, 8, 9), (1, 4, 4, 4, 4)


@dataclass(frozen=True)
class Case:
    """`plain` is the operator on `{x}` (and `{y}`); `packed` the one of the `quantized` namespace with its grid `{s}, {z}`."""

    key: str
    shape: tuple[int, ...]
    plain: str
    packed: str = ""
    core: bool = False  # takes part in every factor


def _case(key: str, shape: tuple[int, ...], plain: str, packed: str = "", core: bool = False) -> Case:
    return Case(key, shape, f"{ATEN}.{plain}", f"{OPS}.{packed}" if packed else "", core)


UNARY = (
    _case("relu", IMAGE, "relu({x})", core=True), _case("relu6", IMAGE, "hardtanh({x}, 0.0, 6.0)", "relu6({x}, False)"), _case("hardtanh", IMAGE, "hardtanh({x}, -1.0, 1.0)"),
    _case("clamp", IMAGE, "clamp({x}, -0.5, 0.5)"), _case("clamp-min", IMAGE, "clamp_min({x}, 0.25)"), _case("leaky-relu", IMAGE, "leaky_relu({x}, 0.1)", "leaky_relu({x}, 0.1, False, {s}, {z})"),
    _case("elu", IMAGE, "elu({x}, 1.0)", "elu({x}, {s}, {z}, 1.0)"), _case("celu", IMAGE, "celu({x}, 1.0)", "celu({x}, {s}, {z}, 1.0)"),
    _case("hardswish", IMAGE, "hardswish({x})", "hardswish({x}, {s}, {z})", True), _case("sigmoid", IMAGE, "sigmoid({x})", "sigmoid({x}, {s}, {z})", True),
    _case("hardsigmoid", IMAGE, "hardsigmoid({x})"), _case("tanh", IMAGE, "tanh({x})", core=True), _case("silu", IMAGE, "silu({x})"), _case("gelu", IMAGE, "gelu({x})"),
    _case("mish", IMAGE, "mish({x})"), _case("selu", IMAGE, "selu({x})"), _case("softplus", IMAGE, "softplus({x})"), _case("threshold", IMAGE, "threshold({x}, 0.0, 0.0)"),
    _case("softmax", ROWS, "softmax({x}, 1)", "softmax({x}, 1, {s}, {z})", True), _case("softmax-channels", IMAGE, "softmax({x}, 1)", "softmax({x}, 1, {s}, {z})"),
    _case("log-softmax", ROWS, "log_softmax({x}, 1)"), _case("exp", ROWS, "exp({x})"), _case("sqrt", ROWS, "sqrt({x})"), _case("abs", ROWS, "abs({x})"), _case("neg", ROWS, "neg({x})"),
    _case("pow", ROWS, "pow({x}, 2.0)"), _case("erf", ROWS, "erf({x})"), _case("add-number", IMAGE, "add({x}, 0.5)", "add_scalar({x}, 0.5)"),
    _case("mul-number", IMAGE, "mul({x}, 0.5)", "mul_scalar({x}, 0.5)"), _case("div-number", IMAGE, "div({x}, 2.0)"), _case("sub-number", IMAGE, "sub({x}, 0.5)"),
    _case("max-pool", IMAGE, "max_pool2d({x}, [2, 2], [2, 2])", core=True), _case("max-pool-1d", SIGNAL, "max_pool1d({x}, [3], [3])"), _case("max-pool-3d", VOLUME, "max_pool3d({x}, [2, 2, 2], [2, 2, 2])"),
    _case("avg-pool", IMAGE, "avg_pool2d({x}, [2, 2], [2, 2])", core=True), _case("avg-pool-1d", SIGNAL, "avg_pool1d({x}, [3], [3])"), _case("avg-pool-3d", VOLUME, "avg_pool3d({x}, [2, 2, 2], [2, 2, 2])"),
    _case("adaptive", IMAGE, "adaptive_avg_pool2d({x}, [1, 1])", core=True), _case("adaptive-3", IMAGE, "adaptive_avg_pool2d({x}, [3, 3])"), _case("adaptive-1d", SIGNAL, "adaptive_avg_pool1d({x}, [1])"),
    _case("adaptive-3d", VOLUME, "adaptive_avg_pool3d({x}, [1, 1, 1])"), _case("adaptive-max", IMAGE, "adaptive_max_pool2d({x}, [1, 1])[0]"),
    _case("mean", IMAGE, "mean({x}, [2, 3])", core=True), _case("mean-keep", IMAGE, "mean({x}, [2, 3], True)"), _case("mean-channels", IMAGE, "mean({x}, [1])"), _case("mean-last", TOKENS, "mean({x}, [2])"),
    _case("sum", IMAGE, "sum({x}, [2, 3])"), _case("amax", IMAGE, "amax({x}, [2, 3])"), _case("max", IMAGE, "max({x}, 1)[0]"), _case("std", ROWS, "std({x}, [1])"), _case("argmax", ROWS, "argmax({x}, 1)"),
    _case("topk", ROWS, "topk({x}, 3)[0]"), _case("cumsum", ROWS, "cumsum({x}, 1)"), _case("sort", ROWS, "sort({x}, 1)[0]"),
    _case("reshape", IMAGE, "reshape({x}, [1, 4, 72])", core=True), _case("view", IMAGE, "view({x}, [1, -1])"), _case("flatten", IMAGE, "flatten({x}, 1)"), _case("permute", IMAGE, "permute({x}, [0, 2, 3, 1])"),
    _case("transpose", TOKENS, "transpose({x}, 1, 2)"), _case("t", ROWS, "t({x})"), _case("squeeze", IMAGE, "squeeze({x}, 0)"), _case("unsqueeze", ROWS, "unsqueeze({x}, 1)"), _case("slice", IMAGE, "slice({x}, 1, 0, 4)"),
    _case("narrow", IMAGE, "narrow({x}, 1, 2, 4)"), _case("select", IMAGE, "select({x}, 1, 2)"), _case("chunk", IMAGE, "chunk({x}, 2, 1)[0]"), _case("split", IMAGE, "split({x}, 4, 1)[0]"), _case("expand", ROWS, "expand({x}, [3, 2, 16])"),
    _case("repeat", ROWS, "repeat({x}, [2, 1])"), _case("repeat-interleave", ROWS, "repeat_interleave({x}, 2, 1)"), _case("flip", IMAGE, "flip({x}, [2])"), _case("roll", IMAGE, "roll({x}, [1], [2])"),
    _case("pixel-shuffle", IMAGE, "pixel_shuffle({x}, 2)"), _case("pixel-unshuffle", IMAGE, "pixel_unshuffle({x}, 2)"), _case("channel-shuffle", IMAGE, "channel_shuffle({x}, 2)"),
    _case("nearest", IMAGE, "upsample_nearest2d({x}, [12, 12], 2.0, 2.0)"), _case("bilinear", IMAGE, "upsample_bilinear2d({x}, [12, 12], False, 2.0, 2.0)"), _case("bicubic", IMAGE, "upsample_bicubic2d({x}, [12, 12], False, 2.0, 2.0)"),
    _case("pad", IMAGE, "constant_pad_nd({x}, [1, 1, 1, 1], 0.0)"), _case("reflect", IMAGE, "reflection_pad2d({x}, [1, 1, 1, 1])"), _case("replicate", IMAGE, "replication_pad2d({x}, [1, 1, 1, 1])"),
    _case("contiguous-clone", IMAGE, "clone({x})"), _case("tril", ROWS, "tril({x})"),
)  # fmt: skip
# With constants `{w}` (one per channel of the axis that is normalized) and `{b}`.
NORMS = (
    _case("layer-norm", TOKENS, "layer_norm({x}, [8], {w}, {b}, 1e-5)", "layer_norm({x}, [8], {w}, {b}, 1e-5, {s}, {z})", True),
    _case("group-norm", IMAGE, "group_norm({x}, 2, {w}, {b}, 1e-5)", "group_norm({x}, 2, {w}, {b}, 1e-5, {s}, {z})"),
    _case("instance-norm", IMAGE, "instance_norm({x}, {w}, {b}, None, None, True, 0.1, 1e-5, False)", "instance_norm({x}, {w}, {b}, 1e-5, {s}, {z})"),
    _case("batch-norm", IMAGE, "batch_norm({x}, {w}, {b}, {m}, {v}, False, 0.1, 1e-5, False)", "batch_norm2d({x}, {w}, {b}, {m}, {v}, 1e-5, {s}, {z})", True),
    _case("prelu", IMAGE, "prelu({x}, {w})"),
)  # fmt: skip
BINARY = (
    _case("add", IMAGE, "add({x}, {y})", "add({x}, {y}, {s}, {z})", True), _case("mul", IMAGE, "mul({x}, {y})", "mul({x}, {y}, {s}, {z})", True), _case("sub", IMAGE, "sub({x}, {y})"),
    _case("div", IMAGE, "div({x}, {y})"), _case("maximum", IMAGE, "maximum({x}, {y})"), _case("minimum", IMAGE, "minimum({x}, {y})"), _case("matmul", (1, 4, 6, 6), "matmul({x}, {y})", "matmul({x}, {y}, {s}, {z})", True),
    _case("bmm", (4, 6, 6), "bmm({x}, {y})"), _case("cat", IMAGE, "cat([{x}, {y}], 1)", "cat([{x}, {y}], 1, {s}, {z})", True), _case("stack", IMAGE, "stack([{x}, {y}], 1)"),
    _case("where", ROWS, "where({x} > 0, {x}, {y})"),
)  # fmt: skip
# key: (shape of the input, kind, weights, arguments behind the bias)
WEIGHTED: dict[str, tuple[tuple[int, ...], str, tuple[int, ...], str]] = {
    "conv2d": (IMAGE, "conv2d", (8, 8, 3, 3), "[1, 1], [1, 1], [1, 1], 1"),
    "conv2d-1x1": (IMAGE, "conv2d", (16, 8, 1, 1), "[1, 1], [0, 0], [1, 1], 1"),
    "conv2d-stem": ((1, 3, 8, 8), "conv2d", (8, 3, 3, 3), "[2, 2], [1, 1], [1, 1], 1"),
    "conv2d-depthwise": (IMAGE, "conv2d", (8, 1, 3, 3), "[1, 1], [1, 1], [1, 1], 8"),
    "conv2d-grouped": (IMAGE, "conv2d", (8, 4, 3, 3), "[1, 1], [1, 1], [1, 1], 2"),
    "conv2d-dilated": (IMAGE, "conv2d", (8, 8, 3, 3), "[1, 1], [2, 2], [2, 2], 1"),
    "conv1d": (SIGNAL, "conv1d", (8, 8, 3), "[1], [1], [1], 1"),
    "conv3d": (VOLUME, "conv3d", (4, 4, 3, 3, 3), "[1, 1, 1], [1, 1, 1], [1, 1, 1], 1"),
    "deconv2d": (IMAGE, "conv_transpose2d", (8, 8, 2, 2), "[2, 2], [0, 0], [0, 0], 1, [1, 1]"),
    "deconv2d-grouped": (IMAGE, "conv_transpose2d", (8, 4, 2, 2), "[2, 2], [0, 0], [0, 0], 2, [1, 1]"),
    "deconv1d": (SIGNAL, "conv_transpose1d", (8, 8, 2), "[2], [0], [0], 1, [1]"),
    "linear": (ROWS, "linear", (12, 16), ""),
    "linear-tokens": (TOKENS, "linear", (12, 8), ""),
}  # fmt: skip
CORE_WEIGHTED = ("conv2d", "linear", "conv2d-depthwise", "deconv2d")
ACTIVATIONS = {"relu": "relu({x})", "relu6": "hardtanh({x}, 0.0, 6.0)", "leaky": "leaky_relu({x}, 0.1)", "tanh": "tanh({x})", "hardswish": "hardswish({x})"}
