"""torch operators: canonical kinds, role names of inputs, attributes in ONNX's convention.

One table for every format that spells networks in `aten` (TorchScript, torch.export). A name has no overload; operators
of `aten` stand without their namespace. Where a role is not told, the argument's own name is the role. Attributes follow
what torch.onnx writes for the operator (torch/onnx/_internal/torchscript_exporter/symbolic_opset*.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qlint.readers.data import Literal

Args = Mapping[str, Any]  # arguments by name: plain data, or whatever stands for a tensor
Attributes = Callable[[Args], dict[str, Any]]


class NotPlain(Exception):
    """An argument that has to be known is only known when the network runs."""


@dataclass(slots=True, eq=False)
class Rule:
    """What an operator is: its kind, the roles of its arguments, and its attributes (a function, or attribute = argument).

    `dtype` is that of its results where it is not that of the first input: a name, or `!name` for the argument that says it.
    `fused` is an activation that it applies to its result.
    """

    kind: str
    roles: dict[str, str] = field(default_factory=dict)
    attributes: Attributes | None = None
    dtype: str = ""
    fused: str = ""


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, or a list of them, or left out."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(v, (bool, int, float, str)) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))


def plain(args: Args, name: str, default: Any = None) -> Any:
    """An argument that is plain data.

    Raises:
        NotPlain: it is a tensor, or holds one.
    """
    value = args.get(name)
    if value is None:
        return default
    if not is_plain(value):
        raise NotPlain(name)
    return list(value) if isinstance(value, tuple) else value


def numbers(args: Args, name: str, count: int = 0) -> list[Any]:
    """An argument as a list; a single number stands for `count` of them."""
    value = plain(args, name, [])
    items = value if isinstance(value, list) else [value]
    return items * count if len(items) == 1 and count else items


def rank_of(value: Any) -> int | None:
    """The rank of a constant, or of whatever knows its shape."""
    shape = getattr(value, "shape", None)
    return len(shape) if shape is not None else None


# -- attributes -----------------------------------------------------------------------------------------


def _conv(args: Args) -> dict[str, Any]:
    weight = rank_of(args.get("weight"))
    dims = weight - 2 if weight else len(numbers(args, "stride")) or 2
    found: dict[str, Any] = {
        "strides": numbers(args, "stride", dims) or [1] * dims, "dilations": numbers(args, "dilation", dims) or [1] * dims, "group": plain(args, "groups", 1),
    }  # fmt: skip
    padding = plain(args, "padding", 0)
    if isinstance(padding, str):
        found["auto_pad"] = {"same": "SAME_UPPER"}.get(padding, "VALID")
    else:
        found["pads"] = numbers({"p": padding}, "p", dims) * 2
    if plain(args, "transposed", False):
        found["output_padding"] = numbers(args, "output_padding", dims)
    if weight:
        found["kernel_shape"] = list(args["weight"].shape[2:])
    return found


def _conv_transpose(args: Args) -> dict[str, Any]:
    return _conv({**args, "transposed": True})


def _pool(args: Args) -> dict[str, Any]:
    kernel = numbers(args, "kernel_size")
    dims = len(kernel)
    found: dict[str, Any] = {"kernel_shape": kernel, "strides": numbers(args, "stride", dims) or kernel, "pads": numbers(args, "padding", dims) * 2}
    if "dilation" in args:
        found["dilations"] = numbers(args, "dilation", dims)
    if "count_include_pad" in args:
        found["count_include_pad"] = int(plain(args, "count_include_pad", True))
    return {**found, "ceil_mode": int(plain(args, "ceil_mode", False))}


def _adaptive(args: Args) -> dict[str, Any]:
    return {"output_size": numbers(args, "output_size")}


def _batch_norm(args: Args) -> dict[str, Any]:
    training = plain(args, "training", False) or plain(args, "train", False) or plain(args, "use_input_stats", False)
    return {"epsilon": plain(args, "eps", 1e-5), "training_mode": int(bool(training))}


def _axes(args: Args) -> dict[str, Any]:
    found: dict[str, Any] = {"keepdims": int(bool(plain(args, "keepdim", False)))}
    axes = plain(args, "dim")
    if axes is not None and axes != []:
        found["axes"] = axes if isinstance(axes, list) else [axes]
    return found


def _one_axis(args: Args) -> dict[str, Any]:
    axis = plain(args, "dim")
    return {"axis": 0 if axis is None else axis, "keepdims": int(bool(plain(args, "keepdim", False)))}


def _flatten(args: Args) -> dict[str, Any]:
    """ONNX's Flatten gives a matrix; that is what flattening from axis 1 to the last one does to a batch."""
    start, end = plain(args, "start_dim", 0), plain(args, "end_dim", -1)
    return {"axis": 1} if (start, end) == (1, -1) else {"flattened": [start, end]}


