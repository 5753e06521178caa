"""Edits on TorchScript archives, without torch: the numbers of quantizers where they stand, and the switches of observers.

A number is a buffer (bytes of a storage), a literal in the code, or an attribute in the pickle. The archive is read once
more by a reader whose numbers remember where they are from; what was computed on the way has no place, and is not
written. Operators are added and taken away in files that are trusted only, see torchscript_code.py.
"""

from __future__ import annotations

import ast
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from qlint.fixing.arithmetic import WriteError
from qlint.fixing.edits import Depthwise, Edit, Fold, Freeze, Requantize
from qlint.fixing.pickle_numbers import with_numbers
from qlint.fixing.torch_zip import write_archive
from qlint.fixing.torchscript_code import Call, CodeEdits, with_constants
from qlint.fixing.torchscript_packed import restore
from qlint.graph import Model, Op, Quantizer
from qlint.passes import canonical
from qlint.readers.data import bits
from qlint.readers.torch_archive import Archive, Strided
from qlint.readers.torch_graph import Builder, present
from qlint.readers.torchscript import read_archive
from qlint.readers.torchscript_code import Code
from qlint.readers.torchscript_eval import Evaluator
from qlint.readers.torchscript_packed import view
from qlint.readers.torchscript_values import Node, Value
from qlint.readers.unpickle import Instance, TensorRecord

_FORMS = {"float32": "<f", "float64": "<d", "float16": "<e", "int32": "<i", "int64": "<q", "uint8": "<B", "int8": "<b", "int16": "<h", "bool": "<?"}
TRUST = "operators would change, and only torch can tell whether that runs, which executes the archive: --trust allows it, for a file whose origin you know"


class Place(NamedTuple):
    """Where a number stands: the `data` of a member, the `code` in one, or an attribute in the `pickle`."""

    sort: str
    where: str  # the member; of an attribute its path
    start: int = 0  # byte in a storage; line of code, from 1
    end: int = 0  # column of code at which it begins
    until: int = 0  # and ends
    dtype: str = ""  # of data; in a pickle the one that it is, `data` or `constants`


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
    """Numbers of the code and of modules remember where they stand, nodes by which call they were made."""

    def __init__(self, code: Code, constants: tuple[Any, ...], calls: dict[int, Call]) -> None:
        super().__init__(code, constants)
        self.calls = calls

    def operator(self, native: str, args: list[Any], named: dict[str, Any], at: ast.AST) -> Any:
        before, block = len(self.blocks[-1].nodes), self.blocks[-1]
        found = super().operator(native, args, named, at)
        if isinstance(at, ast.Call) and len(block.nodes) > before and block is self.blocks[-1]:
            file, line = self.files[-1]
            self.calls[id(block.nodes[-1])] = Call(file, line, at, list(args))
        return found

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
        self.made: dict[str, Node] = outer.made if isinstance(outer, _Builder) else {}  # by op
        model.found["builder"] = self

    def _node(self, node: Node) -> None:
        first = len(self.model.nodes)
        super()._node(node)
        self.made.update((op.name, node) for op in self.model.nodes[first:])

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
        self.trust = False  # whether operators may change
        self.calls: dict[int, Call] = {}
        raw = read_archive(self.archive, partial(_Evaluator, calls=self.calls), _Builder)
        builder = raw.found["builder"]
        assert isinstance(builder, _Builder)
        self.builder, self.buffers, self.nodes = builder, builder.buffers, builder.made
        self.records = {builder.tensors[id(value)].name: value for value in builder.kept if isinstance(value, TensorRecord)}
        self.constants = [name for name in self.archive.members if name.startswith("constants/")]
        self.model = canonical(raw)
        self.numbers: dict[Place, Any] = {}
        self.code = CodeEdits(self)

    def tensor_of(self, value: Any) -> str:
        """What the model calls the tensor that an argument is; '' if it is none."""
        tensor = self.builder.tensors.get(id(present(value)))
        return tensor.name if tensor is not None and isinstance(value, (Value, TensorRecord)) else ""

    def sharing(self, record: TensorRecord) -> int:
        """How many tensors look into the same bytes."""
        return sum(other.storage.key == record.storage.key for other in self.records.values())

    def set(self, place: Place, number: Any, what: str) -> None:
        """Another number at a place; what stands once can only be one."""
        if self.numbers.setdefault(place, number) != number:
            raise WriteError(f"{what} shares its number with another quantizer, which would need another one")

    def write(self, out: IO[bytes]) -> None:
        """The archive with its changes."""
        first = len(self.constants)
        added = {f"constants/{first + i}": vector.raw for i, vector in enumerate(self.code.constants)}
        write_archive(self.path, out, dict(self._members()), added)

    def _members(self) -> Iterator[tuple[str, bytes]]:
        by_member: dict[tuple[str, str], list[tuple[Place, Any]]] = defaultdict(list)
        for place, number in self.numbers.items():
            by_member[place.sort, f"{place.dtype or 'data'}.pkl" if place.sort == "pickle" else place.where].append((place, number))
        for span, text in self.code.texts.items():
            by_member["code", span.file].append((Place("code", span.file, span.line, span.start, span.end), text))
        for member, (start, changed) in self.code.bytes.items():
            raw = self.archive.read(member)
            yield member, raw[:start] + changed + raw[start + len(changed) :]
        if self.code.constants:
            if ("pickle", "constants.pkl") in by_member:
                raise WriteError("would have new constants, and others with new scales, which qlint does not write at once")
            yield "constants.pkl", with_constants(self.archive.read("constants.pkl"), len(self.constants), self.code.constants)
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
        for use in self.model.outputs:
            if use.quantizers:
                yield f"{use.name}: {', then '.join(_line(q) for q in use.quantizers)}"


