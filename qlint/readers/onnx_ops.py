"""ONNX operators: canonical kinds, role names of inputs, attribute defaults of each version."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qlint.readers.onnx_dialects import spelling

# Operators whose canonical kind is not their own name in snake case.
KINDS: dict[str, str] = {
    "Gemm": "linear", "MatMul": "matmul", "QuantizeLinear": "quantize", "DequantizeLinear": "dequantize",
    "AveragePool": "avg_pool", "MaxPool": "max_pool", "GlobalAveragePool": "global_avg_pool",
    "GlobalMaxPool": "global_max_pool", "BatchNormalization": "batch_norm", "LayerNormalization": "layer_norm",
    "InstanceNormalization": "instance_norm", "GroupNormalization": "group_norm", "RMSNormalization": "rms_norm",
    "SimplifiedLayerNormalization": "rms_norm", "LpNormalization": "lp_norm", "LRN": "lrn", "LSTM": "lstm",
    "GRU": "gru", "RNN": "rnn", "PRelu": "prelu", "DynamicQuantizeLinear": "dynamic_quantize", "ConvInteger": "conv",
    "MatMulInteger": "matmul", "LpPool": "lp_pool", "GlobalLpPool": "global_lp_pool", "STFT": "stft", "DFT": "dft", "IsNaN": "is_nan",
}  # fmt: skip
# com.microsoft operators, documented in ONNX Runtime's ContribOperators.md, on the kind that they compute.
MICROSOFT_KINDS: dict[str, str] = {
    "QuantizeLinear": "quantize", "DequantizeLinear": "dequantize", "QLinearConv": "conv", "QLinearMatMul": "matmul",
    "QGemm": "linear", "QLinearAdd": "add", "QLinearMul": "mul", "QLinearSigmoid": "sigmoid", "QLinearSoftmax": "softmax",
    "QLinearLeakyRelu": "leaky_relu", "QLinearAveragePool": "avg_pool", "QLinearGlobalAveragePool": "global_avg_pool",
    "QLinearConcat": "concat", "QLinearWhere": "where", "QLinearReduceMean": "reduce_mean", "Gelu": "gelu",
    "FastGelu": "gelu", "BiasGelu": "gelu", "QuickGelu": "swish", "FusedConv": "conv", "FusedGemm": "linear",
    "FusedMatMul": "matmul", "DynamicQuantizeMatMul": "matmul", "MatMulIntegerToFloat": "matmul", "MatMulNBits": "matmul",
    "SkipLayerNormalization": "skip_layer_norm", "NhwcMaxPool": "max_pool",
}  # fmt: skip
# The types of their outputs, as in Operator.outputs.
MICROSOFT_OUTPUTS: dict[str, tuple[str | int | None, ...]] = {
    **dict.fromkeys(
        "Gelu FastGelu BiasGelu QuickGelu FusedConv FusedGemm FusedMatMul SkipLayerNormalization SkipSimplifiedLayerNormalization MatMulNBits "
        "QLinearAdd QLinearMul QLinearSigmoid QLinearSoftmax QLinearLeakyRelu QLinearAveragePool QLinearGlobalAveragePool QLinearReduceMean "
        "NhwcMaxPool DynamicQuantizeMatMul".split(), (0,),
    ),
    "QuantizeLinear": (2,), "DequantizeLinear": (1,), "QLinearConv": (7,), "QLinearMatMul": (7,), "QLinearConcat": (2,), "QLinearWhere": (1,),
    "MatMulIntegerToFloat": (2,), "QGemm": (8,),
}  # fmt: skip
QLINEAR_KINDS = {"QLinearConv": "conv", "QLinearMatMul": "matmul"}


def _quantized(*names: str) -> list[str]:
    return [part for name in names for part in (name, f"{name}_scale", f"{name}_zero_point")]


# Role names by native operator, then by kind; what is in neither takes the specification's names.
NATIVE_ROLES: dict[str, list[str]] = {
    "QLinearConv": [*_quantized("x", "w"), "y_scale", "y_zero_point", "b"],
    "QLinearMatMul": [*_quantized("x", "w"), "y_scale", "y_zero_point"],
    "com.microsoft::QLinearConv": [*_quantized("x", "w"), "y_scale", "y_zero_point", "b"],
    "com.microsoft::QLinearMatMul": [*_quantized("x", "w"), "y_scale", "y_zero_point"],
    "com.microsoft::QGemm": [*_quantized("x", "w"), "b", "y_scale", "y_zero_point"],
    "com.microsoft::QLinearAdd": [*_quantized("lhs", "rhs"), "y_scale", "y_zero_point"],
    "com.microsoft::QLinearMul": [*_quantized("lhs", "rhs"), "y_scale", "y_zero_point"],
    "com.microsoft::QLinearWhere": ["cond", *_quantized("lhs", "rhs"), "y_scale", "y_zero_point"],
    "ConvInteger": ["x", "w", "x_zero_point", "w_zero_point"],
    "MatMulInteger": ["x", "w", "x_zero_point", "w_zero_point"],
    "com.microsoft::DynamicQuantizeMatMul": ["x", "w", "w_scale", "w_zero_point", "b"],
    "com.microsoft::MatMulIntegerToFloat": ["x", "w", "x_scale", "w_scale", "x_zero_point", "w_zero_point", "b"],
    "com.microsoft::MatMulNBits": ["x", "w", "scales", "zero_points", "g_idx", "b"],
    "com.microsoft::GatherBlockQuantized": ["w", "indices", "scales", "zero_points"],
    "com.microsoft::MatMulBnb4": ["x", "w", "scales"],
    "com.microsoft::BiasGelu": ["x", "b"],
}  # fmt: skip
NATIVE_ROLES |= {
    f"com.microsoft::QLinear{name}": [*_quantized("x"), "y_scale", "y_zero_point"]
    for name in ("Sigmoid", "Softmax", "LeakyRelu", "AveragePool", "GlobalAveragePool", "ReduceMean")
}
_WEIGHTED = ["x", "w", "b"]
_BINARY = ["lhs", "rhs"]
KIND_ROLES: dict[str, list[str]] = {
    "conv": _WEIGHTED, "conv_transpose": _WEIGHTED, "linear": _WEIGHTED, "matmul": ["x", "w"],
    "quantize": ["x", "scale", "zero_point"], "dequantize": ["x", "scale", "zero_point"],
    "batch_norm": ["x", "gamma", "beta", "mean", "var"], "layer_norm": ["x", "gamma", "beta"],
    "instance_norm": ["x", "gamma", "beta"], "group_norm": ["x", "gamma", "beta"], "rms_norm": ["x", "gamma"],
    "lstm": ["x", "w", "r", "b", "sequence_lens", "initial_h", "initial_c", "p"],
    "gru": ["x", "w", "r", "b", "sequence_lens", "initial_h"], "where": ["cond", "lhs", "rhs"],
    "if": ["cond"], "loop": ["trip_count", "cond"],
    **dict.fromkeys(["add", "sub", "mul", "div", "pow", "mod", "equal", "greater", "less", "greater_or_equal", "less_or_equal", "and", "or", "xor"], _BINARY),
    "prelu": ["x", "slope"], "pad": ["x", "pads", "value", "axes"], "clip": ["x", "min", "max"], "reshape": ["x", "shape"],
    "gather": ["x", "indices"], "gather_elements": ["x", "indices"], "gather_nd": ["x", "indices"],
}  # fmt: skip
VARIADIC = {"concat", "sum", "mean", "max", "min"}


def kind_of(op_type: str, domain: str) -> str:
    """The canonical kind; `custom` for what neither the specification, ONNX Runtime nor a known dialect defines."""
    foreign = spelling(op_type, domain)
    if foreign is not None:
        return foreign.kind
    if domain == "com.microsoft":
        return MICROSOFT_KINDS.get(op_type, snake(op_type))
    if domain == "":
        if op_type in QLINEAR_KINDS:
            return QLINEAR_KINDS[op_type]
        if op_type in KINDS:
            return KINDS[op_type]
        return snake(op_type) if op_type in _table().get("", {}) or op_type == "SimplifiedLayerNormalization" else "custom"
    return snake(op_type) if op_type in _table().get(domain, {}) else "custom"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator at one opset: its kind and what the specification says of it (`since` is 0 if it says nothing)."""

    kind: str
    native: str
    since: int
    inputs: tuple[str, ...]
    outputs: tuple[str | int | None, ...]  # a dtype, or the slot of the input that has the same, or not told
    types: dict[str, str]  # of attributes: int, floats, graph ...
    defaults: dict[str, Any]
    dialect: str = ""  # the tool that writes it, if it is no standard one