def _slice(args: Args) -> dict[str, Any]:
    end = plain(args, "end")
    return {
        "axes": [plain(args, "dim", 0)], "starts": [plain(args, "start", 0)], "ends": [(1 << 63) - 1 if end is None else end], "steps": [plain(args, "step", 1)],
    }  # fmt: skip


def _narrow(args: Args) -> dict[str, Any]:
    start = plain(args, "start", 0)
    return {"axes": [plain(args, "dim", 0)], "starts": [start], "ends": [start + plain(args, "length", 0)], "steps": [1]}


def _split(args: Args) -> dict[str, Any]:
    axis, sizes = plain(args, "dim", 0), plain(args, "split_sizes", plain(args, "split_size"))
    return {"axis": axis, "split": sizes} if isinstance(sizes, list) else {"axis": axis, "split_size": sizes}


def _pad(args: Args) -> dict[str, Any]:
    """torch lists (before, after) from the last axis backwards; ONNX all befores, then all afters."""
    pads = numbers(args, "pad") or numbers(args, "padding")
    count = len(pads) // 2
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}.get(plain(args, "mode", "constant"), "constant")
    return {"pads": [*pads[::2][::-1], *pads[1::2][::-1]], "axes": list(range(-count, 0)), "mode": mode, "value": plain(args, "value", 0)}


def _pad_mode(mode: str) -> Attributes:
    return lambda args: {**_pad(args), "mode": mode}


def _resize(mode: str, dims: int) -> Attributes:
    def attributes(args: Args) -> dict[str, Any]:
        found: dict[str, Any] = {"mode": mode, "axes": list(range(2, 2 + dims))}
        aligned = plain(args, "align_corners", False)
        found["coordinate_transformation_mode"] = "asymmetric" if mode == "nearest" else "align_corners" if aligned else "half_pixel"
        scales = plain(args, "scale_factors") or [s for name in ("scales", "scales_d", "scales_h", "scales_w") if (s := plain(args, name)) is not None]
        if scales:
            found["scales"] = scales if isinstance(scales, list) else [scales]
        if plain(args, "output_size") and not scales:
            found["sizes"] = numbers(args, "output_size", dims)
        return found

    return attributes


def _clamp(args: Args) -> dict[str, Any]:
    bounds = {"min": plain(args, "min", plain(args, "min_val")), "max": plain(args, "max", plain(args, "max_val"))}
    return {name: value for name, value in bounds.items() if value is not None}


def _like(**renamed: str) -> Attributes:
    """Attributes that are arguments under another name; one that is only known when the network runs is an input instead."""

    def attributes(args: Args) -> dict[str, Any]:
        found = {name: plain(args, argument) for name, argument in renamed.items() if is_plain(args.get(argument))}
        return {name: int(value) if isinstance(value, bool) else value for name, value in found.items() if value is not None}

    return attributes


def _fixed(**values: Any) -> Attributes:
    return lambda args: dict(values)


def _both(*functions: Attributes) -> Attributes:
    return lambda args: {name: value for function in functions for name, value in function(args).items()}


def _alpha(args: Args) -> dict[str, Any]:
    """`add` and `sub` scale their second operand; by 1 if nothing is said."""
    alpha = plain(args, "alpha", 1)
    return {} if alpha == 1 else {"alpha": alpha}


def _filled(args: Args) -> dict[str, Any]:
    return {"value": Literal("float32", (1,), (float(plain(args, "fill_value", 1)),))}


