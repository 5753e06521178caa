"""Edits on TorchScript archives, without torch: the numbers of quantizers where they stand, and the switches of observers.

A number is a buffer (bytes of a storage), a literal in the code, or an attribute in the pickle. The archive is read once
more by a reader whose numbers remember where they are from; what was computed on the way has no place, and is not
written. Operators are neither added nor taken away: who trusts the archive lets torch do that (`--trust`).
"""

from __future__ import annotations

import ast
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from qlint.fixing.arithmetic import WriteError
from qlint.fixing.edits import Edit, Freeze, Requantize
from qlint.fixing.pickle_numbers import with_numbers
from qlint.fixing.torch_zip import write_archive
from qlint.graph import Model, Op, Quantizer
from qlint.passes import canonical
from qlint.readers.data import bits
from qlint.readers.torch_archive import Archive, Strided
from qlint.readers.torch_graph import Builder, present
from qlint.readers.torchscript import read_archive
from qlint.readers.torchscript_eval import Evaluator
from qlint.readers.torchscript_packed import view
from qlint.readers.unpickle import Instance, TensorRecord

_FORMS = {"float32": "<f", "float64": "<d", "float16": "<e", "int32": "<i", "int64": "<q", "uint8": "<B", "int8": "<b", "int16": "<h", "bool": "<?"}
TRUST = "torch would have to do that, which executes the archive: --trust allows it, for a file whose origin you know"


class Place(NamedTuple):
    """Where a number stands: the `data` of a member, the `code` in one, or an attribute in the `pickle`."""

    sort: str
    where: str  # the member; of an attribute its path
    start: int = 0  # byte in a storage; line of code, from 1
    end: int = 0  # column of code at which it begins
    until: int = 0  # and ends
    dtype: str = ""


class _Float(float):
    place: Place


class _Int(int):
    place: Place


def _placed(value: Any, place: Place) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    number: Any = (_Int if isinstance(value, int) else _Float)(value)
    number.place = place
    return number


class _Evaluator(Evaluator):
    """Numbers of the code and of modules remember where they stand."""

    def eval(self, tree: ast.expr, env: dict[str, Any]) -> Any:
        value = super().eval(tree, env)
        literal = isinstance(tree, ast.Constant) or (isinstance(tree, ast.UnaryOp) and isinstance(tree.operand, ast.Constant))
        if not literal or tree.lineno != tree.end_lineno:
            return value
        file, line = self.files[-1] if self.files else ("", 0)
        return _placed(value, Place("code", file, line + tree.lineno - 1, tree.col_offset, tree.end_col_offset or 0))

    def attribute(self, target: Any, name: str, at: ast.AST) -> Any:
        value = super().attribute(target, name, at)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        if isinstance(target, Instance) and name in target.attrs:
            return _placed(value, Place("pickle", f"{target.path}.{name}" if target.path else name))
        return float(value) if isinstance(value, float) else int(value)  # of the class, for all of its objects


class _View:
    """Constant data whose numbers remember where they stand."""

    def __init__(self, data: Strided) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def values(self) -> tuple[Any, ...]:
        width = bits(self.dtype) // 8
        found = self.data.values()
        if not self.data.contiguous or self.dtype not in _FORMS:
            return found
        return tuple(_placed(value, Place("data", self.data.member, (self.data.offset + i) * width, dtype=self.dtype)) for i, value in enumerate(found))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


class _Builder(Builder):
    """Keeps the switches of fake quantizers, and the ranges that they have observed."""

    def __init__(self, archive: Archive, model: Model, outer: Builder | None = None) -> None:
        super().__init__(archive, model, outer)
        self.buffers: dict[tuple[str, str], TensorRecord] = outer.buffers if isinstance(outer, _Builder) else {}
        model.found["buffers"] = self.buffers

    def plain(self, value: Any) -> Any:
        found = super().plain(value)
        return _View(found) if isinstance(found, Strided) else found

    def _fake(self, op: Op, args: dict[str, Any]) -> Quantizer:
        for name in ("observer_on", "running_min", "running_max"):
            if isinstance(buffer := present(args.get(name)), TensorRecord):
                self.buffers[op.name, name] = buffer
        return super()._fake(op, args)


class Document:
    """An archive, and the numbers that are to be others."""

    def __init__(self, path: Path) -> None:
        self.path, self.archive = path, Archive(path)
        raw = read_archive(self.archive, _Evaluator, _Builder)
        self.buffers: dict[tuple[str, str], TensorRecord] = raw.found.get("buffers", {})  # type: ignore[assignment]
        self.model = canonical(raw)
        self.numbers: dict[Place, Any] = {}

    def set(self, place: Place, number: Any, what: str) -> None:
        """Another number at a place; what stands once can only be one."""
        if self.numbers.setdefault(place, number) != number:
            raise WriteError(f"{what} shares its number with another quantizer, which would need another one")

    def write(self, out: IO[bytes]) -> None:
        """The archive with its changes."""
        write_archive(self.path, out, dict(self._members()))

    def _members(self) -> Iterator[tuple[str, bytes]]:
        by_member: dict[tuple[str, str], list[tuple[Place, Any]]] = defaultdict(list)
        for place, number in self.numbers.items():
            by_member[place.sort, "data.pkl" if place.sort == "pickle" else place.where].append((place, number))
        for (sort, member), items in by_member.items():
            raw = self.archive.read(member)
            if sort == "pickle":
                yield member, with_numbers(raw, {place.where: number for place, number in items})
            elif sort == "data":
                patched = bytearray(raw)
                for place, number in items:
                    struct.pack_into(_FORMS[place.dtype], patched, place.start, number)
                yield member, bytes(patched)
            else:
                yield member, _code(raw, items)

    def lines(self) -> Iterator[str]:
        """The quantizers of the network, for people to compare."""
        for op in self.model.walk():
            for role, use in op.uses.items():
                if use.quantizers:
                    yield f"{op.label}.{role}: {', then '.join(_line(q) for q in use.quantizers)}"


