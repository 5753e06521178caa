"""Edits on TFLite files: the grids of tensors, and the integers of constants, patched into a copy of the file.

New scales, zero points and constants are appended, and the tables that hold them point there: offsets of FlatBuffers
lead forward only, so the end of the file can be reached from everywhere. Nothing else moves. Encoding:
https://flatbuffers.dev/internals. Tensors and operators are neither added nor taken away.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from qlint.fixing.arithmetic import WriteError, packed, requantized, same_codes
from qlint.fixing.edits import Edit, Requantize
from qlint.graph import Model, Quantizer, Use
from qlint.readers.data import File
from qlint.readers.flatbuffer import tflite_schema

MAX_BYTES = (1 << 31) - 1  # that an offset reaches
_ALIGNED = 16  # of the data of a buffer (force_align in schema.fbs)


class Document:
    """A file and what is written over it and behind it."""

    def __init__(self, path: Path) -> None:
        self.file = File.of(path)
        self.buffer = self.file.buffer
        self.schema = tflite_schema()
        self.slots = {name: {field: i for i, (field, *_) in enumerate(self.schema.tables[name])} for name in ("Model", "SubGraph", "Tensor", "QuantizationParameters", "Buffer")}
        self.types = {name.lower(): number for number, name in self.schema.enums["TensorType"].items()}
        self.patches: dict[int, bytes] = {}
        self.tail = bytearray()
        model = self.follow(0)
        self.graph = self.tables(self.need(model, "Model", "subgraphs"))[0]
        self.tensors = self.tables(self.need(self.graph, "SubGraph", "tensors"))
        self.buffers = self.tables(self.need(model, "Model", "buffers"))
        self.readers = Counter(self.number("<I", tensor, "Tensor", "buffer") for graph in self.tables(self.need(model, "Model", "subgraphs"))
                               for tensor in self.tables(self.need(graph, "SubGraph", "tensors")))  # fmt: skip
        self.owners = Counter(self.follow(at) for tensor in self.tensors if (at := self.field(tensor, "Tensor", "quantization")))

    # -- places ---------------------------------------------------------------------------------

    def follow(self, at: int) -> int:
        """Where an offset leads."""
        target: int = at + struct.unpack_from("<I", self.buffer, at)[0]
        return target

    def field(self, table: int, name: str, field: str) -> int:
        """Where a field of a table lies; 0 if it is not written."""
        vtable = table - struct.unpack_from("<i", self.buffer, table)[0]
        at = 4 + 2 * self.slots[name][field]
        if at + 2 > struct.unpack_from("<H", self.buffer, vtable)[0]:
            return 0
        offset = struct.unpack_from("<H", self.buffer, vtable + at)[0]
        return table + offset if offset else 0

    def need(self, table: int, name: str, field: str) -> int:
        """Where a field lies that has to be there."""
        at = self.field(table, name, field)
        if not at:
            raise WriteError(f"leaves out the field {field} of a {name}, and qlint does not rebuild tables")
        return at

    def tables(self, at: int) -> list[int]:
        """The tables of a vector."""
        start = self.follow(at)
        count = struct.unpack_from("<I", self.buffer, start)[0]
        return [self.follow(start + 4 + 4 * i) for i in range(count)]

    def number(self, form: str, table: int, name: str, field: str) -> int:
        at = self.field(table, name, field)
        found: int = struct.unpack_from(form, self.buffer, at)[0] if at else 0
        return found

    def name(self, tensor: int) -> str:
        """What the file calls a tensor."""
        at = self.field(tensor, "Tensor", "name")
        if not at:
            return ""
        start = self.follow(at)
        size = struct.unpack_from("<I", self.buffer, start)[0]
        return self.buffer[start + 4 : start + 4 + size].decode("utf-8", "replace")

    # -- changes ----------------------------------------------------------------------------------

    def append(self, field: int, raw: bytes, count: int, align: int) -> None:
        """A vector behind the file, for a field that points to it."""
        end = len(self.buffer) + len(self.tail)
        self.tail += b"\0" * (-(end + 4) % align)
        start = len(self.buffer) + len(self.tail)
        if start + 4 + len(raw) > MAX_BYTES:
            raise WriteError("would be larger than 2 GB")
        self.tail += struct.pack("<I", count) + raw
        self.patches[field] = struct.pack("<I", start - field)

    def grid(self, tensor: int, q: Quantizer) -> None:
        """Another grid on a tensor, and with it another type."""
        table = self.follow(self.need(tensor, "Tensor", "quantization"))
        if self.owners[table] > 1:
            raise WriteError(f"{self.name(tensor)} shares its quantization with other tensors")
        assert q.scale is not None and q.zero_point is not None
        self.append(self.need(table, "QuantizationParameters", "scale"), struct.pack(f"<{len(q.scale)}f", *q.scale), len(q.scale), 4)
        zeros = tuple(int(z) for z in q.zero_point) if len(q.zero_point) == len(q.scale) else (int(q.zero_point[0]),) * len(q.scale)
        at = self.field(table, "QuantizationParameters", "zero_point")
        if at and q.zero_point_shape is not None:
            self.append(at, struct.pack(f"<{len(zeros)}q", *zeros), len(zeros), 8)
        elif at or any(zeros):
            raise WriteError(f"{self.name(tensor)} leaves out its zero point, and qlint does not rebuild tables")
        if q.granularity == "channel" and (q.axis or 0) != self.number("<i", table, "QuantizationParameters", "quantized_dimension"):
            self.patches[self.need(table, "QuantizationParameters", "quantized_dimension")] = struct.pack("<i", q.axis or 0)
        if self.types[q.storage] != self.number("<b", tensor, "Tensor", "type"):
            self.patches[self.need(tensor, "Tensor", "type")] = struct.pack("<b", self.types[q.storage])

    def constant(self, tensor: int, raw: bytes) -> None:
        """Another value of a constant."""
        index = self.number("<I", tensor, "Tensor", "buffer")
        if self.readers[index] > 1:
            raise WriteError(f"{self.name(tensor)} shares its data with other tensors")
        self.append(self.need(self.buffers[index], "Buffer", "data"), raw, len(raw), _ALIGNED)

    def write(self, out: IO[bytes]) -> None:
        """The file with its changes."""
        view, at = memoryview(self.buffer), 0
        for place, raw in sorted(self.patches.items()):
            out.write(view[at:place])
            out.write(raw)
            at = place + len(raw)
        out.write(view[at:])
        out.write(self.tail)

    def lines(self) -> Iterator[str]:
        """The tensors with their grids, for people to compare."""
        from qlint.readers.tflite import read_tflite

        for tensor in read_tflite(self.file.path).tensors.values():
            if tensor.quantizer is not None:
                yield f"{tensor.name}: {tensor.quantizer}"


def edited(document: Document, model: Model, edits: Iterable[Edit]) -> None:
    """Make edits on a document; `model` is the canonical model that was read from the same file.

    Raises:
        WriteError: an edit has no form in this file. The document is of no use then.
    """
    outside = {tensor.name for tensor in model.inputs} | {use.name for use in model.outputs}
    names = [document.name(tensor) for tensor in document.tensors]
    at = {name: tensor for name, tensor in zip(names, document.tensors, strict=True) if names.count(name) == 1}
    done: dict[str, Quantizer] = {}
    for edit in edits:
        if not isinstance(edit, Requantize):
            raise WriteError("qlint changes the grids of TFLite files only")
        for use, sequence in edit.changes.values():
            if sequence and use.name in outside and use.quantizers and use.quantizers[0].storage != sequence[0].storage:
                raise WriteError(f"{use.name} is what callers hand over or get back, and would be of another type")
            _change(document, at, done, use, sequence)


def _change(document: Document, at: dict[str, int], done: dict[str, Quantizer], use: Use, sequence: tuple[Quantizer, ...]) -> None:
    if len(use.quantizers) != 1 or len(sequence) != 1 or use.quantizers[0].dynamic:
        raise WriteError("quantizers cannot be added to TFLite files, nor taken away")
    old, new, name = use.quantizers[0], sequence[0], use.name
    if new.grid != "affine" or new.scale is None or new.zero_point is None or new.granularity == "block" or new.dynamic or old.read_as is not None:
        raise WriteError(f"qlint cannot write a quantizer that is {new}")
    if name not in at:
        raise WriteError(f"{name} is not a tensor of the main graph, or shares its name")
    if name in done:
        if done[name] != new:
            raise WriteError(f"{name} has readers that would need different grids")
        return
    done[name] = new
    document.grid(at[name], new)
    if use.tensor.constant and not same_codes(old, new):
        data = use.tensor.data
        assert data is not None
        document.constant(at[name], packed(new.storage, requantized(data.array(), old, new)))
