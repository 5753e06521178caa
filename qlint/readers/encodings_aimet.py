"""AIMET's encodings, and the quantization overrides of QNN and SNPE, which are the same family.

Sources: qualcomm/aimet Docs/techniques/encoding_spec.rst at 38dc8929 (0.6.1, 1.0.0, 2.0.0, 2.1.0) and its page of AIMET 2.0.0 (0.4.0);
Qualcomm, QAIRT Quantization Specification (80-63442-10), for --quantization_overrides; QnnTypes.h: real = (q + offset) * scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from qlint.errors import ReadError
from qlint.graph import FLOAT_GRIDS, INTEGER_RANGES, Quantizer, left_behind
from qlint.graph.encodings import Encoding, Encodings, Format
from qlint.readers.encodings_entry import Entry, uniform

Values = Sequence[float]
GROUPS = {"activation_encodings": False, "param_encodings": True, "encodings": None}  # and whether it is about weights
_MODULES = ("input", "output")  # what a file for torch modules has in place of an encoding
STEP = 1.0  # how far, in steps of the grid, an end of the range may lie beside the one that scale and offset make


def aimet(document: dict[str, Any], path: str) -> Encodings:
    """All entries of a file; which version it is says each entry by the fields that it has.

    Raises:
        ReadError: an entry is not what any version has; the message names it.
    """
    version = document.get("version")
    entries = tuple(entry for group, parameter in GROUPS.items() for entry in _group(document.get(group), group, parameter))
    title = f"AIMET encodings {version}" if isinstance(version, str) else "quantization overrides"
    return Encodings(path, Format(title, "aimet"), entries)


def _group(group: object, name: str, parameter: bool | None) -> Iterator[Encoding]:
    if group is None:
        return
    if isinstance(group, dict):
        for tensor, fields in group.items():
            yield _old(tensor, fields, f'{name}["{tensor}"]', parameter)
    elif isinstance(group, list):
        for number, fields in enumerate(group):
            entry = Entry(fields, f"{name}[{number}]")
            tensor = entry.text("name")
            if not tensor:
                raise entry.error("has no name", "the name of a tensor")
            entry.where += f' ("{tensor}")'
            yield _modern(tensor, entry, parameter) if entry.has("output_dtype") else _listed(tensor, entry, parameter)
    else:
        raise ReadError(f"{name} is neither an object nor a list", hint="export the encodings again")


def _old(tensor: str, fields: object, where: str, parameter: bool | None) -> Encoding:
    """Up to 0.6.1: a list with one encoding for each channel; some tools leave out the list where there is one."""
    if isinstance(fields, dict) and any(isinstance(fields.get(key), dict) for key in _MODULES):
        raise ReadError(f"{where} is about a module, not a tensor", hint="use the encodings that AIMET wrote beside the ONNX file")
    if isinstance(fields, dict) and isinstance(fields.get("scale"), list):  # the fields of 1.0.0, by name
        return _listed(tensor, Entry(fields, where), parameter)
    parts = [Entry(one, f"{where}[{number}]") for number, one in enumerate(fields if isinstance(fields, list) else [fields])]
    if not parts:
        raise ReadError(f"{where} is empty; expected an encoding, or one for each channel", hint="export the encodings again")
    if parts[0].text("dtype").lower() == "float":
        return Encoding(tensor, where, None, f"float{parts[0].bits('bitwidth', 'bw')}", parameter)
    bits = parts[0].bits("bitwidth", "bw")
    if any(part.bits("bitwidth", "bw") != bits for part in parts):
        raise ReadError(f"{where} has channels of different bit widths", hint="all channels of a tensor have the same one")
    symmetric = parts[0].flag("is_symmetric", "is_sym")
    scales, offsets, contradiction = [], [], None
    for part in parts:
        scale, offset, against = _channel(part, bits, symmetric)
        scales.append(scale)
        offsets.append(offset)
        contradiction = contradiction or against
    found = replace(affine(bits, scales, offsets, symmetric, parameter), observed=tuple(_ranges(parts)))
    return Encoding(tensor, where, found, parameter=parameter, contradiction=contradiction or _lopsided(bits, offsets, symmetric))


def _ranges(parts: Sequence[Entry]) -> Iterator[tuple[float, float]]:
    """The range of each channel, where all have one."""
    ends = [(part.number("min"), part.number("max")) for part in parts]
    yield from ((low, high) for low, high in ends if low is not None and high is not None and all(None not in pair for pair in ends))


def _channel(part: Entry, bits: int, symmetric: bool) -> tuple[float, float, tuple[str, str] | None]:
    """(scale, offset, contradiction) of one channel; what is left out follows from the range.

    Tools that only get a range first make it hold zero (SNPE, "Quantized vs Non-Quantized Models").
    """
    low, high, scale, offset = (part.number(name) for name in ("min", "max", "scale", "offset"))
    steps = (1 << bits) - 1
    if scale is None:
        if low is None or high is None:
            raise part.error("has neither a scale nor a range", "scale and offset, or min and max")
        if symmetric and offset is None:
            scale = max(abs(low), abs(high)) / ((1 << bits - 1) - 1) if bits > 1 else high
            offset = -(1 << bits - 1)
        else:
            scale = (max(high, 0.0) - min(low, 0.0)) / steps
    if offset is None:
        if low is None:
            raise part.error("has no offset", "scale and offset, or min and max")
        offset = -(1 << bits - 1) if symmetric else round(min(low, 0.0) / scale) if scale > 0 and math.isfinite(low / scale) else 0
    return scale, offset, _against(bits, scale, offset, low, high)


def _against(bits: int, scale: float, offset: float, low: float | None, high: float | None) -> tuple[str, str] | None:
    """The range that is given beside the one that scale, offset and bits make."""
    if low is None or high is None:
        return None
    if not low <= high:
        return f"min {low:.6g} and max {high:.6g}", "a min below the max"
    if low > 0 or high < 0:
        return f"the range {low:.6g} to {high:.6g}", "a range with zero in it"
    if left_behind(scale, -offset, low, high, 0, (1 << bits) - 1) is not None:
        return None  # that is a zero point of another scale, for which there is a rule
    steps = (1 << bits) - 1 - (offset == 1 - (1 << bits - 1))
    ends = scale * offset, scale * (offset + steps)
    if scale > 0 and all(abs(given - made) <= STEP * scale * (1 + 1e-3) for given, made in zip((low, high), ends, strict=True)):
        return None
    return f"the range {low:.6g} to {high:.6g}", f"{ends[0]:.6g} to {ends[1]:.6g}, which scale {scale:.6g}, offset {offset:g} and {bits} bits make"


def _lopsided(bits: int, offsets: Values, symmetric: bool) -> tuple[str, str] | None:
    """An offset that cannot go with being symmetric, or with the bits."""
    half = 1 << bits - 1
    out = next((offset for offset in offsets if not 1 - 2 * half <= offset <= 0), None)
    if out is not None:
        return f"offset {out:g}", f"one from {1 - 2 * half} to 0, which {bits} bits have room for"
    skew = next((offset for offset in offsets if symmetric and offset not in (0, -half, 1 - half)), None)
    return None if skew is None else (f"offset {skew:g}", f"0 or {-half}, as it is symmetric with {bits} bits")


def affine(bits: int, scales: Values, offsets: Values, symmetric: bool, parameter: bool | None) -> Quantizer:
    """real = (q + offset) * scale with q from 0 to 2**bits - 1, in the container that QNN uses.

    Activations are unsigned with an offset, whether symmetric or not (QNN_DATATYPE_UFIXED_POINT_8), symmetric weights and
    biases signed without one. With an offset of 1 more than the middle, AIMET's strict symmetry, the lowest code is not used.
    """
    half = 1 << bits - 1
    if symmetric and parameter and offsets and all(offset in (-half, 1 - half) for offset in offsets):
        return uniform(scales, (0,) * len(scales), 1 - half if offsets[0] != -half else -half, half - 1)
    strict = symmetric and offsets and all(offset == 1 - half for offset in offsets)
    return uniform(scales, [-offset for offset in offsets], 0, 2 * half - (2 if strict else 1))


def _listed(tensor: str, entry: Entry, parameter: bool | None) -> Encoding:
    """1.0.0: scales and offsets in one entry. The channels are those of the output, blocks lie along the input channels."""
    kind, number = entry.text("enc_type").upper() or "PER_TENSOR", entry.bits("bw", "bitwidth")
    if entry.text("dtype").upper().startswith("FLOAT"):
        return Encoding(tensor, entry.where, None, f"float{number}", parameter)
    if kind not in ("PER_TENSOR", "PER_CHANNEL", "PER_BLOCK", "LPBQ"):
        raise entry.error(f'has enc_type "{kind}"', "PER_TENSOR, PER_CHANNEL, PER_BLOCK or LPBQ")
    scales, offsets, symmetric = entry.numbers("scale"), entry.numbers("offset"), entry.flag("is_sym", "is_symmetric")
    if not scales:
        raise entry.error("has no scale", "a list of scales")
    if kind == "LPBQ":
        return Encoding(tensor, entry.where, _blocks(entry, scales), parameter=parameter)
    offsets = offsets or (-(1 << number - 1),) * len(scales)
    if len(offsets) not in (1, len(scales)):
        return _uneven(tensor, entry, parameter, f"{len(scales)} scales and {len(offsets)} offsets")
    if kind == "PER_TENSOR" and len(scales) > 1:
        return _uneven(tensor, entry, parameter, f"PER_TENSOR and {len(scales)} scales")
    offsets = offsets * len(scales) if len(offsets) == 1 else offsets
    found = affine(number, scales, offsets, symmetric, parameter)
    if shift := entry.numbers("zero_point_shift"):  # the 2-bit grid -3, -1, 1, 3 of version 2.0.0 has the zero point -0.5
        zeros = tuple(zero - moved for zero, moved in zip(found.zero_point or (), shift * len(scales) if len(shift) == 1 else shift, strict=False))
        found = replace(found, zero_point=zeros)
    if kind == "PER_BLOCK":
        found = replace(found, granularity="block", block_size=entry.whole("block_size") or 0)
    return Encoding(tensor, entry.where, found, parameter=parameter, contradiction=_lopsided(number, offsets, symmetric))


def _uneven(tensor: str, entry: Entry, parameter: bool | None, found: str) -> Encoding:
    """What says two things of how many groups there are is no grid that anyone could use."""
    return Encoding(tensor, entry.where, None, "", parameter, (found, "as many scales as offsets, and one of each per tensor"))


def _blocks(entry: Entry, scales: tuple[float, ...]) -> Quantizer:
    """LPBQ: the scale of a block is a whole number times that of its output channel; symmetric, `compressed_bw` bits."""
    number, steps = entry.bits("compressed_bw"), entry.numbers("per_block_int_scale")
    if not steps or len(steps) % len(scales):
        raise entry.error(f"has {len(scales)} scales and {len(steps)} of per_block_int_scale", "a whole number of blocks for each channel")
    blocks = len(steps) // len(scales)
    made = tuple(step * scales[index // blocks] for index, step in enumerate(steps))
    half = 1 << number - 1
    return uniform(made, (0,) * len(made), -half, half - 1, shape=(len(scales), blocks), axis=1, block=entry.whole("block_size") or 0)


def _modern(tensor: str, entry: Entry, parameter: bool | None) -> Encoding:
    """2.0.0 and 2.1.0: the fields are the inputs and attributes of ONNX's QuantizeLinear, opset 23."""
    storage = entry.text("output_dtype").lower()
    if storage not in INTEGER_RANGES and storage not in FLOAT_GRIDS:
        if storage in ("float16", "float32", "bfloat16"):
            return Encoding(tensor, entry.where, None, storage, parameter)
        raise entry.error(f'has output_dtype "{storage}"', "int2 to int32, uint2 to uint32, or a float of 4 or 8 bits")
    scales, shape = _scales(entry)
    zeros, _ = entry.array("y_zero_point")
    axis, block = entry.whole("axis"), entry.whole("block_size") or 0
    if not scales:
        raise entry.error("has no y_scale", "a number, or a nested list of them")
    if zeros and len(zeros) not in (1, len(scales)):
        return _uneven(tensor, entry, parameter, f"{len(scales)} scales and {len(zeros)} zero points")
    if len(scales) > 1 and axis is None:
        return _uneven(tensor, entry, parameter, f"{len(scales)} scales and no axis")
    zeros = zeros or (0,)
    limit = FLOAT_GRIDS.get(storage)
    low, high = INTEGER_RANGES[storage] if limit is None else (-limit, limit)
    found = uniform(scales, zeros * len(scales) if len(zeros) == 1 else zeros, low, high, shape=shape, axis=axis, block=block, storage=storage)
    found = replace(found, grid="affine" if limit is None else "float")
    out = next((zero for zero in zeros if not low <= zero <= high), None)
    return Encoding(tensor, entry.where, found, parameter=parameter, contradiction=None if out is None else (f"zero point {out:g}", f"one that {storage} can hold"))


