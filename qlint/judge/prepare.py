"""What a backend does to quantizers before it selects kernels: a closed set of traced rewrites.

The model stays as it is. The result holds, per use, the sequence that the backend sees.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

from qlint.graph import INTEGER_RANGES, UNSEEN, Model, Op, Quantizer, Tensor, Use
from qlint.judge.pattern import VARIADIC, kinds_of
from qlint.judge.values import Values
from qlint.profile.schema import Prepare, Profile


class Prepared:
    """Prepared quantizer sequences by use, with the steps that changed them."""

    def __init__(self, model: Model, profile: Profile | None = None) -> None:
        self.model, self.profile = model, profile
        self.sequences: dict[int, tuple[Quantizer, ...]] = {}
        self.steps: dict[int, tuple[Prepare, ...]] = {}
        self.forward: set[int] = set()  # uses whose pair was inserted behind data movement, by id
        self.ports: dict[tuple[str, int, object], Any] = {}  # what kernels have looked at, see ports.py
        self.orders: dict[int, dict[int, tuple[int, ...] | None]] = {}  # what guards have found out of layouts, see guards.py
        self.laid: dict[int, bool] = {}
        self._traces: dict[int, tuple[Prepare, ...]] = {}
        self._uses: dict[int, list[Use]] = {}
        self.converted = False  # the backend takes another format, to which the file is converted first
        self.shapeless = False  # in a file that holds no shapes of inputs: who converts it gives them
        self.removed: set[int] = set()  # ops that a step took away, by id
        self.broken: list[tuple[Prepare, Op | None]] = []  # steps that leave an invalid model behind, and where

    def of(self, use: Use) -> tuple[Quantizer, ...]:
        return self.sequences.get(id(use), use.quantizers)

    def set(self, use: Use, sequence: tuple[Quantizer, ...], step: Prepare) -> None:
        self.sequences[id(use)] = sequence
        self.steps[id(use)] = (*self.steps.get(id(use), ()), step)

    def uses(self, tensor: Tensor) -> list[Use]:
        """Who reads a tensor when the backend selects kernels: what is computed from constants or static shapes,
        or only asks for the shape that a Reshape keeps, is gone by then; behind a removed op are those that read it."""
        known = self._uses.get(id(tensor))
        if known is None:
            known = self._uses[id(tensor)] = []
            for use in tensor.uses:
                if use.op is not None and id(use.op) in self.removed:
                    known += self.uses(use.op.outputs[0])
                elif use.op is None or not _gone(use.op):
                    known.append(use)
        return known

    def only(self, tensor: Tensor, uses: list[Use]) -> None:
        """From here on a tensor has no other readers than these."""
        self._uses[id(tensor)] = uses

    def rewritten(self, use: Use) -> bool:
        """Whether a step changed the container of the quantizer in front of a use."""
        return bool(self.steps) and any(step.step == "storage" for step in self.steps.get(id(use), ()))

    def dynamic(self, tensor: Tensor) -> bool:
        """Whether a dimension is open when the backend gets to see the tensor."""
        return tensor.dynamic and not (self.shapeless and not any(isinstance(size, str) for size in tensor.shape or ()))

    @cached_property
    def values(self) -> Values:
        """Which tensors hold the same."""
        return Values(self)

    @cached_property
    def scalars(self) -> Counter[float]:
        """How many nodes of the file use each float constant of one element, by value."""
        values = {
            (id(node), use.tensor.name): use.tensor.data.values()[0]
            for node in self.model.nodes
            if not (node.kind == "quantize" and "x" in node.uses and node.uses["x"].tensor.constant)  # computed by then
            for use in node.uses.values()
            if use.tensor.data is not None and use.tensor.dtype == "float32" and use.tensor.size == 1
        }
        return Counter(values.values())

    def trace(self, tensor: Tensor | None) -> tuple[Prepare, ...]:
        """The steps that touched any use of a tensor, each once."""
        if tensor is None or not self.steps:
            return ()
        known = self._traces.get(id(tensor))
        if known is None:
            found = {step.id: step for use in tensor.uses for step in self.steps.get(id(use), ())}
            known = self._traces[id(tensor)] = tuple(found.values())
        return known


def prepare(model: Model, profile: Profile) -> Prepared:
    """Apply the profile's steps, in its order. What no runtime takes for a quantizer is not seen from the start."""
    prepared = Prepared(model, profile)
    prepared.converted = bool(model.format and profile.ingests and model.format not in profile.ingests)
    prepared.shapeless = prepared.converted and model.format == "torchscript"
    for use, quantizer in model.quantizers():
        if quantizer.origin in UNSEEN:
            prepared.sequences[id(use)] = tuple(q for q in use.quantizers if q.origin not in UNSEEN)
    classes = {module.cls.rpartition(".")[2] for module in model.modules.values()}
    for step in profile.prepare:
        if step.modules and classes.isdisjoint(step.modules):
            continue
        _STEPS[step.step](prepared, step, profile)
    return prepared