def _recurrent(args: Args) -> dict[str, Any]:
    return {
        "direction": "bidirectional" if plain(args, "bidirectional", False) else "forward", "num_layers": plain(args, "num_layers", 1),
        "batch_first": int(plain(args, "batch_first", False)),
    }  # fmt: skip


# -- the table ------------------------------------------------------------------------------------------


def _roles(text: str) -> dict[str, str]:
    """`"input=x weight=w"` → {"input": "x", "weight": "w"}."""
    pairs = (pair.split("=") for pair in text.split())
    return dict(pairs)


def _rules(names: str, kind: str, roles: str = "self=x", attributes: Attributes | None = None, dtype: str = "", fused: str = "") -> dict[str, Rule]:
    return dict.fromkeys(names.split(), Rule(kind, _roles(roles), attributes, dtype, fused))


def _same_name(names: str, roles: str = "self=x", dtype: str = "") -> dict[str, Rule]:
    return {name: Rule(name, _roles(roles), None, dtype) for name in names.split()}


_GEMM = _fixed(transA=0, transB=1, alpha=1.0, beta=1.0)
_WEIGHTED = "input=x weight=w bias=b"
_PRODUCT = "self=x other=w mat2=w vec=w tensor=w"
_BINARY = "self=lhs other=rhs"
# Operators that hand on their first argument as it is. Dropout is one outside of training.
SAME = frozenset(
    "detach detach_copy contiguous clone alias lift_fresh lift_fresh_copy cpu cuda dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout "
    "requires_grad_ resolve_conj resolve_neg data identity warn_once positive".split()
)
CASTS = frozenset("to type_as _to_copy float double half int long bool bfloat16 _cast_Float _cast_Half _cast_Int _cast_Long".split())

