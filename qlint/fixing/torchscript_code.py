"""Operators in the code of a TorchScript archive: quantizers around arguments, batch-norms folded away.

What is written is text in place of the expressions that stand there. Only torch can tell whether such code still runs,
and torch executes the archive, so that this is for files that are trusted. A class that several modules share has one
text: what is written there has to be right for all of them.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from qlint.fixing.arithmetic import WriteError, packed
from qlint.fixing.batch_norm import rescaled
from qlint.fixing.edits import Fold
from qlint.graph import Op, Quantizer, Use
from qlint.readers.torchscript_packed import view
from qlint.readers.torchscript_values import Node

if TYPE_CHECKING:
    from qlint.fixing.torchscript import Document

_STORAGES = {"float32": "FloatStorage", "int32": "IntStorage"}


class Call(NamedTuple):
    """Where an operator is called: the file, the line of its first one, the expression, and the values of its arguments."""

    file: str
    line: int
    tree: ast.Call
    values: list[Any]


class Vector(NamedTuple):
    """A new constant of the code, of one dimension."""

    dtype: str
    size: int
    raw: bytes


class Span(NamedTuple):
    """An expression in one line of a file."""

    file: str
    line: int
    start: int
    end: int


def span_of(call: Call, tree: ast.expr) -> Span:
    """Where an expression of a call stands.

    Raises:
        WriteError: it goes over several lines.
    """
    if tree.lineno != tree.end_lineno:
        raise WriteError(f"the code in {call.file} goes over several lines where something would be written")
    return Span(call.file, call.line + tree.lineno - 1, tree.col_offset, tree.end_col_offset or 0)


class CodeEdits:
    """Texts in place of expressions, new constants, and other bytes of tensors."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.texts: dict[Span, str] = {}
        self.wanted: dict[Span, set[int]] = defaultdict(set)  # by expression: the calls (by id of their node) that it is to change for
        self.constants: list[Vector] = []
        self.channels: dict[Quantizer, tuple[str, str]] = {}  # the constants that hold scales and zero points
        self.bytes: dict[str, tuple[int, bytes]] = {}  # by member of the archive

    # -- places ---------------------------------------------------------------------------------

    def call(self, op: Op) -> tuple[Node, Call]:
        node = self.document.nodes.get(op.name)
        call = self.document.calls.get(id(node))
        if node is None or call is None:
            raise WriteError(f"qlint does not find the call of {op.label} in the code")
        return node, call

    def arguments(self, op: Op) -> list[tuple[str, ast.expr]]:
        """The tensors that a call names (what the model calls them), and the expressions."""
        _, call = self.call(op)
        found: list[tuple[str, ast.expr]] = []
        for value, tree in zip(call.values, call.tree.args, strict=False):
            parts = zip(value, tree.elts, strict=False) if isinstance(value, list) and isinstance(tree, ast.List) else [(value, tree)]
            found += [(name, expression) for item, expression in parts if (name := self.document.tensor_of(item))]
        return found

    def replace(self, op: Op, tree: ast.expr, text: str) -> None:
        """Another text for an expression in the call of an operator."""
        node, call = self.call(op)
        span = span_of(call, tree)
        if self.texts.setdefault(span, text) != text:
            raise WriteError(f"{op.label} shares its code with other modules, which would need another one")
        self.wanted[span].add(id(node))

    def wrap(self, op: Op, tree: ast.expr, before: str, behind: str) -> None:
        """Text around an expression in the call of an operator, or around the call, whatever becomes of what is inside."""
        node, call = self.call(op)
        ends = ((tree.lineno, tree.col_offset, before), (tree.end_lineno or tree.lineno, tree.end_col_offset or 0, behind))
        for line, column, text in ends:
            if self.texts.setdefault(Span(call.file, call.line + line - 1, column, column), text) != text:
                raise WriteError(f"{op.label} shares its code with other modules, which would need another one")
        self.wanted[Span(call.file, call.line + tree.lineno - 1, tree.col_offset, tree.end_col_offset or 0)].add(id(node))

    def constant(self, dtype: str, values: Any) -> str:
        """What the code calls a new constant."""
        self.constants.append(Vector(dtype, len(values), packed(dtype, values)))
        return f"CONSTANTS.c{len(self.document.constants) + len(self.constants) - 1}"

    def text(self, op: Op, tree: ast.expr) -> str:
        """What stands for an expression now."""
        _, call = self.call(op)
        span = span_of(call, tree)
        line = self.document.archive.read(span.file).split(b"\n")[span.line - 1]
        return line[span.start : span.end].decode()

    # -- edits ----------------------------------------------------------------------------------

    def insert(self, use: Use, q: Quantizer) -> None:
        """A fake quantizer around one argument, or around the call that makes an output of the network."""
        if q.granularity == "block" or q.grid != "affine" or q.dynamic or not q.scale or not q.zero_point:
            raise WriteError(f"qlint does not write {q} into the code of TorchScript files")
        around = self.fake(q)
        if use.op is None:
            maker = use.tensor.producer
            if maker is None or any(other is not use for other in use.tensor.uses) or len(maker.outputs) > 1:
                raise WriteError(f"the output {use.name} is an input, too, or others read it: qlint writes no quantizer behind it")
            self.wrap(maker, self.call(maker)[1].tree, *around)
            return
        alike = [other for other in use.op.uses.values() if other.name == use.name]
        places = [tree for name, tree in self.arguments(use.op) if name == use.name]
        if len(places) != len(alike):
            raise WriteError(f"{use.op.label} reads {use.name} in a form that qlint does not write")
        tree = places[next(i for i, other in enumerate(alike) if other is use)]
        self.wrap(use.op, tree, *around)

    def fake(self, q: Quantizer) -> tuple[str, str]:
        """The code of a fake quantizer, before and behind what it quantizes."""
        assert q.scale is not None and q.zero_point is not None
        if q.granularity == "tensor":
            return "torch.fake_quantize_per_tensor_affine(", f", {q.scale[0]!r}, {int(q.zero_point[0])}, {int(q.qmin)}, {int(q.qmax)})"
        if q not in self.channels:
            zeros = list(map(int, q.zero_point)) * (len(q.scale) if len(q.zero_point) == 1 else 1)
            self.channels[q] = self.constant("float32", list(q.scale)), self.constant("int32", zeros)
        scales, zero_points = self.channels[q]
        return "torch.fake_quantize_per_channel_affine(", f", {scales}, {zero_points}, {q.axis}, {int(q.qmin)}, {int(q.qmax)})"

    def fold(self, edit: Fold) -> None:
        """Other weights and another bias; the batch-norm's call is what it is called with."""
        import numpy as np

        into, factor = edit.into, np.asarray(edit.factor)
        weight = into.uses["w"]
        if np.any(factor != 1):
            if weight.quantizers:
                raise WriteError("a weight with a fake quantizer would need one for each channel, which qlint does not write into the code of TorchScript files")
            self.overwrite(weight, rescaled(into, factor)[0])
        bias = into.uses.get("b")
        if bias is not None:
            if bias.quantizers:
                raise WriteError(f"the bias of {into.label} is quantized in a form that qlint does not write")
            self.overwrite(bias, np.asarray(edit.bias))
        else:
            _, call = self.call(into)
            empty = call.tree.args[2] if len(call.tree.args) > 2 and len(call.values) > 2 and call.values[2] is None else None
            if empty is None:
                raise WriteError(f"qlint does not find the place of the bias in the call of {into.label}")
            self.replace(into, empty, self.constant("float32", edit.bias))
        for op in (edit.batch_norm, *([edit.residue] if edit.residue is not None else [])):
            _, call = self.call(op)
            self.replace(op, call.tree, self.text(op, call.tree.args[0]))

    def overwrite(self, use: Use, values: Any) -> None:
        """Other numbers in the bytes of a tensor that nobody else reads."""
        record = self.document.records.get(use.tensor.name)
        if record is None or len(use.tensor.uses) > 1 or self.document.sharing(record) > 1:
            raise WriteError(f"{use.tensor.name} is shared with other operators")
        data = view(self.document.archive, record)
        if not data.contiguous or data.dtype != "float32":
            raise WriteError(f"{use.tensor.name} is stored in a form that qlint does not write")
        self.bytes[data.member] = (4 * data.offset, packed("float32", values))

    def check(self) -> None:
        """Every call that an expression belongs to wants what is written there."""
        for span, nodes in self.wanted.items():
            every = {key for key, call in self.document.calls.items() if call.file == span.file and _within(call, span)}
            if every - nodes:
                raise WriteError(f"the code at line {span.line} of {span.file} is that of several modules, not all of which are to change")


