"""FlatBuffers over a mapped file, by a schema as data: a table is read into a plain dict, and everything is checked first.

Encoding: https://flatbuffers.dev/internals. A table starts with the distance to its vtable, which holds the offset of
each field (0: not written). What is read costs something, the same place only once: a file whose tables and vectors
overlap cannot be read into more than a small multiple of its own size.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph.values import Numbers
from qlint.readers.data import File, Stored

Table = dict[str, Any]
# The numbers of the schema language: how `struct` unpacks them, and their dtype.
NUMBERS = {
    "bool": ("?", "bool"), "byte": ("b", "int8"), "ubyte": ("B", "uint8"), "short": ("h", "int16"), "ushort": ("H", "uint16"), "int": ("i", "int32"),
    "uint": ("I", "uint32"), "long": ("q", "int64"), "ulong": ("Q", "uint64"), "float": ("f", "float32"), "double": ("d", "float64"),
}  # fmt: skip
MAX_EAGER = 4096  # elements of a vector that are read at once; longer ones when someone looks
_TABLE_COST, _COST_PER_BYTE, _ALLOWANCE = 16, 8, 1 << 16
_UINT, _INT = struct.Struct("<I"), struct.Struct("<i")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of the file that nobody looked at: a vector of `ubyte`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


Read = Callable[["Flatbuffer", int, Table], Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields of a table lie, (name, offset, how it is read), and how far they reach."""

    extent: int
    fields: list[tuple[str, int, Read]]
    defaults: Table


class Flatbuffer:
    """The tables of one file."""

    def __init__(self, file: File, schema: Schema) -> None:
        self.file, self.buffer, self.size = file, file.buffer, len(file.buffer)
        self.schema = schema
        self.left = _COST_PER_BYTE * self.size + _ALLOWANCE
        self.found: dict[tuple[str, int], Any] = {}
        self.layouts: dict[tuple[str, int], Layout] = {}

    def root(self, name: str) -> Table:
        return self.table(name, self.follow(0, f"the table {name}"))

    def follow(self, at: int, what: str) -> int:
        """The place that an offset points to."""
        self.check(at, 4, what)
        target: int = at + _UINT.unpack_from(self.buffer, at)[0]
        self.check(target, 4, what)
        return target

    def check(self, at: int, size: int, what: str) -> None:
        if at < 0 or at + size > self.size:
            raise ReadError(f"is damaged or truncated: {what} would lie at [{at}, {at + size}) of {self.size} bytes")

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise ReadError("has tables that overlap: what they say is many times the size of the file", hint="it is no sensible model")

    def table(self, name: str, at: int) -> Table:
        """The fields of a table with their defaults; vectors, strings and tables that are not there are None."""
        found: Table | None = self.found.get((name, at))
        if found is not None:
            return found
        if at < 0 or at + 4 > self.size:
            self.check(at, 4, f"a table {name}")
        vtable = at - _INT.unpack_from(self.buffer, at)[0]
        layout = self.layouts.get((name, vtable)) or self._layout(name, vtable)
        if at + layout.extent > self.size:
            self.check(at, layout.extent, f"a table {name}")
        self.left -= _TABLE_COST
        if self.left < 0:
            self.spend(0)
        found = self.found[name, at] = layout.defaults.copy()
        for field, offset, read in layout.fields:
            found[field] = read(self, at + offset, found)
        return found

    def _layout(self, name: str, vtable: int) -> Layout:
        """What a vtable says of the tables that share it; fields that the schema does not know are left out."""
        fields, defaults = self.schema.fields(name)
        self.check(vtable, 4, f"the vtable of a table {name}")
        length = struct.unpack_from("<H", self.buffer, vtable)[0]
        self.check(vtable, max(length, 4), f"the vtable of a table {name}")
        self.spend(_TABLE_COST)
        offsets = struct.unpack_from(f"<{max(min((length - 4) // 2, len(fields)), 0)}H", self.buffer, vtable + 4)
        there = [(field, offset, width, read) for (field, width, read), offset in zip(fields, offsets, strict=False) if offset]
        layout = Layout(max((offset + width for _, offset, width, _ in there), default=4), [(field, offset, read) for field, offset, _, read in there], defaults)
        self.layouts[name, vtable] = layout
        return layout

    def vector(self, at: int, width: int, what: str) -> tuple[int, int]:
        """(place of the first element, number of elements) of the vector that an offset in a table points to."""
        start: int = at + _UINT.unpack_from(self.buffer, at)[0] + 4
        if start > self.size:
            self.check(start - 4, 4, what)
        count: int = _UINT.unpack_from(self.buffer, start - 4)[0]
        if start + count * width > self.size:
            self.check(start, count * width, f"{what} with {count} elements")
        return start, count


