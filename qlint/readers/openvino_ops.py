"""OpenVINO operations: canonical kinds, role names of inputs, attributes in ONNX's convention.

Source: the operation sets 1 to 16 in OpenVINO's documentation (openvino-ir-format/operation-sets).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qlint.graph import Tensor
from qlint.readers.data import TYPE_CODES
from qlint.readers.onnx_ops import KIND_ROLES, VARIADIC, snake
from qlint.readers.openvino_xml import numbers

# Element types, as ports and as constants write them.
TYPES: dict[str, str] = {
    "f32": "float32", "f16": "float16", "f64": "float64", "bf16": "bfloat16", "boolean": "bool", "bool": "bool", "string": "string",
    "fp32": "float32", "fp16": "float16", "fp64": "float64", "nf4": "nf4", "u1": "uint1", "bin": "uint1", "f8e4m3": "float8e4m3fn",
    "f8e5m2": "float8e5m2", "f8e8m0": "float8e8m0", "f4e2m1": "float4e2m1",
    **{f"{sign}{bits}": f"{'u' * (sign == 'u')}int{bits}" for sign in "iu" for bits in (2, 3, 4, 6, 8, 16, 32, 64)},
}  # fmt: skip
# Types whose canonical kind is not their own name in snake case.
KINDS: dict[str, str] = {
    "Convolution": "conv", "GroupConvolution": "conv", "ConvolutionBackpropData": "conv_transpose", "GroupConvolutionBackpropData": "conv_transpose",
    "MatMul": "matmul", "FakeQuantize": "fake_quantize", "Add": "add", "Subtract": "sub", "Multiply": "mul", "Divide": "div", "Power": "pow",
    "Maximum": "max", "Minimum": "min", "Clamp": "clip", "ReLU": "relu", "PReLU": "prelu", "HSwish": "hard_swish", "HSigmoid": "hard_sigmoid",
    "SoftMax": "softmax", "SoftPlus": "softplus", "SoftSign": "softsign", "Convert": "cast", "ConvertLike": "cast_like", "Broadcast": "expand",
    "MVN": "mean_variance_norm", "AvgPool": "avg_pool", "MaxPool": "max_pool", "VariadicSplit": "split", "StridedSlice": "slice", "Interpolate": "resize",
    "Result": "output", "BatchNormInference": "batch_norm", "NormalizeL2": "lp_norm", "GroupNormalization": "group_norm", "TopK": "top_k",
    "ShapeOf": "shape", "LSTMSequence": "lstm", "GRUSequence": "gru", "RNNSequence": "rnn", "LSTMCell": "lstm", "GRUCell": "gru", "RNNCell": "rnn",
    "Gelu": "gelu", "Ceiling": "ceil", "Negative": "neg", "LogicalAnd": "and", "LogicalOr": "or", "LogicalNot": "not", "LogicalXor": "xor",
    "GreaterEqual": "greater_or_equal", "LessEqual": "less_or_equal", "Select": "where", "ReduceLogicalAnd": "reduce_min", "ReduceLogicalOr": "reduce_max",
    "ScatterElementsUpdate": "scatter_elements", "ScatterNDUpdate": "scatter_nd", "TensorIterator": "loop", "CumSum": "cum_sum", "SquaredDifference": "squared_difference",
    "Sqrt": "sqrt", "Swish": "swish", "Elu": "elu", "Einsum": "einsum", "Mod": "mod", "FloorMod": "mod", "RMS": "rms_norm", "GatherND": "gather_nd",
}  # fmt: skip
ROLES: dict[str, tuple[str, ...]] = {
    "fake_quantize": ("x", "in_low", "in_high", "out_low", "out_high"),
    "conv": ("x", "w"), "conv_transpose": ("x", "w", "output_shape"), "linear": ("x", "w"), "transpose": ("x", "perm"), "split": ("x", "axis", "split"),
    "gather": ("x", "indices", "axis"), "pad": ("x", "pads_begin", "pads_end", "value"), "slice": ("x", "starts", "ends", "steps", "axes"),
    "resize": ("x", "sizes", "scales", "axes"), "expand": ("x", "shape", "axes"), "squeeze": ("x", "axes"), "unsqueeze": ("x", "axes"),
    "top_k": ("x", "k"), "tile": ("x", "repeats"), "mean_variance_norm": ("x", "axes"), "lp_norm": ("x", "axes"), "hard_sigmoid": ("x", "alpha", "beta"),
    "swish": ("x", "beta"), "max": ("lhs", "rhs"), "min": ("lhs", "rhs"), "batch_norm": ("x", "gamma", "beta", "mean", "var"), "shape": ("x",),
    "squared_difference": ("lhs", "rhs"), "if": ("cond",),
}  # fmt: skip
_PADDED = {"conv", "conv_transpose", "max_pool", "avg_pool"}
_RENAMED = {"kernel": "kernel_shape", "eps": "epsilon", "approximation_mode": "approximate"}


def kind_of(kind: str, version: str) -> str:
    """The canonical kind of a layer type; `custom` for what stands in none of OpenVINO's operation sets."""
    if not version.startswith("opset"):
        return "custom"
    return KINDS.get(kind) or snake(kind)