def _gone(op: Op) -> bool:
    return bool(op.outputs) and (all(tensor.constant for tensor in op.outputs) or (op.kind == "shape" and _for_reshape(op)))


def _for_reshape(op: Op) -> bool:
    """Whether a shape is computed for nothing but Reshapes."""
    readers = [use for tensor in op.outputs for use in tensor.uses]
    return bool(readers) and all(
        use.op is not None and (use.op.kind == "reshape" if use.role == "shape" else use.op.role == "shape" and _for_reshape(use.op))
        for use in readers
    )


def writer(quantizer: Quantizer) -> object:
    """Which node quantizes. Nodes with equal scales and the same zero point are one to a backend that shares
    equal float constants and then merges equal nodes, as ONNX Runtime does."""
    node = quantizer.quantize
    if node is None:
        return None
    names = {role: use.tensor.name for role, use in node.uses.items()}
    shared = quantizer.scale if quantizer.granularity == "tensor" and quantizer.scale is not None else names.get("scale")
    return shared, names.get("zero_point")


def readers(tensor: Tensor, quantizer: Quantizer, prepared: Prepared) -> int:
    """How many readers this quantizer has: consumers, graph outputs and dead ends."""
    firsts = [q for use in prepared.uses(tensor) for q in prepared.of(use)[:1]]
    return sum(1 for q in firsts if q == quantizer and writer(q) == writer(quantizer))


# -- remove -------------------------------------------------------------------------------------


def _remove(prepared: Prepared, step: Prepare, profile: Profile) -> None:
    """Ops that do nothing, unless they give a graph output: their readers see the quantizers in front of them too."""
    kinds = kinds_of("|".join(step.kinds), dict(profile.classes))
    for op in prepared.model.ops:
        if op.kind not in kinds or not _does_nothing(op):
            continue
        prepared.removed.add(id(op))
        before = prepared.of(op.uses["x"])
        for use in op.outputs[0].uses if before else ():
            prepared.set(use, (*before, *prepared.of(use)), step)


def _does_nothing(op: Op) -> bool:
    x = op.uses.get("x")
    if x is None or not op.outputs or any(use.kind == "output" and not use.quantizers for use in op.outputs[0].uses):
        return False
    return op.kind != "cast" or (bool(x.tensor.dtype) and x.tensor.dtype == op.outputs[0].dtype)


# -- defaults -----------------------------------------------------------------------------------


def _defaults(prepared: Prepared, step: Prepare, _: Profile) -> None:
    """Quantizers whose parameters a caller may replace are those that the defaults describe."""
    for use, quantizer in list(prepared.model.quantizers()):
        if not quantizer.constant:
            sequence = tuple(_by_default(q) for q in prepared.of(use))
            if sequence != prepared.of(use):
                prepared.set(use, sequence, step)


def _by_default(quantizer: Quantizer) -> Quantizer:
    node = quantizer.quantize or quantizer.dequantize
    if quantizer.constant or node is None:
        return quantizer
    given = {role: tuple(data.values()) for role in ("scale", "zero_point") if role in node.uses and (data := node.uses[role].tensor.data) is not None}
    scale, zero_point = quantizer.scale or given.get("scale"), quantizer.zero_point or given.get("zero_point")
    read = None if quantizer.read_as is None else _by_default(quantizer.read_as)
    return replace(quantizer, scale=scale, zero_point=zero_point, read_as=None if read is None or (read.scale, read.zero_point) == (scale, zero_point) else read)


