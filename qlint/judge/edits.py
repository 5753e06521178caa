"""Edits on the quantizers of a model, in memory: what would have to be different for a kernel to match.

An edit gives one use another sequence of quantizers. What it should be follows from a mismatch: the dimension says what
to change, `wanted` into what. A quantizer that several readers share is changed for all of them, as its node would be.
Values that nobody can know without data (the scale of a quantizer that was not there) are placeholders.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

from qlint.graph import INTEGER_RANGES, Model, Op, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes
from qlint.graph.kinds import CLASSES
from qlint.judge.prepare import shifted
from qlint.judge.verdict import Mismatch

Sequence = tuple[Quantizer, ...]
State = Mapping[int, tuple[Use, Sequence]]  # by id of the use
_THROUGH = 8  # operators that a search for the quantizer in front goes through
DRIFT = 0.17  # of a scale above a power of two, in octaves, that is taken for drift; beyond it the next one up clips nothing
_SCALE = 1 / 64  # of a quantizer whose range nobody knows


@contextmanager
def applied(state: State) -> Iterator[None]:
    """The model with some edits, until the block ends. A tensor whose integers are stored has their type."""
    before = [(use, use.quantizers, use.tensor.dtype) for use, _ in state.values()]
    try:
        for use, sequence in state.values():
            use.quantizers = sequence
            if sequence and not sequence[0].dynamic and sequence[0].quantize is None and sequence[0].dequantize in (None, _BACK):
                use.tensor.dtype = sequence[0].storage
        yield
    finally:
        for use, sequence, dtype in reversed(before):
            use.quantizers, use.tensor.dtype = sequence, dtype


@dataclass(frozen=True, slots=True)
class Template:
    """What a quantizer of a model looks like where there is none: as the commonest one of the same sort."""

    activation: Quantizer
    weight: Quantizer

    @classmethod
    def of(cls, model: Model) -> Template:
        """From the quantizers that a model has; int8, per tensor, in nodes of their own unless the format has none."""
        nodes = model.format != "tflite"
        found = {True: Counter[tuple[str, bool]](), False: Counter[tuple[str, bool]]()}
        for use, q in model.quantizers():
            if q.granularity == "tensor" and q.grid == "affine" and not q.dynamic and q.storage in ("int8", "uint8", "int16", "uint16", "int4", "uint4"):
                found[_constant(use)][q.storage, q.dequantize is not None or q.quantize is not None] += 1
        opset = model.opsets.get("", 21)
        activation, weight = (next(iter(found[constant].most_common(1)), ((("int8", nodes)), 0))[0] for constant in (False, True))
        return cls(*(_plain(storage, opset, given and nodes) for storage, given in (activation, weight)))


def _plain(storage: str, opset: int, nodes: bool) -> Quantizer:
    low, high = INTEGER_RANGES[storage]
    pair = [Op(-1, "", kind, native, opset=opset) for kind, native in (("quantize", "QuantizeLinear"), ("dequantize", "DequantizeLinear"))]
    return Quantizer(
        storage, (_SCALE,), (0 if low < 0 else (low + high + 1) // 2,), zero_point_shape=(), qmin=low, qmax=high,
        quantize=pair[0] if nodes else None, dequantize=pair[1] if nodes else None, uncalibrated=True,
    )  # fmt: skip


def edits(mismatch: Mismatch, template: Template, *, containers: bool = False) -> Iterator[tuple[Use, Sequence]]:
    """New sequences for the uses that a mismatch is about; nothing if no quantizer could help.

    `containers`: where a zero point is wrong, first try the same grid in the container of the other sign.
    """
    tensor, op, port = mismatch.tensor, mismatch.anchor, mismatch.port
    if tensor is None:
        return
    uses = [use for use in tensor.uses if use.kind != "dead"] if port not in op.uses else [op.uses[port]]
    dimension = mismatch.dimension.partition(" ")[0]
    if dimension == "quantizer" or (dimension == "dtype" and mismatch.found == "float32" and any("int" in str(one) for one in _names(mismatch.wanted))):
        yield from _presence(mismatch, uses, tensor, template)
        return
    if dimension == "dynamic" and mismatch.wanted is True:  # the op quantizes its own input
        yield from ((use, (replace(use.quantizers[-1], dynamic=True, scale=None, zero_point=None, quantize=None, dequantize=None),)) for use in uses if use.quantizers)
        return
    change = _CHANGES.get(dimension)
    if change is None:
        return
    if containers and turns_sign(mismatch):
        change = _other_sign
    for use in filter(None, map(_in_front, uses)):
        number = 0 if port not in op.uses else -1
        old = use.quantizers[number]
        new = change(old.read_as if number and old.read_as else old, mismatch, use)
        if new is None or new == old:
            continue
        for other in use.tensor.uses:
            if old in other.quantizers:
                yield other, tuple(new if q == old else q for q in other.quantizers)


_TO, _BACK = Op(-1, "", "quantize", "QUANTIZE"), Op(-1, "", "dequantize", "DEQUANTIZE")  # as a writer of TFLite files adds them


def native(model: Model, state: State) -> State:
    """Changes, and what follows from them where integers stand in tensors and not in nodes (TFLite).

    An operator that gets all of its inputs as integers writes integers, which its readers take as they are; callers
    still get floats. What an operator writes in float is quantized for those of its readers that take integers.
    """
    if model.format != "tflite":
        return state
    found = dict(state)
    written: dict[int, Tensor] = {}
    for op in {id(use.op): use.op for use, new in state.values() if use.op is not None and new and not use.quantizers}.values():
        floats = [use for use in op.uses.values() if use.tensor.dtype == "float32" or (use.quantizers and use.quantizers[-1].dequantize is not None)]
        finals = [found[id(use)][1] if id(use) in found else use.quantizers for use in floats]
        if not all(final and not final[-1].dynamic for final in finals):
            continue
        for use, final in zip(floats, finals, strict=True):
            if final[-1].dequantize is not None:
                found[id(use)] = use, (*final[:-1], final[-1].placed(dequantize=None))
        while op.outputs and op.outputs[0].uses and (behind := op.outputs[0].uses[0].op) is not None and behind.fused:
            op = behind
        written |= {id(tensor): tensor for tensor in op.outputs}
    for use, new in state.values():
        if new and not use.quantizers and not use.tensor.constant and use.tensor.dtype == "float32" and id(use.tensor) not in written:
            found[id(use)] = use, (new[0].placed(quantize=_TO), *new[1:])
    for tensor in written.values():
        for use in tensor.uses:
            final = found[id(use)][1] if id(use) in found else use.quantizers
            if len(final) == 1 and final[0].dequantize is None:
                found[id(use)] = use, (final[0].placed(quantize=None, dequantize=_BACK if use.kind == "output" else None),)
    return found


# Operators of TFLite whose output is on the grid of their input, or its numbers are wrong (LiteRT 8-bit quantization specification).
_ONE_GRID = CLASSES["move"] - {"concat", "stack"} | {"max_pool", "avg_pool", "resize"}


def implied(model: Model, state: State, template: Template) -> State:
    """Changes, and what they ask for in turn where integers stand in tensors and not in nodes (TFLite).

    What only moves numbers has one grid on both sides, and a bias that of what its operator accumulates.
    """
    if model.format != "tflite":
        return state
    found = dict(state)

    def final(use: Use) -> Sequence:
        return found[id(use)][1] if id(use) in found else use.quantizers

    for op in model.flow:
        x, w, b = (op.uses.get(role) for role in ("x", "w", "b"))
        if x is None or not final(x) or final(x)[-1].dynamic or id(x) not in found:
            continue
        grid = final(x)[-1]
        if op.kind in _ONE_GRID and grid.granularity == "tensor":
            for use in op.outputs[0].uses:
                if len(final(use)) == 1 and final(use)[0] != grid and final(use)[0].storage == grid.storage and use.kind != "dead":
                    found[id(use)] = use, (replace(grid, quantize=final(use)[0].quantize, dequantize=final(use)[0].dequantize),)
        elif w is not None and final(w) and b is not None and b.tensor.constant and b.tensor.dtype in ("float32", "int32", "int64"):
            old = (*final(b), rewritten(template.weight, "int64" if grid.storage == "int16" else "int32"))[0]
            made = _product(old, grid, final(w)[-1])
            if made is not None and final(b) != (made,):
                found[id(b)] = b, (replace(made, uncalibrated=False),)
    return found


def turns_sign(mismatch: Mismatch) -> bool:
    """Whether the same grid in the container of the other sign may be what is wanted."""
    dimension = mismatch.dimension.partition(" ")[0]
    return dimension == "symmetric" or (dimension == "zero_point" and mismatch.wanted == "zero")


def _presence(mismatch: Mismatch, uses: list[Use], tensor: Tensor, template: Template) -> Iterator[tuple[Use, Sequence]]:
    if mismatch.wanted is None:
        yield from ((use, ()) for use in uses if use.quantizers)
        return
    known = next((use.quantizers[0] for use in tensor.uses if use.quantizers), None)
    if mismatch.dimension == "quantizer" and mismatch.found is not None:  # different ones for different readers
        yield from ((use, (known,)) for use in uses if known is not None and use.quantizers != (known,))
        return
    for use in uses:
        if use.quantizers:
            continue
        plain = template.weight if _constant(use) else template.activation
        made = known or plain
        named = re.findall(r"u?int\d+", " ".join(_names(mismatch.wanted)))
        if use.role == "b" and _constant(use):
            made = rewritten(plain, "int32")
            made = _bias_scale(made, mismatch, use) or made
        elif named and made.storage not in named:
            made = rewritten(made, named[0])
        yield use, (made,)


def _constant(use: Use) -> bool:
    made = use.tensor.producer
    return use.tensor.constant or (made is not None and made.role == "constant")


def _in_front(use: Use) -> Use | None:
    """The use itself, or the one in front of data movement that carries the quantizer seen here."""
    for _ in range(_THROUGH):
        if use.quantizers:
            return use
        producer = use.tensor.producer
        if producer is None or "x" not in producer.uses:
            return None
        use = producer.uses["x"]
    return None


# -- one change for each dimension -------------------------------------------------------------------


def _names(wanted: Any) -> list[str]:
    return [str(one) for one in wanted] if isinstance(wanted, (tuple, list)) else str(wanted).split(" or ")


def _storage(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    """The wanted container that is nearest: as many bits, then the same sign."""
    known = [name for name in _names(m.wanted) if name in INTEGER_RANGES]
    if not known:
        return None
    return rewritten(q, min(known, key=lambda name: (abs(_bits(name) - _bits(q.storage)), name.startswith("u") != q.storage.startswith("u"))))


def _bits(storage: str) -> int:
    digits = re.findall(r"\d+", storage)
    return int(digits[0]) if digits else 0


def rewritten(q: Quantizer, storage: str) -> Quantizer:
    """The same range in another container; the same grid if that has as many integers as the grid, or as its own container."""
    low, high = INTEGER_RANGES[storage]
    if q.grid == "affine" and q.qmax - q.qmin == high - low:
        return shifted(q, storage, low - q.qmin)
    had = INTEGER_RANGES.get(q.storage, (0, 0))
    if q.grid == "affine" and had[1] - had[0] == high - low and had[0] <= q.qmin and q.qmax <= had[1]:  # that it has fewer codes than its container is no accident
        return shifted(q, storage, low - had[0])
    steps = (q.qmax - q.qmin) / (high - low) if q.qmax > q.qmin else 1
    scale = None if q.scale is None else tuple(s * steps for s in q.scale)
    centred = q.symmetric or q.zero_point is None
    zero_point = tuple(0 if centred and low < 0 else (low + high + 1) // 2 if centred else round(low + (z - q.qmin) / steps) for z in q.zero_point or (0,))
    return replace(q, storage=storage, scale=scale, zero_point=zero_point, qmin=low, qmax=high, grid="affine", read_as=None)


def _granularity(q: Quantizer, m: Mismatch, use: Use) -> Quantizer | None:
    names = _names(m.wanted)
    if "tensor" in names:
        scale, zero_point = (max(q.scale),) if q.scale else (_SCALE,), (q.zero_point[0],) if q.zero_point else (0,)
        return replace(q, granularity="tensor", axis=None, block_size=0, scale=scale, zero_point=zero_point, scale_shape=(), zero_point_shape=(), read_as=None)
    return _per_channel(q, use) if "channel" in names else None


def _axis(q: Quantizer, m: Mismatch, use: Use) -> Quantizer | None:
    return _per_channel(q, use, inputs=m.wanted == "in") if m.wanted in ("out", "in") else None


def _per_channel(q: Quantizer, use: Use, *, inputs: bool = False) -> Quantizer | None:
    out = channel_axes(use.op, use.role)[inputs] if use.op is not None else None
    shape = use.tensor.shape
    if out is None or shape is None or out >= len(shape) or not isinstance(count := shape[out], int):
        return None
    scale, zero_point = ((max(values),) * count for values in (q.scale or (_SCALE,), q.zero_point or (0,)))
    return replace(q, granularity="channel", axis=out, block_size=0, scale=scale, zero_point=zero_point, scale_shape=(count,), zero_point_shape=(count,), read_as=None)


def _zero_point(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    named = {"zero": 0, "qmin": q.qmin, "mid": (q.qmin + q.qmax + 1) // 2}
    first = m.wanted[0] if isinstance(m.wanted, tuple) and m.wanted else m.wanted
    value = named.get(first) if isinstance(first, str) else first
    return None if value is None else _around(q, value)


def _symmetric(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    return _around(q, 0 if q.qmin < 0 else (q.qmin + q.qmax + 1) // 2) if m.wanted else None


def _around(q: Quantizer, zero_point: float) -> Quantizer | None:
    """Another zero point, with scales that still cover what they covered, as far as there are integers on that side."""
    if q.zero_point is None or q.scale is None:
        return None
    low, high = (q.qmin, q.qmax) if q.qmin <= zero_point <= q.qmax else INTEGER_RANGES.get(q.storage, (q.qmin, q.qmax))
    scales = []
    for scale, before in q.pairs():
        ends = ((q.qmin - before, low - zero_point), (q.qmax - before, high - zero_point))
        scales.append(scale * max((had / has for had, has in ends if has), default=1.0))
    return replace(q, scale=tuple(scales), zero_point=(zero_point,) * len(q.zero_point), qmin=low, qmax=high, read_as=None)


def _other_sign(q: Quantizer, _m: Mismatch, _: Use) -> Quantizer | None:
    storage = q.storage.removeprefix("u") if q.storage.startswith("u") else f"u{q.storage}"
    return rewritten(q, storage) if storage in INTEGER_RANGES and q.storage in INTEGER_RANGES else None


def _scale(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    scales = q.scale or (_SCALE,)
    if isinstance(m.wanted, tuple) and m.wanted:
        return replace(q, scale=(float(m.wanted[0]),) * len(scales), read_as=None)
    if m.wanted == "power-of-two":
        return replace(q, scale=tuple(2.0 ** ceil(_log2(s) - DRIFT) for s in scales), read_as=None)
    return replace(q, scale=tuple(s if s > 0 else _SCALE for s in scales), read_as=None)


def _log2(value: float) -> float:
    return log2(value) if value > 0 else -6


def _scale_shape(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    shape = (1,) if m.wanted == "vector" else () if m.wanted == "scalar" or not isinstance(m.wanted, list) else tuple(m.wanted)
    return replace(q, scale_shape=shape, zero_point_shape=shape) if q.granularity == "tensor" else None


def _given(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    return replace(q, zero_point_shape=q.scale_shape if m.wanted else None)


def _dynamic(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    return None if m.wanted else replace(q, dynamic=False, scale=q.scale or (_SCALE,), zero_point=q.zero_point or (0,))


def _same(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    """The quantizer that the tensor is compared with: of the op's first input that has one, else of its output."""
    inputs = [use.quantizers[-1] for use in m.anchor.uses.values() if use.quantizers and not _constant(use)]
    outputs = [use.quantizers[0] for tensor in m.anchor.outputs for use in tensor.uses if use.quantizers]
    other = next((one for one in (*inputs, *outputs) if one != q), None)
    return None if other is None else replace(other, quantize=q.quantize, dequantize=q.dequantize, readers=q.readers, origin=q.origin)


