"""Deployment files: the quantizers of a model by tensor name, for toolchains that take the network in float and a file beside it.

The names are those of the tensors in front of the quantizers, which a file without them has too. Sources of the formats:
qlint.readers.encodings and encodings_aimet, which read them back. What a format has no word for is left out, and said so.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qlint.errors import QlintError
from qlint.graph import Model, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes

AIMET_VERSION = "0.6.1"  # the newest that QNN's and SNPE's converters and AIMET itself all take
CACHE_HEADER = "TRT-8601-EntropyCalibration2"  # TensorRT takes the cache of another version, and says so in a warning


class NoWord(Exception):
    """Why a format cannot say a grid."""


@dataclass(slots=True)
class Exported:
    """A deployment file: its text, where it was written, how many tensors are in it, and the names of those that are not, by reason."""

    text: str
    path: str = ""
    tensors: int = 0
    left: dict[str, list[str]] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)  # tensors that some readers see in float in the model, and none with the file


def export(model: Model, form: str, families: Iterable[str] = ()) -> Exported:
    """The quantizers of a canonical model as a file of a format.

    Args:
        form: one of `FORMATS`.
        families: of encodings that a backend reads (`encodings` of its profile); `clip-ranges` are those of the first that MQBench writes.

    Raises:
        QlintError: there is no such format, or the model has no quantizer that it could say.
    """
    if form not in FORMATS:
        raise QlintError(f"there is no deployment file {form!r}", hint=f"there are {', '.join(FORMATS)}")
    done = Exported("")
    FORMATS[form][1](model, done, tuple(families))
    if not done.tensors:
        why = next((f": {next(iter(names))}: {reason}" for reason, names in done.left.items()), "")
        raise QlintError(f"has no quantizer that {form} could say{why}", hint="quantize it first, or take another format")
    return done


def _grids(model: Model, done: Exported, say: Callable[[Quantizer, Use], Any]) -> Iterator[tuple[Tensor, Any]]:
    """What a format says of each quantized tensor."""
    for tensor in model.tensors.values():
        seen = {use.quantizers: use for use in tensor.uses if use.quantizers}
        if not seen or not tensor.name:
            continue
        (sequence, use), *others = seen.items()
        try:
            if others:
                raise NoWord("its readers see different grids")
            if len(sequence) > 1 or sequence[0].read_as is not None:
                raise NoWord("several grids in a row")
            q = sequence[0]
            if q.dynamic or q.scale is None or q.zero_point is None:
                raise NoWord("its scale is not constant")
            if q.grid != "affine" or q.granularity == "block" or any(z % 1 for z in q.zero_point):
                raise NoWord(f"its grid is none of integers ({q})")
            said = say(q, use)
        except NoWord as problem:
            done.left.setdefault(str(problem), []).append(tensor.name)
            continue
        done.tensors += 1
        done.widened += [tensor.name] if any(not use.quantizers and use.kind != "dead" for use in tensor.uses) else []
        yield tensor, said


def _name(tensor: Tensor) -> str:
    """What a tensor is called in the network in float; ONNX Runtime's quantizer, and qlint, rename the integers of a constant."""
    return tensor.name.removesuffix("_quantized") if tensor.constant else tensor.name


# -- AIMET, QNN and SNPE ----------------------------------------------------------------------------------


def _aimet(model: Model, done: Exported, _: tuple[str, ...]) -> None:
    """real = (q + offset) · scale, q from 0 to 2^bits - 1; a list of channels, which are those of the output."""
    groups: dict[bool, dict[str, Any]] = {False: {}, True: {}}
    for tensor, said in _grids(model, done, _encoding):
        groups[tensor.constant][_name(tensor)] = said
    done.text = json.dumps({"version": AIMET_VERSION, "activation_encodings": groups[False], "param_encodings": groups[True]}, indent=2)