def _within(call: Call, span: Span) -> bool:
    """Whether an expression is a call, or directly an argument of it."""
    trees = [call.tree, *call.tree.args, *(part for tree in call.tree.args if isinstance(tree, ast.List) for part in tree.elts)]
    return any((call.line + tree.lineno - 1, tree.col_offset, tree.end_col_offset) == (span.line, span.start, span.end) for tree in trees)


def with_constants(raw: bytes, first: int, tensors: list[Vector]) -> bytes:
    """A pickle of the code's constants with further tensors behind them, whose bytes are members `constants/N` from `first` on."""
    import pickletools

    operations = [(code.name, at or 0) for code, _, at in pickletools.genops(raw)]
    name, end = next((name, at) for name, at in reversed(operations) if name not in ("STOP", "BINPUT", "LONG_BINPUT"))
    start = 2 if operations[0][0] == "PROTO" else 0
    if name == "TUPLE":
        start += 1  # its mark
    elif name not in ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
        raise WriteError("has constants in a form that qlint does not write")
    items = b"".join(_tensor(str(first + i), vector) for i, vector in enumerate(tensors))
    return b"\x80\x02(" + raw[start:end] + items + b"t."


def _tensor(key: str, vector: Vector) -> bytes:
    """`torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`, for vectors."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little")

    count = number(vector.size)
    storage = b"(" + text("storage") + f"ctorch\n{_STORAGES[vector.dtype]}\n".encode() + text(key) + text("cpu") + count + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + b"(" + count + b"t(" + number(1) + b"t\x89ccollections\nOrderedDict\n)RtR"
