"""A file spells its quantizers in several ways.

## What it does

Finds ONNX models that hold two of these: pairs of QuantizeLinear and DequantizeLinear around float operators,
integer operators such as QLinearConv, and quantizers of a training tool.

## Why it matters on hardware

Each consumer reads one spelling. TensorRT and QNN take pairs and refuse QLinearConv; runtimes without a fusion for
pairs want integer operators; none of them knows the operators of a training tool. What is written in the other
spelling runs in float, or the model is refused. It happens where models are merged, and where a converter stops
half-way.

## Example

    QLinearConv ─ DequantizeLinear ─ relu ─ Q ─ DQ ─► conv

## Instead

    DQ ─► conv ─ relu ─ Q ─ DQ ─► conv ─ Q

## Fix and its safety

Export again in one format; from integer operators to pairs the numbers change by a step at most.

## References

- ONNX Runtime documentation, Quantize ONNX models: tensor-oriented (QDQ) and operator-oriented (QOperator)
- NVIDIA TensorRT documentation, operator support: QLinear operators are not supported
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs, grids
from qlint.lint.testing import Graph, s8, u8

INTEGER = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger")

rule = Rule(
    name="mixed-representation",
    code="QL820",
    since="0.1.0",
    what="quantizers are spelled in several ways: {found}",
    why="a consumer reads one of them, and takes the rest for float or for nothing it knows",
    fix="export the model again, in one format",
)


@rule.check
def spellings(model: Model) -> Iterator[Issue]:
    """More than one spelling in an ONNX model."""
    if model.format != "onnx":
        return
    nodes = [node for graph in graphs(model) for node in graph.nodes]
    counts = {
        "pair of QuantizeLinear and DequantizeLinear": sum(q.quantize is not None and q.dequantize is not None and not q.quantize.dialect for q in (g.quantizer for g in grids(model))),
        "integer operator": sum(node.native.startswith(INTEGER) for node in nodes),
        "quantizer of a training tool": sum(bool(node.dialect) for node in nodes),
    }
    seen = [f"{count} {name.replace('pair', 'pairs') if count > 1 and name.startswith('pair') else name + 's' * (count > 1 and not name.startswith('pair'))}" for name, count in counts.items() if count]
    if len(seen) > 1:
        yield Issue(found=" and ".join(seen), dimension="spelling")


@rule.bad(sites=0, says="quantizers are spelled in several ways: 3 pairs of QuantizeLinear and DequantizeLinear and 1 integer operator")
def both() -> Model:
    g = Graph()
    y = g.op("conv", g.input() | u8(), g.constant(8, 8, 1, 1) | s8(), native="QLinearConv")
    return g.model(g.op("max_pool", y | u8()) | u8())


@rule.good
def pairs() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_integer_operators_that_a_quantizer_feeds() -> Model:
    g = Graph()
    return g.model(g.op("conv", g.input() | u8(origin="qoperator"), g.constant(8, 8, 1, 1) | s8(origin="qoperator"), native="QLinearConv") | u8(origin="qoperator"))
