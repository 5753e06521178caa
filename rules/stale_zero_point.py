"""A scale was rounded to a power of two, and the zero point is still that of the scale before.

## What it does

Finds power-of-two scales whose zero point belongs to another scale: the one that follows from the range that the tensor
has. The range is read where a file tells it: from the buffers of a fake quantizer's observer (live modules, TorchScript,
torch.export), from `min` and `max` beside scale and offset in an encodings file, from the clip in front of the quantizer,
or from the weight itself. One step of difference may be rounding and is none.

## Why it matters on hardware

The zero point is the code of real zero, so it depends on the scale: `qmin - min / scale`. A tool that calibrates, and then
rounds the scale to a power of two for hardware that only shifts, has to compute it again. MQBench's `pot_scale` does not: a
scale of 0.0066 became 2^-7, and the zero point stayed 45 where 38 belongs. Zero itself is still exact, but the
levels are shifted against the values: those at one end are never used, and where the rounded scale is the smaller one, more
is cut off at the other than needs to be. Nothing fails, and the accuracy goes down by more than the rounding explains.

## Example

    min -0.297, max 1.39: scale 0.0066 → 2^-7, zero point 45

## Instead

    min -0.297, max 1.39: scale 2^-7, zero point 38

## Fix and its safety

Compute the zero point again from the range and the rounded scale, or calibrate symmetrically, where it is zero anyway.
Unsafe: the numbers change, to those that were meant. Measure the accuracy again.

## References

- ModelTC/MQBench#209: the zero point is not updated after the scale became a power of two
- MQBench (arXiv 2111.03759), Table 2: TVM wants power-of-two scales
- PyTorch, torch/ao/quantization/utils.py: `determine_qparams`
"""

from collections.abc import Iterator

from qlint.graph import Model, Op, left_behind
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, s8, told, u8

MAX_BYTES = 1 << 20  # of a weight that is read for this
Ranges = tuple[tuple[float, float], ...]

rule = Rule(
    name="stale-zero-point",
    code="QL711",
    since="0.1.0",
    what="the zero point of {port}{origin} is {found}, which belongs to the scale before it became a power of two",
    why="with the rounded one and the range {range} it is {belongs}, now its levels reach from {levels}",
    fix="compute the zero point again from the range and the rounded scale",
    severity="warning",
    per_kind=False,
)


@rule.check
def of_another_scale(model: Model) -> Iterator[Issue]:
    """The first group of each quantizer whose zero point was left behind."""
    for grid in grids(model):
        q = grid.quantizer
        if q.grid != "affine" or q.scale is None or len(q.scale) > 4096 or not q.power_of_two or "zero" in q.zero_point_class or not q.qmin < q.qmax:
            continue
        pairs = list(q.pairs())
        for (scale, zero), (low, high) in zip(pairs, _ranges(grid, len(pairs)), strict=False):
            belongs = left_behind(scale, zero, low, high, q.qmin, q.qmax)
            if belongs is not None:
                levels = f"{scale * (q.qmin - zero):.4g} to {scale * (q.qmax - zero):.4g}"
                yield Issue.at(grid.use, _whole(zero), belongs, "zero_point", belongs=belongs, range=f"{low:.4g} to {high:.4g}", levels=levels)
                break


def _ranges(grid: Grid, groups: int) -> Ranges:
    """What is known of the values, one range for each group or for the tensor."""
    if grid.quantizer.observed:
        return grid.quantizer.observed
    if grid.constant:
        return _held(grid, groups)
    made = grid.use.tensor.producer
    bounds = _bounds(made) if made is not None and groups == 1 else None
    return () if bounds is None else (bounds,)


def _bounds(op: Op) -> tuple[float, float] | None:
    low, high = op.attrs.get("min"), op.attrs.get("max")
    return (float(low), float(high)) if op.kind == "clip" and isinstance(low, (int, float)) and isinstance(high, (int, float)) else None


def _held(grid: Grid, groups: int) -> Ranges:
    """Smallest and largest element of a float constant that is not too large to be read, by channel."""
    data, axis = grid.use.tensor.data, grid.quantizer.axis
    if data is None or data.nbytes > MAX_BYTES or data.dtype not in ("float32", "float64") or grid.quantizer.granularity == "block" or grid.shape != grid.use.tensor.shape:
        return ()
    values = data.array()
    if not values.size or (groups > 1 and (axis is None or not -values.ndim <= axis < values.ndim or values.shape[axis] != groups)):
        return ()
    rows = values.reshape(1, -1) if groups == 1 else values.swapaxes(0, axis or 0).reshape(groups, -1)
    return tuple(zip(rows.min(1).tolist(), rows.max(1).tolist(), strict=True))


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


OLD = 1.687 / 255  # the scale of -0.297 to 1.39


def _observed(scale: float, zero: int, seen: tuple[float, float] = (-0.297, 1.39)) -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(scale, zp=zero, origin="fake-quant", observed=(seen,)), w=s8()) | u8())


@rule.bad(says="(the model's input x) is 45, which belongs to the scale before it became a power of two; with the rounded one and the range -0.297 to 1.39 it is 38")
def rounded_up() -> Model:
    return _observed(2**-7, 45)


@rule.bad(says="it is 76, now its levels reach from -0.1758 to 0.8203")
def rounded_down() -> Model:
    return _observed(2**-8, 45)


@rule.bad(says="the zero point of the weight (the constant w) is 32, which belongs to the scale before")
def of_a_weight() -> Model:
    g = Graph()
    w = g.constant(8, 8, 3, 3, name="w", values=(-0.25, 1.75) * 288) | u8(2**-6, zp=32, origin="fake-quant")
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.bad(says="(from clip) is 36, which belongs to the scale before")
def behind_a_clip() -> Model:
    g = Graph()
    x = g.op("clip", g.conv(g.input() | u8(), w=s8()), name="clip", attrs={"min": -1.0, "max": 6.0})
    return g.model(g.conv(x | u8(2**-5, zp=36), w=s8()) | u8())


@rule.bad(says="(the model's input x) is 45")
def in_an_encodings_file() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), w=s8())), x=u8(2**-7, zp=45, observed=((-0.297, 1.39),)))


@rule.good
def computed_again() -> Model:
    return _observed(2**-7, 38)


@rule.good
def near_miss_the_scale_that_follows() -> Model:
    return _observed(OLD, 45)


@rule.good
def near_miss_one_step() -> Model:
    return _observed(2**-7, 39)


@rule.good
def near_miss_trained_elsewhere() -> Model:
    """Neither the zero point of the one scale nor that of the other."""
    return _observed(2**-7, 90)


@rule.good
def near_miss_nothing_is_known_of_the_range() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(2**-7, zp=45), w=s8()) | u8())


@rule.good
def near_miss_symmetric() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(2**-7, observed=((-0.297, 1.39),)), w=s8()) | u8())
