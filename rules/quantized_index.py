"""An index, a shape or another parameter of an operator is quantized.

## What it does

Finds quantizers in front of inputs that are no data: the shape of a reshape, the indices of a gather, axes,
paddings, repeats, the sizes of a resize.

## Why it matters on hardware

These numbers say where things are. Rounded to a grid of 256 steps they point elsewhere; backends want them as int64
constants and leave the operator to the CPU or refuse it. Tools that quantize every tensor they see do this, and so
do patterns that match one edge too many.

## Example

    Q ─ DQ ─► gather (indices)

## Instead

    int64 ─► gather (indices)

## Fix and its safety

Remove the quantizer: safe where the values were exact on its grid, else unsafe and right.

## References

- OpenPPL PPQ, graph dispatchers: shape and index operators (SOI) are never quantized
- ONNX, Gather, Reshape, Pad: indices, shape and pads are integer tensors
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, u8

PARAMETERS = frozenset({"shape", "indices", "axes", "axis", "pads", "paddings", "starts", "ends", "steps", "repeats", "sizes", "k", "split", "depth"})

rule = Rule(
    name="quantized-index",
    code="QL107",
    since="0.1.0",
    what="{port} of the {kind} is quantized ({found})",
    why="it says where things are, and a grid moves them",
    fix="remove the quantizer in front of {port}",
    severity="warning",
)


@rule.check
def parameters(model: Model) -> Iterator[Issue]:
    """Quantizers that a node of the file puts in front of a parameter."""
    for op in model.walk():
        for role, use in op.uses.items():
            if role in PARAMETERS and use.quantizers and any(node is not None for q in use.quantizers for node in (q.quantize, q.dequantize)):
                yield Issue.at(use, str(use.quantizers[-1]), None, "index")


@rule.bad(says="input indices of the gather is quantized (uint8, scale 0.05, zero point 0); it says where things are, and a grid moves them")
def indices() -> Model:
    g = Graph()
    return g.model(g.op("gather", g.input() | u8(), indices=g.input("i", (4,)) | u8()) | u8())


@rule.good
def near_miss_the_table_is_quantized() -> Model:
    g = Graph()
    return g.model(g.op("gather", g.input() | u8(), indices=g.input("i", (4,), "int64")) | u8())
