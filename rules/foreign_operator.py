"""An operator belongs to one runtime, and the model goes nowhere else.

## What it does

Notes operators of domains other than ONNX's own. With a backend that is named it is silent: what the backend makes
of them is in the verdict.

## Why it matters on hardware

Optimizers of a runtime write its private operators into the file they save: FusedConv, NhwcMaxPool, QAttention,
MatMulNBits. Another compiler does not know them, and refuses the model or leaves them to a CPU that does not have
them either.

## Example

    com.microsoft.QLinearAdd

## Instead

    DequantizeLinear, Add, QuantizeLinear

## Fix and its safety

Export again without the optimizations of the runtime (basic level only). Safe.

## References

- microsoft/onnxruntime, docs/ContribOperators.md
- ONNX Runtime documentation, Graph optimizations: offline mode writes operators of the execution provider
"""

from collections import Counter
from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, u8
from qlint.lint.words import few

STANDARD = ("", "ai.onnx", "ai.onnx.ml")

rule = Rule(
    name="foreign-operator",
    code="QL822",
    since="0.1.0",
    what="{found} of {wanted} in the model",
    why="only runtimes that have these operators load it",
    fix="export the model without optimizations that a runtime does for itself",
    unasked=True,
)


@rule.check
def domains(model: Model) -> Iterator[Issue]:
    """Operators of each domain that is not ONNX's own, those of training tools left to another rule."""
    if model.format != "onnx":
        return
    nodes = [node for graph in graphs(model) for node in graph.nodes if node.domain not in STANDARD and not node.dialect]
    for domain in dict.fromkeys(node.domain for node in nodes):
        counts = Counter(node.native for node in nodes if node.domain == domain)
        yield Issue(found=few([f"{count} {native}" for native, count in counts.items()]), wanted=f"the domain {domain}", dimension=domain)


@rule.bad(sites=0, says="1 FusedConv of the domain com.microsoft in the model; only runtimes that have these operators load it")
def fused() -> Model:
    g = Graph()
    y = g.op("conv", g.input() | u8(), g.constant(8, 8, 1, 1), native="FusedConv")
    assert y.tensor.producer is not None
    y.tensor.producer.domain = "com.microsoft"
    return g.model(y | u8())


@rule.good
def standard() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.input() | u8()) | u8())
