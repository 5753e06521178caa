"""Two nodes have the same name.

## What it does

Finds names that several nodes of a graph share. Nodes without a name are fine.

## Why it matters on hardware

ONNX Runtime does not load such a model. Tools that keep what they know of a node by its name (encodings,
excluded layers, profiles) mix the two up.

## Example

    Conv(name="conv"), Conv(name="conv")

## Instead

    Conv(name="conv"), Conv(name="conv_1")

## Fix and its safety

Rename one of them. Safe: names have no meaning for the numbers.

## References

- ONNX, IR specification: "Node names ... MUST be unique" within a graph
- ONNX Runtime: "This is an invalid model. Error: two nodes with same node name"
"""

from collections import Counter
from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, u8

rule = Rule(
    name="duplicate-node-name",
    code="QL805",
    since="0.1.0",
    what="{found} nodes have this name",
    why="runtimes refuse the model, and tools that go by names mix them up",
    fix="rename all but one of them",
    cure="rename",
    applicability="safe",
    consequence="refused",
    per_kind=False,
)


@rule.check
def names(model: Model) -> Iterator[Issue]:
    """The first node of each name that comes more than once in a graph."""
    if model.format != "onnx":
        return
    for graph in graphs(model):
        counts = Counter(node.name for node in graph.nodes if node.name)
        for node in graph.nodes:
            if counts.get(node.name, 0) > 1:
                yield Issue(node, found=counts.pop(node.name))


@rule.bad(says="conv: 2 nodes have this name; runtimes refuse the model")
def twins() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input(), name="conv"), name="conv"))


@rule.good
def names_of_their_own() -> Model:
    g = Graph()
    return g.model(g.conv(g.conv(g.input() | u8(), name="conv"), name="conv_1"))


@rule.good
def near_miss_no_names() -> Model:
    g = Graph()
    model = g.model(g.op("relu", g.op("relu", g.input())))
    for node in model.nodes:
        node.name = ""
    return model
