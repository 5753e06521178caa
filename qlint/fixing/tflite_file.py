"""TFLite files as tables that can be changed: what changes is written anew in front of the old file, which follows as it was.

Offsets of FlatBuffers lead forward only (https://flatbuffers.dev/internals), so that a new table in front can point to
every old one, and nothing that qlint does not understand has to be copied: buffers, options, metadata and signatures
stay where they are in the old bytes. Only the tables on the way to a change are made again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from qlint.fixing.arithmetic import WriteError
from qlint.readers.data import File
from qlint.readers.flatbuffer import NUMBERS, tflite_schema

MAX_BYTES = (1 << 31) - 1  # that an offset reaches
DATA_ALIGNED = 16  # of the data of a buffer (force_align in schema.fbs)
_ALIGNED = 64  # of the old file in the new one
_HEADER = 8  # the root offset and the identifier
# Fields that count bytes from the start of the file: of data behind the flatbuffer. 0 and 1 mean that there are none.
_ABSOLUTE = {"Buffer": "offset", "Operator": "large_custom_options_offset"}


class Vector(NamedTuple):
    """Numbers of a vector as bytes, and the alignment of the first one."""

    raw: bytes
    size: int  # elements
    align: int = 4

    @classmethod
    def of(cls, form: str, values: Sequence[Any]) -> Vector:
        """Numbers by the `struct` letter of their type."""
        return cls(struct.pack(f"<{len(values)}{form}", *values), len(values), max(4, struct.calcsize(form)))


@dataclass(slots=True, eq=False)
class Table:
    """A table of the file at byte `at`, or a new one, with fields that are to be different.

    A change is a number, a text, a Vector, a Table, a list of Tables, or None for a field that is not written.
    """

    document: Document
    kind: str
    at: int = -1
    changes: dict[str, Any] = field(default_factory=dict)
    read: dict[Any, Any] = field(default_factory=dict)  # tables in it that were looked at

    def place(self, name: str) -> int:
        """Where a field lies in the file; 0 if it is not written there."""
        if self.at < 0:
            return 0
        buffer = self.document.buffer
        vtable = self.at - struct.unpack_from("<i", buffer, self.at)[0]
        slot = 4 + 2 * self.document.slots[self.kind][name]
        if slot + 2 > struct.unpack_from("<H", buffer, vtable)[0]:
            return 0
        offset = struct.unpack_from("<H", buffer, vtable + slot)[0]
        return self.at + offset if offset else 0

    def number(self, name: str) -> Any:
        """A number, or its default."""
        if name in self.changes:
            return self.changes[name]
        kind, default = self.document.kinds[self.kind][name]
        at = self.place(name)
        return struct.unpack_from(f"<{_form(self.document, kind)}", self.document.buffer, at)[0] if at else default if isinstance(default, (int, float)) else 0

    def text(self, name: str) -> str:
        if name in self.changes:
            return str(self.changes[name] or "")
        at = self.place(name)
        if not at:
            return ""
        start, count = self.document.vector(at)
        return self.document.buffer[start : start + count].decode("utf-8", "replace")

    def numbers(self, name: str) -> list[Any]:
        """The numbers of a vector; none if it is not there."""
        form = NUMBERS[self.document.kinds[self.kind][name][0].strip("[]")][0]
        changed = self.changes.get(name)
        if name in self.changes:
            return list(struct.unpack(f"<{changed.size}{form}", changed.raw)) if changed is not None else []
        at = self.place(name)
        if not at:
            return []
        start, count = self.document.vector(at)
        return list(struct.unpack_from(f"<{count}{form}", self.document.buffer, start))

    def table(self, name: str) -> Table | None:
        """The table of a field; None if it is not there."""
        if name in self.changes:
            found: Table | None = self.changes[name]
            return found
        if name not in self.read:
            at = self.place(name)
            self.read[name] = self.document.table(self.document.kinds[self.kind][name][0], self.document.follow(at)) if at else None
        return self.read[name]  # type: ignore[no-any-return]

    def tables(self, name: str) -> list[Table]:
        """The tables of a vector, as a list that may be changed."""
        if name not in self.read:
            at = self.place(name)
            start, count = self.document.vector(at) if at else (0, 0)
            kind = self.document.kinds[self.kind][name][0].strip("[]")
            made = [self.document.table(kind, self.document.follow(start + 4 * i)) for i in range(count)]
            self.read[name] = made
            self.read[name, "before"] = list(made)
        found: list[Table] = self.read[name]
        return found

    def differs(self) -> bool:
        """Whether the table, or one in it, is not as it was."""
        return self.at < 0 or bool(self.changes) or any(_differs(self.read, name) for name in self.read if isinstance(name, str))


def _differs(read: dict[Any, Any], name: str) -> bool:
    value = read[name]
    if isinstance(value, list):
        before = read[name, "before"]
        return len(value) != len(before) or any(a is not b or a.differs() for a, b in zip(value, before, strict=True))
    return value is not None and value.differs()


def _form(document: Document, kind: str) -> str:
    return NUMBERS[document.schema.storage.get(kind, kind)][0]


class Document:
    """A file and its tables."""

    def __init__(self, path: Path) -> None:
        self.file = File.of(path)
        self.buffer = self.file.buffer
        self.schema = tflite_schema()
        self.slots = {name: {one[0]: i for i, one in enumerate(fields)} for name, fields in self.schema.tables.items()}
        self.kinds: dict[str, dict[str, tuple[str, Any]]] = {
            name: {one[0]: (one[1], one[2] if len(one) > 2 else None) for one in fields} for name, fields in self.schema.tables.items()
        }
        self.known: dict[tuple[str, int], Table] = {}
        self.root = self.table("Model", self.follow(0))
        self.graph = self.root.tables("subgraphs")[0]
        self.types = {name.lower(): number for number, name in self.schema.enums["TensorType"].items()}

    def table(self, kind: str, at: int) -> Table:
        """The table at a byte; the same one for all who point to it."""
        found = self.known.get((kind, at))
        if found is None:
            found = self.known[kind, at] = Table(self, kind, at)
        return found

    def follow(self, at: int) -> int:
        """Where an offset leads."""
        target: int = at + struct.unpack_from("<I", self.buffer, at)[0]
        return target

    def vector(self, at: int) -> tuple[int, int]:
        """(place of the first element, number of elements) of the vector that a field points to."""
        start = self.follow(at)
        return start + 4, struct.unpack_from("<I", self.buffer, start)[0]

    def write(self, out: IO[bytes]) -> None:
        """The file with its changes."""
        if not self.root.differs():
            out.write(self.buffer)
            return
        shift = 0
        if self._outside():  # the distance first, then the numbers that depend on it
            shift = _Front(self, _ALIGNED).size()
        front = _Front(self, shift)
        if shift not in (0, front.size()):
            raise WriteError("holds data behind the flatbuffer in a way that qlint does not move")
        if front.size() + len(self.buffer) > MAX_BYTES and not shift:
            raise WriteError("would be larger than 2 GB")
        front.write(out)
        out.write(self.buffer)

    def _outside(self) -> bool:
        """Whether data lie behind the flatbuffer, and tables say at which byte of the file."""
        tables = [*self.root.tables("buffers"), *(op for graph in self.root.tables("subgraphs") for op in graph.tables("operators"))]
        return any(table.number(_ABSOLUTE[table.kind]) > 1 for table in tables)

    def lines(self) -> Iterator[str]:
        """Tensors with their grids, and operators with what they read and write, for people to compare."""
        from qlint.readers.tflite import read_tflite

        model = read_tflite(self.file.path)
        for op in model.nodes:
            last = op
            while last.outputs and last.outputs[0].uses and (behind := last.outputs[0].uses[0].op) is not None and behind.fused:
                last = behind  # an activation that the operator applies, over a tensor that the file does not have
            grids = (f"{tensor.name} ({tensor.quantizer})" if tensor.quantizer is not None else tensor.name for tensor in last.outputs)
            yield f"{op.native}: {', '.join(use.name for use in op.uses.values() if not use.tensor.constant)} -> {', '.join(grids)}"
        for tensor in model.tensors.values():
            if tensor.quantizer is not None and tensor.constant:
                yield f"{tensor.name}: {tensor.quantizer}"


class _Front:
    """New tables, from the last byte to the first; places count from the start of the old file, and are negative."""

    def __init__(self, document: Document, shift: int) -> None:
        self.document, self.shift = document, shift
        self.chunks: list[tuple[int, bytes]] = []
        self.start = 0
        self.vtables: dict[bytes, int] = {}
        self.done: dict[int, int] = {}
        self.root = self.table(document.root)

    def size(self) -> int:
        """Bytes in front of the old file."""
        return -(-(_HEADER - self.start) // _ALIGNED) * _ALIGNED

    def write(self, out: IO[bytes]) -> None:
        raw = bytearray(self.size())
        for place, chunk in self.chunks:
            raw[len(raw) + place : len(raw) + place + len(chunk)] = chunk
        raw[:4] = struct.pack("<I", len(raw) + self.root)
        raw[4:8] = self.document.buffer[4:8]
        out.write(raw)

    def put(self, raw: bytes, align: int, ahead: int = 0) -> int:
        """The place of some bytes, aligned from the byte `ahead` of them on."""
        place = self.start - len(raw)
        place -= (place + ahead) % align
        self.chunks.append((place, raw))
        self.start = place
        return place

    def vector(self, vector: Vector) -> int:
        return self.put(struct.pack("<I", vector.size) + vector.raw, vector.align, ahead=4)

    def value(self, value: Any) -> int:
        """Where what an offset leads to lies."""
        if isinstance(value, Table):
            return self.table(value)
        if isinstance(value, Vector):
            return self.vector(value)
        if isinstance(value, str):
            text = value.encode()
            return self.put(struct.pack("<I", len(text)) + text + b"\0", 4)
        targets = [self.table(one) for one in value]
        place = self.put(b"\0" * (4 + 4 * len(targets)), 4)
        offsets = (target - (place + 4 + 4 * i) for i, target in enumerate(targets))
        self.chunks[-1] = (place, struct.pack(f"<{1 + len(targets)}I", len(targets), *offsets))
        return place

    def table(self, table: Table) -> int:
        """The place of a table: the old one if nothing is different."""
        moved = self.shift and table.kind in _ABSOLUTE and table.number(_ABSOLUTE[table.kind]) > 1
        if not table.differs() and not moved and not (self.shift and table.kind in ("Model", "SubGraph")):
            return table.at
        if id(table) not in self.done:
            self.done[id(table)] = self._table(table, bool(moved))
        return self.done[id(table)]

    def _table(self, table: Table, moved: bool) -> int:
        document, buffer = self.document, self.document.buffer
        slots = document.schema.tables[table.kind]
        if table.at >= 0:
            vtable = table.at - struct.unpack_from("<i", buffer, table.at)[0]
            length = struct.unpack_from("<H", buffer, vtable)[0]
            later = struct.unpack_from(f"<{max(0, (length - 4) // 2 - len(slots))}H", buffer, vtable + 4 + 2 * len(slots)) if length > 4 + 2 * len(slots) else ()
            if any(later):
                raise WriteError(f"has a {table.kind} with fields that qlint does not know, from a later version of the format")
        inline: list[tuple[int, int, bytes, int | None]] = []  # slot, width, bytes, target
        for slot, (name, kind, *_) in enumerate(slots):
            scalar = kind in NUMBERS or kind in document.schema.storage
            at = table.place(name)
            if scalar:
                form = _form(document, kind)
                value = table.number(name) + self.shift if moved and name == _ABSOLUTE[table.kind] else table.changes.get(name)
                if value is not None:
                    inline.append((slot, struct.calcsize(form), struct.pack(f"<{form}", value), None))
                elif at and name not in table.changes:
                    inline.append((slot, struct.calcsize(form), bytes(buffer[at : at + struct.calcsize(form)]), None))
            elif (target := self._target(table, name, at)) is not None:
                inline.append((slot, 4, b"", target))
        return self._lay(inline, len(slots))

    def _target(self, table: Table, name: str, at: int) -> int | None:
        if name in table.changes:
            return None if table.changes[name] is None else self.value(table.changes[name])
        held = table.read.get(name)
        if held is not None and ((isinstance(held, list) and (self.shift or _differs(table.read, name))) or (isinstance(held, Table) and held.differs())):
            return self.value(held)
        return self.document.follow(at) if at else None

    def _lay(self, inline: list[tuple[int, int, bytes, int | None]], slots: int) -> int:
        """A table with its vtable."""
        at, offsets, places = 4, [0] * slots, []
        for slot, width, raw, target in sorted(inline, key=lambda one: -one[1]):
            at += -at % width
            offsets[slot] = at
            places.append((at, raw, target))
            at += width
        used = max((slot for slot, *_ in inline), default=-1) + 1
        vtable = struct.pack(f"<{2 + used}H", 4 + 2 * used, at, *offsets[:used])
        if vtable not in self.vtables:
            self.vtables[vtable] = self.put(vtable, 2)
        place = self.put(b"\0" * at, 8)
        body = bytearray(at)
        struct.pack_into("<i", body, 0, place - self.vtables[vtable])
        for offset, raw, target in places:
            body[offset : offset + max(4 * (target is not None), len(raw))] = raw if target is None else struct.pack("<I", target - (place + offset))
        self.chunks[-1] = (place, bytes(body))
        return place