OPS: dict[str, Rule] = {
    # products
    **_rules("conv1d conv2d conv3d _convolution convolution _convolution_mode", "conv", _WEIGHTED, _conv),
    **_rules("conv_transpose1d conv_transpose2d conv_transpose3d", "conv_transpose", _WEIGHTED, _conv_transpose),
    **_rules("linear", "linear", _WEIGHTED, _GEMM),
    **_rules("addmm", "linear", "mat1=x mat2=w self=b", _both(_fixed(transA=0, transB=0), _like(alpha="alpha", beta="beta"))),
    **_rules("matmul mm bmm mv dot", "matmul", _PRODUCT), **_rules("_int_mm", "matmul", _PRODUCT, None, "int32"),
    **_rules("einsum", "einsum", "tensors=x", _like(equation="equation")),
    **_rules("scaled_dot_product_attention", "attention", "query=x key=k value=v", _like(is_causal="is_causal", scale="scale")),
    # element by element
    **_rules("add", "add", _BINARY, _alpha), **_rules("sub", "sub", _BINARY, _alpha), **_rules("rsub", "sub", "self=rhs other=lhs", _alpha),
    **_rules("mul multiply", "mul", _BINARY), **_rules("div divide true_divide", "div", _BINARY, _like(rounding_mode="rounding_mode")),
    **_rules("floor_divide", "floor_div", _BINARY), **_rules("pow", "pow", "self=lhs exponent=rhs"),
    **_rules("maximum", "max", _BINARY), **_rules("minimum", "min", _BINARY), **_rules("remainder fmod", "mod", _BINARY),
    **_rules("eq", "equal", _BINARY, None, "bool"), **_rules("lt", "less", _BINARY, None, "bool"), **_rules("gt", "greater", _BINARY, None, "bool"),
    **_rules("le", "less_or_equal", _BINARY, None, "bool"), **_rules("ge", "greater_or_equal", _BINARY, None, "bool"),
    **_rules("ne", "not_equal", _BINARY, None, "bool"), **_rules("logical_and __and__", "and", _BINARY, None, "bool"),
    **_rules("logical_or __or__", "or", _BINARY, None, "bool"), **_rules("logical_xor __xor__", "xor", _BINARY, None, "bool"),
    **_rules("logical_not bitwise_not __not__", "not", "self=x", None, "bool"),
    **_rules("where", "where", "condition=cond self=lhs other=rhs"), **_rules("masked_fill", "where", "mask=cond value=lhs self=rhs"),
    # activations
    **_same_name("relu sigmoid tanh mish softplus"), **_rules("selu", "selu"), **_rules("silu", "swish"),
    **_rules("hardsigmoid", "hard_sigmoid", "self=x", _fixed(alpha=1 / 6, beta=0.5)), **_rules("hardswish", "hard_swish"),
    **_rules("relu6", "clip", "self=x", _fixed(min=0.0, max=6.0)), **_rules("clamp hardtanh clip clamp_min clamp_max", "clip", "self=x", _clamp),
    **_rules("gelu", "gelu", "self=x", _like(approximate="approximate")), **_rules("leaky_relu", "leaky_relu", "self=x", _like(alpha="negative_slope")),
    **_rules("elu", "elu", "self=x", _like(alpha="alpha")), **_rules("celu", "celu", "self=x", _like(alpha="alpha")),
    **_rules("prelu _prelu_kernel", "prelu", "self=x weight=slope"), **_rules("glu", "glu", "self=x", _like(axis="dim")),
    **_rules("softmax _softmax _safe_softmax", "softmax", "self=x", _like(axis="dim")), **_rules("log_softmax _log_softmax", "log_softmax", "self=x", _like(axis="dim")),
    **_same_name("abs neg exp log sqrt rsqrt erf ceil floor round sign sin cos tan asin acos atan sinh cosh reciprocal log2 log10 log1p expm1 exp2 trunc frac square"),
    **_rules("dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout", "dropout", "input=x", lambda args: {"ratio": plain(args, "p", 0.5), "training_mode": 1}),
    **_rules("isnan", "is_nan", "self=x", None, "bool"), **_rules("isinf", "is_inf", "self=x", None, "bool"),
    # normalisation
    **_rules("batch_norm native_batch_norm cudnn_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_impl_index", "batch_norm",
             "input=x weight=gamma bias=beta running_mean=mean running_var=var", _batch_norm),
    **_rules("instance_norm", "instance_norm", "input=x weight=gamma bias=beta running_mean=mean running_var=var", _batch_norm),
    **_rules("layer_norm native_layer_norm", "layer_norm", "input=x weight=gamma bias=beta",
             lambda args: {"epsilon": plain(args, "eps", 1e-5), "axis": -len(numbers(args, "normalized_shape"))}),
    **_rules("rms_norm", "rms_norm", "input=x weight=gamma", lambda args: {"epsilon": plain(args, "eps", 1e-5), "axis": -len(numbers(args, "normalized_shape"))}),
    **_rules("group_norm native_group_norm", "group_norm", "input=x weight=gamma bias=beta", _like(epsilon="eps", num_groups="num_groups")),
    # windows and reductions
    **_rules("max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool1d_with_indices max_pool3d_with_indices", "max_pool", "self=x", _pool),
    **_rules("avg_pool1d avg_pool2d avg_pool3d", "avg_pool", "self=x", _pool),
    **_rules("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d", "adaptive_avg_pool", "self=x", _adaptive),
    **_rules("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", "adaptive_max_pool", "self=x", _adaptive),
    **_rules("mean", "reduce_mean", "self=x", _axes), **_rules("sum", "reduce_sum", "self=x", _axes), **_rules("amax", "reduce_max", "self=x", _axes),
    **_rules("amin", "reduce_min", "self=x", _axes), **_rules("prod", "reduce_prod", "self=x", _axes), **_rules("logsumexp", "reduce_log_sum_exp", "self=x", _axes),
    **_rules("argmax", "arg_max", "self=x", _one_axis, "int64"), **_rules("argmin", "arg_min", "self=x", _one_axis, "int64"),
    **_rules("max", "reduce_max", "self=x", _axes), **_rules("min", "reduce_min", "self=x", _axes), **_rules("topk", "top_k", "self=x", _like(axis="dim", k="k")),
    **_rules("std", "std", "self=x", _axes), **_rules("var", "var", "self=x", _axes), **_rules("norm linalg_vector_norm", "norm", "self=x", _axes),
    **_rules("cumsum", "cum_sum", "self=x", _like(axis="dim")),
    # moving data
    **_rules("reshape view _unsafe_view reshape_as view_as", "reshape", "self=x other=shape_of shape=shape? size=shape?", _like(shape="shape", size="size")),
    **_rules("flatten", "flatten", "self=x", _flatten), **_rules("unflatten", "reshape", "self=x", _like(axis="dim", sizes="sizes")),
    **_rules("squeeze", "squeeze", "self=x", lambda args: {} if plain(args, "dim") is None else {"axes": numbers(args, "dim")}),
    **_rules("unsqueeze", "unsqueeze", "self=x", lambda args: {"axes": [plain(args, "dim", 0)]}),
    **_rules("permute", "transpose", "self=x", _like(perm="dims")), **_rules("transpose swapaxes", "transpose", "self=x", lambda args: {"swap": [plain(args, "dim0"), plain(args, "dim1")]}),
    **_rules("t numpy_T mT", "transpose", "self=x", _fixed(swap=[-1, -2])),
    **_rules("cat concat concatenate", "concat", "tensors=x", _like(axis="dim")), **_rules("stack", "stack", "tensors=x", _like(axis="dim")),
    **_rules("split split_with_sizes unsafe_split", "split", "self=x", _split), **_rules("chunk unsafe_chunk tensor_split", "split", "self=x", _like(axis="dim", chunks="chunks")),
    **_rules("unbind", "unbind", "self=x", _like(axis="dim")), **_rules("slice", "slice", "self=x", _slice), **_rules("narrow", "slice", "self=x", _narrow),
    **_rules("select", "gather", "self=x index=indices", _like(axis="dim")), **_rules("index_select", "gather", "self=x index=indices", _like(axis="dim")),
    **_rules("gather", "gather_elements", "self=x index=indices", _like(axis="dim")), **_rules("embedding", "gather", "weight=x indices=indices", _fixed(axis=0)),
    **_rules("index", "index", "self=x indices=indices"), **_rules("index_put", "index_put", "self=x indices=indices values=updates"),
    **_rules("slice_scatter select_scatter scatter", "scatter", "self=x index=indices src=updates"), **_rules("copy", "scatter", "self=x src=updates"),
    **_rules("expand broadcast_to expand_as", "expand", "self=x other=shape_of size=shape?", _like(shape="size")), **_rules("repeat tile", "tile", "self=x repeats=repeats? dims=repeats?", _like(repeats="repeats", dims="dims")),
    **_rules("repeat_interleave", "repeat_interleave", "self=x", _like(axis="dim")),
    **_rules("pad constant_pad_nd", "pad", "self=x", _pad), **_rules("reflection_pad1d reflection_pad2d reflection_pad3d", "pad", "self=x", _pad_mode("reflect")),
    **_rules("replication_pad1d replication_pad2d replication_pad3d", "pad", "self=x", _pad_mode("edge")),
    **_rules("pixel_shuffle", "depth_to_space", "self=x", _both(_fixed(mode="CRD"), _like(blocksize="upscale_factor"))),
    **_rules("pixel_unshuffle", "space_to_depth", "self=x", _like(blocksize="downscale_factor")), **_rules("flip", "flip", "self=x", _like(axes="dims")),
    **_rules("roll", "roll", "self=x", _like(shifts="shifts", axes="dims")), **_rules("channel_shuffle", "channel_shuffle", "self=x", _like(group="groups")),
    **_rules("tril", "trilu", "self=x", _both(_fixed(upper=0), _like(k="diagonal"))), **_rules("triu", "trilu", "self=x", _both(_fixed(upper=1), _like(k="diagonal"))),
    **{name: rule for dims, suffix in ((1, "1d"), (2, "2d"), (3, "3d")) for name, rule in _rules(f"upsample_nearest{suffix} _upsample_nearest_exact{suffix}", "resize", "self=x input=x", _resize("nearest", dims)).items()},
    **_rules("upsample_linear1d", "resize", "self=x input=x", _resize("linear", 1)), **_rules("upsample_bilinear2d _upsample_bilinear2d_aa", "resize", "self=x input=x", _resize("linear", 2)),
    **_rules("upsample_trilinear3d", "resize", "self=x input=x", _resize("linear", 3)), **_rules("upsample_bicubic2d", "resize", "self=x input=x", _resize("cubic", 2)),
    **_rules("grid_sampler grid_sampler_2d", "grid_sample", "input=x grid=grid"),
    # recurrent cells, one op for all of their layers
    **_rules("lstm", "lstm", "input=x data=x", _recurrent), **_rules("gru", "gru", "input=x data=x", _recurrent),
    **_rules("rnn_tanh rnn_relu", "rnn", "input=x data=x", _recurrent), **_rules("lstm_cell", "lstm_cell", "input=x w_ih=w w_hh=r"), **_rules("gru_cell", "gru_cell", "input=x w_ih=w w_hh=r"),
    **_rules("quantized_lstm", "lstm", "input=x data=x", _recurrent), **_rules("quantized_gru", "gru", "input=x data=x", _recurrent),
    # sizes, and tensors made of them
    **_rules("size", "shape", "self=x", lambda args: {} if plain(args, "dim") is None else {"start": plain(args, "dim"), "end": plain(args, "dim") + 1 or None}, "int64"),
    **_rules("numel", "size", "self=x", None, "int64"), **_rules("dim len", "rank", "self=x t=x a=x", None, "int64"),
    **_rules("to _to_copy", "cast"), **_rules("prim::NumToTensor Int IntImplicit ScalarImplicit", "cast", "a=x", _fixed(to=7), "int64"), **_rules("Float FloatImplicit", "cast", "a=x", _fixed(to=1), "float32"),
    **_rules("Bool", "cast", "a=x", _fixed(to=9), "bool"), **_rules("item", "identity"), **_rules("floordiv", "div", "a=lhs b=rhs"),
    **_rules("__getitem__", "gather", "list=x self=x idx=indices", _fixed(axis=0)), **_rules("arange", "range", "start=x end=limit step=delta", None, "!dtype"),
    **_rules("zeros empty new_zeros new_empty", "constant_of_shape", "size=x", None, "!dtype"), **_rules("ones new_ones", "constant_of_shape", "size=x", _filled, "!dtype"),
    **_rules("full new_full", "constant_of_shape", "size=x", _filled, "!dtype"),
    **_rules("zeros_like ones_like full_like empty_like rand_like randn_like", "fill_like", "self=x", None, "!dtype"),
    # grids
    **_rules("quantize_per_tensor", "quantize", "self=x scale=scale zero_point=zero_point", None, "!dtype"),
    **_rules("quantize_per_channel", "quantize", "self=x scales=scale zero_points=zero_point", _like(axis="axis"), "!dtype"),
    **_rules("quantize_per_tensor_dynamic", "quantize", "self=x", None, "!dtype"), **_rules("dequantize", "dequantize", "self=x", None, "float32"),
    **_rules("int_repr", "int_repr", "self=x"), **_rules(" ".join(CASTS), "cast", "self=x"),
    **_rules("fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask _fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "fake_quantize",
             "self=x scale=scale zero_point=zero_point", _like(quant_min="quant_min", quant_max="quant_max")),
    **_rules("fake_quantize_per_channel_affine fake_quantize_per_channel_affine_cachemask", "fake_quantize", "self=x scale=scale zero_point=zero_point",
             _like(quant_min="quant_min", quant_max="quant_max", axis="axis")),
    **_rules("_fake_quantize_learnable_per_tensor_affine", "fake_quantize", "self=x scale=scale zero_point=zero_point", _like(quant_min="quant_min", quant_max="quant_max")),
    **_rules("_fake_quantize_learnable_per_channel_affine", "fake_quantize", "self=x scale=scale zero_point=zero_point",
             _like(quant_min="quant_min", quant_max="quant_max", axis="axis")),
    **_rules("fused_moving_avg_obs_fake_quant _fused_moving_avg_obs_fq_helper", "fake_quantize", "self=x scale=scale zero_point=zero_point",
             lambda args: {"quant_min": plain(args, "quant_min"), "quant_max": plain(args, "quant_max"), **({"axis": plain(args, "ch_axis")} if plain(args, "per_row_fake_quant") else {})}),
}  # fmt: skip



