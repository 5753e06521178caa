"""A zero point is not a value that the quantized type has.

## What it does

Finds zero points outside of the codes of their quantizer, of another type than the integers that they belong
to, and other than zero on a float8 grid. Those between two integers are found by [fractional-zero-point].

## Why it matters on hardware

Zero then has no code. Padding, ReLU and pruned weights rely on an exact zero: the padding of a convolution
is written with the zero point, cut off to the type, and shifts every border. Compilers that store the zero
point in the type of the tensor wrap it around, and 300 becomes 44.

## Example

    uint4 codes 0 to 15, zero_point=37

## Instead

    uint4 codes 0 to 15, zero_point=7

## Fix and its safety

Calibrate again with a range that contains zero, and round the zero point before the scale is fixed. Unsafe:
the numbers change. A zero point of the wrong type may be written in the right one if its value fits: safe.

## References

- Jacob et al., arXiv 1712.05877, section 2.1: "the real value r = 0 be exactly representable"
- ONNX, QuantizeLinear: the zero point has the type of the output, and is zero for float8
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, quantizer, s8, u8

rule = Rule(
    name="zero-point-out-of-range",
    code="QL203",
    since="0.1.0",
    what="the zero point of {port}{origin} is {found}",
    why="{wanted}",
    fix="calibrate again, with a range that contains zero",
    consequence="wrong",
    per_kind=False,
)


@rule.check
def zero_points(model: Model) -> Iterator[Issue]:
    """The first zero point of each quantizer that is out of its type, and why."""
    for grid in grids(model):
        q = grid.quantizer
        for value in dict.fromkeys(q.zero_point or ()):
            if value != 0 and q.grid == "float":
                yield Issue.at(grid.use, value, f"{q.storage} has no zero point but zero", "float")
            elif value != value or value % 1:
                break  # between two codes: fractional-zero-point
            elif q.grid == "affine" and q.qmin < q.qmax and not q.qmin <= value <= q.qmax:
                yield Issue.at(grid.use, value, f"the codes of {q.storage} go from {q.qmin:g} to {q.qmax:g}", "range")
            else:
                continue
            break
        else:
            if (written := _other_type(grid)) is not None:
                yield Issue.at(grid.use, f"of type {written}", f"the integers are {q.storage}, and both have to agree", "type")


def _other_type(grid: Grid) -> str | None:
    """The type of a zero point in an ONNX file, if it is not that of the integers; where none are stored it is of no type."""
    for node in (grid.quantizer.quantize, grid.quantizer.dequantize):
        if node is None or node.dialect or node.domain not in ("", "com.microsoft") or "zero_point" not in node.uses:
            continue
        dtype = node.uses["zero_point"].tensor.dtype
        if dtype not in ("", grid.quantizer.storage):
            return dtype
    return None


@rule.bad(says="the zero point of input lhs (the model's input x) is 300; the codes of int8 go from -128 to 127")
def beyond_the_type() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("x") | s8(zp=300), g.input("y") | s8(), name="a") | s8())


@rule.bad(says="is 37; the codes of int8 go from -8 to 7")
def beyond_a_narrower_grid_in_the_same_container() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("x") | s8(zp=37, qmin=-8, qmax=7), g.input("y") | s8()) | s8())


@rule.bad(says="float8e4m3fn has no zero point but zero")
def float_grid() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | quantizer("float8e4m3fn", 0.1, zp=1)))


@rule.good
def near_miss_between_two_codes() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("x") | u8(zp=3.5), g.input("y") | u8()) | u8())


@rule.good
def at_the_ends() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("x") | u8(zp=255), g.input("y") | s8(zp=-128)) | u8())


@rule.good
def near_miss_float_grid_at_zero() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | quantizer("float8e4m3fn", 0.1)))
