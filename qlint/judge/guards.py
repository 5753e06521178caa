"""Guards: relations between ports and facts of an op. A closed set; each is a row of the table below."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from typing import Any

from qlint.graph import Op, Quantizer, Tensor
from qlint.graph.kinds import CLASSES, expand
from qlint.judge import accumulator
from qlint.judge.pattern import Chain, kinds_of
from qlint.judge.ports import MISSING, RELATION, SHAPE, VALUE, Port, ports
from qlint.judge.prepare import Prepared, readers
from qlint.judge.verdict import Miss
from qlint.profile.schema import Bounds, Factors, Guard, Shift

RANGE_TOLERANCE = 1e-6  # relative, of a clamp's bound against the end of a grid
_WIDE = ("int8", "uint8", "int16", "uint16")
NEAR = 1e-6  # absolute, of scales that TFLite Micro takes for equal (kernels/pooling_common.cc)
CLOSE = 1e-3  # relative, of scales that are as good as equal: at the end of 8 bits an eighth of a step


Compiled = tuple[tuple[Callable[[Any, Chain, Prepared], Iterator[Miss]], Any], ...]


def compiled(guards: tuple[Guard, ...], names: Container[str] | None = None) -> Compiled:
    """The tests that some guards ask for, cheapest first, with what each wants; only those of some names, if they are given."""
    return tuple(
        (check, wanted)
        for name, check in _TABLE
        for guard in guards
        if (names is None or name in names) and (wanted := getattr(guard, name)) is not None and wanted not in ((), {})
    )


def misses(tests: Compiled, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """What the guards do not find as they want it; silent on ports that have no quantizer at all."""
    for check, wanted in tests:
        yield from check(wanted, chain, prepared)


def _miss(port: Port, dimension: str, found: Any, wanted: Any, weight: int, beside: Port | None = None) -> Miss:
    other = beside.tensor if beside is not None else None
    return Miss(port.name, dimension, found, wanted, weight, port.role, port.op, port.tensor, port.readers, other)


def _about(op: Op, dimension: str, found: Any, wanted: Any, weight: int) -> Miss:
    return Miss("", dimension, found, wanted, weight, "", op, None)


def _quantized(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> list[tuple[Port, Quantizer]]:
    found = [port for name in names for port in ports(chain, name, prepared)]
    return [(port, port.quantizer) for port in found if port.quantizer is not None and port.state == "one"]


# -- relations between quantizers -----------------------------------------------------------------


def _absorbed(wanted: str, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """The clamps of the chain do nothing that y's grid does not do itself.

    `range`: in real numbers. `first_range`: the same for the first channel alone, and only 8 and 16 bits wide.
    `zero_point`: in the integers of y's grid, which must be 8 or 16 bits wide with a scalar scale (ONNX Runtime,
    `IsClipMadeRedundantByQ` in qdq_util.cc).
    """
    clamps = chain.ops[1:] if chain.anchor.kind not in CLASSES["clamp"] else chain.ops
    for port, q in _quantized(("y",), chain, prepared):
        for op in clamps:
            if op.kind not in CLASSES["clamp"]:
                continue
            bounds = clamp(op)
            if bounds is None:
                yield _miss(port, "clip_bounds", "not constant", "constant", VALUE)
            elif not q.constant:
                yield _miss(port, "scale", "not constant", "constant", VALUE)
            elif wanted == "zero_point":
                yield from _redundant(port, q, op, bounds)
            elif q.zero_point_shape is None:
                yield _miss(port, "zero_point_given", False, True, SHAPE)
            elif wanted == "first_range" and q.storage not in _WIDE:
                yield _miss(port, "storage", q.storage, _WIDE, SHAPE)
            elif (found := _first(q) if wanted == "first_range" else q.range) is not None:
                slack = RANGE_TOLERANCE * max(abs(found[0]), abs(found[1]))
                if found[0] < bounds[0] - slack or found[1] > bounds[1] + slack:
                    yield _miss(port, "range", found, bounds, VALUE)


def _first(q: Quantizer) -> tuple[float, float]:
    """The range of the first channel."""
    scale, zero_point = next(q.pairs())
    low, high = sorted((scale * (q.qmin - zero_point), scale * (q.qmax - zero_point)))
    return low, high


def _redundant(port: Port, q: Quantizer, op: Op, bounds: tuple[float, float]) -> Iterator[Miss]:
    scale, zero_point = next(q.pairs())
    if op.kind == "relu":
        if zero_point != q.qmin:
            yield _miss(port, "zero_point", zero_point, q.qmin, VALUE)
        elif q.zero_point_shape is None and q.scale_shape:  # relu_quant_fusion.cc wants a zero point, what comes after it a scalar
            yield _miss(port, "zero_point_given", False, True, SHAPE)
        return
    if q.storage not in _WIDE:
        yield _miss(port, "storage", q.storage, _WIDE, SHAPE)
        return
    if q.scale_shape or q.zero_point_shape:
        yield _miss(port, "scale_shape", list(q.scale_shape), "scalar", SHAPE)
        return
    low, high = (end if math.isinf(end) or not scale else round(end / scale) + zero_point for end in bounds)
    if low > q.qmin or high < q.qmax:
        yield _miss(port, "range", q.range, bounds, VALUE)


def clamp(op: Op) -> tuple[float, float] | None:
    """Bounds of a relu or clip; None if they are not constants."""
    if op.kind == "relu":
        return 0.0, math.inf
    if any(role in op.uses and role not in op.attrs for role in ("min", "max")):
        return None
    low, high = op.attrs.get("min"), op.attrs.get("max")
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def _bias_scale(tolerance: float, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = {port.name: (port, q) for port, q in _quantized(("x", "w", "b"), chain, prepared)}
    if len(found) < 3:
        return
    (_, x), (_, w), (port, b) = found["x"], found["w"], found["b"]
    if x.scale is None or w.scale is None or b.scale is None:
        if b.quantize is not None or b.dequantize is not None:
            yield _miss(port, "bias_scale", "not constant", "constant", VALUE)
        return
    wanted = [x.scale[0] * s for s in w.scale]
    if len(b.scale) not in (1, len(wanted)) and len(wanted) != 1:
        yield _miss(port, "bias_scale", f"{len(b.scale)} scales", f"{len(wanted)} scales", VALUE)
        return
    count = max(len(b.scale), len(wanted))
    ratios = [
        b.scale[i if len(b.scale) > 1 else 0] / product
        for i in range(count)
        if (product := wanted[i if len(wanted) > 1 else 0])
    ]
    worst = max(ratios, key=lambda r: abs(r - 1), default=1.0)
    if not abs(worst - 1) <= tolerance:
        yield _miss(port, "bias_scale", worst, 1.0, VALUE)


def _shift(wanted: Shift, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """Of per-channel scales the worst one decides. Silent where a scale is missing or not positive."""
    found = {port.name: (port, q.scale or ()) for port, q in _quantized((wanted.of, *wanted.over), chain, prepared)}
    if len(found) < 1 + len(wanted.over) or any(not scale or min(scale) <= 0 for _, scale in found.values()):
        return
    port, scale = found[wanted.of]
    lows = sum(math.log2(max(found[name][1])) for name in wanted.over)
    highs = sum(math.log2(min(found[name][1])) for name in wanted.over)
    least, most = math.log2(min(scale)) - lows, math.log2(max(scale)) - highs
    bounds = Bounds(min=wanted.min, max=wanted.max)
    for shift in (least, most):
        if not _within(round(shift, 6), bounds):
            yield _miss(port, "shift", f"{shift:g} bits", f"{_text(bounds)} bits", VALUE)
            return


def _same(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = _quantized(names, chain, prepared)
    for port, q in found[1:]:
        if _grid(q) != _grid(found[0][1]):
            yield _miss(port, "same", str(q), str(found[0][1]), RELATION, found[0][0])


def _close(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = _quantized(names, chain, prepared)
    for port, q in found[1:]:
        if not _alike(q, found[0][1]):
            yield _miss(port, "same", str(q), str(found[0][1]), RELATION, found[0][0])


def _near(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = _quantized(names, chain, prepared)
    for port, q in found[1:]:
        first = found[0][1]
        alike = q.zero_point is not None and first.zero_point is not None and q.zero_point[0] == first.zero_point[0]
        if not alike or q.scale is None or first.scale is None or abs(q.scale[0] - first.scale[0]) > NEAR:
            yield _miss(port, "same", str(q), str(first), RELATION, found[0][0])


def _alike(one: Quantizer, other: Quantizer) -> bool:
    """Equal zero points, and scales that differ by a thousandth at most."""
    if one.scale is None or other.scale is None or (one.storage, one.zero_point, len(one.scale)) != (other.storage, other.zero_point, len(other.scale)):
        return one.scale is other.scale
    return all(abs(a - b) <= CLOSE * abs(b) for a, b in zip(one.scale, other.scale, strict=True))


def _grid(quantizer: Quantizer) -> Quantizer:
    """The quantizer without the shapes that its parameters have in the file; of nodes what they say, not which integers arrive."""
    grid = replace(quantizer, scale_shape=(), zero_point_shape=())
    return replace(grid, qmin=0, qmax=0) if quantizer.origin in ("qdq", "qoperator") else grid


def _same_scale(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """Only the first scale is looked at (`IsQDQPairSupported` of ONNX Runtime's QNN provider)."""
    found = _quantized(names, chain, prepared)
    for port, q in found[1:]:
        if (q.scale or ())[:1] != (found[0][1].scale or ())[:1]:
            yield _miss(port, "same", str(q), str(found[0][1]), RELATION, found[0][0])


def _same_storage(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = _quantized(names, chain, prepared)
    for port, q in found[1:]:
        if q.storage != found[0][1].storage:
            yield _miss(port, "same_storage", q.storage, found[0][1].storage, SHAPE, found[0][0])


def _scale_shape_equal(names: tuple[str, ...], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = _quantized(names, chain, prepared)
    for port, q in found[1:]:
        if q.scale_shape != found[0][1].scale_shape:
            yield _miss(port, "scale_shape", list(q.scale_shape), list(found[0][1].scale_shape), SHAPE, found[0][0])


def _dtypes(wanted: Any, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    found = _quantized(wanted.ports, chain, prepared)
    if len(found) < len(wanted.ports):
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
            yield _miss(port, "storage", seen[number], options, SHAPE, found[0][0])
            return


# -- facts of ops and tensors -----------------------------------------------------------------------


def _attrs(wanted: dict[str, Any], chain: Chain, _: Prepared) -> Iterator[Miss]:
    yield from _op_attrs({chain.anchor.kind: wanted}, chain, _)


def _op_attrs(wanted: dict[str, dict[str, Any]], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for op in chain.ops:
        for name, allowed in wanted.get(op.kind, {}).items():
            value = op.attrs.get(name, "absent")  # no default at this opset, and not given
            value = "absent" if value is None else value
            value = tuple(value) if isinstance(value, list) else value
            values = value if isinstance(value, tuple) else (value,)
            if any(v not in allowed for v in values):
                yield _about(op, f"attribute {name}", value, allowed, SHAPE)


def _numbers_within(wanted: dict[str, Bounds], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for key, bounds in wanted.items():
        name, _dot, index = key.partition(".")
        value = chain.anchor.attrs.get(name)
        values = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
        if index:
            values = values[int(index) :][:1] if -len(values) <= int(index) < len(values) else ()
        if any(isinstance(v, (int, float)) and not _within(v, bounds) for v in values):
            yield _about(chain.anchor, f"attribute {name}", value, _text(bounds), SHAPE)


def _factors(wanted: Factors, chain: Chain, _: Prepared) -> Iterator[Miss]:
    op, x, name = chain.anchor, chain.anchor.uses.get("x"), "scale factor"
    before, after = x.tensor.shape if x is not None else None, op.outputs[0].shape if op.outputs else None
    axes = op.attrs.get("axes", ())
    if before is None or after is None or any(not -len(before) <= axis < len(before) for axis in axes) or len(before) != len(after):
        return
    sizes = [(a, b) for axis in axes if isinstance(a := before[axis], int) and isinstance(b := after[axis], int)]
    if all(a == b for a, b in sizes) or all(a == 1 for a, _b in sizes):
        return
    ends = 1 if op.attrs.get("coordinate_transformation_mode") == "align_corners" else 0
    found = [(b - ends) / (a - ends) if a > ends else math.inf for a, b in sizes if (a, b) != (1, 1)]
    if any(factor not in wanted.allow for factor in found) or (wanted.alike and len(set(found)) > 1):
        yield _about(op, f"attribute {name}", found, wanted.allow, SHAPE)


def _native(wanted: tuple[str, ...], chain: Chain, _: Prepared) -> Iterator[Miss]:
    if chain.anchor.native not in wanted:
        yield _about(chain.anchor, "native", chain.anchor.native, wanted, MISSING)


def _not_native(unwanted: tuple[str, ...], chain: Chain, _: Prepared) -> Iterator[Miss]:
    if chain.anchor.native in unwanted:
        yield _about(chain.anchor, "native", chain.anchor.native, ("another operator",), MISSING)


def _tensors(chain: Chain) -> Iterator[Any]:
    for op in chain.ops:
        yield from (use.tensor for use in op.uses.values())
        yield from op.outputs


def _static(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    dynamic = next((tensor for tensor in _tensors(chain) if tensor.dynamic), None)
    if wanted and dynamic is not None:
        yield Miss("", "dynamic_shape", list(dynamic.shape or ()), "numbers", SHAPE, "", chain.anchor, dynamic)
    elif not wanted and dynamic is None:
        yield _about(chain.anchor, "static_shape", "numbers", "a symbolic dimension", SHAPE)


def _known_shapes(_wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    for tensor in _tensors(chain):
        if tensor.shape is None:
            yield Miss("", "unknown_shape", "unknown", "known", SHAPE, "", chain.anchor, tensor)
            return


def _within(value: float, bounds: Bounds) -> bool:
    inside = (bounds.min is None or value >= bounds.min) and (bounds.max is None or value <= bounds.max)
    return inside and (bounds.multiple is None or value % bounds.multiple == 0)


def _text(bounds: Bounds) -> str:
    if bounds.min is not None and bounds.min == bounds.max:
        return f"{bounds.min:g}"
    ends = [f"at least {bounds.min:g}" if bounds.min is not None else "", f"at most {bounds.max:g}" if bounds.max is not None else ""]
    return " and ".join(end for end in (*ends, f"a multiple of {bounds.multiple}" if bounds.multiple is not None else "") if end)


def _readers(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port, q in _quantized((name,), chain, prepared):
            assert port.tensor is not None
            count = readers(port.tensor, q, prepared)
            if not _within(count, bounds):
                yield _miss(port, "readers", count, _text(bounds), RELATION)


def _uses(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            count = len(prepared.uses(port.tensor)) if port.tensor is not None else 0
            if port.tensor is not None and not _within(count, bounds):
                yield _miss(port, "uses", count, _text(bounds), RELATION)


def _rank(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            rank = port.tensor.rank if port.tensor is not None else None
            if rank is not None and not _within(rank, bounds):
                yield _miss(port, "rank", rank, _text(bounds), SHAPE)


def _dims(wanted: dict[str, dict[str, Bounds]], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, dims in wanted.items():
        for port in ports(chain, name, prepared):
            shape = port.tensor.shape if port.tensor is not None else None
            for index, bounds in dims.items():
                at = int(index)
                if shape is None or not -len(shape) <= at < len(shape):
                    continue
                size = shape[at]
                if isinstance(size, int) and not _within(size, bounds):
                    yield _miss(port, f"dimension {at}", size, _text(bounds), SHAPE)


def _inputs(bounds: Bounds, chain: Chain, _: Prepared) -> Iterator[Miss]:
    if not _within(len(chain.anchor.uses), bounds):
        yield _about(chain.anchor, "inputs", len(chain.anchor.uses), _text(bounds), SHAPE)


def _last_and_other_axes(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    op, name = chain.anchor, "axes"  # an attribute, or an input from opset 18 on
    use, x = op.uses.get(name), op.uses.get("x")
    axes = use.tensor.data.values() if use is not None and use.tensor.data is not None else op.attrs.get(name)
    rank = x.tensor.rank if x is not None else None
    if x is None or rank is None:
        return
    over = {axis % rank for axis in axes} if axes else set(range(rank))
    if rank in (3, 4) and _channels_last(x.tensor):
        over = {0 if axis == 0 else rank - 1 if axis == 1 else axis - 1 for axis in over}
    if (rank - 1 in over and len(over) > 1) != wanted:
        yield _about(op, f"attribute {name}", sorted(over), "the last and another" if wanted else "other axes", SHAPE)


_CHANNELS_LAST = expand("conv|conv_transpose|max_pool|avg_pool|lp_pool|global_avg_pool|global_max_pool|resize|depth_to_space|space_to_depth|batch_norm")
_NOT_MOVED = ("QLinearConv", "ConvInteger")  # the layout changes inside only
_SAME_LAYOUT = expand("act|binary|concat|slice|split|pad|softmax|identity|reduce")


def _channels_last(tensor: Tensor) -> bool:
    """Whether a compiler that runs spatial operators with the channels last has this tensor in that layout."""
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        producer = waiting.pop().producer
        if producer is None or id(producer) in seen:
            continue
        seen.add(id(producer))
        if producer.kind in _CHANNELS_LAST:
            return producer.native not in _NOT_MOVED
        if producer.kind in _SAME_LAYOUT:
            waiting += [use.tensor for use in producer.uses.values() if not use.tensor.constant]
    return False


def _opset(bounds: Bounds, chain: Chain, _: Prepared) -> Iterator[Miss]:
    if chain.anchor.opset and not _within(chain.anchor.opset, bounds):
        yield _about(chain.anchor, "opset", chain.anchor.opset, _text(bounds), SHAPE)


def _present(wanted: tuple[str, ...], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for role in wanted:
        if role not in chain.anchor.uses:
            yield _about(chain.anchor, f"input {role}", "absent", "present", MISSING)


def _fused(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    for op in chain.ops[1:]:
        if op.fused != wanted:
            yield _about(op, "fused", op.fused, wanted, SHAPE)


def _graph_output(wanted: bool, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for port in ports(chain, "y", prepared):
        assert port.tensor is not None
        if any(use.kind == "output" and not prepared.of(use) for use in port.tensor.uses) != wanted:
            yield _miss(port, "graph_output", not wanted, wanted, RELATION)


def _enters(wanted: dict[str, tuple[str, ...]], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for op, role in zip(chain.ops[1:], chain.entries[1:], strict=True):
        if role not in wanted.get(op.kind, (role,)):
            yield _about(op, f"input {role}", "the chain", wanted[op.kind], MISSING)


def _produced_by(wanted: dict[str, tuple[str, ...]], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, kinds in wanted.items():
        for port in ports(chain, name, prepared):
            producer = port.tensor.producer if port.tensor is not None else None
            kind = producer.kind if producer is not None else "input"
            if kind not in kinds:
                yield _miss(port, "produced_by", kind, kinds, MISSING)


def _read_by(wanted: dict[str, tuple[str, ...]], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, kinds in wanted.items():
        for port in ports(chain, name, prepared):
            seen = {use.op.kind for use in prepared.uses(port.tensor) if use.op is not None} if port.tensor is not None else set()
            if not seen & set(kinds):
                yield _miss(port, "read_by", sorted(seen), kinds, MISSING)


def _finer(wanted: tuple[str | float, str], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """The step of one port, or a number, is at most twice that of another port: then no number is more than one and a half of its steps off."""
    first, second = wanted
    one = first if isinstance(first, float) else next((q.scale[0] for _, q in _quantized((first,), chain, prepared) if q.scale is not None), None)
    for port, q in _quantized((second,), chain, prepared):
        if one is not None and q.scale is not None and q.granularity == "tensor" and one > 2 * q.scale[0] * (1 + CLOSE):
            yield _miss(port, "step", q.scale[0], one, VALUE)


def _innermost_axes(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    op, name = chain.anchor, "axes"
    x, axes = op.uses.get("x"), op.attrs.get(name)
    rank = x.tensor.rank if x is not None else None
    axes = [axes] if isinstance(axes, int) else axes
    if not rank or not isinstance(axes, (list, tuple, type(None))) or any(not isinstance(axis, int) for axis in axes or ()):
        return
    over = {axis % rank for axis in axes} if axes else set(range(rank))
    if (over == set(range(rank - len(over), rank))) != wanted:
        yield _about(op, f"attribute {name}", sorted(over), "the last axes" if wanted else "other axes", SHAPE)


KEEPS_LAYOUT = "keeps-layout"  # the class of a profile that says which kernels do


def _layout(wanted: dict[str, str], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, layout in wanted.items():
        for port in ports(chain, name, prepared):
            if port.tensor is None or (port.tensor.shape is not None and set(port.tensor.shape[2:]) == {1}):  # then it is both
                continue
            found = "channels last" if _laid_by_conv(port.tensor, prepared, {}) else "channels first"
            if found != layout:
                yield _miss(port, "layout", found, layout, RELATION)


def _laid_by_conv(tensor: Tensor, prepared: Prepared, known: dict[int, bool]) -> bool:
    """Whether a conv on quantized tensors made it, which leaves its channels last. Other operators, convs in float among them,
    keep the layout of their first input, a concatenation that of all."""
    op = tensor.producer
    if op is None or tensor.rank not in (None, 4):
        return False
    if id(op) not in known:
        known[id(op)] = False  # in a circle
        if op.kind in ("conv", "conv_transpose"):
            behind = [use.op.outputs[0] if use.op is not None and use.op.kind == "relu" else tensor for use in prepared.uses(tensor) if not prepared.of(use)]
            read = [prepared.of(op.uses[role]) for role in ("x", "w") if role in op.uses]
            known[id(op)] = all(read) and all(prepared.of(use) for out in behind for use in prepared.uses(out))
        classes = prepared.profile.classes if prepared.profile is not None else {}
        if not known[id(op)] and op.kind in kinds_of(KEEPS_LAYOUT, classes):
            sources = [use.tensor for use in op.uses.values() if not use.tensor.constant]
            known[id(op)] = all(_laid_by_conv(source, prepared, known) for source in (sources if op.kind == "concat" else sources[:1]))
    return known[id(op)]


def _pair_sum(wanted: str, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """`shown`: the integers of the file show that two products do not fit. `possible`: they might not, and the file does not tell,
    because the weights are computed or because nobody says how large codes get."""
    found = {port.name: port for port, _ in _quantized(("x", "w"), chain, prepared)}
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
        yield _miss(w, "pair_sum", int(most * total) if told and total is not None else None, limit, VALUE)


_TABLE: tuple[tuple[str, Callable[[Any, Chain, Prepared], Iterator[Miss]]], ...] = (
    ("native", _native),
    ("not_native", _not_native),
    ("present", _present),
    ("inputs", _inputs),
    ("opset", _opset),
    ("last_and_other_axes", _last_and_other_axes),
    ("attrs", _attrs),
    ("op_attrs", _op_attrs),
    ("within", _numbers_within),
    ("factors", _factors),
    ("static", _static),
    ("known_shapes", _known_shapes),
    ("rank", _rank),
    ("dims", _dims),
    ("enters", _enters),
    ("fused", _fused),
    ("output", _graph_output),
    ("uses", _uses),
    ("produced_by", _produced_by),
    ("read_by", _read_by),
    ("readers", _readers),
    ("dtypes", _dtypes),
    ("same_storage", _same_storage),
    ("scale_shape_equal", _scale_shape_equal),
    ("same", _same),
    ("close", _close),
    ("near", _near),
    ("same_scale", _same_scale),
    ("bias_scale", _bias_scale),
    ("shift", _shift),
    ("absorbed", _absorbed),
    ("finer", _finer),
    ("innermost_axes", _innermost_axes),
    ("layout", _layout),
    ("pair_sum", _pair_sum),
)
NAMES = frozenset(name for name, _ in _TABLE)