def _grid_of(args: Args) -> dict[str, Any]:
    """Bounds and axis; groups lie along the last axis, tokens along all but that."""
    found = {name: plain(args, name) for name in ("quant_min", "quant_max")}
    if args.get("group_size") is not None:
        return {**found, "axis": -1, "block_size": plain(args, "group_size")}
    axis = args.get("axis", args.get("ch_axis"))
    return found if axis is None else {**found, "axis": plain(args, "axis", axis)}


def _blocks_of(args: Args) -> dict[str, Any]:
    """torchao's grids: a scale for each block of `block_size` elements, which spans a dimension, one element of it, or a group.

    Where the shape is not known, a block of more than one element spans its dimension.
    """
    found = {name: bound for name in ("quant_min", "quant_max") if isinstance(bound := plain(args, name), int)}
    blocks, shape = numbers(args, "block_size"), getattr(args.get("input"), "shape", None)
    varying = [at for at, block in enumerate(blocks) if (block == 1 if shape is None else block != shape[at])]
    if not varying:
        return found
    axis = varying[-1]
    return {**found, "axis": axis, "block_size": blocks[axis]} if blocks[axis] > 1 else {**found, "axis": axis}


# Operators on quantized tensors (ATen/native/quantized/library.cpp): packed weights, and the grid of the result as arguments.
_PACKED = "qx=x X=x"
_ON_GRID = "qa=lhs qb=rhs b=rhs"
for _dims in ("1d", "2d", "3d"):
    OPS |= {f"quantized::conv{_dims}{suffix}": Rule("conv", _roles(_PACKED), None, fused=fused) for suffix, fused in (("", ""), ("_relu", "relu"))}
    OPS |= {f"quantized::conv{_dims}_dynamic": Rule("conv", _roles(_PACKED)), f"quantized::conv_transpose{_dims}": Rule("conv_transpose", _roles(_PACKED))}
    OPS |= {
        f"quantized::batch_norm{_dims}{suffix}": Rule("batch_norm", _roles("qx=x weight=gamma bias=beta mean=mean var=var"), _batch_norm, fused=fused)
        for suffix, fused in (("", ""), ("_relu", "relu"))
    }
