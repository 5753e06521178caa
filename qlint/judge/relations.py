"""Relations between the quantizers of a chain, and to what its operators compute: guards that look at grids (see guards.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from qlint.graph import Op, Quantizer
from qlint.graph.kinds import CLASSES
from qlint.judge import accumulator
from qlint.judge.pattern import Chain
from qlint.judge.ports import RELATION, SHAPE, VALUE, Port, ports
from qlint.judge.prepare import Prepared
from qlint.judge.verdict import Miss
from qlint.profile.schema import Bounds, Multiplier, Shift

RANGE_TOLERANCE = 1e-6  # relative, of a clamp's bound against the end of a grid
_WIDE = ("int8", "uint8", "int16", "uint16")
NEAR = 1e-6  # absolute, of scales that TFLite Micro takes for equal (kernels/pooling_common.cc)
CLOSE = 1e-3  # relative, of scales that are as good as equal: at the end of 8 bits an eighth of a step


def miss(port: Port, dimension: str, found: Any, wanted: Any, weight: int, beside: Port | None = None) -> Miss:
    """What a port misses; `beside`: the port that it was compared with."""
    other = beside.tensor if beside is not None else None
    return Miss(port.name, dimension, found, wanted, weight, port.role, port.op, port.tensor, port.readers, other)


def quantized(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> list[tuple[Port, Quantizer]]:
    """The ports of some names that have one quantizer, with it."""
    found = [port for name in names for port in ports(chain, name, prepared)]
    return [(port, port.quantizer) for port in found if port.quantizer is not None and port.state == "one"]


def within(value: float, bounds: Bounds) -> bool:
    """Whether a number keeps to its bounds."""
    inside = (bounds.min is None or value >= bounds.min) and (bounds.max is None or value <= bounds.max)
    return inside and (bounds.multiple is None or value % bounds.multiple == 0)


def text(bounds: Bounds) -> str:
    """`at least 1 and at most 4`, as messages say it."""
    if bounds.min is not None and bounds.min == bounds.max:
        return f"{bounds.min:g}"
    ends = [f"at least {bounds.min:g}" if bounds.min is not None else "", f"at most {bounds.max:g}" if bounds.max is not None else ""]
    return " and ".join(end for end in (*ends, f"a multiple of {bounds.multiple}" if bounds.multiple is not None else "") if end)


def absorbed(wanted: str, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """The clamps of the chain do nothing that y's grid does not do itself.

    `range`: in real numbers. `first_range`: the same for the first channel alone, and only 8 and 16 bits wide.
    `zero_point`: in the integers of y's grid, which must be 8 or 16 bits wide with a scalar scale (ONNX Runtime,
    `IsClipMadeRedundantByQ` in qdq_util.cc). `no`: they still clamp, in real numbers, what y's grid would let pass.
    """
    clamps = chain.ops[1:] if chain.anchor.kind not in CLASSES["clamp"] else chain.ops
    for port, q in quantized(("y",), chain, prepared):
        for op in clamps:
            if op.kind not in CLASSES["clamp"]:
                continue
            bounds = clamp(op)
            if bounds is None:
                yield miss(port, "clip_bounds", "not constant", "constant", VALUE)
            elif not q.constant:
                yield miss(port, "scale", "not constant", "constant", VALUE)
            elif wanted == "zero_point":
                yield from _redundant(port, q, op, bounds)
            elif q.zero_point_shape is None:
                yield miss(port, "zero_point_given", False, True, SHAPE)
            elif wanted == "first_range" and q.storage not in _WIDE:
                yield miss(port, "storage", q.storage, _WIDE, SHAPE)
            elif (found := _first(q) if wanted == "first_range" else q.range) is not None:
                slack = RANGE_TOLERANCE * max(abs(found[0]), abs(found[1]))
                inside = bounds[0] - slack <= found[0] and found[1] <= bounds[1] + slack
                if inside == (wanted == "no"):
                    yield miss(port, "range", found, bounds if wanted != "no" else "a range beyond the bounds", VALUE)


def _first(q: Quantizer) -> tuple[float, float]:
    """The range of the first channel."""
    scale, zero_point = next(q.pairs())
    low, high = scale * (q.qmin - zero_point), scale * (q.qmax - zero_point)
    return (high, low) if high < low else (low, high)


def _redundant(port: Port, q: Quantizer, op: Op, bounds: tuple[float, float]) -> Iterator[Miss]:
    scale, zero_point = next(q.pairs())
    if op.kind == "relu":
        if zero_point != q.qmin:
            yield miss(port, "zero_point", zero_point, q.qmin, VALUE)
        elif q.zero_point_shape is None and q.scale_shape:  # relu_quant_fusion.cc wants a zero point, what comes after it a scalar
            yield miss(port, "zero_point_given", False, True, SHAPE)
        return
    if q.storage not in _WIDE:
        yield miss(port, "storage", q.storage, _WIDE, SHAPE)
        return
    if q.scale_shape or q.zero_point_shape:
        yield miss(port, "scale_shape", list(q.scale_shape), "scalar", SHAPE)
        return
    low, high = (end if math.isinf(end) or not scale else round(end / scale) + zero_point for end in bounds)
    if low > q.qmin or high < q.qmax:
        yield miss(port, "range", q.range, bounds, VALUE)


def clamp(op: Op) -> tuple[float, float] | None:
    """Bounds of a relu or clip; None if they are not constants."""
    if op.kind == "relu":
        return 0.0, math.inf
    if any(role in op.uses and role not in op.attrs for role in ("min", "max")):
        return None
    low, high = op.attrs.get("min"), op.attrs.get("max")
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def bias_scale(tolerance: float, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = {port.name: (port, q) for port, q in quantized(("x", "w", "b"), chain, prepared)}
    if len(found) < 3:
        return
    (_, x), (_, w), (port, b) = found["x"], found["w"], found["b"]
    if x.scale is None or w.scale is None or b.scale is None:
        if b.quantize is not None or b.dequantize is not None:
            yield miss(port, "bias_scale", "not constant", "constant", VALUE)
        return
    wanted = [x.scale[0] * s for s in w.scale]
    if len(b.scale) not in (1, len(wanted)) and len(wanted) != 1:
        yield miss(port, "bias_scale", f"{len(b.scale)} scales", f"{len(wanted)} scales", VALUE)
        return
    count = max(len(b.scale), len(wanted))
    ratios = [
        b.scale[i if len(b.scale) > 1 else 0] / product
        for i in range(count)
        if (product := wanted[i if len(wanted) > 1 else 0])
    ]
    worst = max(ratios, key=lambda r: abs(r - 1), default=1.0)
    if not abs(worst - 1) <= tolerance:
        yield miss(port, "bias_scale", worst, 1.0, VALUE)


def shift(wanted: Shift, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """Of per-channel scales the worst one decides. Silent where a scale is missing or not positive."""
    bounds = Bounds(min=wanted.min, max=wanted.max)
    for port, least, most in _exponents(wanted.of, wanted.over, chain, prepared):
        for shift in (least, most):
            if not within(round(shift, 6), bounds):
                yield miss(port, "shift", f"{shift:g} bits", f"{text(bounds)} bits", VALUE)
                return


def multiplier(wanted: Multiplier, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """Like `shift`, as the factor that it is."""
    for port, least, most in _exponents(wanted.of, wanted.over, chain, prepared):
        low, high = 2.0**-most, 2.0**-least
        if wanted.below is not None and high >= wanted.below * (1 - EXACT):
            yield miss(port, "multiplier", high, f"less than {wanted.below:g}", VALUE)
        elif wanted.min is not None and low < wanted.min * (1 - EXACT):
            yield miss(port, "multiplier", low, f"at least {wanted.min:g}", VALUE)


EXACT = 1e-7  # of a factor in float32


def _exponents(of: str, over: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[tuple[Port, float, float]]:
    """log2 of scale(of) / product of scale(over): the smallest and the largest one."""
    found = {port.name: (port, q.scale or ()) for port, q in quantized((of, *over), chain, prepared)}
    if len(found) < 1 + len(over) or any(not scale or min(scale) <= 0 for _, scale in found.values()):
        return
    port, scale = found[of]
    lows = sum(math.log2(max(found[name][1])) for name in over)
    highs = sum(math.log2(min(found[name][1])) for name in over)
    yield port, math.log2(min(scale)) - lows, math.log2(max(scale)) - highs


def same(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = quantized(names, chain, prepared)
    for port, q in found[1:]:
        if _grid(q) != _grid(found[0][1]):
            yield miss(port, "same", str(q), str(found[0][1]), RELATION, found[0][0])


def close(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = quantized(names, chain, prepared)
    for port, q in found[1:]:
        if not _alike(q, found[0][1]):
            yield miss(port, "same", str(q), str(found[0][1]), RELATION, found[0][0])


def near(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = quantized(names, chain, prepared)
    for port, q in found[1:]:
        first = found[0][1]
        alike = q.zero_point is not None and first.zero_point is not None and q.zero_point[0] == first.zero_point[0]
        if not alike or q.scale is None or first.scale is None or abs(q.scale[0] - first.scale[0]) > NEAR:
            yield miss(port, "same", str(q), str(first), RELATION, found[0][0])


def _alike(one: Quantizer, other: Quantizer) -> bool:
    """Equal zero points, and scales that differ by a thousandth at most."""
    if one.scale is None or other.scale is None or (one.storage, one.zero_point, len(one.scale)) != (other.storage, other.zero_point, len(other.scale)):
        return one.scale is other.scale
    return all(abs(a - b) <= CLOSE * abs(b) for a, b in zip(one.scale, other.scale, strict=True))


def _grid(quantizer: Quantizer) -> Quantizer:
    """The quantizer without the shapes that its parameters have in the file; of nodes what they say, not which integers arrive."""
    grid = replace(quantizer, scale_shape=(), zero_point_shape=())
    return replace(grid, qmin=0, qmax=0) if quantizer.origin in ("qdq", "qoperator") else grid


def same_scale(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """Only the first scale is looked at (`IsQDQPairSupported` of ONNX Runtime's QNN provider)."""
    found = quantized(names, chain, prepared)
    for port, q in found[1:]:
        if (q.scale or ())[:1] != (found[0][1].scale or ())[:1]:
            yield miss(port, "same", str(q), str(found[0][1]), RELATION, found[0][0])


def same_storage(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = quantized(names, chain, prepared)
    for port, q in found[1:]:
        if q.storage != found[0][1].storage:
            yield miss(port, "same_storage", q.storage, found[0][1].storage, SHAPE, found[0][0])


def scale_shape_equal(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = quantized(names, chain, prepared)
    for port, q in found[1:]:
        if q.scale_shape != found[0][1].scale_shape:
            yield miss(port, "scale_shape", list(q.scale_shape), list(found[0][1].scale_shape), SHAPE, found[0][0])


def dtypes(wanted: Any, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = quantized(wanted.ports, chain, prepared)
    if len(found) < len(wanted.ports) or any(q.dynamic for _, q in found):
        return
    seen = [q.storage for _, q in found]
    allowed = [[one.split("|") for one in row] for row in wanted.allow]
    if any(all(s in one or one == ["*"] for s, one in zip(seen, row, strict=True)) for row in allowed):
        return
    # The port to blame: the last one for which some row agrees on all ports before it.
    for number, (port, _) in enumerate(found):
        rows = [row for row in allowed if all(s in one or one == ["*"] for s, one in zip(seen[: number + 1], row, strict=False))]
        if not rows:
            before = [r for r in allowed if all(s in one or one == ["*"] for s, one in zip(seen[:number], r, strict=False))]
            options = tuple(dict.fromkeys(s for row in before for s in row[number]))
            yield miss(port, "storage", seen[number], options, SHAPE, found[0][0])
            return


def finer(wanted: tuple[str | float, str], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """The step of one port, or a number, is at most twice that of another port: then no number is more than one and a half of its steps off."""
    first, second = wanted
    one = first if isinstance(first, float) else next((q.scale[0] for _, q in quantized((first,), chain, prepared) if q.scale is not None), None)
    for port, q in quantized((second,), chain, prepared):
        if one is not None and q.scale is not None and q.granularity == "tensor" and one > 2 * q.scale[0] * (1 + CLOSE):
            yield miss(port, "step", q.scale[0], one, VALUE)


def pair_sum(wanted: str, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """`shown`: the integers of the file show that two products do not fit. `possible`: they might not, and the file does not tell,
    because the weights are computed or because nobody says how large codes get."""
    found = {port.name: port for port, _ in quantized(("x", "w"), chain, prepared)}
    arithmetic = prepared.profile.arithmetic if prepared.profile is not None else None
    bits = arithmetic.pair_bits if arithmetic is not None else None
    if len(found) < 2 or bits is None:
        return
    x, w, limit = found["x"], found["w"], 2 ** (bits - 1) - 1
    top = accumulator.largest_code(x)
    most = accumulator.container_code(x) if top is None else top
    if most * accumulator.bound(w) <= limit:  # no weight needs to be read
        return
    total = accumulator.pair_sum(w)
    told = top is not None and total is not None
    if told == (wanted == "shown") and most * (accumulator.bound(w) if total is None else total) > limit:
        yield miss(w, "pair_sum", int(most * total) if told and total is not None else None, limit, VALUE)
