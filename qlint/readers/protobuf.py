"""Protocol-buffer wire format over a buffer, without a schema compiler and without copies.

Encoding: https://protobuf.dev/programming-guides/encoding. A message is a run of (key, value) pairs; the
fields of a message are found in one pass, and the bytes of a nested one are only walked when it is asked for.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from qlint.errors import ReadError

Buffer = mmap.mmap | bytes
Span = tuple[int, int]
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class Damaged(ReadError):
    """The bytes are not a message, from this offset on."""


def fields(buffer: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, a, b) of a message: a is the value of a number, [a, b) the span of bytes."""
    at = start
    while at < end:
        key, at = varint(buffer, at, end)
        number, wire = key >> 3, key & 7
        if wire == LENGTH:
            size, at = varint(buffer, at, end)
            if at + size > end:
                raise Damaged(f"is damaged or truncated: a field of {size} bytes at offset {at} ends beyond its message")
            yield number, wire, at, at + size
            at += size
        elif wire == VARINT:
            value, at = varint(buffer, at, end)
            yield number, wire, value, 0
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
            if at + size > end:
                raise Damaged(f"is damaged or truncated at offset {at}")
            yield number, wire, at, at + size
            at += size
        else:
            raise Damaged(f"is damaged: there is no wire type {wire}, at offset {at}")


def varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """(value, next offset)."""
    if at < end and (byte := buffer[at]) < 128:  # by far the usual case
        return byte, at + 1
    value = shift = 0
    for offset in range(at, min(end, at + 10)):
        byte = buffer[offset]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset + 1
        shift += 7
    raise Damaged(f"is damaged or truncated at offset {at}")


def signed(value: int) -> int:
    """An int64 or int32 field: negative numbers are ten bytes of two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(buffer: Buffer, start: int, end: int) -> str:
    return buffer[start:end].decode("utf-8", "replace")


def packed(buffer: Buffer, wire: int, a: int, b: int) -> Iterator[int]:
    """The numbers of a repeated varint field, packed or not."""
    if wire == VARINT:
        yield signed(a)
        return
    at = a
    while at < b:
        value, at = varint(buffer, at, b)
        yield signed(value)


def floats(buffer: Buffer, a: int, b: int, code: str = "f") -> tuple[float, ...]:
    """Little-endian floats (`f`) or doubles (`d`), packed or a single one."""
    size = struct.calcsize(code)
    return struct.unpack(f"<{(b - a) // size}{code}", buffer[a : a + (b - a) // size * size])
