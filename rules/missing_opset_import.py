"""A model uses a domain that it does not import.

## What it does

Finds ONNX models whose nodes are of a domain that is not among the opset imports.

## Why it matters on hardware

What an operator means depends on the version of its domain. The checker of ONNX refuses a model that does not say
it, and so do most runtimes; others take the newest one they know, and read an old attribute in a new way. Tools
that write a model by hand forget it, mostly for com.microsoft.

## Example

    opset_import: ai.onnx 17          node: com.microsoft.QLinearAdd

## Instead

    opset_import: ai.onnx 17, com.microsoft 1

## Fix and its safety

Add the import, with the version that the operators were written for: safe.

## References

- ONNX, IR specification: "The operator set imports ... every operator set used by the graph"
- ModelTC/MQBench, exports with com.microsoft operators
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, u8

rule = Rule(
    name="missing-opset-import",
    code="QL823",
    since="0.1.0",
    what="operators of the domain {found} are used, and the model does not import it",
    why="the version of an operator says what it means, and checkers and most runtimes refuse a model without it",
    fix="add the domain to the opset imports",
    severity="warning",
)


@rule.check
def imports(model: Model) -> Iterator[Issue]:
    """Domains of nodes that are not imported; "" and ai.onnx are one."""
    if model.format != "onnx":
        return
    known = {domain or "ai.onnx" for domain in model.opsets}
    used = {node.domain or "ai.onnx": node for graph in graphs(model) for node in reversed(graph.nodes)}
    for domain, node in sorted(used.items()):
        if domain not in known:
            yield Issue(node, found=domain, dimension=domain)


def _of(domain: str, *imported: str) -> Model:
    g = Graph()
    y = g.op("add", g.input("a") | u8(), g.input("b") | u8(), native="QLinearAdd")
    model = g.model(y | u8())
    for node in model.nodes:
        node.domain = domain if node.native == "QLinearAdd" else ""
    model.opsets |= dict.fromkeys(imported, 1)
    return model


@rule.bad(says="operators of the domain com.microsoft are used, and the model does not import it")
def microsoft() -> Model:
    return _of("com.microsoft")


@rule.good
def near_miss_the_other_name() -> Model:
    return _of("ai.onnx")


@rule.good
def imported() -> Model:
    return _of("com.microsoft", "com.microsoft")
