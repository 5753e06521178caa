"""Guards: relations between ports and facts of an op. A closed set; each is a row of the table below."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator
from typing import Any

from qlint.graph import Op, Tensor
from qlint.graph.kinds import CLASSES, expand
from qlint.graph.order import upstream
from qlint.judge import relations
from qlint.judge.pattern import Chain, kinds_of
from qlint.judge.ports import ANOTHER, MISSING, RELATION, SHAPE, VALUE, ports
from qlint.judge.prepare import Prepared, readers
from qlint.judge.relations import miss, quantized, text, within
from qlint.judge.verdict import ELSEWHERE, Miss
from qlint.profile.schema import Bounds, Factors, Guard, Interval

MAX_BYTES = 1 << 20  # of a constant whose numbers are looked at
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


def _about(op: Op, dimension: str, found: Any, wanted: Any, weight: int) -> Miss:
    return Miss("", dimension, found, wanted, weight, "", op, None)


# -- facts of ops and tensors -----------------------------------------------------------------------


_STEPS = {"strides": 1, "dilations": 1}  # along each axis, where ONNX operators do not say


def _attrs(wanted: dict[str, Any], chain: Chain, _: Prepared) -> Iterator[Miss]:
    yield from _op_attrs({chain.anchor.kind: wanted}, chain, _)


def _op_attrs(wanted: dict[str, dict[str, Any]], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for op in chain.ops:
        for name, allowed in wanted.get(op.kind, {}).items():
            value = op.attrs.get(name)
            value = _STEPS.get(name, "absent") if value is None else value  # not given, and no default at this opset
            values = value if isinstance(value, (tuple, list)) else (value,)
            value = list(value) if isinstance(value, tuple) else value
            if any(v not in allowed for v in values):
                yield _about(op, f"attribute {name}", value, allowed, SHAPE)


def _numbers_within(wanted: dict[str, Bounds], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for key, bounds in wanted.items():
        name, _dot, index = key.partition(".")
        value = chain.anchor.attrs.get(name)
        values = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
        if index:
            values = values[int(index) :][:1] if -len(values) <= int(index) < len(values) else ()
        if any(isinstance(v, (int, float)) and not within(v, bounds) for v in values):
            yield _about(chain.anchor, f"attribute {name}", value, text(bounds), SHAPE)


def _gapless(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    name = "strides"
    windows, strides = chain.anchor.attrs.get("kernel_shape") or (), chain.anchor.attrs.get(name) or ()
    if all(stride <= window for window, stride in zip(windows, strides, strict=False)) != wanted:
        yield _about(chain.anchor, f"attribute {name}", list(strides), f"at most {list(windows)}" if wanted else f"more than {list(windows)}", SHAPE)


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


def _factors_kept(wanted: bool, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    """Of a nearest-neighbour resize a factor a little above 1 is as good as 1, as sizes are rounded down."""
    nearest, name = chain.anchor.attrs.get("mode") == "nearest", "scale factor"
    x = chain.anchor.uses["x"].tensor.shape if "x" in chain.anchor.uses else None
    for port, q in quantized(("scales",), chain, prepared):
        data = port.tensor.data if port.tensor is not None else None
        if data is None or q.granularity != "tensor" or not q.constant or data.nbytes > MAX_BYTES:
            continue
        scale, zero_point = next(q.pairs())
        ones = [axis for axis, factor in enumerate(data.values()) if factor == 1]
        one = (min(max(round(1 / scale) + zero_point, q.qmin), q.qmax) - zero_point) * scale if scale else math.nan
        sizes = [size for axis in ones if x is not None and axis < len(x) and isinstance(size := x[axis], int)]
        kept = all(int(size * one) == size for size in sizes) if nearest and sizes else not ones or abs(one - 1) < relations.RANGE_TOLERANCE
        if kept != wanted:
            yield miss(port, f"attribute {name}", one, 1 if wanted else "another one", VALUE)


def _native(wanted: tuple[str, ...], chain: Chain, _: Prepared) -> Iterator[Miss]:
    if chain.anchor.native not in wanted:
        yield _about(chain.anchor, "native", chain.anchor.native, wanted, ANOTHER)


def _op_native(wanted: dict[str, tuple[str, ...]], chain: Chain, _: Prepared) -> Iterator[Miss]:
    for op in chain.ops:
        if op.native not in wanted.get(op.kind, (op.native,)):
            yield _about(op, "native", op.native, wanted[op.kind], ANOTHER)


def _not_native(unwanted: tuple[str, ...], chain: Chain, _: Prepared) -> Iterator[Miss]:
    if chain.anchor.native in unwanted:
        yield _about(chain.anchor, "native", chain.anchor.native, (ELSEWHERE,), MISSING)


def _tensors(chain: Chain) -> Iterator[Any]:
    for op in chain.ops:
        yield from (use.tensor for use in op.uses.values())
        yield from op.outputs


def _static(wanted: bool, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    dynamic = next((tensor for tensor in _tensors(chain) if tensor.dynamic and prepared.dynamic(tensor)), None)
    if wanted and dynamic is not None:
        yield Miss("", "dynamic_shape", list(dynamic.shape or ()), "numbers", SHAPE, "", chain.anchor, dynamic)
    elif not wanted and dynamic is None:
        yield _about(chain.anchor, "static_shape", "numbers", "a symbolic dimension", SHAPE)


def _known_shapes(_wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    for tensor in _tensors(chain):
        if tensor.shape is None:
            yield Miss("", "unknown_shape", "unknown", "known", SHAPE, "", chain.anchor, tensor)
            return


def _readers(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port, q in quantized((name,), chain, prepared):
            assert port.tensor is not None
            count = readers(port.tensor, q, prepared)
            if not within(count, bounds):
                yield miss(port, "readers", count, text(bounds), RELATION)


def _uses(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            count = len(prepared.uses(port.tensor)) if port.tensor is not None else 0
            if port.tensor is not None and not within(count, bounds):
                yield miss(port, "uses", count, text(bounds), RELATION)


def _merged_uses(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            if port.tensor is None or port.tensor.producer is None:
                continue
            count = sum(len(prepared.uses(tensor)) for tensor in prepared.values.equals(port.tensor))
            if not within(count, bounds):
                yield miss(port, "uses", count, text(bounds), RELATION)


def _edges(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            count = port.writers + len(port.readers)
            if not within(count, bounds):
                yield miss(port, "edges", count, text(bounds), RELATION)


def _vanishing(wanted: bool, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for port in ports(chain, "y", prepared):
        reading = [use.op for use in prepared.uses(port.tensor) if use.op is not None and use.op.kind in CLASSES["clamp"]] if port.tensor is not None else []
        if any(_vanishes(Chain((chain.last, op)), prepared) for op in reading) != wanted:
            yield miss(port, "vanishing_clamp", not wanted, wanted, MISSING)


def _vanishes(chain: Chain, prepared: Prepared) -> bool:
    alone = [port for port, _ in quantized(("y",), chain, prepared) if port.writers == 1]
    return bool(alone) and next(relations.absorbed("zero_point", chain, prepared), None) is None


def _rank(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            rank = port.tensor.rank if port.tensor is not None else None
            if rank is not None and not within(rank, bounds):
                yield miss(port, "rank", rank, text(bounds), SHAPE)


def _dims(wanted: dict[str, dict[str, Bounds]], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, dims in wanted.items():
        for port in ports(chain, name, prepared):
            shape = port.tensor.shape if port.tensor is not None else None
            for index, bounds in dims.items():
                at = int(index)
                if shape is None or not -len(shape) <= at < len(shape):
                    continue
                size = shape[at]
                if isinstance(size, int) and not within(size, bounds):
                    yield miss(port, f"dimension {at}", size, text(bounds), SHAPE)


def _values(wanted: dict[str, Bounds], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, bounds in wanted.items():
        for port in ports(chain, name, prepared):
            data = port.tensor.data if port.tensor is not None else None
            if data is None or data.nbytes > MAX_BYTES or not data.dtype.startswith(("int", "uint")):
                continue
            worst = next((v for v in data.values() if not within(v, bounds)), None)
            if worst is not None:
                yield miss(port, "values", worst, text(bounds), VALUE)


def _inputs(bounds: Bounds, chain: Chain, _: Prepared) -> Iterator[Miss]:
    if not within(len(chain.anchor.uses), bounds):
        yield _about(chain.anchor, "inputs", len(chain.anchor.uses), text(bounds), SHAPE)


def _last_and_other_axes(wanted: bool, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    op, name = chain.anchor, "axes"  # an attribute, or an input from opset 18 on
    use, x = op.uses.get(name), op.uses.get("x")
    axes = use.tensor.data.values() if use is not None and use.tensor.data is not None else op.attrs.get(name)
    rank = x.tensor.rank if x is not None else None
    if x is None or rank is None:
        return
    over = {axis % rank for axis in axes} if axes else set(range(rank))
    order = _order(x.tensor, prepared)
    if order is not None and len(order) == rank:
        over = {order[axis] for axis in over}
    if (rank - 1 in over and len(over) > 1) != wanted:
        yield _about(op, f"attribute {name}", sorted(over), "the last and another" if wanted else "other axes", SHAPE)


_CHANNELS_LAST = expand("conv|conv_transpose|max_pool|avg_pool|lp_pool|global_avg_pool|global_max_pool|resize|depth_to_space|space_to_depth|batch_norm")
_NOT_MOVED = ("QLinearConv", "ConvInteger")  # the layout changes inside only
_SAME_LAYOUT = expand("act|binary|concat|slice|split|pad|softmax|identity|reduce")


def _order(tensor: Tensor, prepared: Prepared) -> tuple[int, ...] | None:
    """The axes of the layout that a tensor has on a compiler which runs spatial operators with the channels last, if it is another
    than the file's; a transpose moves behind what reads it."""
    rank, maker = tensor.rank or 0, tensor.producer
    if maker is None:
        return None
    known = prepared.orders.setdefault(rank, {})  # behind each op, by id; (): nothing tells

    def told(op: Op) -> tuple[int, ...] | None:
        if op.kind in _CHANNELS_LAST and rank in (3, 4):
            return None if op.native in _NOT_MOVED else (0, rank - 1, *range(1, rank - 1))
        if op.kind == "transpose" and not any(use.quantizers for use in op.outputs[0].uses):
            return tuple(op.attrs.get("perm") or ()) or None
        return ()

    def sources(op: Op) -> list[Tensor]:
        same = op.kind in _SAME_LAYOUT and told(op) == ()
        return [use.tensor for use in op.uses.values() if not use.tensor.constant] if same else []

    for op in upstream(maker, sources, known):
        before = (known.get(id(source.producer), ()) for source in reversed(sources(op)))
        known[id(op)] = next((order for order in (told(op), *before) if order != ()), ())
    return known[id(maker)] or None


