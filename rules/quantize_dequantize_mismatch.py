"""Integers are written on one grid and read back on another.

## What it does

Compares the two halves of each quantizer, QuantizeLinear and DequantizeLinear (or the operators on integers
that stand for them): scale, zero point, type and axis have to agree, with a relative tolerance of 1e-6.

## Why it matters on hardware

The integers keep their values and change their meaning: everything behind is scaled or shifted. Nothing in
the file is invalid, so no checker and no runtime says anything. A backend that merges the pair takes one of
the two grids, and no two take the same. It is left behind by a tool that edits one of the two nodes, and by
exporters that share constants between nodes and change one of them.

## Example

    QuantizeLinear(scale=0.02) ─► DequantizeLinear(scale=0.04)

## Instead

    QuantizeLinear(scale=0.02) ─► DequantizeLinear(scale=0.02)

## Fix and its safety

Write the parameters of the one into the other. Unsafe: the numbers change, and which half is right cannot
be seen in the file. A factor that was meant belongs into a Mul of its own.

## References

- ONNX, QuantizeLinear and DequantizeLinear
- QONNX, QCDQToQuant: pairs whose parameters differ are left alone, without a message
"""

from collections.abc import Iterator
from dataclasses import replace

from qlint.graph import Model, Quantizer
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs, same_grid
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.words import listing, values

rule = Rule(
    name="quantize-dequantize-mismatch",
    code="QL103",
    since="0.1.0",
    what="{port}{origin} is written with {wanted} and read back with {found}",
    why="the integers mean something else to the reader",
    fix="give QuantizeLinear and DequantizeLinear the same parameters",
    cure="read-as-written",
    applicability="unsafe",
    consequence="wrong",
    per_kind=False,
)


@rule.check
def pairs(model: Model) -> Iterator[Issue]:
    """Every use that reads on another grid, if both grids are known."""
    for graph in graphs(model):
        for use, written in graph.quantizers():
            read = written.read_as
            if read is None or not (written.constant and read.constant):
                continue
            wrote, reads = _differences(written, read)
            if wrote:
                yield Issue.at(use, listing(reads, "and"), listing(wrote, "and"))


def _differences(written: Quantizer, read: Quantizer) -> tuple[list[str], list[str]]:
    """What the two say where they differ, in words."""
    if _form(written) == _form(read) and same_grid(written, read):
        return [], []
    said = [(mine, theirs) for mine, theirs in zip(_said(written), _said(read), strict=True) if mine != theirs]
    return [mine for mine, _ in said], [theirs for _, theirs in said]


def _form(q: Quantizer) -> tuple[object, ...]:
    return q.storage, q.granularity, q.axis, q.block_size


def _said(q: Quantizer) -> tuple[str, ...]:
    where = {"tensor": "one scale", "channel": f"scales along axis {q.axis}", "block": f"blocks of {q.block_size} along axis {q.axis}"}
    return (
        f"type {q.storage}",
        where[q.granularity],
        f"scale {values(q.scale or ())}",
        f"zero point {values(q.zero_point or ())}",
    )


@rule.bad(says="input x (the model's input x) is written with scale 0.05 and read back with scale 0.1; the integers mean")
def twice_the_scale() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(0.05, read_as=u8(0.1)), w=s8()) | u8())


@rule.bad(says="written with zero point 0 and read back with zero point 128")
def shifted() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(read_as=u8(zp=128)), w=s8()) | u8())


@rule.bad(says="written with type int8 and read back with type uint8")
def other_type() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | s8(read_as=u8())))


@rule.good
def the_same() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_rounding_of_float32() -> Model:
    g = Graph()
    q = u8(0.05)
    return g.model(g.conv(g.input() | replace(q, read_as=u8(0.05 * (1 + 1e-7))), w=s8()) | u8())


@rule.good
def near_miss_only_the_shape_of_the_scale() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(0.05, read_as=u8([0.05])), w=s8()) | u8())


@rule.good
def near_miss_unknown_scale() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8(0.05, read_as=u8(None))))
