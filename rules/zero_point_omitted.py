"""A quantizer leaves out its zero point, and the backend wants it written down.

## What it does

Finds QuantizeLinear and DequantizeLinear nodes without a zero point at operators whose integer kernel is
selected only if there is one. Also the reverse. Without a backend, it finds quantizers that are uint8 only
because they leave it out, where the activations of the model are int8.

## Why it matters on hardware

Left out, the zero point is 0 and the type is uint8 by definition. The code that selects kernels sometimes
compares the tensors that hold the zero points instead of their values, and finds nothing to compare: the
operator runs in float. An exporter that leaves out "all zeros" for int8 has in fact written uint8.

## Example

    QuantizeLinear(x, scale)

## Instead

    QuantizeLinear(x, scale, zero_point=uint8 0)

## Fix and its safety

Add the zero point as a constant 0 of the type that the integers have. Safe: the numbers are the same.

## References

- ONNX, QuantizeLinear: "Default is uint8 with zero point of 0 if it's not specified."
- ONNX Runtime, qdq_util.cc, IsQDQPairSupported: "Q/DQ contains optional input is not supported"
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, s8, u8


def _what(facts: Facts) -> str:
    return f"the quantizer of {facts.port}{facts.origin} {'has' if facts.found == 'yes' else 'leaves out'} its zero point"


def _why(facts: Facts) -> str:
    if facts.extra:
        return "so its integers are uint8, and those of the other activations are int8"
    return f"{facts.backend} wants it {'written down' if facts.wanted == 'yes' else 'left out'}"


rule = Rule(
    name="zero-point-omitted",
    code="QL222",
    since="0.1.0",
    what=_what,
    why=_why,
    fix="write the zero point as a constant, 0 of the quantized type",
    cure="quantizers",
    applicability="safe",
    per_kind=False,
)
rule.explains("zero_point_given")
SHARE = 2 / 3  # of the activations that have to be int8


@rule.check
def types_by_default(model: Model) -> Iterator[Issue]:
    """Activations of type uint8 by default in a model of int8 ones."""
    written = [grid for grid in grids(model) if not grid.constant and grid.node is not None and grid.node.kind == "quantize" and not grid.node.dialect and grid.quantizer.read_as is None]
    bare = [grid for grid in written if grid.quantizer.storage == "uint8" and _left_out(grid)]
    if bare and sum(grid.quantizer.storage == "int8" for grid in written) >= SHARE * len(written):
        for grid in bare:
            yield Issue.at(grid.use, "no", "yes", "by default", severity="warning", default=True)


def _left_out(grid: Grid) -> bool:
    return grid.quantizer.zero_point_shape is None and grid.node is not None and not grid.node.attrs.get("output_dtype")


@rule.bad(says="the quantizer of input x (the model's input x) leaves out its zero point; toy wants it written down")
def left_out() -> Model:
    g = Graph()
    return g.model(g.op("tanh", g.input() | u8(zero_point_shape=None)) | u8())


@rule.bad(says="leaves out its zero point; so its integers are uint8, and those of the other activations are int8")
def uint8_by_accident() -> Model:
    g = Graph()
    x = g.op("leaky_relu", g.op("leaky_relu", g.input() | s8()) | s8()) | u8(zero_point_shape=None)
    return g.model(g.op("leaky_relu", x) | s8())


@rule.good
def written_down() -> Model:
    g = Graph()
    return g.model(g.op("tanh", g.input() | u8()) | u8())


@rule.good
def near_miss_where_nobody_looks() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input() | u8(zero_point_shape=None)) | u8())
