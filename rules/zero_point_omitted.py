"""A quantizer leaves out its zero point, and the backend wants it written down.

## What it does

Finds QuantizeLinear and DequantizeLinear nodes without a zero point at operators whose integer kernel is
selected only if there is one. Also the reverse.

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

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _what(facts: Facts) -> str:
    return f"the quantizer of {facts.port}{facts.origin} {'has' if facts.found == 'yes' else 'leaves out'} its zero point"


rule = Rule(
    name="zero-point-omitted",
    code="QL222",
    since="0.1.0",
    what=_what,
    why=lambda facts: f"{facts.backend} wants it {'written down' if facts.wanted == 'yes' else 'left out'}",
    fix="write the zero point as a constant, 0 of the quantized type",
    per_kind=False,
)
rule.explains("zero_point_given")


@rule.bad(says="the quantizer of input x (the model's input x) leaves out its zero point; toy wants it written down")
def left_out() -> Model:
    g = Graph()
    return g.model(g.op("tanh", g.input() | u8(zero_point_shape=None)) | u8())


@rule.good
def written_down() -> Model:
    g = Graph()
    return g.model(g.op("tanh", g.input() | u8()) | u8())


@rule.good
def near_miss_where_nobody_looks() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input() | u8(zero_point_shape=None)) | u8())