def _number(kind: str) -> tuple[int, Read]:
    unpack = struct.Struct("<" + NUMBERS[kind][0])
    return unpack.size, lambda flat, at, _: unpack.unpack_from(flat.buffer, at)[0]


def _enum(kind: str, names: dict[int, str]) -> tuple[int, Read]:
    """A name, or the number if the schema has none for it."""
    unpack = struct.Struct("<" + NUMBERS[kind][0])

    def read(flat: Flatbuffer, at: int, _: Table) -> Any:
        value = unpack.unpack_from(flat.buffer, at)[0]
        return names.get(value, value)

    return unpack.size, read


def _text(flat: Flatbuffer, at: int, _: Table) -> str:
    start, count = flat.vector(at, 1, "a string")
    found: str | None = flat.found.get(("string", start))
    if found is None:
        flat.spend(count)
        found = flat.found["string", start] = flat.buffer[start : start + count].decode("utf-8", "replace")
    return found


def _bytes(flat: Flatbuffer, at: int, _: Table) -> Span:
    start, count = flat.vector(at, 1, "a vector of bytes")
    return Span(start, start + count)


def _numbers(kind: str, names: dict[int, str] | None = None) -> Read:
    form, dtype = NUMBERS[kind]
    width = struct.calcsize(form)

    def read(flat: Flatbuffer, at: int, _: Table) -> Sequence[Any]:
        start, count = flat.vector(at, width, f"a vector of {kind}")
        found: Sequence[Any] | None = flat.found.get((kind, start))
        if found is None:
            if count > MAX_EAGER and names is None:
                found = Numbers(Stored(dtype, (count,), flat.file, start, start + count * width, f"a vector of {kind}"), count)
            else:
                flat.spend(count * width)
                found = struct.unpack_from(f"<{count}{form}", flat.buffer, start)
                found = found if names is None else tuple(names.get(value, value) for value in found)
            flat.found[kind, start] = found
        return found

    return read


def _table(name: str) -> Read:
    return lambda flat, at, _: flat.table(name, flat.follow(at, f"a table {name}"))


def _tables(name: str) -> Read:
    def read(flat: Flatbuffer, at: int, _: Table) -> list[Table]:
        start, count = flat.vector(at, 4, f"a vector of {name}")
        flat.spend(4 * count)
        offsets = struct.unpack_from(f"<{count}I", flat.buffer, start)
        return [flat.table(name, start + 4 * i + offset) for i, offset in enumerate(offsets)]

    return read


def _union(field: str, names: list[str]) -> Read:
    def read(flat: Flatbuffer, at: int, found: Table) -> Table | None:
        kind = found[f"{field}_type"]
        return flat.table(names[kind], flat.follow(at, f"a table {names[kind]}")) if 0 < kind < len(names) else None

    return read


class Schema:
    """Tables, enums and unions; the readers of a table's fields are made when the first one is read."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self.version: str = content["schema"]
        self.tables: dict[str, list[list[Any]]] = content["tables"]
        self.enums: dict[str, dict[int, str]] = {name: {int(value): one for value, one in names.items()} for name, names in content["enums"].items()}
        self.storage: dict[str, str] = content["storage"]
        self.unions: dict[str, list[str]] = content["unions"]
        self._made: dict[str, tuple[tuple[tuple[str, int, Read], ...], Table]] = {}

    def fields(self, name: str) -> tuple[tuple[tuple[str, int, Read], ...], Table]:
        """((field, its width in the table, how it is read), ...) by slot, and the defaults."""
        if name not in self._made:
            slots = self.tables[name]
            fields = tuple((field, *self._reader(field, kind)) for field, kind, *_ in slots)
            self._made[name] = fields, {field: default[0] if default else None for field, _, *default in slots}
        return self._made[name]

    def _reader(self, field: str, kind: str) -> tuple[int, Read]:
        if kind in NUMBERS:
            return _number(kind)
        if kind in self.enums:
            return _enum(self.storage[kind], self.enums[kind])
        if kind in self.unions:
            return 4, _union(field, self.unions[kind])
        if kind == "string":
            return 4, _text
        if kind == "[ubyte]":
            return 4, _bytes
        one = kind.strip("[]")
        if one in self.enums:
            return 4, _numbers(self.storage[one], self.enums[one])
        if kind[0] == "[":
            return 4, _numbers(one) if one in NUMBERS else _tables(one)
        return 4, _table(kind)


@lru_cache(maxsize=1)
def tflite_schema() -> Schema:
    """The schema of TFLite files, generated by tools/tflite_schema.py."""
    return Schema(Path(__file__).with_name("tflite_schema.json"))