def _opset(bounds: Bounds, chain: Chain, _: Prepared) -> Iterator[Miss]:
    if chain.anchor.opset and not within(chain.anchor.opset, bounds):
        yield _about(chain.anchor, "opset", chain.anchor.opset, text(bounds), SHAPE)


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
            yield miss(port, "graph_output", not wanted, wanted, RELATION)


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
                yield miss(port, "produced_by", kind, kinds, MISSING)


def _read_by(wanted: dict[str, tuple[str, ...]], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, kinds in wanted.items():
        for port in ports(chain, name, prepared):
            reading = [use for use in prepared.uses(port.tensor) if use.op is not None] if port.tensor is not None else []
            seen = {use.op.kind for use in reading if use.op is not None}
            if not (seen | {f"{use.op.kind}.{use.role}" for use in reading if use.op is not None}) & set(kinds):
                yield miss(port, "read_by", sorted(seen), kinds, MISSING)


def _quantized_behind(wanted: dict[str, tuple[str, ...]], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, kinds in wanted.items():
        for port in ports(chain, name, prepared):
            reading = [use.op for use in prepared.uses(port.tensor) if use.op is not None and use.op.kind in kinds] if port.tensor is not None else []
            if not any(prepared.of(use) for op in reading for out in op.outputs for use in prepared.uses(out)):
                yield miss(port, "quantized_behind", sorted({op.kind for op in reading}), kinds, MISSING)


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


def _interval(wanted: Interval, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for port in ports(chain, wanted.port, prepared):
        q, tensor = port.quantizer, port.tensor
        if q is None or tensor is None or not q.scale or q.storage not in wanted.storage:
            continue
        beside = {use.op.kind for use in prepared.uses(tensor) if use.op is not None} | ({tensor.producer.kind} if tensor.producer is not None else set())
        found = (q.qmax - q.qmin) * min(q.scale)
        if found < wanted.min and beside.issuperset(wanted.beside):
            yield miss(port, "interval", found, f"at least {wanted.min:g}", VALUE)


def _joined(wanted: str, chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for port in ports(chain, "x", prepared):
        made, rank = (port.tensor.producer, port.tensor.rank) if port.tensor is not None else (None, None)
        axis = made.attrs.get("axis") if made is not None and made.kind == "concat" else None
        along = "" if not isinstance(axis, int) or not rank else "last" if axis % rank == rank - 1 else "other"
        if along != wanted:
            yield miss(port, "joined", along, wanted, SHAPE)


def _one_stays(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    name = "perm"
    for op in chain.ops:
        perm, shape = op.attrs.get(name), op.uses["x"].tensor.shape if op.kind == "transpose" and "x" in op.uses else None
        if shape is None or not isinstance(perm, (list, tuple)) or len(perm) != len(shape):
            continue
        if any(size == 1 and place == at for at, (size, place) in enumerate(zip(shape, perm, strict=True))) != wanted:
            yield _about(op, f"attribute {name}", list(perm), "a dimension of one that stays" if wanted else "none that stays", SHAPE)


def _repeats(wanted: bool, chain: Chain, _: Prepared) -> Iterator[Miss]:
    shapes = [chain.anchor.uses[role].tensor.shape for role in ("lhs", "rhs") if role in chain.anchor.uses]
    sizes = [tuple(size for size in shape) if shape is not None else None for shape in shapes]
    if len(sizes) == 2 and None not in sizes and (sizes[0] != sizes[1]) != wanted:
        yield _about(chain.anchor, "dimension", [list(size or ()) for size in sizes], "a repeated input" if wanted else "equal shapes", SHAPE)


KEEPS_LAYOUT = "keeps-layout"  # the class of a profile that says which kernels do


def _layout(wanted: dict[str, str], chain: Chain, prepared: Prepared) -> Iterator[Miss]:
    for name, layout in wanted.items():
        for port in ports(chain, name, prepared):
            if port.tensor is None or (port.tensor.shape is not None and set(port.tensor.shape[2:]) == {1}):  # then it is both
                continue
            found = "channels last" if _laid_by_conv(port.tensor, prepared) else "channels first"
            if found != layout:
                yield miss(port, "layout", found, layout, RELATION)


def _laid_by_conv(tensor: Tensor, prepared: Prepared) -> bool:
    """Whether a conv on quantized tensors made it, which leaves its channels last. Other operators, convs in float among them,
    keep the layout of their first input, a concatenation that of all."""
    laid, keeping = prepared.laid, kinds_of(KEEPS_LAYOUT, prepared.profile.classes if prepared.profile is not None else {})

    def sources(op: Op) -> list[Tensor]:
        inputs = [use.tensor for use in op.uses.values() if not use.tensor.constant] if op.kind in keeping else []
        return inputs if op.kind == "concat" else inputs[:1]

    def by_conv(tensor: Tensor) -> bool:
        return tensor.rank in (None, 4) and tensor.producer is not None and laid.get(id(tensor.producer), False)

    for op in upstream(tensor.producer, sources, laid) if tensor.producer is not None else ():
        laid[id(op)] = _quantized_conv(op, prepared) or (op.kind in keeping and all(map(by_conv, sources(op))))
    return by_conv(tensor)


def _quantized_conv(op: Op, prepared: Prepared) -> bool:
    """Whether an op is a conv that reads and leaves quantized tensors, if need be behind a relu."""
    if op.kind not in ("conv", "conv_transpose"):
        return False
    behind = [use.op.outputs[0] if use.op is not None and use.op.kind == "relu" else op.outputs[0] for use in prepared.uses(op.outputs[0]) if not prepared.of(use)]
    read = [prepared.of(op.uses[role]) for role in ("x", "w") if role in op.uses]
    return all(read) and all(prepared.of(use) for out in behind for use in prepared.uses(out))


_TABLE: tuple[tuple[str, Callable[[Any, Chain, Prepared], Iterator[Miss]]], ...] = (
    ("native", _native),
    ("not_native", _not_native),
    ("op_native", _op_native),
    ("present", _present),
    ("inputs", _inputs),
    ("opset", _opset),
    ("last_and_other_axes", _last_and_other_axes),
    ("attrs", _attrs),
    ("op_attrs", _op_attrs),
    ("within", _numbers_within),
    ("gapless", _gapless),
    ("factors", _factors),
    ("factors_kept", _factors_kept),
    ("static", _static),
    ("known_shapes", _known_shapes),
    ("rank", _rank),
    ("dims", _dims),
    ("enters", _enters),
    ("fused", _fused),
    ("repeats", _repeats),
    ("output", _graph_output),
    ("uses", _uses),
    ("produced_by", _produced_by),
    ("read_by", _read_by),
    ("quantized_behind", _quantized_behind),
    ("merged_uses", _merged_uses),
    ("edges", _edges),
    ("vanishing", _vanishing),
    ("readers", _readers),
    ("dtypes", relations.dtypes),
    ("one_channel", relations.one_channel),
    ("same_storage", relations.same_storage),
    ("scale_shape_equal", relations.scale_shape_equal),
    ("same", relations.same),
    ("close", relations.close),
    ("near", relations.near),
    ("same_scale", relations.same_scale),
    ("bias_scale", relations.bias_scale),
    ("values", _values),
    ("shift", relations.shift),
    ("multiplier", relations.multiplier),
    ("absorbed", relations.absorbed),
    ("finer", relations.finer),
    ("innermost_axes", _innermost_axes),
    ("one_stays", _one_stays),
    ("joined", _joined),
    ("interval", _interval),
    ("layout", _layout),
    ("pair_sum", relations.pair_sum),
)
NAMES = frozenset(name for name, _ in _TABLE)