def roles(kind: str, count: int) -> list[str]:
    """One role name for each of `count` inputs."""
    if kind in VARIADIC and kind not in ROLES:
        return [f"x{i}" for i in range(count)]
    known = [*(ROLES.get(kind) or KIND_ROLES.get(kind) or ("x",))]
    return [known[slot] if slot < len(known) else f"x{slot}" for slot in range(count)]


def attributes(data: dict[str, str], kind: str, inputs: list[Tensor]) -> dict[str, Any]:
    """The attributes of a layer: typed, and in ONNX's convention where ONNX has the same attribute."""
    attrs: dict[str, Any] = {_RENAMED.get(name, name): typed(value) for name, value in data.items()}
    if kind in _PADDED and "pads_begin" in attrs:
        attrs["pads"] = [*_list(attrs.pop("pads_begin")), *_list(attrs.pop("pads_end", []))]
    for name in ("strides", "dilations", "kernel_shape", "output_padding"):
        if name in attrs:
            attrs[name] = _list(attrs[name])
    if convert := _CONVERT.get(kind):
        convert(attrs, inputs)
    return attrs


def typed(value: str) -> Any:
    """An attribute's value: a number, a truth value (0 or 1), a list of numbers, or the text itself."""
    if value in ("true", "false"):
        return int(value == "true")
    parts = [*numbers(value)]
    try:
        found = [int(part) if part.lstrip("+-").isdecimal() and len(part) < 40 else float(part) for part in parts]
    except ValueError:
        return value
    return found if len(found) != 1 or "," in value else found[0]


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value == "" else [value]


def constant(inputs: list[Tensor], slot: int) -> list[Any] | None:
    """The values of a small constant input."""
    data = inputs[slot].data if slot < len(inputs) else None
    return list(data.values()) if data is not None and data.nbytes <= 1 << 12 else None


def _conv(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["auto_pad"] = {"explicit": "NOTSET", "same_upper": "SAME_UPPER", "same_lower": "SAME_LOWER", "valid": "VALID"}.get(attrs.get("auto_pad", "explicit"), "NOTSET")
    attrs.setdefault("group", 1)


def _pool(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["ceil_mode"] = int(attrs.pop("rounding_type", "floor") != "floor")
    attrs["auto_pad"] = {"explicit": "NOTSET", "same_upper": "SAME_UPPER", "same_lower": "SAME_LOWER", "valid": "VALID"}.get(attrs.get("auto_pad", "explicit"), "NOTSET")
    if "exclude-pad" in attrs:
        attrs["count_include_pad"] = 1 - attrs.pop("exclude-pad")


def _cast(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["to"] = TYPE_CODES.get(TYPES.get(str(attrs.pop("destination_type", "")), ""), 0)


def _transpose(attrs: dict[str, Any], inputs: list[Tensor]) -> None:
    if perm := constant(inputs, 1):
        attrs["perm"] = perm


def _axis_of(slot: int) -> Callable[[dict[str, Any], list[Tensor]], None]:
    def convert(attrs: dict[str, Any], inputs: list[Tensor]) -> None:
        found = constant(inputs, slot)
        if found and len(found) == 1:
            attrs["axis"] = found[0]

    return convert


def _resize(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["mode"] = {"linear_onnx": "linear"}.get(attrs.get("mode", "nearest"), attrs.get("mode", "nearest"))
    attrs.setdefault("coordinate_transformation_mode", "half_pixel")


def _pad(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["mode"] = attrs.pop("pad_mode", "constant")


def _gelu(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["approximate"] = "tanh" if str(attrs.get("approximate", "")).upper() == "TANH" else "none"


def _reduce(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs["keepdims"] = attrs.pop("keep_dims", 0)


def _matmul(attrs: dict[str, Any], _: list[Tensor]) -> None:
    attrs |= {"transA": attrs.pop("transpose_a", 0), "transB": attrs.pop("transpose_b", 0), "alpha": 1.0, "beta": 1.0}


_CONVERT: dict[str, Callable[[dict[str, Any], list[Tensor]], None]] = {
    "conv": _conv, "conv_transpose": _conv, "max_pool": _pool, "avg_pool": _pool, "cast": _cast, "transpose": _transpose, "gather": _axis_of(2),
    "split": _axis_of(1), "resize": _resize, "pad": _pad, "gelu": _gelu, "linear": _matmul, "matmul": _matmul,
    **dict.fromkeys([f"reduce_{what}" for what in ("mean", "sum", "max", "min", "prod", "l1", "l2")], _reduce),
}  # fmt: skip
