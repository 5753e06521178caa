"""Quantizers that are spelled out in arithmetic: `x / s → Round → Clip → * s`, with a zero point, an offset, or a straight-through estimator;
and the half of one that reads integers back: `(codes - zero point) * scale`.

Training tools leave them behind where an exporter knows no fake-quantize operator (QDrop, DoReFa, hand-written modules) or wants the
integers themselves (`int_repr` in Brevitas' TorchScript export, weights that are stored as integers). To a runtime they are
float arithmetic, so the ops stay what they are, and get a name: the group `decomposed_quantizer:1`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from qlint.graph import INTEGER_RANGES, Model, Op, Quantizer, Tensor, container
from qlint.graph.quantizer import Rounding
from qlint.passes.constants import small
from qlint.passes.dialects import spread

NAME = "decomposed_quantizer"
ROUNDINGS: dict[str, Rounding] = {"round": "half_even", "floor": "floor", "ceil": "ceil"}
TOLERANCE = 1e-5  # relative: a scale and its reciprocal, each in float32
WHOLE = 1e-3  # levels: how far a bound that was computed in float32 may lie beside the code that it is
MAX_STEPS = 6  # ops on either side of the rounding
MAX_LEVELS = 1 << 16
_LEVELS = tuple(float(2**bits - 1) for bits in range(1, 9))  # that DoReFa multiplies with what lies in [0, 1] (arXiv 1606.06160, equation 5)
Values = tuple[float, ...]


class Step(NamedTuple):
    """An op with one constant side: `x * factor + offset`, for all elements or for each channel, or a clamp.

    Ops in front of `op` that belong to the same step (of a straight-through estimator, of PACT's clamp) are `more`.
    """

    op: Op
    x: Tensor
    factor: Values = (1.0,)
    offset: Values = (0.0,)
    low: float = -math.inf
    high: float = math.inf
    shape: tuple[int, ...] = ()
    more: tuple[Op, ...] = ()

    @property
    def ops(self) -> tuple[Op, ...]:
        return (*self.more, self.op)

    @property
    def clamps(self) -> bool:
        return self.low > -math.inf or self.high < math.inf


class Found(NamedTuple):
    """A quantizer, the tensor that is on its grid, and the ops that spell it out."""

    tensor: Tensor
    quantizer: Quantizer
    ops: list[Op]


def _arithmetic(tensor: Tensor) -> bool:
    """Whether somebody scales or shifts the numbers: then they are not the integers of a requantization in steps."""
    return any(use.op is not None and use.op.kind in ("mul", "div", "add", "sub") for use in tensor.uses)


def find(model: Model) -> Iterator[Found]:
    """Each one in a graph, in file order."""
    for op in model.ops:
        if op.kind in ROUNDINGS and "x" in op.uses and op.outputs:
            estimator = _estimator(op)
            found = _around(op, estimator)
        else:
            found = _read_back(op)
        if found is not None:
            yield found


def _read_back(op: Op) -> Found | None:
    """Integers that arithmetic brings back to numbers: those of a quantized tensor, or of a constant, whose first reader `op` is."""
    codes, ops = (op.outputs[0], [op]) if op.kind == "int_repr" and op.outputs else (_stored(op), [])
    if codes is None or codes.dtype not in INTEGER_RANGES:
        return None
    steps: list[Step] = []
    reader = _only_reader(codes)
    while reader is not None and len(ops) < MAX_STEPS:
        ops.append(reader)
        if reader.kind != "cast":
            step = _step(reader)
            if step is None:
                return None
            steps.append(step)
            if step.factor != (1.0,):
                break
        reader = _only_reader(reader.outputs[0])
    clamped = max((i + 1 for i, step in enumerate(steps) if step.clamps), default=0)
    if not steps or steps[-1].factor == (1.0,) or any(step.offset != (0.0,) for step in steps[:clamped]):
        return None
    range_ = INTEGER_RANGES[codes.dtype]
    low, high = (_whole(end(pair)) for end, pair in zip((max, min), zip(range_, _bounds(steps[:clamped]), strict=True), strict=True))
    scale, offset = _composed(steps[clamped:])
    zero = tuple(_whole(-o / s) for o, s in _pairs(offset, scale))
    shape = max((step.shape for step in steps), key=math.prod)
    granularity, axis, block = spread(shape, codes.shape)
    quantizer = Quantizer(
        codes.dtype, scale, zero if len(set(zero)) > 1 else zero[:1], shape, shape, granularity, axis, block, qmin=low, qmax=high,
        origin="decomposed", quantize=ops[0], dequantize=ops[-1],
    )  # fmt: skip
    return Found(ops[-1].outputs[0], quantizer, ops) if low < high else None


def _stored(op: Op) -> Tensor | None:
    """The constant of integers that an op reads first: a whole tensor, no zero point."""
    first = next(iter(op.uses.values()), None) if op.kind in ("clip", "cast", "sub", "mul") else None
    tensor = first.tensor if first is not None else None
    return tensor if tensor is not None and tensor.producer is None and tensor.data is not None and (tensor.size or 0) > 1 else None


def _around(rounding: Op, estimator: list[Op]) -> Found | None:
    rounded = estimator[-1].outputs[0] if estimator else rounding.outputs[0]
    after = _after(rounded)
    around = [op for step in after for op in step.ops if step.more]  # estimators read what comes in once more
    before = _before(rounding, [*estimator, *around])
    fixed = rounding.role == "constant" and (rounding.outputs[0].size or 0) > 1  # then only what comes out counts
    if fixed and (found := _scaled_by_unknown(rounding, estimator, after)) is not None:
        return found
    heads = [before[::-1]] if fixed else list(_heads(before))
    for reach, head in product((False, True), heads):
        for count in range(len(after), 0, -1):
            tail = after[:count]
            if tail[-1].clamps or not (fixed or _identity([*head, *tail])):
                continue
            quantizer = _quantizer(rounding, head, tail, reach)
            if quantizer is not None:
                ops = [op for step in head for op in step.ops], [op for step in tail for op in step.ops]
                return Found(tail[-1].op.outputs[0], quantizer, [*ops[0], rounding, *estimator, *ops[1]])
    if len(after) == 1 and (after[0].low, after[0].high) in INTEGER_RANGES.values() and not _arithmetic(after[0].op.outputs[0]):
        quantizer = _quantizer(rounding, [], after)
        if quantizer is not None:
            return Found(after[0].op.outputs[0], quantizer, [rounding, *estimator, after[0].op])
    return None


def _heads(before: list[Step]) -> Iterator[list[Step]]:
    """What may belong to the quantizer of the steps in front of the rounding: the most first, in the order of the data.

    A clamp at the very front belongs to it only if nothing else says where the codes end: it may be a relu.
    """
    for count in range(len(before), 0, -1):
        head = before[:count][::-1]
        if any(s.factor != (1.0,) for s in head):
            if head[0].clamps and head[1:]:
                yield head[1:]
            yield head


def _quantizer(rounding: Op, head: list[Step], tail: list[Step], reach: bool = False) -> Quantizer | None:
    """The quantizer with the bounds that its steps clamp to, or (`reach`) between which lies what is rounded; None if they do not make a grid.

    Its codes are the integers where they are clamped last, or where they are rounded.
    """
    clamped = max((i + 1 for i, step in enumerate(tail) if step.clamps), default=0)
    low, high = _bounds([*head, *tail[:clamped]])
    scale, offset = _composed(tail[clamped:])
    zero = tuple(_whole(-o / s) for o, s in _pairs(offset, scale))
    if reach:
        least, most = interval(rounding.uses["x"].tensor)
        if math.isinf(least) and math.isinf(most) and rounding.role != "constant" and (levels := _composed(head)[0][0]) in _LEVELS:
            least, most = 0.0, levels
        low, high = max(low, least), min(high, most)
    low, high = _whole(low), _whole(high)
    if not 1 <= high - low < MAX_LEVELS or low % 1 or high % 1 or any(s <= 0 for s in scale):
        return None
    shape = max((step.shape for step in (*head, *tail)), key=math.prod)
    x = (head[0].x if head else rounding.uses["x"].tensor).shape
    granularity, axis, block = spread(shape, x)
    if granularity == "block" and block == 1:  # a factor for each element is no grid
        return None
    return Quantizer(
        container(low, high), scale, zero if len(set(zero)) > 1 else zero[:1], shape, shape, granularity, axis, block, qmin=low, qmax=high,
        rounding=ROUNDINGS[rounding.kind], origin="decomposed", quantize=rounding, dequantize=tail[-1].op,
    )  # fmt: skip


def _scaled_by_unknown(rounding: Op, estimator: list[Op], tail: list[Step]) -> Found | None:
    """A weight whose codes are clamped and then multiplied with what the file computes from the weight, as its largest magnitude."""
    codes = tail[-1].op.outputs[0] if tail and all(step.factor == (1.0,) for step in tail) else None
    op = _only_reader(codes) if codes is not None else None
    scale = next((use.tensor for use in op.uses.values() if use.tensor is not codes), None) if op is not None and op.kind == "mul" else None
    if op is None or scale is None or scale.producer is None or scale.producer.role != "constant" or scale.size is None:
        return None
    low, high = map(_whole, _bounds(tail))
    if not 1 <= high - low < MAX_LEVELS or low % 1 or high % 1:
        return None
    shape = tuple(d for d in scale.shape or () if isinstance(d, int))
    zero = tuple(_whole(-o) for o in _composed(tail)[1])
    granularity, axis, block = spread(shape, rounding.uses["x"].tensor.shape)
    quantizer = Quantizer(
        container(low, high), None, zero if len(set(zero)) > 1 else zero[:1], shape, shape, granularity, axis, block, qmin=low, qmax=high,
        rounding=ROUNDINGS[rounding.kind], origin="decomposed", quantize=rounding, dequantize=op,
    )  # fmt: skip
    return Found(op.outputs[0], quantizer, [rounding, *estimator, *(own for step in tail for own in step.ops), op])


# -- chains of steps ----------------------------------------------------------------------------------------


def _estimator(rounding: Op) -> list[Op]:
    """The Sub and the Add of `(Round(x) - x) + x`, the straight-through estimator as exporters write it."""
    pair = _straight(rounding.outputs[0])
    return pair if pair and pair[0].uses["rhs"].tensor is rounding.uses["x"].tensor else []


def _straight(tensor: Tensor) -> list[Op]:
    """The Sub and the Add of `(tensor - x) + x`, whatever x is: the value is that of the tensor, the gradient that of x."""
    subtract = _only_reader(tensor)
    if subtract is None or subtract.kind != "sub" or subtract.uses["lhs"].tensor is not tensor:
        return []
    x, add = subtract.uses["rhs"].tensor, _only_reader(subtract.outputs[0])
    return [subtract, add] if add is not None and add.kind == "add" and any(use.tensor is x for use in add.uses.values()) else []


def _before(rounding: Op, estimators: list[Op]) -> list[Step]:
    """The steps in front of a rounding, the nearest first. What is read by others than them, and by the estimators, ends them."""
    found: list[Step] = []
    tensor, readers = rounding.uses["x"].tensor, [rounding]
    while len(found) < MAX_STEPS and all(use.op is not None and any(use.op is r for r in (*readers, *estimators)) for use in tensor.uses):
        step = _learned_clamp(tensor.producer) or _chosen(tensor.producer) or _step(tensor.producer)
        if step is None:
            break
        found.append(step)
        tensor, readers = step.x, [*step.ops]
    return found


def _after(tensor: Tensor) -> list[Step]:
    """The steps behind a tensor, the nearest first."""
    found: list[Step] = []
    while len(found) < MAX_STEPS:
        pair = _straight(tensor)
        step = Step(pair[1], tensor, more=(pair[0],)) if pair else _choice(tensor) or _step(_only_reader(tensor))
        if step is None or step.x is not tensor:
            break
        found.append(step)
        tensor = step.op.outputs[0]
    return found


def _learned_clamp(op: Op | None) -> Step | None:
    """`0.5 * (|x| - |x - a| + a)`: PACT's clamp to [0, a] (Choi et al., arXiv 1805.06085, equation 1)."""
    add = _factor(op, "mul", 0.5)
    subtract, a = _constant_side(add, "add")
    if op is None or add is None or subtract is None or subtract.kind != "sub":
        return None
    first, second = (use.tensor.producer for use in subtract.uses.values())
    if first is None or second is None or (first.kind, second.kind) != ("abs", "abs"):
        return None
    x, (shifted, b) = first.uses["x"].tensor, (second.uses["x"].tensor.producer, None)
    values = small(shifted.uses["rhs"].tensor) if shifted is not None and shifted.kind == "sub" and shifted.uses["lhs"].tensor is x else None
    b = values[0] if values and len(values) == 1 else None
    if shifted is None or a is None or b != a or not a > 0:
        return None
    return Step(op, x, low=0.0, high=a, more=(first, shifted, second, subtract, add))


def _chosen(op: Op | None) -> Step | None:
    """A clamp that is written as a choice: `where(x < a, x, a)` is one to at most a, as PACT is written too, and `where(x < a, a, x)` one to at least a."""
    if op is None or op.kind != "where" or not {"cond", "lhs", "rhs"} <= op.uses.keys():
        return None
    compared, lhs, rhs = op.uses["cond"].tensor.producer, op.uses["lhs"].tensor, op.uses["rhs"].tensor
    if compared is None or compared.kind not in _COMPARED:
        return None
    smaller, larger = (compared.uses[role].tensor for role in _COMPARED[compared.kind])
    for x, bound in ((lhs, rhs), (rhs, lhs)):
        a = small(bound)
        if a and len(a) == 1 and (below := smaller is x) != (larger is x) and small(larger if below else smaller) == a:
            return Step(op, x, more=(compared,), **{"high" if below == (x is lhs) else "low": a[0]})
    return None


def _choice(tensor: Tensor) -> Step | None:
    """The same, behind a tensor that nobody else reads."""
    readers = [use.op for use in tensor.uses]
    step = next((_chosen(op) for op in readers if op is not None and op.kind == "where"), None)
    return step if step is not None and step.x is tensor and len(readers) == 2 and all(any(op is own for own in step.ops) for op in readers) else None


_COMPARED = {"less": ("lhs", "rhs"), "less_or_equal": ("lhs", "rhs"), "greater": ("rhs", "lhs"), "greater_or_equal": ("rhs", "lhs")}


def _factor(op: Op | None, kind: str, number: float) -> Op | None:
    """What makes the other operand of an op that has this number as one."""
    made, value = _constant_side(op, kind)
    return made if value == number else None


def _constant_side(op: Op | None, kind: str) -> tuple[Op | None, float | None]:
    """(what makes the one operand of an op, the number that the other one is)."""
    if op is None or op.kind != kind or set(op.uses) != {"lhs", "rhs"}:
        return None, None
    for data, constant in (("lhs", "rhs"), ("rhs", "lhs")):
        values = small(op.uses[constant].tensor)
        if values is not None and len(values) == 1 and isinstance(values[0], (int, float)):
            return op.uses[data].tensor.producer, values[0]
    return None, None


def _only_reader(tensor: Tensor) -> Op | None:
    op = tensor.uses[0].op if len(tensor.uses) == 1 else None
    return op if op is not None and op.outputs and set(op.uses) in ({"lhs", "rhs"}, {"x"}, {"x", "min"}, {"x", "max"}, {"x", "min", "max"}) else None


def _step(op: Op | None) -> Step | None:
    if op is None or not op.outputs:
        return None
    if op.kind in ("clip", "relu") and "x" in op.uses:
        low, high = (0.0, math.inf) if op.kind == "relu" else (op.attrs.get("min", -math.inf), op.attrs.get("max", math.inf))
        return Step(op, op.uses["x"].tensor, low=low, high=high) if isinstance(low, (int, float)) and isinstance(high, (int, float)) else None
    if op.kind not in ("mul", "div", "add", "sub", "min", "max") or set(op.uses) != {"lhs", "rhs"}:
        return None
    lhs, rhs = op.uses["lhs"].tensor, op.uses["rhs"].tensor
    data, constant = (lhs, rhs) if rhs.data is not None else (rhs, lhs)
    values = small(constant)
    if not values or constant.data is None or (constant is lhs and op.kind in ("div", "sub")) or not all(isinstance(v, (int, float)) for v in values):
        return None
    shape = constant.data.shape
    if op.kind in ("mul", "div"):
        return Step(op, data, factor=values if op.kind == "mul" else tuple(1 / v for v in values), shape=shape) if all(map(_positive, values)) else None
    if op.kind in ("add", "sub"):
        return Step(op, data, offset=values if op.kind == "add" else tuple(-v for v in values), shape=shape)
    if len(values) > 1:
        return None
    return Step(op, data, high=values[0]) if op.kind == "min" else Step(op, data, low=values[0])


# -- arithmetic ---------------------------------------------------------------------------------------------


def _composed(steps: Sequence[Step]) -> tuple[Values, Values]:
    """(factor, offset) of steps one after the other, clamps left aside."""
    factor: Values = (1.0,)
    offset: Values = (0.0,)
    for step in steps:
        factor = tuple(a * b for a, b in _pairs(factor, step.factor))
        scaled = tuple(a * b for a, b in _pairs(offset, step.factor))
        offset = tuple(a + b for a, b in _pairs(scaled, step.offset))
    return factor, offset


def _identity(steps: Sequence[Step]) -> bool:
    """Whether a number comes out as it went in; an offset counts in steps of the last factor."""
    factor, offset = _composed(steps)
    scale = next((s.factor for s in reversed(steps) if s.factor != (1.0,)), (1.0,))
    return all(abs(f - 1) <= TOLERANCE for f in factor) and all(abs(o) <= WHOLE * s for o, s in _pairs(offset, scale))


def _bounds(steps: Sequence[Step]) -> tuple[float, float]:
    """The bounds that steps clamp to: what is clamped before it is scaled is scaled with it."""
    low, high = -math.inf, math.inf
    for step in steps:
        low, high = max(low, step.low), min(high, step.high)
        if len(step.factor) > 1 and math.isfinite(high - low):
            return -math.inf, math.inf  # other codes in each channel
        low, high = (bound * step.factor[0] + step.offset[0] for bound in (low, high))
    return low, high


def interval(tensor: Tensor, depth: int = 0) -> tuple[float, float]:
    """Bounds between which a tensor lies whatever comes in, by the ops that make it; infinite where nothing says so."""
    op = tensor.producer
    if op is None or depth > MAX_STEPS:
        return -math.inf, math.inf
    x = next((use.tensor for use in op.uses.values()), None)
    if op.kind in _RANGES:
        return _RANGES[op.kind]
    if x is None:
        return -math.inf, math.inf
    if op.kind == "abs":
        low, high = interval(x, depth + 1)
        return max(low, 0.0), max(abs(low), abs(high))
    if op.kind == "div" and (most := _normalized(op)):
        return -most, most
    if op.kind in ("mul", "pow"):
        return _product(op, depth)
    step = _learned_clamp(op) or _chosen(op) or _step(op)
    if step is None or len(step.factor) > 1 or len(step.offset) > 1:
        return -math.inf, math.inf
    low, high = interval(step.x, depth + 1)
    return max(low, step.low) * step.factor[0] + step.offset[0], min(high, step.high) * step.factor[0] + step.offset[0]


_RANGES = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0), "sign": (-1.0, 1.0)}


