"""A quantizer leads nowhere.

## What it does

Finds QuantizeLinear and DequantizeLinear nodes whose result nobody reads.

## Why it matters on hardware

They compute nothing, but they are counted: a compiler that fuses or rewrites a quantizer "with one reader"
sees two, and leaves the operator in float. Exporters leave them behind when they look through a view or
give a reader a quantizer of its own. Where it costs an operator its integer kernel,
[shared-readers] says so.

## Example

    conv ─ Q ─┬─ DQ ─► relu
              └─ DQ

## Instead

    conv ─ Q ─ DQ ─► relu

## Fix and its safety

Remove the node. Safe: nobody reads it.

## References

- ONNX Runtime, QDQS8ToU8Transformer and node unit selectors: they count edges
- Polygraphy, `check lint`: warns of nodes without readers
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="dangling-quantizer",
    code="QL102",
    since="0.1.0",
    what="{found} behind {port} is not read by anything",
    why="some backends count it as a reader all the same",
    fix="remove {found}",
    cure="remove",
    applicability="safe",
    per_kind=False,
)


@rule.check
def dead_ends(model: Model) -> Iterator[Issue]:
    """Every reader that is a quantizer without readers."""
    for graph in graphs(model):
        for tensor in graph.tensors.values():
            for use in tensor.uses:
                if use.kind == "dead" and use.quantizers:
                    yield Issue.at(use, use.name)


@rule.bad(says="dead behind the output is not read by anything")
def left_behind() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8()) | u8()
    g.dead(y)
    return g.model(y)


@rule.good
def all_are_read() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_integers_as_the_output() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8()) | u8()
    return g.model(y, g.op("relu", y) | u8())
