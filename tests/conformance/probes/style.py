"""Quantization styles, and the plan that one makes for a whole network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from .builder import MICROSOFT, Plan
from .net import Net, Node
from .quant import FLOAT_STORAGE, Quant, Series, of_bias, of_range, of_weights

# Operators whose constant second input is a weight, and their output-channel axis.
WEIGHT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
# Operators that keep the quantizer of their input: calibration tools give both tensors the same one.
KEEPS_RANGE = frozenset(
    ["MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "GatherElements", "Expand", "Tile", "Split", "Resize", "Identity", "DepthToSpace", "SpaceToDepth", "Dropout", "ReduceMax", "ReduceMin", "GlobalMaxPool"]
)
CLAMPS = frozenset({"Relu", "Clip"})
HOSTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "BatchNormalization"})
# Constant inputs that tools quantize besides weights: operands of element-wise and normalisation operators.
OPERANDS = frozenset(
    ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where", "Concat", "PRelu", "Gather", "LayerNormalization", "InstanceNormalization"]
)


@dataclass(frozen=True)
class Style:
    """How a tool quantizes: grids, granularity, and the habits that selectors notice."""

    act: str = "u8"
    weight: str = "s8"
    channel: bool = True  # weights per output channel
    inner: bool = False  # a quantizer between an operator and the Relu or Clip behind it
    vector: bool = False  # scales of shape [1]
    per_use: bool = False  # each reader of a tensor gets a Q/DQ pair of its own
    folded: bool = True  # weights stored as integers; otherwise float weights with Q and DQ
    bias: str = "s32"  # or "float"
    shared: bool = True  # data movement keeps the quantizer of its input
    domain: str = ""

    def but(self, **changes: Any) -> Style:
        return replace(self, **changes)


STYLES = {
    "u8s8": Style(),
    "s8s8": Style("s8", channel=False, inner=True),
    "s8as8": Style("s8a"),
    "u8u8": Style("u8", "u8", channel=False),
    "u16s8": Style("u16"),
    "mqbench": Style("s8", channel=False, vector=True, folded=False, bias="float", shared=False),
    "dedicated": Style(per_use=True),
    "microsoft": Style("u8", channel=False, domain=MICROSOFT),
}


def weight_axis(node: Node, rank: int) -> int:
    if node.kind == "Gemm":
        return 0 if node.attrs.get("transB") else 1
    return WEIGHT_AXIS[node.kind] % rank


def role(net: Net, node: Node, slot: int) -> str:
    """x: an activation · w, b: weight and bias · c: a constant operand · "": not to be quantized."""
    tensor = node.inputs[slot]
    if tensor in net.ranges:
        return "x"
    if tensor not in net.consts or net.consts[tensor].dtype.kind != "f":
        return ""
    if node.kind in WEIGHT_AXIS:
        return "w" if slot == 1 else "b"
    return "c" if node.kind in OPERANDS else ""


def plan(net: Net, style: Style) -> Plan:
    """Q/DQ pairs on every tensor that `style` quantizes."""
    result = Plan()
    for tensor in net.inputs:
        if tensor in net.ranges:
            result.series[tensor] = _series(style, _activation(net, style, tensor))
    for node in net.nodes:
        for tensor in node.outputs:
            if tensor in net.ranges and (style.inner or not _clamped(net, node)):
                keeps = style.shared and node.kind in KEEPS_RANGE and node.inputs[0] in result.series
                result.series[tensor] = result.series[node.inputs[0]] if keeps else _series(style, _activation(net, style, tensor))
    for node in net.nodes:
        for slot in range(len(node.inputs)):
            kind, tensor = role(net, node, slot), node.inputs[slot]
            if kind == "w":
                axis = weight_axis(node, net.consts[tensor].ndim) if style.channel else None
                result.series[tensor] = _series(style, of_weights(net.consts[tensor], style.weight, axis), style.folded)
            elif kind == "c":
                values = net.consts[tensor]
                result.series[tensor] = _series(style, of_range(style.act, float(values.min()), float(values.max())), style.folded)
    for node in net.nodes:
        if node.kind == "Clip":  # no tool quantizes a bound, also where it shares its constant with an operand
            result.uses |= {(node.name, slot): Series() for slot in range(1, len(node.inputs))}
    for node in net.nodes:
        for slot in range(len(node.inputs)):
            if role(net, node, slot) == "b" and style.bias == "s32":
                result.series[node.inputs[slot]] = bias(net, result, node)
    return result


def bias(net: Net, now: Plan, node: Node, factor: float = 1.0) -> Series:
    """The int32 bias that fits the quantizers of `node`'s input and weight; none if it has none."""
    pairs = [now.at(node.inputs[slot], node.name, slot).pairs for slot in (0, 1)]
    if not all(pairs) or pairs[1][0].dtype in FLOAT_STORAGE:
        return Series()
    quant = of_bias(pairs[0][-1], pairs[1][-1], factor)
    if quant.shape and quant.shape != net.consts[node.inputs[2]].shape:
        quant = of_bias(pairs[0][-1], pairs[1][-1].but(scale=1e-3, shape=(), axis=None), factor)
    return Series((quant.but(domain=pairs[0][-1].domain),), folded=True)


def _series(style: Style, quant: Quant, folded: bool = False) -> Series:
    quant = quant.but(domain=style.domain)
    return Series((quant.vector if style.vector else quant,), per_use=style.per_use and not folded, folded=folded)


def _activation(net: Net, style: Style, tensor: str) -> Quant:
    """From the tensor's range; stretched by up to 15 % so that no two tensors agree by accident."""
    low, high = net.ranges[tensor]
    stretch = 1.0 if (low, high) in EXACT else 1 + crc32(tensor.encode()) % 150 / 1000
    return of_range(style.act, low * stretch, high * stretch)


EXACT = frozenset({(0.0, 1.0), (0.0, 6.0), (-1.0, 1.0)})  # ranges that the operator itself fixes


def _clamped(net: Net, node: Node) -> bool:
    """Is `node` followed by nothing but a Relu or Clip, which its output quantizer can take over?"""
    readers = [reader for tensor in node.outputs for reader in net.readers(tensor)]
    return node.kind in HOSTS and len(readers) == 1 and readers[0].kind in CLAMPS and not set(node.outputs) & set(net.outputs)