OPS |= {
    **{f"quantized::linear{suffix}": Rule("linear", _roles(_PACKED), _GEMM, fused="relu" if "relu" in suffix else "")
       for suffix in ("", "_relu", "_dynamic", "_relu_dynamic", "_dynamic_fp16", "_relu_dynamic_fp16")},
    "quantized::linear_leaky_relu": Rule("linear", _roles(_PACKED), _GEMM, fused="leaky_relu"),
    "quantized::linear_tanh": Rule("linear", _roles(_PACKED), _GEMM, fused="tanh"),
    **{f"quantized::{name}": Rule(name, _roles(_ON_GRID)) for name in ("add", "mul")}, "quantized::matmul": Rule("matmul", _roles("qa=x qb=w")),
    **{f"quantized::{name}_relu": Rule(name, _roles(_ON_GRID), None, fused="relu") for name in ("add", "mul")},
    **{f"quantized::{name}_scalar{suffix}": Rule(name, _roles("qa=lhs b=rhs"), None, fused="relu" if suffix else "") for name in ("add", "mul") for suffix in ("", "_relu")},
    "quantized::cat": Rule("concat", _roles("qx=x"), _like(axis="dim")), "quantized::cat_relu": Rule("concat", _roles("qx=x"), _like(axis="dim"), fused="relu"),
    "quantized::hardswish": Rule("hard_swish", _roles("input=x")), "quantized::sigmoid": Rule("sigmoid", _roles("qx=x")),
    "quantized::leaky_relu": Rule("leaky_relu", _roles("qx=x"), _like(alpha="negative_slope")), "quantized::elu": Rule("elu", _roles("self=x"), _like(alpha="alpha")),
    "quantized::celu": Rule("celu", _roles("self=x"), _like(alpha="alpha")), "quantized::softmax": Rule("softmax", _roles("qx=x"), _like(axis="dim")),
    "quantized::prelu": Rule("prelu", _roles("qx=x weight=slope")), "quantized::relu6": Rule("clip", _roles("qx=x"), _fixed(min=0.0, max=6.0)),
    "quantized::layer_norm": Rule("layer_norm", _roles("input=x weight=gamma bias=beta"),
                                  lambda args: {"epsilon": plain(args, "eps"), "axis": -len(numbers(args, "normalized_shape"))}),
    "quantized::group_norm": Rule("group_norm", _roles("qx=x input=x weight=gamma bias=beta"), _like(epsilon="eps", num_groups="num_groups")),
    "quantized::instance_norm": Rule("instance_norm", _roles("input=x weight=gamma bias=beta"), _like(epsilon="eps")),
    **{f"quantized::embedding_{bits}": Rule("gather", _roles("indices=indices"), _fixed(axis=0)) for bits in ("byte", "4bit")},
    "quantized::quantized_lstm_cell_dynamic": Rule("lstm_cell", _roles("input=x")), "quantized::quantized_gru_cell_dynamic": Rule("gru_cell", _roles("input=x")),
    # What torchao's PT2E flow writes: integers in ordinary tensors, each grid as arguments (torch/ao/quantization/fx/_decomposed.py).
    **{f"quantized_decomposed::{name}_per_{how}": Rule(name, _roles("input=x scale=scale scales=scale zero_point=zero_point zero_points=zero_point"), _grid_of, dtype)
       for name, dtype in (("quantize", "!dtype"), ("dequantize", "float32")) for how in ("tensor", "channel", "channel_group", "token")},
    "quantized_decomposed::fake_quant_per_channel": Rule("fake_quantize", _roles("input=x scales=scale zero_points=zero_point"), _grid_of),
    # What torchao's `quantize_` leaves (torchao/quantization/quant_primitives.py).
    "torchao::quantize_affine": Rule("quantize", _roles("input=x scale=scale zero_point=zero_point"), _blocks_of, "!output_dtype"),
    "torchao::dequantize_affine": Rule("dequantize", _roles("input=x scale=scale zero_point=zero_point"), _blocks_of, "float32"),
    **{f"{domain}::choose_qparams{how}": Rule("choose_qparams", _roles("input=x"))
       for domain, hows in (("torchao", ("_affine",)), ("quantized_decomposed", ("", "_symmetric", "_per_token", "_per_token_asymmetric"))) for how in hows},
    # mobile-optimised models
    "prepacked::conv2d_clamp_run": Rule("conv", _roles("X=x")), "prepacked::linear_clamp_run": Rule("linear", _roles("X=x"), _GEMM),
    "prepacked::conv2d_transpose_clamp_run": Rule("conv_transpose", _roles("X=x")),
}  # fmt: skip


