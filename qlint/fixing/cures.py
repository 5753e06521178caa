"""What cures a finding, by the name that its rule gives: from the causes in the model to edits.

`quantizers` and `insert` are not here: what a backend misses of quantizers is searched for over all findings at once
(plan.py). Here are those that follow from one finding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from qlint.fixing.batch_norm import folded
from qlint.fixing.constants import Unfolded, frozen
from qlint.fixing.edits import Edit, Freeze, NoCure, RaiseOpset, Remove, Rename, Requantize, Sequence, Sort, storable
from qlint.fixing.equalize import equalize
from qlint.fixing.explicit import explicit
from qlint.fixing.opsets import obstacle
from qlint.fixing.ranges import loses_a_clamp
from qlint.graph import Model, Op, Quantizer, Use
from qlint.lint.message import Cause

Cure = Callable[[Model, list[Cause]], Iterator[Edit | NoCure]]  # what there is no edit for may come between those that there are


def remove(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """The quantizer nodes behind which nothing is."""
    dead: dict[int, Op] = {}
    for use in _uses(causes):
        if use.kind == "dead" and use.quantizers:
            last = use.quantizers[-1]
            dead.update({id(op): op for op in (last.dequantize, last.quantize) if op is not None})
    if dead:
        yield Remove(tuple(dead.values()))


def rename(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """All but the first of the nodes that share a name."""
    for cause in causes:
        twins = [node for node in model.nodes if cause.op is not None and node.name == cause.op.name]
        yield from map(Rename, twins[1:])


def sort(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """The nodes of the main graph in the order of the data."""
    yield Sort()


def single(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """One quantizer in place of equal ones in a row; the last one where nobody reads the others."""
    useless = {id(cause.tensor) for cause in causes if cause.dimension == "useless"}
    change: dict[int, tuple[Use, Sequence]] = {}
    for use in _uses(causes):
        new = tuple(q for i, q in enumerate(use.quantizers) if not i or q != use.quantizers[i - 1])
        new = new[-1:] if id(use.tensor) in useless else new
        if new != use.quantizers or any(q.read_as for q in use.quantizers):
            change[id(use)] = (use, new)
        if new and (why := loses_a_clamp(use, new)):
            raise NoCure(why)
    if not change:
        raise NoCure("both grids are read: which one is to stay decides what the numbers are")
    yield Requantize(change)


def read_as_written(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """What reads integers back takes the grid that they were written on."""
    yield from _changed(causes, lambda use: tuple(replace(q, read_as=None) for q in use.quantizers))


def freeze(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """The observers that move the ranges of quantizers off."""
    nodes = {id(q.quantize): q.quantize for use in _uses(causes) for q in use.quantizers if q.observing and q.quantize is not None}
    if nodes:
        yield Freeze(tuple(nodes.values()))


def fold(model: Model, causes: list[Cause]) -> Iterator[Edit | NoCure]:
    """Batch-norms into what is in front of them. Causes name them, or the operator that they stand behind."""
    norms: dict[int, tuple[Op, Cause]] = {}
    for cause in causes:
        readers = [use.op for tensor in cause.op.outputs for use in tensor.uses] if cause.op is not None else []
        behind = [op for reader in readers if reader is not None for op in (reader, *(use.op for out in reader.outputs for use in out.uses))]
        norms.update({id(op): (op, cause) for op in (cause.op, *behind) if op is not None and op.kind == "batch_norm"})
    for op, cause in norms.values():
        try:
            yield folded(op)
        except NoCure as problem:
            yield NoCure(str(problem) if op is cause.op else f"{op.label}: {problem}", *([f"{cause.op.label}.{cause.port}" if cause.port else cause.op.label] if cause.op is not None else []))


def opset(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """The opset that a quantizer needs, if all operators mean the same there."""
    wanted = max((cause.wanted for cause in causes if isinstance(cause.wanted, int)), default=0)
    if why := obstacle(model, wanted):
        raise NoCure(why)
    yield RaiseOpset(wanted)


def half_range(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """Weights on a grid of twice the scale, whose integers use half of the codes, and their biases on the accumulator's new grid."""
    changes: dict[int, tuple[Use, Sequence]] = {}
    for use in _uses(causes):
        if not use.tensor.constant or len(use.quantizers) != 1 or use.op is None or not use.quantizers[0].scale or use.quantizers[0].read_as is not None:
            continue
        changes[id(use)] = (use, (_doubled(use.quantizers[0]),))
        bias = use.op.uses.get("b")
        if bias is not None and len(bias.quantizers) == 1 and bias.quantizers[0].storage == "int32" and bias.quantizers[0].scale:
            changes[id(bias)] = (bias, (_doubled(bias.quantizers[0]),))
    if changes:
        yield Requantize(changes)


def store(model: Model, causes: list[Cause]) -> Iterator[Edit]:
    """Weights that are computed from constants, as constants."""
    done: set[int] = set()
    for cause in causes:
        use = cause.op.uses.get(cause.port) if cause.op is not None else None
        if use is not None and id(use.tensor) not in done:
            done.add(id(use.tensor))
            try:
                yield frozen(use)
            except Unfolded as problem:
                raise NoCure(str(problem)) from problem


def _doubled(q: Quantizer) -> Quantizer:
    return storable(replace(q, scale=tuple(2 * s for s in q.scale or ())))


def _changed(causes: Iterable[Cause], change: Callable[[Use], Sequence]) -> Iterator[Edit]:
    changes = {id(use): (use, new) for use in _uses(causes) if (new := change(use)) != use.quantizers or any(q.read_as for q in use.quantizers)}
    if changes:
        yield Requantize(changes)


def _uses(causes: Iterable[Cause]) -> Iterator[Use]:
    """Every reader of the tensors at issue."""
    seen: set[int] = set()
    for cause in causes:
        if cause.tensor is not None and id(cause.tensor) not in seen:
            seen.add(id(cause.tensor))
            yield from cause.tensor.uses


CURES: dict[str, Cure] = {
    "remove": remove, "rename": rename, "sort": sort, "single": single, "read-as-written": read_as_written, "fold": fold, "opset": opset, "explicit": explicit,
    "half-range": half_range, "store": store, "equalize": equalize, "freeze": freeze,
}  # fmt: skip