def _normalized(op: Op) -> float:
    """The largest magnitude of `x / max|x|`, which is 1, or of `x / (2 * max|x|)`; a small number may be added to what is divided by. 0 of anything else."""
    most, times = op.uses["rhs"].tensor.producer, 1.0
    while most is not None and most.kind in ("add", "mul"):
        kind = most.kind
        most, number = _constant_side(most, kind)
        if number is None or number <= 0:
            return 0.0
        times *= number if kind == "mul" else 1.0
    magnitude = most.uses["x"].tensor.producer if most is not None and most.kind == "reduce_max" and "x" in most.uses else None
    same = magnitude is not None and magnitude.kind == "abs" and magnitude.uses["x"].tensor is op.uses["lhs"].tensor
    return 1 / times if same else 0.0


def _product(op: Op, depth: int) -> tuple[float, float]:
    """Of two tensors, or of powers of one between 0 and 1."""
    ends = []
    for use in op.uses.values():
        values = small(use.tensor)
        ends.append((values[0], values[0]) if values and len(values) == 1 else interval(use.tensor, depth + 1))
    (a, b), (c, d) = ends[:2] if len(ends) > 1 else ((-math.inf, math.inf), (-math.inf, math.inf))
    if op.kind == "pow":
        return (0.0, 1.0) if a >= 0 and b <= 1 and c == d > 0 else (-math.inf, math.inf)
    products = [x * y if x and y else 0.0 for x in (a, b) for y in (c, d)]
    return min(products), max(products)


def _pairs(left: Values, right: Values) -> Iterator[tuple[float, float]]:
    """Element by element; one number goes with all of the other side."""
    count = max(len(left), len(right))
    return zip(*(side * count if len(side) == 1 else side for side in (left, right)), strict=False)


def _positive(value: float) -> bool:
    return value > 0 and math.isfinite(value)


def _whole(value: float) -> float:
    """The integer that a number computed in float32 stands for, or the number."""
    return float(round(value)) if math.isfinite(value) and abs(value - round(value)) < WHOLE else value