def _line(q: Quantizer) -> str:
    return f"{q}{', observed' if q.observing else ''}"


def _code(raw: bytes, items: list[tuple[Place, Any]]) -> bytes:
    lines = raw.split(b"\n")
    for place, number in sorted(items, reverse=True):
        line = lines[place.start - 1]
        if not isinstance(ast.literal_eval(line[place.end : place.until].decode()), (int, float)):
            raise WriteError(f"line {place.start} of {place.where} holds no number where one was read")
        lines[place.start - 1] = line[: place.end] + repr(number).encode() + line[place.until :]
    return b"\n".join(lines)


def edited(document: Document, model: Model, edits: Iterable[Edit]) -> None:
    """Make edits on a document; `model` is the canonical model that was read from the same file.

    Raises:
        WriteError: an edit has no form in this file. The document is of no use then.
    """
    changes: dict[int, tuple[Quantizer, ...]] = {}
    for edit in edits:
        if isinstance(edit, Requantize):
            changes |= {key: new for key, (_, new) in edit.changes.items()}
        elif isinstance(edit, Freeze):
            for op in edit.nodes:
                _freeze(document, op)
        else:
            raise WriteError(TRUST)
    if not changes:
        return
    ours, twins = ([*(use for op in one.walk() for use in op.uses.values()), *one.outputs] for one in (model, document.model))
    for use, twin in zip(ours, twins, strict=True):
        new = changes.get(id(use), use.quantizers)
        if len(new) != len(twin.quantizers):
            raise WriteError(TRUST)
        for placed, wanted in zip(twin.quantizers, new, strict=True):
            _set(document, placed, wanted, use.tensor.constant)


def _set(document: Document, old: Quantizer, new: Quantizer, constant: bool) -> None:
    """The numbers of one quantizer; those of quantizers that stay have to be the same, too, where they stand in the same place."""
    changed = old != new
    maker = old.quantize or old.dequantize
    what = maker.label if maker is not None else "a quantizer"
    if changed:
        if constant and (maker is None or maker.kind != "fake_quantize"):
            raise WriteError("integers that are stored stay as they are in TorchScript files")
        same = (old.granularity, old.axis, old.grid, old.dynamic) == (new.granularity, new.axis, new.grid, new.dynamic)
        if not same or new.scale is None or new.zero_point is None or (old.storage != new.storage and old.origin != "fake-quant"):
            raise WriteError(f"qlint cannot write a quantizer that is {new} into {what}")
    pairs = [(old.qmin, new.qmin), (old.qmax, new.qmax)]
    for have, want in ((old.scale or (), new.scale or ()), (old.zero_point or (), new.zero_point or ())):
        if not changed and not isinstance(have, (list, tuple)):
            continue  # many, which nobody looked at
        if len(have) != len(want):
            raise WriteError(f"qlint cannot write a quantizer that is {new} into {what}")
        pairs += zip(have, want, strict=True)
    for before, after in pairs:
        place = getattr(before, "place", None)
        if place is not None:
            document.set(place, (float if isinstance(before, float) else int)(after), what)
        elif before != after:
            raise WriteError(f"{what} has the number {before:g}, which is computed, or stands where qlint does not write")
    if changed and maker is not None and "fused_moving_avg" in maker.native:  # which takes its scale from what it observed, at every run
        ends = ([scale * (end - zero) for scale, zero in new.pairs()] for end in (new.qmin, new.qmax))
        for name, values in zip(("running_min", "running_max"), ends, strict=True):
            _fill(document, maker, name, values)
    if changed and old.observing:
        assert maker is not None
        _freeze(document, maker)


def _freeze(document: Document, op: Op) -> None:
    """The observer of a fake quantizer off: what runs has the range that is in the file."""
    if (op.name, "observer_on") not in document.buffers:
        raise WriteError(f"the observer of {op.label} has no switch in the file: trace the network after torch.ao.quantization.disable_observer")
    _fill(document, op, "observer_on", [0])


def _fill(document: Document, op: Op, name: str, values: list[Any]) -> None:
    """A buffer of a fake quantizer with other numbers."""
    record = document.buffers.get((op.name, name))
    data = None if record is None else view(document.archive, record)
    if data is None or data.dtype not in _FORMS or not data.contiguous or len(data.values()) != len(values):
        raise WriteError(f"the buffer {name} of {op.label} is in a form that qlint does not write")
    for i, value in enumerate(values):
        document.set(Place("data", data.member, (data.offset + i) * (bits(data.dtype) // 8), dtype=data.dtype), value, op.label)
