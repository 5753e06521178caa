"""An operator that only moves numbers takes them to another grid.

## What it does

Finds reshapes, transposes, slices, max pools and the like that read one grid and write another: one that is more
than half as coarse again, so that codes are lost, or one that ends before the half of the range that is read, which
cuts numbers off (parts of a tensor may be small, and are left alone there). Concatenations have a rule of their own, [concat-scale-mismatch], and so have quantizers in a row,
[double-quantization]. A backend that wants both grids to be equal says so itself, and then this rule is silent.

## Why it matters on hardware

The operator adds nothing to its numbers, so that a second grid can only lose: each requantization rounds once more,
and one to a coarser grid merges neighbouring codes. It also costs a pass over all values where a view would cost
nothing. It comes from calibrating every tensor by itself.

## Example

    Q(0.02) ─ reshape ─ Q(0.08)                             # a quarter of the codes

## Instead

    Q(0.02) ─ reshape ─ Q(0.02)

## Fix and its safety

Write the grid that is read. Unsafe: the numbers change, they come closer to the float model.

## References

- microsoft/onnxruntime issue 21251: consecutive requantization with growing scales
- LiteRT 8-bit quantization specification: data movement keeps scale and zero point
"""

from collections.abc import Iterator

from qlint.graph import Model, Quantizer
from qlint.graph.kinds import CLASSES
from qlint.lint.layers import grid, written
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, u8

MOVES = (CLASSES["move"] | {"max_pool", "global_max_pool", "resize"}) - {"concat", "stack"}
PARTS = ("slice", "split", "gather", "gather_elements", "gather_nd", "unstack")  # may hold the smaller numbers only
COARSER = 1.5

rule = Rule(
    name="resolution-loss",
    code="QL509",
    since="0.1.0",
    what="{found} behind the {kind}",
    why="{meaning}",
    fix="write the grid that the {kind} reads",
    consequence="slow",
    yields="same",
)


@rule.check
def moves(model: Model) -> Iterator[Issue]:
    """Data movement between two grids, per tensor, that loses codes or range."""
    for op in model.walk():
        use = op.uses.get("x", op.uses.get("x0")) if op.kind in MOVES and op.outputs else None
        x, y = (None, None) if use is None else (grid(use), written(op.outputs[0]))
        if use is None or use.tensor.constant or x is None or y is None or not (_plain(x) and _plain(y)) or x.bits != y.bits:
            continue
        assert x.scale and y.scale and x.range and y.range
        if y.scale[0] > COARSER * x.scale[0]:
            found = f"the scale grows from {x.scale[0]:.6g} to {y.scale[0]:.6g}"
            yield Issue(op, "y", op.outputs[0], found, None, "coarser", facts={"meaning": "codes that were apart in front of it are one"})
        elif op.kind not in PARTS and max(map(abs, y.range)) < max(map(abs, x.range)) / 2:
            found = f"the range shrinks from {_text(x.range)} to {_text(y.range)}"
            yield Issue(op, "y", op.outputs[0], found, None, "narrower", facts={"meaning": "larger numbers are cut off"})


def _plain(q: Quantizer) -> bool:
    return q.grid == "affine" and q.granularity == "tensor" and q.constant and len(q.scale or ()) == 1 and (q.scale or (0.0,))[0] > 0


def _text(span: tuple[float, float]) -> str:
    return f"[{span[0]:.4g}, {span[1]:.4g}]"


def _move(before: float, behind: float, kind: str = "transpose") -> Model:
    g = Graph()
    return g.model(g.op(kind, g.input() | u8(before)) | u8(behind))


@rule.bad(says="the scale grows from 0.02 to 0.08 behind the transpose; codes that were apart in front of it are one")
def coarser() -> Model:
    return _move(0.02, 0.08)


@rule.bad(says="the range shrinks from [0, 20.4] to [0, 5.1] behind the transpose; larger numbers are cut off")
def narrower() -> Model:
    return _move(0.08, 0.02)


@rule.good
def the_same() -> Model:
    return _move(0.02, 0.02)


@rule.good
def near_miss_a_little_coarser() -> Model:
    return _move(0.02, 0.029)


@rule.good
def near_miss_a_part_that_is_small() -> Model:
    return _move(0.08, 0.02, "slice")


@rule.good
def near_miss_arithmetic_in_between() -> Model:
    return _move(0.02, 0.08, "avg_pool")

