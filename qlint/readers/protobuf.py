"""Protocol-buffer wire format over a buffer, without a schema compiler and without copies.

Encoding: https://protobuf.dev/programming-guides/encoding. A message is a run of (key, value) pairs; the
fields of a message are found in one pass, and the bytes of a nested one are only walked when it is asked for.
A key holds the field number and the wire type, so a field of another wire type than expected is an unknown
field, as in every protobuf parser.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from qlint.errors import ReadError

Buffer = mmap.mmap | bytes
Span = tuple[int, int]
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIDTH = {FIXED32: 4, FIXED64: 8}


class Damaged(ReadError):
    """The bytes are not a message, from this offset on."""


def key(number: int, wire: int = LENGTH) -> int:
    """The key of a field on the wire."""
    return number << 3 | wire


def fields(buffer: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(key, a, b) of a message's fields: a is the value of a varint, [a, b) the span of anything else."""
    at = start
    while at < end:
        found = buffer[at]
        at += 1
        if found > 127:
            found, at = varint(buffer, at - 1, end)
        wire = found & 7
        if wire == LENGTH:
            if at < end and (size := buffer[at]) < 128:  # by far the usual case
                at += 1
            else:
                size, at = varint(buffer, at, end)
            stop = at + size
            if stop > end:
                raise Damaged(f"is damaged or truncated: a field of {size} bytes at offset {at} ends beyond its message")
            yield found, at, stop
            at = stop
        elif wire == VARINT:
            if at < end and (value := buffer[at]) < 128:
                at += 1
            else:
                value, at = varint(buffer, at, end)
            yield found, value, 0
        elif wire in _WIDTH:
            stop = at + _WIDTH[wire]
            if stop > end:
                raise Damaged(f"is damaged or truncated at offset {at}")
            yield found, at, stop
            at = stop
        else:
            raise Damaged(f"is damaged: there is no wire type {wire}, at offset {at}")


def varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """(value of at most 64 bits, next offset)."""
    if at < end and (byte := buffer[at]) < 128:
        return byte, at + 1
    value = shift = 0
    for offset in range(at, min(end, at + 10)):
        byte = buffer[offset]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, offset + 1
        shift += 7
    raise Damaged(f"is damaged or truncated: a number at offset {at} does not end")


def signed(value: int) -> int:
    """An int64 or int32 field: negative numbers are ten bytes of two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(buffer: Buffer, start: int, end: int) -> str:
    raw = buffer[start:end]
    try:
        return raw.decode()  # several times as fast as with a handler of errors
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")


def varints(buffer: Buffer, start: int, end: int) -> Iterator[int]:
    """The unsigned numbers of a packed field."""
    at = start
    while at < end:
        value, at = varint(buffer, at, end)
        yield value


def floats(buffer: Buffer, start: int, end: int, code: str = "f") -> tuple[float, ...]:
    """The little-endian floats (`f`) or doubles (`d`) of a packed field, or a single one."""
    size = struct.calcsize(code)
    return struct.unpack_from(f"<{(end - start) // size}{code}", buffer, start)