def rule_of(namespace: str, name: str) -> Rule | None:
    """What is known of an operator; one that writes into its argument (`relu_`) computes what the other does."""
    key = name if namespace == "aten" else f"{namespace}::{name}"
    return OPS.get(key) or (OPS.get(key.removesuffix("_")) if key.endswith("_") and not key.endswith("__") else None)


def narrowed(kind: str, attrs: dict[str, Any]) -> str:
    """The kind, where attributes make another one of it: pooling to one element is global, `_convolution` may be transposed."""
    if kind == "conv" and "output_padding" in attrs:
        return "conv_transpose"
    if kind in ("adaptive_avg_pool", "adaptive_max_pool") and attrs.get("output_size") and set(attrs["output_size"]) == {1}:
        return f"global_{kind.removeprefix('adaptive_')}"
    return kind


def packed_attributes(packed: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a conv whose weights were packed together with them."""
    return _conv(packed) if "stride" in packed else {}


def same(name: str, args: Args) -> bool:
    """Whether an operator hands on its first argument."""
    base = name.removesuffix("_")
    if base == "slice":  # `x[:]`
        start, end = args.get("start"), args.get("end")
        return start in (None, 0) and (end is None or (isinstance(end, int) and end >= 1 << 62)) and args.get("step") == 1
    if base not in SAME and name not in SAME:
        return False
    return "dropout" not in base or not (args.get("train") or args.get("training"))


def sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)