def _encoding(q: Quantizer, use: Use) -> list[dict[str, Any]]:
    bits = q.bits
    strict = q.levels == (1 << bits) - 1 and all(z == (q.qmin + q.qmax) / 2 for z in q.zero_point or ())
    if q.levels != 1 << bits and not strict:
        raise NoWord(f"its {q.levels} levels are no number of bits")
    if q.granularity == "channel" and not use.tensor.constant:
        raise NoWord("an activation with a scale for each channel")
    if q.granularity == "channel" and (use.op is None or channel_axes(use.op, use.role)[0] != q.axis):
        raise NoWord("its channels are not those of the output")
    symmetric = strict or all(z - q.qmin == 1 << bits - 1 for z in q.zero_point or ())
    return [
        {
            "bitwidth": bits, "dtype": "int", "is_symmetric": str(symmetric), "scale": scale, "offset": round(q.qmin - zero),
            "min": scale * (q.qmin - zero), "max": scale * (q.qmax - zero),
        }
        for scale, zero in q.pairs()
    ]  # fmt: skip


# -- MQBench ----------------------------------------------------------------------------------------------


def _clip_ranges(model: Model, done: Exported, families: tuple[str, ...]) -> None:
    """For the backend that is asked for, if MQBench deploys to it; else as for PPL, whose entries say the most."""
    family = next((family for family in families if family in _CLIP_RANGES), "ppl")
    within, say = _CLIP_RANGES[family]
    table = {_name(tensor): said for tensor, said in _grids(model, done, say)}
    done.text = json.dumps({family: {within: table} if within else table}, indent=4)


def _ppl(q: Quantizer, use: Use) -> dict[str, Any]:
    scales, zeros = [float(s) for s in q.scale or ()], [round(z) for _, z in q.pairs()]
    lows, highs = [s * (q.qmin - z) for s, z in q.pairs()], [s * (q.qmax - z) for s, z in q.pairs()]
    several = len(scales) > 1
    if several and (use.op is None or channel_axes(use.op, use.role)[0] != q.axis):
        raise NoWord("its channels are not those of an output")
    return {"bit": q.bits, "step": scales if several else scales[0], "zero_point": zeros if several else zeros[0], "min": lows if several else lows[0], "max": highs if several else highs[0]}


def _largest(q: Quantizer, use: Use) -> float:
    return 127 * _int8(q, use)


def _vitis(q: Quantizer, use: Use) -> dict[str, Any]:
    if not q.power_of_two:
        raise NoWord("its scale is no power of two")
    return {"scale": _int8(q, use, weights=True)}


def _int8(q: Quantizer, use: Use, *, weights: bool = False) -> float:
    """The scale of an int8 grid around zero, which is all that some formats know."""
    if use.tensor.constant and not weights:
        raise NoWord("a constant: the builder quantizes it by its own range")
    if q.granularity != "tensor":
        raise NoWord("a scale for each channel")
    if q.bits != 8 or not q.symmetric:
        raise NoWord(f"its grid is not int8 around zero ({q.storage}, zero point {(q.zero_point or (0,))[0]:g})")
    return float((q.scale or (0.0,))[0])


# What goes by MQBench's name of a backend: the key inside, and what is said of a grid.
_CLIP_RANGES: dict[str, tuple[str, Callable[[Quantizer, Use], Any]]] = {"ppl": ("", _ppl), "tensorrt": ("blob_range", _largest), "vitis": ("", _vitis)}


# -- TensorRT ---------------------------------------------------------------------------------------------


def _cache(model: Model, done: Exported, _: tuple[str, ...]) -> None:
    """A line for each tensor: the bits of its scale as a float32, in hexadecimal digits."""
    lines = [f"{_name(tensor)}: {struct.pack('>f', scale).hex()}" for tensor, scale in _grids(model, done, _int8)]
    done.text = "\n".join([CACHE_HEADER, *lines]) + "\n"


# By name: how the file's name ends, and what fills it.
FORMATS: dict[str, tuple[str, Callable[[Model, Exported, tuple[str, ...]], None]]] = {
    "encodings": (".encodings.json", _aimet), "clip-ranges": (".clip_ranges.json", _clip_ranges), "calibration-cache": (".calibration.cache", _cache),
}  # fmt: skip
