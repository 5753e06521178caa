"""Constants stand in the file that nothing reads.

## What it does

Adds up the constants of an ONNX model that no node, no body of a control-flow node and no output uses, from 1 kB
on.

## Why it matters on hardware

They are loaded, copied and shipped for nothing. After quantization they are mostly the float weights of which the
integers were made: the file is then larger than the float model was, and holds what was meant to be replaced.

## Example

    weight (float32, unused), weight_quantized (int8)

## Instead

    weight_quantized (int8)

## Fix and its safety

Remove them: safe, nothing reads them.

## References

- ONNX Runtime, Graph::CleanUnusedInitializersAndNodeArgs: removes them with a warning
- onnx/optimizer: eliminate_unused_initializer
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, u8
from qlint.lint.words import few

LEAST = 1024  # bytes

rule = Rule(
    name="unused-constant",
    code="QL108",
    since="0.1.0",
    what="constants of {found} bytes are read by nothing ({wanted})",
    why="they are shipped and loaded all the same",
    fix="remove the constants that nothing reads",
)


@rule.check
def unread(model: Model) -> Iterator[Issue]:
    """Constants of the file that no node of any of its graphs reads."""
    if model.format != "onnx":
        return
    alone = [t for t in model.tensors.values() if t.data is not None and t.producer is None and not t.uses]
    if sum(t.data.nbytes for t in alone if t.data is not None) < LEAST:
        return
    used: set[str] = set()
    for graph in graphs(model):
        used |= {name for node in (*graph.nodes, *graph.ops) for use in node.uses.values() for name in (use.name, use.tensor.name)}
        used |= {use.tensor.name for use in graph.outputs}
    found = [(t.name, t.data.nbytes) for t in alone if t.data is not None and t.name not in used]
    size = sum(nbytes for _, nbytes in found)
    if size >= LEAST:
        yield Issue(found=f"{size:,}", wanted=few([name for name, _ in found]), dimension="unused")


def _net(size: int, read: bool = False) -> Model:
    g = Graph()
    kept = g.constant(size, name="kept")
    y = g.op("add", g.input(shape=(1, size)) | u8(), kept if read else g.input("b", (1, size)) | u8())
    return g.model(y | u8())


@rule.bad(sites=0, says="constants of 4,096 bytes are read by nothing (kept); they are shipped and loaded all the same")
def leftover() -> Model:
    return _net(1024)


@rule.good
def near_miss_read() -> Model:
    return _net(1024, read=True)


@rule.good
def near_miss_a_few_bytes() -> Model:
    return _net(8)