def _line(q: Quantizer) -> str:
    return f"{q}{', observed' if q.observing else ''}"


def _code(raw: bytes, items: list[tuple[Place, Any]]) -> bytes:
    lines = raw.split(b"\n")
    for place, number in sorted(items, key=lambda item: item[0], reverse=True):
        line = lines[place.start - 1]
        text = number if isinstance(number, str) else repr(number)
        lines[place.start - 1] = line[: place.end] + text.encode() + line[place.until :]
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
        elif isinstance(edit, Fold) and document.trust:
            document.code.fold(edit)
        else:
            raise WriteError(f"qlint does not write {'a batch-norm as a convolution' if isinstance(edit, Depthwise) else 'this'} into TorchScript files" if document.trust else TRUST)
    if changes:
        _requantize(document, model, changes)
    document.code.check()


def _requantize(document: Document, model: Model, changes: dict[int, tuple[Quantizer, ...]]) -> None:
    ours, twins = ([*(use for op in one.walk() for use in op.uses.values()), *one.outputs] for one in (model, document.model))
    for use, twin in zip(ours, twins, strict=True):
        new = changes.get(id(use), use.quantizers)
        if len(new) != len(twin.quantizers):
            if not document.trust:
                raise WriteError(TRUST)
            if twin.quantizers or len(new) != 1 or any(op.domain == "quantized" for op in model.walk()):
                raise WriteError(f"qlint does not write {', then '.join(map(str, new)) or 'no quantizer'} in place of {', then '.join(map(str, twin.quantizers)) or 'none'}")
            document.code.insert(twin, new[0])
            continue
        for placed, wanted in zip(twin.quantizers, new, strict=True):
            maker = placed.quantize or placed.dequantize
            if placed != wanted and use.tensor.constant and (maker is None or maker.kind != "fake_quantize"):
                restore(document, twin, placed, wanted)
            else:
                _set(document, placed, wanted)


def _set(document: Document, old: Quantizer, new: Quantizer) -> None:
    """The numbers of one quantizer; those of quantizers that stay have to be the same, too, where they stand in the same place."""
    changed = old != new
    maker = old.quantize or old.dequantize
    what = maker.label if maker is not None else "a quantizer"
    if changed:
        if old.storage != new.storage and old.origin != "fake-quant":
            raise WriteError(f"PyTorch's kernels read what {what} makes, and take {old.storage}: quantize the network anew for a backend that wants {new.storage}")
        same = (old.granularity, old.axis, old.grid, old.dynamic) == (new.granularity, new.axis, new.grid, new.dynamic)
        if not same or new.scale is None or new.zero_point is None:
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
