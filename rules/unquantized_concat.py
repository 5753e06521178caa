"""A concatenation has an input without a quantizer.

## What it does

Finds concatenations (and stackings) that could run in integer if an input that reaches them in float had a quantizer.
Inputs that are quantized, each on a grid of its own, are [concat-scale-mismatch].

## Why it matters on hardware

A concatenation has no numbers of its own: it copies what it gets, and behind it there is one grid. In all hardware that
the MQBench paper looks at, its inputs are quantized and share one scale and zero point; the academic setting leaves
them in float. With one input in float the concatenation is computed in float, the branches in front of it are never
written as integers, and the convolution behind it has to quantize anew: DenseNets and detection heads lose a block each
time. MQBench's quantizers for all backends but Tengine's do not handle the operator either.

## Example

    conv_a ─ Q ─ DQ ─► concat ─► conv
    conv_b ────────────┘

## Instead

    conv_a ─ Q (scale 0.05) ─ DQ ─► concat ─ Q (scale 0.05) ─► conv
    conv_b ─ Q (scale 0.05) ─ DQ ───┘

## Fix and its safety

Insert a quantizer at the input, the same one at all of them, with the largest of their ranges. Unsafe: the numbers
change, and the range has to come from calibration data or from bounds of the values.

## References

- MQBench (arXiv 2111.03759), section 3.3 and Figure 13: concatenation in each of the graphs
- LiteRT 8-bit quantization specification: CONCATENATION, "inputs and outputs must all have same scale/zero_point"
- ModelTC/MQBench#38, #67, #171: concatenations that were not quantized, and what they cost
"""

from qlint.graph import Model
from qlint.lint.message import unless_invented
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing, read

rule = Rule(
    name="unquantized-concat",
    code="QL313",
    since="0.1.0",
    what="{port}{origin} {has} no quantizer",
    why=unless_invented("{backend} {runs} in integer only if all inputs are quantized"),
    fix="insert a quantizer at {port} of the {kind}, the same one at all inputs",
    cure="insert",
    applicability="unsafe",
)
rule.explains("quantizer", kinds="concat|stack", where=(missing, read))


@rule.bad(says="input x1 (from max_pool")
def one_branch() -> Model:
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("concat", x, g.op("max_pool", x)) | u8())


@rule.bad(sites=2, says="toy concatenates in integer only if all inputs are quantized")
def as_papers_leave_it() -> Model:
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("concat", g.conv(x, w=s8()), g.conv(x, w=s8())) | u8())


@rule.good
def one_grid_for_all() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8()) | u8())


@rule.good
def near_miss_a_softmax() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.conv(g.input() | u8(), w=s8())) | u8(1 / 256))


@rule.good
def near_miss_two_grids() -> Model:
    g = Graph()
    return g.model(g.op("concat", g.input("a") | u8(), g.input("b") | u8(0.02)) | u8())
