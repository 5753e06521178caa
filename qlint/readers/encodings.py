"""Encodings files: recognised by content, every format read into the same entries.

Sources: encodings_aimet.py names AIMET's; ModelTC/MQBench mqbench/deploy/deploy_linear.py, deploy_nnie.py, deploy_stpu.py and
deploy_tengine.py at 00f477d5; TensorRT's calibration cache is a line with its version, then `tensor: hex`, the bits of a
big-endian float32, which is the scale of [-127, 127] (no vendor page says so; seen in caches, and in NVIDIA's forum, 56161).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Quantizer
from qlint.graph.encodings import Encoding, Encodings, Format
from qlint.readers.encodings_aimet import GROUPS, aimet
from qlint.readers.encodings_entry import Entry, is_number, uniform

MAX_BYTES = 1 << 28
ACCEPTED = "qlint reads AIMET encodings, QNN and SNPE quantization overrides, MQBench's clip ranges, and TensorRT calibration caches"
AGAIN = "export the file again"
PPL_CUDA = Format("MQBench clip ranges for PPL CUDA", "ppl")
LOGARITHM = Quantizer("int8", None, (0,), qmin=-128, qmax=127, grid="log", origin="encodings")  # NNIE's codes


def read_encodings(path: str | Path) -> Encodings:
    """What an encodings file says, entry by entry.

    Raises:
        ReadError: the file is missing, of no known format, or an entry is not as its format has it.
    """
    shown = str(path)
    try:
        file = Path(path)
        if file.stat().st_size > MAX_BYTES:
            raise ReadError(f"is larger than {MAX_BYTES >> 20} MB, no encodings file is", hint=ACCEPTED)
        raw = file.read_bytes()
        if not raw.strip():
            raise ReadError("is empty", hint=AGAIN)
        found = _read(raw, shown)
        if not found.entries:
            raise ReadError(f"is a file of {found.format.title} without a single entry", hint="calibrate, or train, before the export")
    except ReadError as error:
        error.subject = error.subject or shown
        raise
    except OverflowError as error:
        raise ReadError("has a number that is beyond what floats can hold", subject=shown, hint=AGAIN) from error
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read: {getattr(error, 'strerror', None) or error}", subject=shown, hint="--encodings wants an encodings file") from error
    return found


def _read(raw: bytes, path: str) -> Encodings:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError("is no text: encodings are JSON or lines of text", hint=ACCEPTED) from error
    if not text.lstrip().startswith(("{", "[")):
        return _lines(text, path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"is not valid JSON: {error}", hint=AGAIN) from error
    if not isinstance(document, dict):
        raise ReadError("is a JSON list, not encodings", hint=ACCEPTED)
    if any(key in document for key in GROUPS):
        return aimet(document, path)
    if {"defaults", "params", "op_type"} <= document.keys():
        raise ReadError("is a configuration of AIMET's simulation, not encodings", hint="`qlint backend import aimet` makes a profile of it")
    for key, (within, read, form) in _TABLES.items():
        if isinstance(document.get(key), dict):
            table = document[key].get(within) if within else document[key]
            return _table(table, key + (f".{within}" if within else ""), read, form, path)
    if document and all(isinstance(one, dict) and ({"min", "max"} <= one.keys() or {"alpha", "zero_point"} <= one.keys()) for one in document.values()):
        return _table(document, "", _stpu, Format("MQBench ranges for STPU", "stpu"), path)
    raise ReadError(f"is JSON with {', '.join(sorted(document)[:3]) or 'nothing'} in it, not encodings", hint=ACCEPTED)


# -- tables: a JSON object by tensor ------------------------------------------------------------------

Reader = Callable[[str, Any, str], Iterator[Encoding]]


def _table(table: object, key: str, read: Reader, form: Format, path: str) -> Encodings:
    if not isinstance(table, dict):
        raise ReadError(f"{key} is no object with tensors in it", hint=AGAIN)
    entries = tuple(entry for name, said in table.items() for entry in read(name, said, f'{key}["{name}"]' if key else f'"{name}"'))
    return Encodings(path, form, entries)


def _largest(name: str, said: Any, where: str) -> Iterator[Encoding]:
    """The largest magnitude, which is code 127."""
    yield Encoding(name, where, _signed(_number(said, where) / 127))


def _ppl(name: str, said: Any, where: str) -> Iterator[Encoding]:
    """Step, zero point, range and bits, each of them a number or a list with one for each channel."""
    entry = Entry(said, where)
    steps, zeros, lows, highs = (entry.numbers(field) for field in ("step", "zero_point", "min", "max"))
    if not steps or len({len(steps), len(zeros), len(lows), len(highs)}) != 1:
        raise entry.error("has lists of different lengths", "step, zero_point, min and max, one of each for the tensor or each channel")
    ends = [(round(low / step) + zero, round(high / step) + zero) for step, zero, low, high in zip(steps, zeros, lows, highs, strict=True) if step > 0 and math.isfinite(low / step) and math.isfinite(high / step)]
    least, most = min((low for low, _ in ends), default=0), max((high for _, high in ends), default=0)
    bits, against = entry.bits("bit", "bitwidth"), None
    if any(low > high for low, high in zip(lows, highs, strict=True)):
        against = f"min {max(lows):.6g} and max {min(highs):.6g}", "a min below the max"
    elif not least <= most - 1 or most - least >= 1 << bits:
        against = f"{bits} bits", f"{int(max(most - least, 1)).bit_length()} bits for the {most - least + 1:g} levels that step, min and max make"
    yield Encoding(name, where, uniform(steps, zeros, least, most), contradiction=against)


def _vitis(name: str, said: Any, where: str) -> Iterator[Encoding]:
    scales = Entry(said, where).numbers("scale")
    yield Encoding(name, where, uniform(scales, (0,) * len(scales), -128, 127) if scales else None)


def _sophgo(name: str, said: Any, where: str) -> Iterator[Encoding]:
    """`threshold` is what symmetric quantization takes; min and max are for the asymmetric one."""
    entry = Entry(said, where)
    threshold = entry.number("threshold")
    if threshold is None:
        raise entry.error("has no threshold", "the largest magnitude")
    yield Encoding(name, where, _signed(threshold / 127))


def _stpu(name: str, said: Any, where: str) -> Iterator[Encoding]:
    """Ranges of ±127 steps; weights and biases go by the name of their node, and a bias has a scale in `alpha`."""
    entry = Entry(said, where)
    if entry.has("alpha"):
        return
    high = entry.number("max")
    if high is None:
        raise entry.error("has no max", "min and max")
    yield Encoding(name, where, _signed(high / 127, -127), parameter=name.endswith("_weights"))


def _nnie(name: str, said: Any, where: str) -> Iterator[Encoding]:
    """Where the codes of each activation that a node reads end."""
    for number, end in enumerate(said if isinstance(said, list) else [said]):
        _number(end, where)
        yield Encoding(name, where, LOGARITHM, input=number)


# key → (key inside it, reader, format)
_TABLES: dict[str, tuple[str, Reader, Format]] = {
    "tensorrt": ("blob_range", _largest, Format("MQBench clip ranges for TensorRT", "tensorrt", overrides=False, weights=False)),
    "ppl": ("", _ppl, Format("MQBench clip ranges for PPL", "ppl")),
    "ppl-cuda": ("", _largest, PPL_CUDA),
    "vitis": ("", _vitis, Format("MQBench clip ranges for Vitis", "vitis")),
    "sophgo_tpu": ("", _sophgo, Format("MQBench clip ranges for Sophgo", "sophgo", weights=False, suffixed=True)),
    "nnie": ("gfpq_param_dict", _nnie, Format("MQBench parameters for NNIE", "nnie", weights=False)),
}


# -- lines of text ------------------------------------------------------------------------------------


def _lines(text: str, path: str) -> Encodings:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    first = lines[0][1]
    if first.startswith("TRT-"):
        form = Format(f"TensorRT calibration cache {first[4:]}", "tensorrt", overrides=False, weights=False)
        return Encodings(path, form, tuple(_cached(number, line) for number, line in lines[1:]))
    if first.rpartition(": ")[0]:
        return Encodings(path, PPL_CUDA, tuple(_ranged(number, line) for number, line in lines))
    if len(first.rsplit(" ", 2)) == 3:
        return Encodings(path, Format("MQBench scales for Tengine", "tengine", weights=False), tuple(_scaled(number, line) for number, line in lines))
    raise ReadError("is text, and no encodings file", hint=ACCEPTED)


def _cached(number: int, line: str) -> Encoding:
    """`tensor: 3c008912`; names may hold colons and blanks."""
    name, _, digits = line.rpartition(": ")
    try:
        (scale,) = struct.unpack(">f", bytes.fromhex(digits.strip().rjust(8, "0")))
    except (ValueError, struct.error) as error:
        raise _bad(number, line, "`tensor: ` and the eight hexadecimal digits of a scale") from error
    return Encoding(name, f"line {number}", _signed(scale))


def _ranged(number: int, line: str) -> Encoding:
    name, _, value = line.rpartition(": ")
    try:
        return Encoding(name, f"line {number}", _signed(float(value) / 127))
    except ValueError as error:
        raise _bad(number, line, "`tensor: ` and its largest magnitude") from error


def _scaled(number: int, line: str) -> Encoding:
    try:
        name, scale, zero = line.rsplit(" ", 2)
        return Encoding(name, f"line {number}", uniform((float(scale),), (int(zero),), 0, 255))
    except ValueError as error:
        raise _bad(number, line, "a tensor, its scale and its zero point") from error


def _bad(number: int, line: str, expected: str) -> ReadError:
    return ReadError(f"line {number} is {line[:60]!r}; expected {expected}", hint=f"{AGAIN}; {ACCEPTED}")


def _signed(scale: float, low: int = -128) -> Quantizer:
    return uniform((scale,), (0,), low, 127)


def _number(value: Any, where: str) -> float:
    if not is_number(value):
        raise ReadError(f"{where} is {str(value)[:60]!r}; expected a number", hint=AGAIN)
    return float(value)

