"""A node stands in the file before the node that makes what it reads.

## What it does

Finds the first node of a graph that is out of order. ONNX wants nodes in the order of the data.

## Why it matters on hardware

The checker of ONNX refuses the file ("Nodes in a graph must be topologically sorted"), and so do converters
that read it in one pass. ONNX Runtime sorts it and runs. Scripts that insert QuantizeLinear and
DequantizeLinear by appending them to the graph write such files.

## Example

    Conv(x_dq), QuantizeLinear(x → x_q), DequantizeLinear(x_q → x_dq)

## Instead

    QuantizeLinear(x → x_q), DequantizeLinear(x_q → x_dq), Conv(x_dq)

## Fix and its safety

Sort the nodes. Safe: the numbers stay the same.

## References

- ONNX, IR specification: "the node list MUST be topologically sorted"
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Tensor, Use
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, u8

rule = Rule(
    name="unsorted-nodes",
    code="QL806",
    since="0.1.0",
    what="reads {found}, which a later node makes",
    why="checkers and converters that read the file once refuse it",
    fix="sort the nodes in the order of the data",
    cure="sort",
    applicability="safe",
    severity="warning",
    per_kind=False,
)


@rule.check
def order(model: Model) -> Iterator[Issue]:
    """The first node of each graph that reads the output of a later one."""
    if model.format != "onnx":
        return
    for graph in graphs(model):
        late = next(_late(graph.nodes), None)
        if late is not None:
            yield late


def _late(nodes: list[Op]) -> Iterator[Issue]:
    position = {id(node): i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        for use in node.uses.values():
            made = use.tensor.producer
            if made is not None and position.get(id(made), -1) >= i:
                yield Issue(node, found=use.tensor.name)


def _nodes(swapped: bool) -> Model:
    g = Graph()
    model = g.model(g.op("relu", g.input() | u8()) | u8())
    tensor = Tensor("made")
    first, second = Op(50, "first", "relu", "Relu"), Op(51, "second", "neg", "Neg")
    tensor.producer = first
    first.outputs.append(tensor)
    second.uses["x"] = Use(tensor, second, "x", 0)
    model.nodes = [second, first] if swapped else [first, second]
    return model


@rule.bad(says="second: reads made, which a later node makes; checkers and converters that read the file once refuse it")
def appended() -> Model:
    return _nodes(swapped=True)


@rule.good
def sorted_nodes() -> Model:
    return _nodes(swapped=False)


@rule.good
def near_miss_inputs_and_constants() -> Model:
    g = Graph()
    return g.model(g.conv(g.input()))
