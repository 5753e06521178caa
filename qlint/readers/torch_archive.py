"""The zip archives that PyTorch writes: members by name, where they stand in the mapped file, tensors as lazy views of them.

Only what a member says of itself is read; nothing is unpacked to disk. PyTorch's layout of the archive:
caffe2/serialize/inline_container.h and torch/csrc/jit/serialization.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, replace
from operator import mul
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlint.errors import ReadError
from qlint.graph.values import SMALL
from qlint.readers.data import File, bits, decode, size_of, to_array
from qlint.readers.protobuf import Buffer

if TYPE_CHECKING:
    import numpy

MAX_MEMBERS = 1_000_000
MAX_INFLATED = 256 << 20  # bytes that the source code and the pickles of one model may take
_END, _END64, _LOCATOR64, _ENTRY, _LOCAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02", b"PK\x03\x04"
_AGAIN = "export or download it again"


@dataclass(slots=True, eq=False)
class Member:
    """One member of the archive, at `header`: `size` bytes once inflated, `stored` bytes in the file."""

    name: str
    method: int
    stored: int
    size: int
    header: int


class Archive:
    """The members of a zip file under its one top folder, whose name is that of the file when it was written."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = File.of(path)
        except OSError as error:
            raise ReadError(f"cannot be read: {error.strerror}", subject=str(path)) from error
        self.buffer, self.path, self.inflated = self.file.buffer, path, 0
        members = _directory(self.buffer)
        top = next(iter(members), "").partition("/")[0] + "/"
        self.members = {name.removeprefix(top): member for name, member in members.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def read(self, name: str) -> bytes:
        """The bytes of a member that has to be there."""
        member = self.members.get(name)
        if member is None:
            raise ReadError(f"has no member {name!r}", hint=_AGAIN)
        start, end = self.span(member)
        self.inflated += member.size
        if self.inflated > MAX_INFLATED:
            raise ReadError(f"holds more than {MAX_INFLATED >> 20} MiB of code and pickles", hint="it is no sensible model")
        return _inflate(member, self.buffer[start:end])

    def text(self, name: str) -> str:
        """A member as text; '' if it is not there."""
        return self.read(name).decode("utf-8", "replace") if name in self.members else ""

    def mount(self, name: str) -> str:
        """Make the members of an archive in the archive known, and return the prefix of their names; '' if it is compressed."""
        outer = self.members[name]
        if outer.method:
            return ""
        start, end = self.span(outer)
        inner = _directory(memoryview(self.buffer)[start:end])
        prefix = f"{name}!/"
        for path, member in inner.items():
            self.members[prefix + path.partition("/")[2]] = replace(member, header=start + member.header)
        return prefix

    def span(self, member: Member) -> tuple[int, int]:
        """Where the bytes of a member lie in the file, behind its own header."""
        at, buffer = member.header, self.buffer
        if at + 30 > len(buffer) or buffer[at : at + 4] != _LOCAL:
            raise ReadError(f"is a damaged zip archive: {member.name!r} is not where its directory says, at byte {at}", hint=_AGAIN)
        name, extra = struct.unpack_from("<HH", buffer, at + 26)
        start = at + 30 + name + extra
        if start + member.stored > len(buffer):
            raise ReadError(f"is truncated: {member.name!r} ends at byte {start + member.stored} of {len(buffer)}", hint=_AGAIN)
        return start, start + member.stored


@dataclass(slots=True, eq=False)
class Strided:
    """A tensor that lies in a storage of the archive: `shape` and `strides` in elements, from element `offset` on."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    archive: Archive
    member: str
    where: str

    @property
    def nbytes(self) -> int:
        return size_of(self.dtype, self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other, last dimension first."""
        expected = 1
        for dim, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if dim != 1 and stride != expected:
                return False
            expected *= dim
        return True

    @property
    def span(self) -> tuple[int, int] | None:
        """The bytes [start, end) in the file, if they lie there as they are."""
        member = self.archive.members.get(self.member)
        if member is None or member.method or not self.contiguous or bits(self.dtype) % 8:
            return None
        start = self.archive.span(member)[0] + self.offset * (bits(self.dtype) // 8)
        return start, start + self.nbytes

    def values(self) -> tuple[Any, ...]:
        raw, start, extent = self._bytes()
        if self.contiguous:
            return decode(raw, self.dtype, math.prod(self.shape), start)
        flat = decode(raw, self.dtype, extent, start)
        places = [0]
        for dim, stride in zip(self.shape, self.strides, strict=True):
            places = [at + i * stride for at in places for i in range(dim)]
        return tuple(flat[at] for at in places)

    def part(self, start: int, count: int) -> tuple[Any, ...] | None:
        """`count` elements from `start` on, flat, where nothing has to be unpacked for them; None where it has."""
        member, width = self.archive.members.get(self.member), bits(self.dtype)
        if member is None or member.method or width % 8:
            return self.values()[start : start + count] if self.nbytes <= SMALL else None
        raw, first, _extent = self._bytes()
        if self.contiguous:
            return decode(raw, self.dtype, count, first + start * width // 8)
        found: list[Any] = []
        for number in range(start, start + count):
            place = 0
            for dim, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
                number, index = divmod(number, dim)
                place += index * stride
            found += decode(raw, self.dtype, 1, first + place * width // 8)
        return tuple(found)

    def array(self) -> numpy.ndarray[Any, Any]:
        import numpy as np

        raw, start, extent = self._bytes()
        if self.contiguous:
            return to_array(raw, self.dtype, self.shape, start)
        flat = to_array(raw, self.dtype, (extent,), start)
        return np.lib.stride_tricks.as_strided(flat, self.shape, [s * flat.itemsize for s in self.strides], writeable=False)

    def _bytes(self) -> tuple[Buffer, int, int]:
        """(bytes, where the first element starts in them, elements from the first to the last one); all of them are there."""
        member = self.archive.members.get(self.member)
        width = bits(self.dtype)
        if member is None:
            raise self._error(f"lies in {self.member!r}, which the archive does not have")
        if not width:
            raise self._error(f"is of the type {self.dtype}, which qlint cannot decode")
        count = math.prod(self.shape)
        extent = count if count < 2 else 1 + sum(map(mul, self.shape, self.strides)) - sum(self.strides)
        end = -(-(self.offset + extent) * width // 8)
        if min((self.offset, *self.strides, *self.shape)) < 0 or end > member.size or count > 8 * max(1, member.size):
            raise self._error(f"of shape {list(self.shape)} and type {self.dtype} would end at byte {end} of a storage of {member.size}")
        start, stop = self.archive.span(member)
        if member.method:
            return _inflate(member, self.archive.buffer[start:stop]), self.offset * width // 8, extent
        if end > stop - start:
            raise self._error(f"would end at byte {end} of a storage of {stop - start}")
        return self.archive.buffer, start + self.offset * width // 8, extent

    def _error(self, what: str) -> ReadError:
        return ReadError(f"{self.where} {what}", subject=str(self.archive.path), hint="export or download the model again")


def _inflate(member: Member, raw: bytes) -> bytes:
    if not member.method:
        return raw
    import zlib

    found = b""
    if member.method == 8:
        try:
            found = zlib.decompressobj(-15).decompress(raw, member.size + 1)
        except (zlib.error, OverflowError, MemoryError) as error:
            raise ReadError(f"is a damaged zip archive: {member.name!r} cannot be inflated ({error})", hint=_AGAIN) from error
    if len(found) != member.size:
        raise ReadError(f"is a damaged zip archive: {member.name!r} does not inflate to the {member.size} bytes that its directory says", hint=_AGAIN)
    return found


def _directory(buffer: Buffer | memoryview) -> dict[str, Member]:
    """The central directory (APPNOTE.TXT 4.3.12 to 4.3.16, zip64 included)."""
    tail = max(0, len(buffer) - 65_557)
    end = buffer.rfind(_END, tail) if isinstance(buffer, mmap.mmap) else bytes(buffer[tail:]).rfind(_END) + tail
    if end < tail or end + 22 > len(buffer):
        raise ReadError("is a truncated zip archive: its directory, at the end, is missing", hint=_AGAIN)
    count, size, start = struct.unpack_from("<HII", buffer, end + 10)
    if end >= 20 and buffer[end - 20 : end - 16] == _LOCATOR64:
        (at,) = struct.unpack_from("<Q", buffer, end - 12)
        if at + 56 <= len(buffer) and buffer[at : at + 4] == _END64:
            count, size, start = struct.unpack_from("<QQQ", buffer, at + 32)
    if count > MAX_MEMBERS or start + size > len(buffer):
        raise ReadError("is a damaged zip archive: its directory does not fit into the file", hint=_AGAIN)
    members: dict[str, Member] = {}
    raw, at, entry = bytes(buffer[start : start + size]), 0, struct.Struct("<HH8xIIHHH8xI").unpack_from
    for _ in range(count):
        if raw[at : at + 4] != _ENTRY or at + 46 > size:
            raise ReadError(f"is a damaged zip archive: its directory is broken at byte {start + at}", hint=_AGAIN)
        flags, method, stored, inflated, name_size, extra_size, comment_size, header = entry(raw, at + 8)
        name = raw[at + 46 : at + 46 + name_size].decode("utf-8", "replace")
        if 0xFFFFFFFF in (stored, inflated, header):
            inflated, stored, header = _zip64(raw[at + 46 + name_size : at + 46 + name_size + extra_size], inflated, stored, header)
        if flags & 1:
            raise ReadError(f"is encrypted: {name!r}", hint="decrypt it first")
        if method not in (0, 8) or (method == 0 and stored != inflated):
            raise ReadError(f"is a zip archive whose member {name!r} is compressed in a way that PyTorch does not use ({method})", hint=_AGAIN)
        members[name] = Member(name, method, stored, inflated, header)
        at += 46 + name_size + extra_size + comment_size
    return members


def _zip64(extra: bytes, *sizes: int) -> list[int]:
    """Sizes that do not fit into 32 bits, from the extra field, in the order of the directory."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return [next(numbers, size) if size == 0xFFFFFFFF else size for size in sizes]
        at += 4 + length
    return list(sizes)