# -- strip, dead --------------------------------------------------------------------------------


def _strip(prepared: Prepared, step: Prepare, _: Profile) -> None:
    """Some grids are too fine to matter to a backend: what quantizes to them is removed."""
    for tensor in prepared.model.tensors.values():
        giving: list[set[object]] = []  # of each graph output that is the tensor itself by then, the nodes that quantized it
        for use in tensor.uses:
            found = prepared.of(use)
            kept = tuple(q for q in found if q.storage not in step.storage or q.quantize is None)
            if use.kind == "output" and not kept:
                giving.append({id(q.quantize) for q in found})
            if kept == found:
                continue
            prepared.set(use, kept, step)
            if use.kind == "output" and (tensor.producer.kind if tensor.producer is not None else "input") in step.breaks_behind:
                prepared.broken.append((step, tensor.producer))
        if "output" in step.breaks_behind and any(giving) and any(one != giving[0] for one in giving):
            prepared.broken.append((step, tensor.producer))


def _dead(prepared: Prepared, _step: Prepare, _: Profile) -> None:
    """What leads nowhere is gone before kernels are selected."""
    for tensor in prepared.model.tensors.values():
        if any(use.kind == "dead" for use in tensor.uses):
            prepared.only(tensor, [use for use in prepared.uses(tensor) if use.kind != "dead"])


# -- series -------------------------------------------------------------------------------------


def _series(prepared: Prepared, step: Prepare, _: Profile) -> None:
    """Q/DQ pairs in a row become one. Only where they are intersected it matters what else reads the first of two."""
    for tensor in prepared.model.tensors.values():
        rows = [(use, sequence) for use in tensor.uses if len(sequence := prepared.of(use)) > 1]
        alone = _alone(prepared, tensor) if rows and step.how == "intersect" else None
        for use, sequence in rows:
            if len({q.storage for q in sequence}) == 1 and (alone is None or id(use) in alone):
                merged = _merge(sequence, step.how)
                if merged is not None:
                    prepared.set(use, (merged,), step)


def _alone(prepared: Prepared, tensor: Tensor) -> set[int]:
    """The uses behind pairs of which each has nothing but the next one as its reader, by id (ONNX Runtime, double_qdq_pairs_remover.cc)."""
    behind: dict[tuple[object, ...], set[object]] = {}
    series = {id(use): [(q, writer(q)) for q in prepared.of(use)] for use in prepared.uses(tensor)}
    for use, pairs in series.items():
        for depth in range(1, len(pairs) + 1):
            behind.setdefault(tuple(pairs[:depth]), set()).add(pairs[depth] if depth < len(pairs) else use)
    return {
        use for use, pairs in series.items()
        if all(q.quantize is not None for q, _ in pairs) and all(len(behind[tuple(pairs[:depth])]) == 1 for depth in range(1, len(pairs)))
    }  # fmt: skip


def _merge(sequence: tuple[Quantizer, ...], how: str) -> Quantizer | None:
    if how in ("first", "last"):
        return sequence[0 if how == "first" else -1]
    if any(q.granularity != "tensor" or not q.constant or (q.origin == "qdq" and q.zero_point_shape is None) for q in sequence):
        return None
    merged = sequence[0]
    for other in sequence[1:]:
        both = None if merged == other else _intersection(merged, other)
        if merged != other and both is None:
            return None
        merged = both or merged
    last = sequence[-1]  # each of the two nodes that stay keeps its parameters in the shapes that they have
    if (last.scale_shape, last.zero_point_shape) != (merged.scale_shape, merged.zero_point_shape):
        merged = replace(merged, read_as=replace(merged, scale_shape=last.scale_shape, zero_point_shape=last.zero_point_shape, dequantize=last.dequantize))
    return replace(merged, dequantize=last.dequantize) if len(set(sequence)) > 1 else merged


