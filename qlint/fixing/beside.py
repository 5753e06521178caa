"""Quantizers of an encodings file, as changes of the model that it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qlint.fixing.arithmetic import WriteError
from qlint.fixing.edits import Requantize, Sequence, scale_type_of, storable
from qlint.graph import INTEGER_RANGES, Model, Quantizer, Use


def beside(model: Model, path: Path, encodings: str | Path, shapes: dict[str, tuple[int, ...]]) -> Requantize:
    """What has to change in a file for its quantizers to be those that an encodings file says; `model` is the canonical model of the file.

    Raises:
        ReadError: the encodings cannot be read.
        WriteError: a grid has no form as QuantizeLinear and DequantizeLinear, or none of them is about the model.
    """
    from qlint.passes import canonical
    from qlint.passes.encodings import merge
    from qlint.readers import read
    from qlint.readers.encodings import read_encodings

    told = merge(canonical(read(path), shapes), read_encodings(encodings))
    ours, theirs = ([*(use for op in one.walk() for use in op.uses.values()), *one.outputs] for one in (model, told))
    changes = {id(use): (use, _written(use, other.quantizers)) for use, other in zip(ours, theirs, strict=True) if any(q.origin == "encodings" for q in other.quantizers)}
    changes = {key: (use, new) for key, (use, new) in changes.items() if new != use.quantizers}
    if not changes:
        raise WriteError("nothing in it is about the model")
    return Requantize(changes)


def _written(use: Use, sequence: Sequence) -> Sequence:
    return tuple(storable(_whole(use, q), scale_type_of(use)) for q in sequence)


def _whole(use: Use, q: Quantizer) -> Quantizer:
    """A grid with all codes of its container, as nodes have it; a constant uses fewer just the same."""
    low, high = INTEGER_RANGES.get(q.storage, (0, 0))
    if q.grid != "affine" or not low < high:
        raise WriteError(f"{use.name} has a grid that is no row of integers ({q})")
    if (q.qmin, q.qmax) != (low, high) and not use.tensor.constant:
        raise WriteError(f"{use.name} uses the codes {q.qmin:g} to {q.qmax:g} of {q.storage}, and QuantizeLinear uses all of them")
    shape = () if q.granularity == "tensor" else q.scale_shape
    return replace(q, qmin=low, qmax=high, origin="qdq", scale_shape=shape, zero_point_shape=shape, quantize=None, dequantize=None)
