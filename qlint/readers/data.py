"""Constants: lazy references to bytes in a file, decoded only when someone asks."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlint.errors import ReadError
from qlint.graph import Data
from qlint.readers.protobuf import Buffer

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
TYPE_CODES = {name: number for number, name in DTYPES.items()}
_STRUCT = {"float32": "f", "uint8": "B", "int8": "b", "uint16": "H", "int16": "h", "int32": "i", "int64": "q", "bool": "?",
           "float16": "e", "float64": "d", "uint32": "I", "uint64": "Q"}  # fmt: skip
_COMPLEX = {"complex64": "f", "complex128": "d"}  # pairs of these
# What is not of these types is a code of so many bits; codes lie in a stream of bits, lowest first.
_CODES = {
    "uint4": 4, "int4": 4, "uint2": 2, "int2": 2, "float4e2m1": 4, "float6e2m3": 6, "float6e3m2": 6,
    **dict.fromkeys(["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0"], 8), "bfloat16": 16,
}  # fmt: skip
# exponent bits, mantissa bits, bias, whether it has infinities (None: no NaN either), whether zero has no sign (fnuz)
_MINIFLOAT = {
    "float8e4m3fn": (4, 3, 7, False, False), "float8e4m3fnuz": (4, 3, 8, False, True),
    "float8e5m2": (5, 2, 15, True, False), "float8e5m2fnuz": (5, 2, 16, False, True),
    "float6e2m3": (2, 3, 1, None, False), "float6e3m2": (3, 2, 3, None, False), "float4e2m1": (2, 1, 1, None, False),
}  # fmt: skip
_BITS = {**{n: struct.calcsize(c) * 8 for n, c in _STRUCT.items()}, **{n: struct.calcsize(c) * 16 for n, c in _COMPLEX.items()}, **_CODES}
MAX_DENSE = 1 << 26  # elements that a sparse constant may have when it is written out


def bits(dtype: str) -> int:
    """Bits of one element in a file; 0 for strings and for types that are not known."""
    return _BITS.get(dtype, 0)


def size_of(dtype: str, shape: Sequence[int]) -> int:
    """Bytes that a tensor takes in a file."""
    return -(-math.prod(shape) * _BITS.get(dtype, 0) // 8)


@dataclass(frozen=True, slots=True)
class File:
    """A model file, mapped."""

    path: Path
    buffer: Buffer

    @classmethod
    def of(cls, path: Path) -> File:
        """The file at a path, mapped; read where it cannot be mapped (an empty one, a pipe).

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            try:
                return cls(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (ValueError, OSError):
                return cls(path, file.read())


@dataclass(slots=True, eq=False)
class Literal:
    """Values that are known without a file: attributes, folded constants."""

    dtype: str
    shape: tuple[int, ...]
    numbers: tuple[Any, ...]

    @property
    def nbytes(self) -> int:
        return size_of(self.dtype, self.shape)

    def values(self) -> tuple[Any, ...]:
        return self.numbers

    def array(self) -> numpy.ndarray[Any, Any]:
        import numpy as np

        return np.array(self.numbers, dtype=carrier(self.dtype)).reshape(self.shape)


@dataclass(slots=True, eq=False)
class Stored:
    """Raw little-endian bytes [start, end) of the model file."""

    dtype: str
    shape: tuple[int, ...]
    file: File
    start: int
    end: int
    where: str

    @property
    def nbytes(self) -> int:
        return self.end - self.start

    def values(self) -> tuple[Any, ...]:
        size = math.prod(self.shape)
        self._check(size)
        return decode(self.file.buffer, self.dtype, size, self.start)

    def part(self, start: int, count: int) -> tuple[Any, ...]:
        """`count` elements from `start` on; nothing else is touched."""
        self._check(math.prod(self.shape))
        inside = start % (8 // math.gcd(8, bits(self.dtype)))  # elements of its first byte that come before it
        return decode(self.file.buffer, self.dtype, count + inside, self.start + (start - inside) * bits(self.dtype) // 8)[inside:]

    def array(self) -> numpy.ndarray[Any, Any]:
        self._check(math.prod(self.shape))
        return to_array(self.file.buffer, self.dtype, self.shape, self.start)

    def _check(self, size: int) -> None:
        needed = -(-size * _BITS.get(self.dtype, 0) // 8)
        if self.dtype not in _BITS:
            raise ReadError(f"the values of {self.where} are of the type {self.dtype}, which qlint cannot decode", subject=str(self.file.path))
        if self.end - self.start < needed:
            raise ReadError(
                f"{self.where} of shape {list(self.shape)} and type {self.dtype} needs {needed} bytes and has {self.end - self.start}",
                subject=str(self.file.path), hint="export or download the model again",
            )  # fmt: skip


@dataclass(slots=True, eq=False)
class External:
    """Raw little-endian bytes [offset, offset + length) of another file, which must lie inside the model's folder."""

    dtype: str
    shape: tuple[int, ...]
    file: File
    location: str
    offset: int
    length: int
    where: str

    @property
    def nbytes(self) -> int:
        return self.length

    def values(self) -> tuple[Any, ...]:
        return self._stored().values()

    def part(self, start: int, count: int) -> tuple[Any, ...]:
        """`count` elements from `start` on; nothing else is read."""
        inside = start % (8 // math.gcd(8, bits(self.dtype)))
        size = size_of(self.dtype, (count + inside,))
        piece = replace(self, shape=(count + inside,), offset=self.offset + (start - inside) * bits(self.dtype) // 8, length=size)
        return piece._stored().values()[inside:]

    def array(self) -> numpy.ndarray[Any, Any]:
        return self._stored().array()

    def _stored(self) -> Stored:
        try:
            path = self._path()
            size = path.stat().st_size
            if self.offset < 0 or self.length < 0 or self.offset + self.length > size:
                raise self._error(f"would lie at [{self.offset}, {self.offset + self.length}) of a file of {size} bytes", "export or copy both files again")
            with path.open("rb") as file:
                file.seek(self.offset)
                raw = file.read(self.length)
        except (OSError, ValueError, RuntimeError) as error:  # no valid path, a loop of links, no permission
            raise self._error(f"cannot be read: {error}", "export or copy both files again") from error
        return Stored(self.dtype, self.shape, File(self.file.path, raw), 0, len(raw), self.where)

    def _path(self) -> Path:
        """The file, once it is sure that it lies beside the model (or beside the file that the model is a link to)."""
        path = (self.file.path.parent / self.location).resolve()
        folders = (self.file.path.parent.resolve(), self.file.path.resolve().parent)
        if not self.location or Path(self.location).is_absolute() or not any(path.is_relative_to(folder) for folder in folders):
            raise self._error("would lie outside the model's folder", "external data must stay beside the model")
        if not path.is_file():
            raise self._error("is missing: there is no such file beside the model", "copy the external data file too")
        return path

    def _error(self, what: str, hint: str) -> ReadError:
        return ReadError(f"the data of {self.where}, at {self.location!r}, {what}", subject=str(self.file.path), hint=hint)


@dataclass(slots=True, eq=False)
class Sparse:
    """A constant of which only the elements that are not zero stand in the file.

    `indices` are linear, of shape (n,), or coordinates, of shape (n, rank); `stored` has shape (n,).
    """

    dtype: str
    shape: tuple[int, ...]
    stored: Data
    indices: Data
    where: str

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes

    def values(self) -> tuple[Any, ...]:
        size = math.prod(self.shape)
        if size > MAX_DENSE:
            raise ReadError(f"the sparse constant {self.where} of shape {list(self.shape)} is too large to be written out")
        dense: list[Any] = [0] * size
        for at, value in zip(self._positions(), self.stored.values(), strict=False):
            if not 0 <= at < size:
                raise ReadError(f"the sparse constant {self.where} of shape {list(self.shape)} has a value at {at}")
            dense[at] = value
        return tuple(dense)

    def array(self) -> numpy.ndarray[Any, Any]:
        return Literal(self.dtype, self.shape, self.values()).array()

    def _positions(self) -> Iterator[int]:
        numbers = self.indices.values()
        rank = len(self.shape)
        if len(self.indices.shape) < 2:
            yield from numbers
            return
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(rank)]
        for at in range(0, len(numbers) - rank + 1, rank):
            yield sum(n * s for n, s in zip(numbers[at : at + rank], strides, strict=True))


# -- decoding -----------------------------------------------------------------------------------------


def decode(raw: Buffer, dtype: str, size: int, start: int = 0) -> tuple[Any, ...]:
    """`size` elements from little-endian bytes at `start`, as Python numbers; the bytes must be there."""
    if dtype in _STRUCT:
        return struct.unpack_from(f"<{size}{_STRUCT[dtype]}", raw, start)
    if dtype in _COMPLEX:
        parts = struct.unpack_from(f"<{2 * size}{_COMPLEX[dtype]}", raw, start)
        return tuple(map(complex, parts[::2], parts[1::2]))
    if dtype == "bfloat16":
        return tuple(map(from_bfloat16, struct.unpack_from(f"<{size}H", raw, start)))
    table, width = codes(dtype), _CODES[dtype]
    if width == 8:
        return tuple(table[code] for code in raw[start : start + size])
    mask, stream = (1 << width) - 1, raw[start : start + (size * width + 7) // 8] + b"\0"
    return tuple(
        table[(stream[at >> 3] | stream[(at >> 3) + 1] << 8) >> (at & 7) & mask] for at in range(0, size * width, width)
    )


def to_array(raw: Buffer, dtype: str, shape: tuple[int, ...], start: int = 0) -> numpy.ndarray[Any, Any]:
    """numpy's view of the bytes where it has the type, else the values in the type of :func:`carrier`."""
    import numpy as np

    size = math.prod(shape)
    if dtype in _STRUCT or dtype in _COMPLEX:
        return np.frombuffer(raw, np.dtype(carrier(dtype)).newbyteorder("<"), size, start).reshape(shape)
    if dtype == "bfloat16":
        return (np.frombuffer(raw, "<u2", size, start).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    width = _CODES[dtype]
    stream = np.frombuffer(raw, np.uint8, size_of(dtype, shape), start)
    if width == 6:
        at = np.arange(size, dtype=np.int64) * 6
        pairs = np.append(stream, np.uint8(0)).astype(np.uint16)
        found = (pairs[at >> 3] | pairs[(at >> 3) + 1] << 8) >> (at & 7).astype(np.uint16) & 63
    elif width < 8:
        found = (stream[:, None] >> np.arange(0, 8, width, dtype=np.uint8) & ((1 << width) - 1)).reshape(-1)[:size]
    else:
        found = stream
    values: numpy.ndarray[Any, Any] = np.array(codes(dtype), carrier(dtype))[found]
    return values.reshape(shape)


def carrier(dtype: str) -> Any:
    """The numpy type that holds the values of a type exactly: its own, or a larger one where numpy has none."""
    if dtype in ("int4", "int2"):
        return "int8"
    if dtype in ("uint4", "uint2"):
        return "uint8"
    return "float32" if dtype in _CODES else "O" if dtype == "string" else dtype


@lru_cache(maxsize=32)
def codes(dtype: str) -> tuple[Any, ...]:
    """The number that each code of a type of at most 8 bits stands for."""
    return tuple(_number(code, dtype) for code in range(1 << _CODES[dtype]))


def from_bfloat16(code: int) -> float:
    number: float = struct.unpack("<f", struct.pack("<I", code << 16))[0]
    return number


def _number(code: int, dtype: str) -> Any:
    """One code (OCP FP8 and MX specifications)."""
    if dtype in ("uint4", "uint2"):
        return code
    if dtype in ("int4", "int2"):
        half = 1 << _CODES[dtype] - 1
        return code - 2 * half if code >= half else code
    if dtype == "float8e8m0":
        return math.nan if code == 255 else math.ldexp(1.0, code - 127)
    exponent_bits, mantissa_bits, bias, infinities, unsigned_zero = _MINIFLOAT[dtype]
    width = exponent_bits + mantissa_bits
    negative = bool(code >> width & 1)
    magnitude = code & ((1 << width) - 1)
    exponent, mantissa = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
    if unsigned_zero and code == 1 << width:
        return math.nan
    if infinities and exponent == (1 << exponent_bits) - 1:
        return math.nan if mantissa else (-math.inf if negative else math.inf)
    if infinities is False and not unsigned_zero and magnitude == (1 << width) - 1:
        return math.nan
    value = math.ldexp(mantissa, 1 - bias - mantissa_bits)
    if exponent:
        value = math.ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
    return -value if negative else value