@lru_cache(maxsize=4096)
def operator(op_type: str, domain: str, opset: int) -> Operator:
    """What is known of an operator; `opset` 0 means the newest."""
    kind, native = kind_of(op_type, domain), f"{domain}::{op_type}" if domain else op_type
    since, inputs, attributes = 0, (), {}
    foreign = spelling(op_type, domain)
    if foreign is not None:
        return Operator(kind, native, 0, foreign.roles, (foreign.output,), {}, {}, foreign.tool)
    outputs = MICROSOFT_OUTPUTS.get(op_type, ()) if domain == "com.microsoft" else ()
    for version, names, results, described in _table().get(domain, {}).get(op_type, ()):
        if version <= opset or not opset:
            since, inputs, outputs, attributes = version, tuple(names), tuple(results), described
    types = {name: about[0] for name, about in attributes.items()}
    return Operator(kind, native, since, inputs, outputs, types, {name: about[1] for name, about in attributes.items() if len(about) > 1})


@lru_cache(maxsize=4096)
def roles(native: str, kind: str, inputs: tuple[str, ...], count: int) -> tuple[str, ...]:
    """One role name for each of `count` inputs; `inputs` are the specification's names."""
    if native == "com.microsoft::QLinearConcat":
        names = ["y_scale", "y_zero_point", *(part for i in range((count - 2) // 3) for part in _quantized(f"x{i}"))]
    else:
        domain, _, op_type = native.rpartition("::")
        foreign = spelling(op_type, domain)
        names = list(foreign.roles) if foreign is not None else NATIVE_ROLES.get(native) or KIND_ROLES.get(kind) or []
    if not names and kind in VARIADIC:
        names = _BINARY if kind in ("max", "min") and count == 2 else [f"x{i}" for i in range(count)]
    if not names:
        names = ["x", *(snake(name.lstrip("*")) for name in inputs[1:])]
    found: dict[str, None] = {}
    for slot in range(count):
        name = names[slot] if slot < len(names) else f"x{slot}"
        found[name if name not in found else f"{name}_{slot}"] = None
    return tuple(found)


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`GlobalLpPool` → `global_lp_pool`, `ReduceL1` → `reduce_l1`."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return name.lower()


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, list[Any]]]:
    text = Path(__file__).with_name("onnx_schema.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, list[Any]]] = json.loads(text)["operators"]
    return table


def newest_opset() -> int:
    """The newest opset of the default domain that the table knows."""
    return max(int(versions[-1][0]) for versions in _table()[""].values())
