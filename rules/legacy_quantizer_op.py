"""The quantizers of the model are operators of a training tool, which no runtime has.

## What it does

Finds fake-quantize and requantize nodes that only the tool which wrote them defines: QONNX's `Quant` (Brevitas,
FINN, hls4ml), MQBench's `FixedPerTensorAffine` and relatives, OpenVINO's `FakeQuantize`, Deeploy's
`RequantShift`, TensorRT's and torch's own. Finds QuantizeLinear and DequantizeLinear, too, that say the codes they
use in attributes which only MQBench knows. Their grids are read all the same, and every other rule sees them.

## Why it matters on hardware

A runtime that does not know the operator refuses the model: "No Op registered for LearnablePerTensorAffine", or
"Unrecognized attribute: quant_min for operator QuantizeLinear".
Some converters drop such nodes without a word, and the network then runs in float, or with ranges that the
converter calibrates by itself.

## Example

    conv ─► onnx.brevitas::Quant(scale, zeropt, bitwidth=4) ─► conv

## Instead

    conv ─► QuantizeLinear ─► Clip(-8, 7) ─► DequantizeLinear ─► conv

## Fix and its safety

`--fix` writes QuantizeLinear and DequantizeLinear in their place, with an integer Clip between the two where the
grid has fewer codes than its type, and the integers of constants; where the file's opset is too low for that, it
is raised. Safe: the same levels. What has no such form (bipolar activations, rounding down, steps that are not
even, codes that the type of the zero point does not have) is refused with the reason: export again in a form that
runtimes read. With an odd zero point QONNX rounds a
number in the middle between two levels to the other one, which is unsafe then.
If the file is meant for the tool that wrote it (FINN, Deeploy), leave it and ignore this rule.

## References

- QONNX, docs/qonnx-custom-ops; Pappalardo et al., arXiv 2206.07527
- MQBench issues 25, 194 and 9: "No Op registered for LearnablePerTensorAffine"
- OpenVINO documentation, FakeQuantize-1
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, quantizer, s8, u8

ADVICE = {
    "QONNX": "write QuantizeLinear and DequantizeLinear in their place, as Brevitas does with export_onnx_qcdq",
    "MQBench": "write QuantizeLinear and DequantizeLinear in their place, with a Clip between them for fewer than 8 bits",
    "OpenVINO": "write QuantizeLinear and DequantizeLinear in their place; or give the file to OpenVINO, or quantize with NNCF for ONNX, which writes QuantizeLinear and DequantizeLinear",
    "TensorRT": "write float8 QuantizeLinear and DequantizeLinear, which ONNX has from opset 19 on",
    "torch": "export with functions for quantized_decomposed, or with torch.onnx.export(dynamo=True) of this year's torch",
    "Deeploy": "give the file to Deeploy",
}
INCURABLE = frozenset({"requantize", "multi_threshold"})  # they compute on integers or thresholds, and are no quantizers of real numbers
KINDS = INCURABLE | {"quantize", "dequantize", "fake_quantize"}

BOUNDS = ("quant_min", "quant_max")
PAIR = ("QuantizeLinear", "DequantizeLinear")


def _what(facts: Facts) -> str:
    said = "{native} has the attributes quant_min and quant_max, which only MQBench knows" if facts.dimension == "attributes" else "{native} is an operator of {tool}"
    return said.format_map(facts)


rule = Rule(
    name="legacy-quantizer-op",
    code="QL802",
    since="0.1.0",
    what=_what,
    why="a runtime that does not have it refuses the model, or drops the quantizer",
    fix="{advice}",
    cure="explicit",
    incurable=INCURABLE,
    applicability="safe",
    severity="warning",
    per_kind=False,
)


@rule.check
def foreign_nodes(model: Model) -> Iterator[Issue]:
    """Every quantizer node of a dialect; those of one tool are one finding."""
    for graph in graphs(model):
        for node in graph.nodes:
            if node.dialect and node.kind in KINDS:
                yield Issue(node, dimension=node.dialect, facts={"tool": node.dialect, "advice": ADVICE.get(node.dialect, "export with standard operators")})


@rule.check
def foreign_attributes(model: Model) -> Iterator[Issue]:
    """Every QuantizeLinear and DequantizeLinear with the bounds of MQBench."""
    for graph in graphs(model):
        for node in graph.nodes:
            if node.native in PAIR and not node.dialect and any(name in node.attrs for name in BOUNDS):
                yield Issue(node, dimension="attributes", facts={"tool": "MQBench", "advice": "leave out the attributes, with an integer Clip between the two where the codes are fewer than those of the type"})


def _foreign(g: Graph, native: str, tool: str) -> Op:
    node = Op(90, f"{native}_1", "fake_quantize", native, dialect=tool)
    g._model.nodes.append(node)
    return node


@rule.bad(says="onnx.brevitas::Quant is an operator of QONNX; a runtime that does not have it refuses the model")
def quant_of_brevitas() -> Model:
    g = Graph()
    node = _foreign(g, "onnx.brevitas::Quant", "QONNX")
    return g.model(g.conv(g.input() | quantizer("int4", origin="fake-quant", quantize=node, dequantize=node), w=s8()) | u8())


@rule.bad(says="QuantizeLinear has the attributes quant_min and quant_max, which only MQBench knows; a runtime that does not have it refuses")
def bounds_of_mqbench() -> Model:
    g = Graph()
    node = Op(90, "x_q", "quantize", "QuantizeLinear", attrs={"quant_min": -8, "quant_max": 7})
    g._model.nodes.append(node)
    return g.model(g.conv(g.input() | quantizer("int8", qmin=-8, qmax=7, quantize=node), w=s8()) | u8())


@rule.good
def quantize_and_dequantize() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_another_custom_operator() -> Model:
    g = Graph()
    return g.model(g.op("custom", g.input() | u8(), native="FancyActivation") | u8())