def _intersection(one: Quantizer, other: Quantizer) -> Quantizer | None:
    """The grid on the intersection of two ranges, in float32 as ONNX Runtime computes it: a scale may come out
    one ulp beside that of the narrower grid, and then is not equal to it."""
    ends = [[_f32(s * _f32(end - z)) for end in (q.qmin, q.qmax)] for q in (one, other) for s, z in q.pairs()]
    low, high = max(e[0] for e in ends), min(e[1] for e in ends)
    scale = _f32(_f32(high - low) / (one.qmax - one.qmin))
    if not scale > 0:
        return None
    zero_point = min(max(round(_f32(one.qmin - _f32(low / scale))), one.qmin), one.qmax)
    return replace(one, scale=(scale,), zero_point=(zero_point,), read_as=None)


def _f32(value: float) -> float:
    """The nearest float32."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


# -- transparent --------------------------------------------------------------------------------


def _transparent(prepared: Prepared, step: Prepare, profile: Profile) -> None:
    """Ops that the backend looks through: readers without a quantizer inherit the one in front, and back.

    Only one whose parameters are constants: nobody inserts a pair with numbers that a caller may replace.
    """
    kinds = kinds_of("|".join(step.kinds), dict(profile.classes))
    ops = [op for op in prepared.model.ops if op.kind in kinds and op.outputs and not {"x", "x0"}.isdisjoint(op.uses)]
    if step.backward:  # first, as ONNX Runtime does: a quantizer behind wins over one in front
        for op in reversed(ops):
            _look_back(prepared, step, op)
    if step.forward:
        for op in ops:
            _look_forward(prepared, step, op)


def _look_forward(prepared: Prepared, step: Prepare, op: Op) -> None:
    sequences = [prepared.of(use) for role, use in op.uses.items() if role == "x" or VARIADIC.match(role)]
    if not all(sequences):
        return
    inherited = _of_all(op, [sequence[-1].read_as or sequence[-1] for sequence in sequences], step)
    if inherited is None or _replaceable(inherited):
        return
    for tensor in op.outputs:
        uses = prepared.uses(tensor)
        if any(prepared.of(use) for use in uses):
            continue
        for use in uses:
            if use.kind != "dead":
                prepared.set(use, (_pair(inherited),), step)
                prepared.forward.add(id(use))


def _look_back(prepared: Prepared, step: Prepare, op: Op) -> None:
    use = op.uses.get("x")
    if use is None or prepared.of(use) or len(prepared.uses(use.tensor)) != 1:
        return
    firsts = {prepared.of(out)[:1] for out in prepared.uses(op.outputs[0])}
    if len(firsts) != 1 or not (first := firsts.pop()):
        return
    if step.writers == 1 and len({writer(q) for out in prepared.uses(op.outputs[0]) for q in prepared.of(out)[:1]}) != 1:
        return
    if first[0].granularity == "tensor" and not _replaceable(first[0]):
        prepared.set(use, (_pair(first[0]),), step)


def _of_all(op: Op, quantizers: list[Quantizer], step: Prepare) -> Quantizer | None:
    """The quantizer behind an operator with one input, or with several of one scale; of several scales, if the backend
    brings them onto one grid.
    """
    first = quantizers[0]
    if len(quantizers) == 1:
        return _through(op, first)
    if any(q.granularity != "tensor" or q.storage != first.storage or not q.constant for q in quantizers):
        return None
    if first.storage not in step.aligns and any(q.scale != first.scale for q in quantizers):
        return None
    return max(quantizers, key=lambda q: ("zero" not in q.zero_point_class, *(q.scale or ())))


def _replaceable(quantizer: Quantizer) -> bool:
    """Whether the parameters are not fixed: another input of the nodes, or looked for while the model runs."""
    return quantizer.dynamic or (quantizer.origin == "qdq" and not quantizer.constant)


def _pair(quantizer: Quantizer) -> Quantizer:
    """What is inserted is a QuantizeLinear and a DequantizeLinear, even where the file has only one of them."""
    node = quantizer.quantize or quantizer.dequantize
    return replace(quantizer, quantize=node, dequantize=quantizer.dequantize or node)


def _through(op: Op, quantizer: Quantizer) -> Quantizer | None:
    """The quantizer behind a data movement; the axis of a per-channel one moves along, or it is lost."""
    if quantizer.granularity == "tensor":
        return quantizer
    perm = op.attrs.get("perm")
    rank = op.uses["x"].tensor.rank
    if op.kind == "transpose" and quantizer.axis is not None:
        order = list(perm) if perm else list(range(rank or 2))[::-1]
        return replace(quantizer, axis=order.index(quantizer.axis)) if quantizer.axis in order else None
    return quantizer if op.kind == "identity" else None


def _handed_on(prepared: Prepared, step: Prepare, profile: Profile) -> None:
    """A data movement whose output is declared with the scales of its input, whatever single scale is behind it. Of two in a row nothing
    is known to be handed on.
    """
    kinds, spared = (kinds_of("|".join(names), dict(profile.classes)) for names in (step.kinds, step.but_for))
    for op in prepared.model.ops:
        before = prepared.of(op.uses["x"])[-1:] if op.kind in kinds and "x" in op.uses else ()
        moved = _through(op, before[0].read_as or before[0]) if before and before[0].granularity == "channel" else None
        made = op.uses["x"].tensor.producer if moved is not None else None
        if moved is None or not moved.scale or (made is not None and made.kind in kinds):
            continue
        for use in prepared.uses(op.outputs[0]):
            behind = prepared.of(use)
            if use.op is not None and use.op.kind not in spared and behind and behind[0].granularity == "tensor" and behind[0].scale == moved.scale[:1]:
                prepared.set(use, (replace(moved, quantize=behind[0].quantize, dequantize=behind[0].dequantize), *behind[1:]), step)


# -- storage ------------------------------------------------------------------------------------


def _storage(prepared: Prepared, step: Prepare, _: Profile) -> None:
    """The container changes, the grid does not: int8 with zero point z becomes uint8 with z + 128."""
    low = INTEGER_RANGES[step.from_][0]
    shift = INTEGER_RANGES[step.to][0] - low
    for tensor in list(prepared.model.tensors.values()):
        if tensor.constant:  # its integers are stored by then
            continue
        groups: dict[tuple[object, ...], list[Use]] = {}  # by the nodes that they are behind
        for use in prepared.uses(tensor):
            passed: tuple[object, ...] = ()
            for quantizer in prepared.of(use):
                passed = (*passed, quantizer, writer(quantizer))
                groups.setdefault(passed, []).append(use)
        for passed, uses in groups.items():
            depth = len(passed) // 2 - 1
            quantizer = prepared.of(uses[0])[depth]
            if quantizer.storage != step.from_ or not _is_pair(quantizer) or step.readers not in (None, len(uses)):
                continue
            if step.breaks_inserted_from is not None and any(id(use) in prepared.forward for use in uses):
                node = quantizer.dequantize
                if node is not None and node.opset >= step.breaks_inserted_from:
                    prepared.broken.append((step, tensor.producer or uses[0].op))
            moved = shifted(quantizer, step.to, shift)
            for use in uses:
                sequence = prepared.of(use)
                prepared.set(use, (*sequence[:depth], moved, *sequence[depth + 1 :]), step)


def _is_pair(quantizer: Quantizer) -> bool:
    """A per-tensor QuantizeLinear and a DequantizeLinear with the same zero point: only such a pair can be rewritten."""
    read = quantizer.read_as or quantizer
    pair = quantizer.quantize is not None and quantizer.dequantize is not None
    return pair and quantizer.constant and quantizer.granularity == "tensor" and read.zero_point == quantizer.zero_point


def shifted(quantizer: Quantizer, storage: str, shift: float) -> Quantizer:
    """The same grid in another container."""
    zero_point = None if quantizer.zero_point is None else tuple(z + shift for z in quantizer.zero_point)
    read_as = None if quantizer.read_as is None else shifted(quantizer.read_as, storage, shift)
    return replace(
        quantizer, storage=storage, zero_point=zero_point, qmin=quantizer.qmin + shift, qmax=quantizer.qmax + shift, read_as=read_as
    )


_STEPS: dict[str, Callable[[Prepared, Prepare, Profile], None]] = {
    "defaults": _defaults,
    "remove": _remove,
    "strip": _strip,
    "dead": _dead,
    "series": _series,
    "transparent": _transparent,
    "handed-on": _handed_on,
    "storage": _storage,
}
