"""A quantizer uses something that ONNX has only since a later opset.

## What it does

Compares each QuantizeLinear and DequantizeLinear of the default domain with the opset of the file: scales per
channel need opset 13, float8 needs 19, int4, uint4, int16, uint16 and blocks need 21, float4 needs 23, int2
and uint2 need 25, float6 needs 28. The same operators of com.microsoft have most of these at any opset.

## Why it matters on hardware

Type inference stops: "Type 'tensor(int4)' of input parameter of operator (DequantizeLinear) is invalid". A
scale per channel without an axis is worse, because some runtimes load it and take axis 1, or the first scale.

## Example

    opset 19: DequantizeLinear(weight: int4)

## Instead

    opset 21: DequantizeLinear(weight: int4)

## Fix and its safety

Export with the opset, or raise it with onnx.version_converter: safe where the other operators of the model
mean the same in both. Or use com.microsoft's QuantizeLinear for ONNX Runtime.

## References

- ONNX, Operator Changelog: QuantizeLinear and DequantizeLinear 10, 13, 19, 21, 23, 25, 28
- ONNX Runtime 1.32 refuses each of them below its opset, but for channels without an axis (measured)
"""

from collections.abc import Iterator

from qlint.graph import TYPE_SINCE, Model, Quantizer
from qlint.graph.quantizer import BLOCKS_SINCE, CHANNELS_SINCE
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, quantizer, s8, u8

rule = Rule(
    name="opset-too-low",
    code="QL804",
    since="0.1.0",
    what="{port}{origin} is {found}, and the model has opset {opset}",
    why="ONNX has this from opset {wanted} on",
    fix="export with opset {wanted} or later",
    cure="opset",
    applicability="safe",
    severity="error",
    per_kind=False,
)


def _needs(q: Quantizer) -> tuple[str, int]:
    """What of a quantizer came last, and the opset in which it came."""
    stored = (q.storage, TYPE_SINCE.get(q.storage, 0))
    if q.granularity == "tensor":
        return stored
    grouped = ("quantized per channel", CHANNELS_SINCE) if q.granularity == "channel" else ("quantized in blocks", BLOCKS_SINCE)
    return max(stored, grouped, key=lambda need: need[1])


@rule.check
def opsets(model: Model) -> Iterator[Issue]:
    """Every quantizer node of ONNX's default domain that is older than what it does."""
    if model.format not in ("onnx", ""):
        return
    for grid in grids(model):
        node = grid.node
        if node is None or node.domain or node.dialect or node.kind not in ("quantize", "dequantize"):
            continue
        found, needed = _needs(grid.quantizer)
        if 0 < node.opset < needed:
            yield Issue.at(grid.use, found, needed, found, opset=node.opset)


def _old(model: Model, opset: int) -> Model:
    for node in model.nodes:
        node.opset = opset
    return model


@rule.bad(says="the weight (the constant c2) is int4, and the model has opset 19; ONNX has this from opset 21 on")
def int4_weight() -> Model:
    g = Graph()
    return _old(g.model(g.conv(g.input() | u8(), w=quantizer("int4")) | u8()), 19)


@rule.bad(says="is quantized per channel, and the model has opset 11; ONNX has this from opset 13 on")
def channels() -> Model:
    g = Graph()
    return _old(g.model(g.conv(g.input() | u8(), w=s8([0.1] * 8)) | u8()), 11)


@rule.bad(sites=2, says="is int16, and the model has opset 20")
def wide_activations() -> Model:
    g = Graph()
    return _old(g.model(g.op("add", g.input("a") | quantizer("int16"), g.input("b") | quantizer("int16"))), 20)


@rule.good
def new_enough() -> Model:
    g = Graph()
    return _old(g.model(g.conv(g.input() | u8(), w=quantizer("int4", [0.1] * 8)) | u8()), 21)


@rule.good
def near_miss_operators_of_onnx_runtime() -> Model:
    g = Graph()
    model = _old(g.model(g.conv(g.input() | u8(), w=quantizer("int4")) | u8()), 17)
    for node in model.nodes:
        node.domain = "com.microsoft"
    return model