def _scales(entry: Entry) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """(scales, shape); scales that are quantized themselves are told as a product: LPBQ of 2.0.0, or any `x * x_scale` of 2.1.0."""
    nested = entry.get("y_scale")
    if isinstance(nested, dict):
        inner = Entry(nested, f"{entry.where} y_scale")
        (steps, shape), (units, unit_shape) = inner.array("x"), inner.array("x_scale")
        zeros, axis = inner.numbers("x_zero_point"), inner.whole("axis")
        steps = tuple(step - (zeros[0] if len(zeros) == 1 else 0) for step in steps)
    elif entry.has("per_block_int_scale"):
        inner = entry
        (steps, shape), (units, unit_shape) = entry.array("per_block_int_scale"), entry.array("per_channel_float_scale")
        axis = next((number for number, size in enumerate(unit_shape) if size > 1), 0)
    else:
        return entry.array("y_scale")
    if not units or (len(units) > 1 and (axis is None or not -len(shape) <= axis < len(shape) or shape[axis] != len(units))):
        raise inner.error(f"has {len(steps)} quantized scales and {len(units)} scales of them", "one scale for all, or one for each channel")
    inside = math.prod(shape[(axis or 0) % len(shape) + 1 :]) if shape else 1
    return tuple(step * units[index // inside % len(units)] for index, step in enumerate(steps)), shape
