"""A dimension is not a number, and the backend compiles for fixed shapes.

## What it does

Finds symbolic and unknown dimensions at operators whose integer kernel needs numbers. All operators that
suffer from the same symbol are one finding.

## Why it matters on hardware

Compilers for accelerators plan memory and tiles ahead of time. An operator without a fixed shape is left
to the CPU, and with a symbolic batch size that is every operator of the model.

## Example

    input: float32[N, 3, 224, 224]

## Instead

    input: float32[1, 3, 224, 224]

## Fix and its safety

Export with fixed shapes, or set them in the file. Safe for models that are used with one shape. With
`--input-shape` qlint judges the model as if the shapes were fixed.

## References

- ONNX Runtime documentation, Make dynamic input shape fixed
"""

from qlint.graph import Model
from qlint.judge import Mismatch
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8


def _what(facts: Facts) -> str:
    if len({cause.tensor for cause in facts.causes}) > 1:
        return f"the shapes of {facts.tensor} are not fixed"
    return f"the shape of {facts.tensor} is {facts.found}"


rule = Rule(
    name="dynamic-shape",
    code="QL604",
    since="0.1.0",
    what=_what,
    why="{backend} {runs} in integer only if every dimension is a number",
    fix="export with fixed shapes, or judge with --input-shape NAME:SIZES",
)


def _symbol(m: Mismatch) -> object:
    """The first symbolic dimension: what is to be fixed is the symbol, not each tensor. Where the file tells no sizes, it is one thing that is missing."""
    shape = m.tensor.shape if m.tensor is not None else None
    return next((d for d in shape or () if isinstance(d, str)), "?")


rule.explains("dynamic_shape|unknown_shape", about=_symbol)
rule.explains("static_shape", what="all shapes are fixed", why="{backend} {runs} in integer only with a symbolic dimension")


@rule.bad(says="the shape of x is [N, 8, 16, 16]; toy runs a conv in integer only if every dimension is a number")
def symbolic_batch() -> Model:
    g = Graph()
    y = g.conv(g.input(shape=("N", 8, 16, 16)) | u8(), w=s8()) | u8()
    return g.model(g.conv(y, w=s8()) | u8())


@rule.bad(says="the shape of x is unknown")
def unknown_rank() -> Model:
    g = Graph()
    return g.model(g.op("reduce_mean", g.input(shape=None) | u8()) | u8())  # type: ignore[arg-type]


@rule.bad(says="all shapes are fixed; toy runs an elu in integer only with a symbolic dimension")
def fixed_where_symbols_are_wanted() -> Model:
    g = Graph()
    return g.model(g.op("elu", g.input() | u8()) | u8())


@rule.good
def fixed() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_where_it_is_allowed() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input(shape=("N", 10)) | u8()) | u8(1 / 256))
