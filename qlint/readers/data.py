"""Constants: lazy references to bytes in a file, decoded only when someone asks."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlint.errors import ReadError

if TYPE_CHECKING:
    import numpy

# ONNX TensorProto.DataType → dtype name as used everywhere in qlint.
DTYPES: dict[int, str] = dict(
    enumerate(
        "float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64 complex64 complex128 "
        "bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz uint4 int4 float4e2m1 float8e8m0 uint2 int2 "
        "float6e2m3 float6e3m2".split(),
        1,
    )
)
_STRUCT = {"float32": "f", "uint8": "B", "int8": "b", "uint16": "H", "int16": "h", "int32": "i", "int64": "q", "bool": "?",
           "float16": "e", "float64": "d", "uint32": "I", "uint64": "Q"}  # fmt: skip
_PACKED_BITS = {"uint4": 4, "int4": 4, "float4e2m1": 4, "uint2": 2, "int2": 2}  # several in a byte, low bits first
# exponent bits, mantissa bits, bias, whether it has infinities, whether zero has no sign (fnuz)
_MINIFLOAT = {
    "float8e4m3fn": (4, 3, 7, False, False), "float8e4m3fnuz": (4, 3, 8, False, True),
    "float8e5m2": (5, 2, 15, True, False), "float8e5m2fnuz": (5, 2, 16, False, True),
    "float6e2m3": (2, 3, 1, None, False), "float6e3m2": (3, 2, 3, None, False), "float4e2m1": (2, 1, 1, None, False),
}  # fmt: skip
_ML_DTYPES = {
    "bfloat16": "bfloat16", "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu", "uint4": "uint4", "int4": "int4", "uint2": "uint2",
    "int2": "int2", "float4e2m1": "float4_e2m1fn", "float6e2m3": "float6_e2m3fn", "float6e3m2": "float6_e3m2fn",
}  # fmt: skip


def count(shape: Sequence[int]) -> int:
    return math.prod(shape)


def bits(dtype: str) -> int:
    """Bits of one element in a file."""
    if dtype in _PACKED_BITS:
        return _PACKED_BITS[dtype]
    return struct.calcsize(_STRUCT[dtype]) * 8 if dtype in _STRUCT else 16 if dtype == "bfloat16" else 8


@dataclass(frozen=True, slots=True)
class Literal:
    """Values that are known without a file: attributes, typed fields, folded constants."""

    dtype: str
    shape: tuple[int, ...]
    numbers: tuple[Any, ...]

    @property
    def nbytes(self) -> int:
        return -(-len(self.numbers) * bits(self.dtype) // 8)

    def values(self) -> tuple[Any, ...]:
        return self.numbers

    def array(self) -> numpy.ndarray[Any, Any]:
        import numpy as np

        return np.array(self.numbers, dtype=numpy_dtype(self.dtype)).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Stored:
    """Raw little-endian bytes, inside the model file or in another one; `load` gives them."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    load: Callable[[], bytes]
    where: str = ""

    def values(self) -> tuple[Any, ...]:
        return decode(self._bytes(), self.dtype, count(self.shape))

    def array(self) -> numpy.ndarray[Any, Any]:
        import numpy as np

        raw = self._bytes()
        if self.dtype in _PACKED_BITS:
            return np.array(self.values()).astype(numpy_dtype(self.dtype)).reshape(self.shape)
        return np.frombuffer(raw, numpy_dtype(self.dtype), count(self.shape)).reshape(self.shape)

    def _bytes(self) -> bytes:
        raw = self.load()
        needed = -(-count(self.shape) * bits(self.dtype) // 8)
        if len(raw) < needed:
            raise ReadError(f"a constant of shape {list(self.shape)} and type {self.dtype} needs {needed} bytes, {self.where} has {len(raw)}")
        return raw[:needed]


def decode(raw: bytes, dtype: str, size: int) -> tuple[Any, ...]:
    """`size` elements from little-endian bytes, as Python numbers."""
    if dtype in _STRUCT:
        return struct.unpack(f"<{size}{_STRUCT[dtype]}", raw)
    if dtype == "bfloat16":
        return struct.unpack(f"<{size}f", b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, 2 * size, 2)))
    if dtype in _PACKED_BITS:
        width = _PACKED_BITS[dtype]
        mask, per_byte = (1 << width) - 1, 8 // width
        codes = [(raw[i // per_byte] >> (width * (i % per_byte))) & mask for i in range(size)]
        return tuple(from_code(code, dtype) for code in codes)
    if dtype == "string":
        return (raw,)
    return tuple(from_code(code, dtype) for code in raw[:size])


def from_code(code: int, dtype: str) -> Any:
    """The number that one integer code of a small type stands for (OCP FP8 and MX specifications)."""
    if dtype in ("uint4", "uint2"):
        return code
    if dtype in ("int4", "int2"):
        width = _PACKED_BITS[dtype]
        return code - (1 << width) if code >= 1 << (width - 1) else code
    if dtype == "float8e8m0":
        return math.nan if code == 255 else math.ldexp(1.0, code - 127)
    if dtype not in _MINIFLOAT:
        return code
    exponent_bits, mantissa_bits, bias, infinities, unsigned_zero = _MINIFLOAT[dtype]
    width = exponent_bits + mantissa_bits
    negative = bool(code >> width & 1)
    magnitude = code & ((1 << width) - 1)
    exponent, mantissa = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
    last = (1 << exponent_bits) - 1
    if unsigned_zero and code == 1 << width:
        return math.nan
    if infinities and exponent == last:
        return math.nan if mantissa else (-math.inf if negative else math.inf)
    if infinities is False and not unsigned_zero and magnitude == (1 << width) - 1:
        return math.nan
    if exponent == 0:
        value = math.ldexp(mantissa, 1 - bias - mantissa_bits)
    else:
        value = math.ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
    return -value if negative else value


def numpy_dtype(dtype: str) -> Any:
    """The numpy dtype; types that numpy lacks come from ml_dtypes."""
    import numpy as np

    if dtype in _ML_DTYPES:
        try:
            import ml_dtypes
        except ImportError as error:
            raise ReadError(f"reading {dtype} values needs ml_dtypes", hint="pip install ml_dtypes") from error
        return np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype]))
    return np.dtype("O" if dtype == "string" else "?" if dtype == "bool" else dtype).newbyteorder("<")


def external(folder: Path, location: str, offset: int, length: int, name: str) -> Callable[[], bytes]:
    """A loader for bytes in another file, which must lie inside the model's folder."""

    def load() -> bytes:
        path = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not path.is_relative_to(folder.resolve()):
            raise ReadError(f"the data of {name!r} would lie outside the model's folder, at {location!r}", hint="external data must stay beside the model")
        if not path.is_file():
            raise ReadError(f"the data of {name!r} is missing: there is no {location!r} beside the model", hint="copy the external data file too")
        size = path.stat().st_size
        if offset < 0 or length < 0 or offset + length > size:
            raise ReadError(f"the data of {name!r} would lie at [{offset}, {offset + length}) of {location!r}, which has {size} bytes")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return load
