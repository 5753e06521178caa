"""A tensor is padded with a number that is not zero on its grid.

## What it does

Finds Pad operators on the integers of a quantized tensor whose value is not the zero point (in ONNX the value is 0
if it is left out, whatever the zero point), and Pads between quantizers whose value is beyond the grid. Padding in
front of a max pool is left alone: the smallest code is what is wanted there.

## Why it matters on hardware

Convolutions are padded with a real zero, which is the zero point. The integer 0 on a grid with zero point 128 is the
most negative number there is: every border is wrong, and nothing fails. It happens where a tool moves a
QuantizeLinear in front of a Pad and leaves its value as it was.

## Example

    QuantizeLinear(zero_point=128) ─ Pad(value=0) ─ DequantizeLinear ─► conv

## Instead

    QuantizeLinear(zero_point=128) ─ Pad(value=128) ─ DequantizeLinear ─► conv

## Fix and its safety

Pad the integers with the zero point. Unsafe: the numbers at the borders change, to those of the float model.

## References

- ONNX, Pad: "constant_value ... by default is 0, empty string or False"
- Jacob et al., arXiv 1712.05877, section 2.1: zero has to be exact, because of padding
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, Quantizer
from qlint.lint.layers import grid, written
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, Wire, u8

rule = Rule(
    name="padding-value",
    code="QL515",
    since="0.1.0",
    what="the {kind} writes {found} around its input",
    why="{meaning}",
    fix="pad with the zero point of the grid",
    severity="warning",
)


@rule.check
def pads(model: Model) -> Iterator[Issue]:
    """Constant padding that is not the zero of the grid it is written on."""
    for op in model.walk():
        use = op.uses.get("x") if op.kind == "pad" and op.attrs.get("mode", "constant") == "constant" and op.outputs else None
        if use is None or _pooled(op):
            continue
        integer, value = _value(op)
        q = grid(use) if integer else written(op.outputs[0])
        if value is None or q is None or q.grid != "affine" or not _plain(q):
            continue
        (zero,) = q.zero_point or (0,)
        (scale,) = q.scale or (1.0,)
        if integer and value != zero:
            meaning = f"zero is {zero:g} on its grid, and that integer stands for {scale * (value - zero):.4g}"
            yield Issue(op, "", op.outputs[0], f"the integer {value:g}", zero, "integer", facts={"meaning": meaning})
        elif not integer and q.range is not None and not q.range[0] - scale / 2 <= value <= q.range[1] + scale / 2:
            meaning = f"the grid behind it ends at {q.range[0 if value < 0 else 1]:.4g}"
            yield Issue(op, "", op.outputs[0], f"{value:g}", zero, "beyond", severity="info", facts={"meaning": meaning})


def _plain(q: Quantizer) -> bool:
    return q.constant and len(q.scale or ()) == 1 and len(q.zero_point or ()) == 1


def _pooled(op: Op) -> bool:
    return all(use.op is not None and use.op.kind == "max_pool" for use in op.outputs[0].uses if use.kind != "dead")


def _value(op: Op) -> tuple[bool, float | None]:
    """Whether integers are padded, and with what; None if it is not known."""
    use = op.uses.get("value")
    if use is None:  # TFLite's PAD, for one, writes the zero point
        return op.outputs[0].dtype.startswith(("int", "uint")), 0.0 if op.native == "Pad" else None
    data = use.tensor.data
    if data is None or data.nbytes > 16 or len(values := data.values()) != 1:
        return False, None
    if data.dtype.startswith(("int", "uint")) and use.quantizers:
        return False, None
    return data.dtype.startswith(("int", "uint")), float(values[0])


def _pad(value: Wire | None, reader: str = "conv", dtype: str = "uint8", g: Graph | None = None) -> Model:
    g = g or Graph()
    x = g.input() | u8(zp=7)
    y = g.op("pad", x, shape=(1, 8, 18, 18)) if value is None else g.op("pad", x, shape=(1, 8, 18, 18), value=value)
    y.tensor.dtype = dtype
    return g.model(g.op(reader, y | u8(zp=7)) | u8())


@rule.bad(says="the pad writes the integer 0 around its input; zero is 7 on its grid, and that integer stands for -0.35")
def value_left_out() -> Model:
    return _pad(None)


@rule.bad(says="writes the integer 3 around its input")
def another_integer() -> Model:
    g = Graph()
    return _pad(g.constant(values=[3], dtype="uint8"), g=g)


@rule.bad(says="the pad writes -1e+09 around its input; the grid behind it ends at -0.35")
def beyond_the_grid() -> Model:
    g = Graph()
    return _pad(g.constant(values=[-1e9]), dtype="float32", g=g)


@rule.good
def zero_point() -> Model:
    g = Graph()
    return _pad(g.constant(values=[7], dtype="uint8"), g=g)


@rule.good
def near_miss_a_real_zero() -> Model:
    return _pad(None, dtype="float32")


@rule.good
def near_miss_in_front_of_a_max_pool() -> Model:
    return _pad(None, reader="max_pool")