def _readers(q: Quantizer, _m: Mismatch, _: Use) -> Quantizer | None:
    """A rewrite of the container that did not happen: written that way from the start, it need not."""
    return rewritten(q, "u" + q.storage) if q.storage.startswith("int") else None


def _bias_scale(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    x, w = (m.anchor.uses[role].quantizers[-1] if role in m.anchor.uses and m.anchor.uses[role].quantizers else None for role in ("x", "w"))
    return None if x is None or w is None else _product(q, x, w)


def _product(q: Quantizer, x: Quantizer, w: Quantizer) -> Quantizer | None:
    """The grid of what an operator accumulates."""
    if not x.scale or not w.scale:
        return None
    scale = tuple(x.scale[0] * s for s in w.scale)
    several = {"granularity": "channel", "axis": 0, "scale_shape": (len(scale),), "zero_point_shape": (len(scale),)} if len(scale) > 1 else {}
    return replace(q, scale=scale, zero_point=(0,) * len(scale), **several)  # type: ignore[arg-type]


def _range(q: Quantizer, m: Mismatch, _: Use) -> Quantizer | None:
    """A grid on the range that a clamp leaves, so that it vanishes into it."""
    low, high = m.wanted if isinstance(m.wanted, tuple) and len(m.wanted) == 2 else (0, None)
    if not isinstance(low, (int, float)) or low in (float("inf"), float("-inf")):
        return None
    top = high if isinstance(high, (int, float)) and high != float("inf") else low + (q.scale or (_SCALE,))[0] * (q.qmax - q.qmin)
    scale = (top - low) / (q.qmax - q.qmin)
    return replace(q, scale=(scale,), zero_point=(round(q.qmin - low / scale),), granularity="tensor", axis=None, scale_shape=(), zero_point_shape=(), read_as=None)


_CHANGES: dict[str, Callable[[Quantizer, Mismatch, Use], Quantizer | None]] = {
    "storage": _storage, "same_storage": _storage, "granularity": _granularity, "axis": _axis, "zero_point": _zero_point, "symmetric": _symmetric,
    "scale": _scale, "scale_shape": _scale_shape, "zero_point_given": _given, "dynamic": _dynamic, "same": _same, "writers": _same, "readers": _readers,
    "bias_scale": _bias_scale, "range": _range, "block_size": _granularity,
}  # fmt: skip
