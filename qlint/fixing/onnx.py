"""Edits on ONNX files: nodes and initializers of the main graph, through a document that copies all the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qlint.fixing.arithmetic import WriteError, packed, quantized, real, requantized, same_codes
from qlint.fixing.edits import (
    Clamp,
    Depthwise,
    Edit,
    Equalize,
    Explicit,
    Fold,
    RaiseOpset,
    Remove,
    Rename,
    Requantize,
    Sort,
    Store,
    Swap,
    scale_type_of,
)
from qlint.fixing.onnx_equalize import equalized
from qlint.fixing.onnx_explicit import make_explicit
from qlint.fixing.onnx_file import Document, Node, integer_attribute
from qlint.fixing.onnx_fold import depthwise, fold
from qlint.fixing.opsets import respelled
from qlint.graph import Model, Op, Quantizer, Tensor, Use
from qlint.graph.quantizer import BLOCKS_SINCE, CHANNELS_SINCE, TYPE_SINCE
from qlint.readers.data import TYPE_CODES

Array = "numpy.ndarray[Any, Any]"
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_LARGEST = 3.4e38  # what a Clip of opset 6 has in place of a bound that it does not have


def edited(document: Document, model: Model, edits: Iterable[Edit]) -> None:
    """Make edits on a document; `model` is the canonical model that was read from the same file.

    Raises:
        WriteError: an edit has no form in this file. The document is of no use then.
    """
    writer = _Writer(document, model)
    for edit in edits:
        writer.make(edit)
    if writer.orphans:  # once for all: that looks at the whole graph
        document.prune(writer.orphans)
    writer.sort()


class _Writer:
    def __init__(self, document: Document, model: Model) -> None:
        self.document, self.model = document, model
        self.orphans: list[Node] = []
        if document.functions or len(document.before) != len(model.nodes):
            raise WriteError("has functions of its own, which qlint does not edit", hint="inline them (onnx.inliner) and fix that file")
        self.node_of: dict[int, Node] = {id(op): node for op, node in zip(model.nodes, document.before, strict=True)}
        for op in model.ops:  # the canonical operators are copies
            self.node_of[id(op)] = document.before[op.index]

    def make(self, edit: Edit) -> None:
        if isinstance(edit, Requantize):
            _Requantizer(self, edit).run()
        elif isinstance(edit, Remove):
            self.document.prune([self.node(op) for op in edit.nodes])
        elif isinstance(edit, Rename):
            node = self.node(edit.node)
            node.name, node.changed = self.document.fresh(node.name), True
        elif isinstance(edit, Sort):
            self.sort()
        elif isinstance(edit, RaiseOpset):
            self.raise_opset(edit.version)
        elif isinstance(edit, Explicit):
            if edit.opset:
                self.raise_opset(edit.opset)
            make_explicit(self, edit)
        elif isinstance(edit, Clamp):
            self.clamp(edit)
        elif isinstance(edit, Fold):
            fold(self, edit)
        elif isinstance(edit, Depthwise):
            depthwise(self, edit)
        elif isinstance(edit, Store):
            self.store(edit)
        elif isinstance(edit, Swap):
            self.swap(edit)
        elif isinstance(edit, Equalize):
            equalized(self, edit)

    def node(self, op: Op) -> Node:
        """The node of an operator of the main graph."""
        found = self.node_of.get(id(op))
        if found is None:
            raise WriteError(f"{op.label} is in the body of a control-flow operator, which qlint does not edit")
        return found

    def sort(self) -> None:
        """Nodes after those that they read from; equals keep their order."""
        maker = {out: node for node in self.document.nodes for out in node.outputs if out}
        done: set[int] = set()
        order: list[Node] = []
        for start in self.document.nodes:
            stack = [(start, iter(start.inputs))]
            while stack:
                node, inputs = stack[-1]
                if id(node) in done:
                    stack.pop()
                    continue
                waits = next((m for name in inputs if (m := maker.get(name)) is not None and id(m) not in done and m is not node), None)
                if waits is None or any(waits is each for each, _ in stack):
                    done.add(id(node))
                    order.append(node)
                    stack.pop()
                else:
                    stack.append((waits, iter(waits.inputs)))
        self.document.nodes = order

    def raise_opset(self, version: int) -> None:
        """A newer opset, with nodes spelled as it has them."""
        for one in respelled(self.model, version):
            node = self.node(one.op)
            node.changed = True
            node.attributes |= dict.fromkeys(one.gone) | {name: integer_attribute(name, value) for name, value in one.attributes}
            dtype = next((use.tensor.dtype for use in one.op.uses.values() if use.slot == 0), "") or "float32"
            for name, value in one.inputs:
                values = [value] if isinstance(value, (int, float)) else list(value) if isinstance(value, (list, tuple)) else []
                kind = dtype if name in ("min", "max", "value") else "int64"
                unbounded = kind == dtype and values and abs(values[0]) >= _LARGEST
                shape = () if kind == dtype else (len(values),)
                node.inputs.append(self.document.constant(f"{node.outputs[0]}_{name}", kind, shape, values) if values and not unbounded else "")
        self.document.opset = max(version, self.document.opset or 0)

    def clamp(self, edit: Clamp) -> None:
        """One relu for all of the quantizers that read the same tensor."""
        made: dict[str, str] = {}
        for op in edit.quantizers:
            node = self.node(op)
            source = node.inputs[0]
            if source not in made:
                made[source] = self.document.fresh(f"{source}_Relu_Output")
                relu = Node.new("Relu", self.document.fresh(f"{source}_Relu"), [source], [made[source]])
                self.document.nodes.insert(self.document.nodes.index(node), relu)
            node.inputs[0], node.changed = made[source], True

    def store(self, edit: Store) -> None:
        """The constant under a name of its own; what computed it goes if nobody else reads it."""
        old = edit.use.tensor
        dtype = str(edit.values.dtype)
        name = self.document.array(f"{old.name}_stored", dtype, edit.shape, packed(dtype, edit.values))
        for node in self.document.nodes:
            for slot, read in enumerate(node.inputs):
                if read == old.name:
                    node.inputs[slot], node.changed = name, True
        self.document.prune([node for node in self.document.nodes if node in self.constant])

    @property
    def constant(self) -> list[Node]:
        """The nodes that compute constants."""
        return [self.node_of[id(op)] for op in self.model.ops if op.role == "constant" and id(op) in self.node_of]

    def swap(self, edit: Swap) -> None:
        """A Relu, or a Clip from 0 to 6, where the last operator of the activation stood."""
        last = self.node(edit.last)
        gone = [self.node(op) for op in edit.members if op is not edit.last]
        gone += [self.node(each) for op in edit.members for use in op.uses.values() for q in use.quantizers for each in (q.quantize, q.dequantize) if each is not None]
        inputs = [edit.source.name]
        if edit.into == "relu6":
            dtype = edit.source.tensor.dtype or "float32"
            inputs += [self.document.constant(f"{last.outputs[0]}_{end}", dtype, (), (value,)) for end, value in (("min", 0.0), ("max", 6.0))]
            if (self.document.opset or self.model.opsets.get("", 0)) < 11:
                raise WriteError("a relu6 takes a Clip of opset 11 or later")
        made = Node.new("Clip" if edit.into == "relu6" else "Relu", last.name, inputs, last.outputs)
        self.document.nodes[self.document.nodes.index(last)] = made
        self.document.prune(gone)

    def configure(self, node: Node, q: Quantizer, scale_type: str, op: Op | None = None) -> None:
        """Scale, zero point and axis of a node."""
        since = max(TYPE_SINCE.get(q.storage, 10), {"channel": CHANNELS_SINCE, "block": BLOCKS_SINCE}.get(q.granularity, 0))
        opset = self.document.opset or self.model.opsets.get("", 0)
        if not node.domain and opset < since:
            raise WriteError(f"{q.storage} {'per channel ' if q.granularity == 'channel' else ''}needs opset {since}, the file has {opset}")
        base = node.outputs[0] if node.outputs else node.name
        assert q.scale is not None and q.zero_point is not None
        node.inputs = [node.inputs[0], self.document.constant(f"{base}_scale", scale_type, q.scale_shape, q.scale)]
        if q.zero_point_shape is not None or any(q.zero_point) or (q.storage != "uint8" and node.op_type == "QuantizeLinear"):
            shape = q.scale_shape if q.zero_point_shape is None else q.zero_point_shape
            values = tuple(q.zero_point) if len(q.zero_point) == _size(shape) else tuple(q.zero_point[:1]) * _size(shape)
            node.inputs.append(self.document.constant(f"{base}_zero_point", q.storage, shape, values))
        if q.granularity == "channel" and q.axis is not None:
            node.attributes["axis"] = integer_attribute("axis", q.axis)
        if op is not None and node.op_type == "QuantizeLinear" and op.attrs.get("output_dtype"):
            node.attributes["output_dtype"] = integer_attribute("output_dtype", TYPE_CODES[q.storage])
        node.changed = True
        for name in (node.outputs if node.op_type == "QuantizeLinear" else node.inputs[:1]):
            self.document.infos.pop(name, None)  # the type that it says may be another now

    def rewire(self, use: Use, name: str) -> None:
        """Let an operator read another tensor in one of its slots."""
        if use.op is None:
            raise WriteError(f"the model's output {use.name} cannot be given another source")
        node = self.node(use.op)
        node.inputs[use.slot], node.changed = name, True


class _Requantizer:
    """One set of changes: parameters are set where a use keeps as many quantizers as it had, else they are made anew."""

    def __init__(self, writer: _Writer, edit: Requantize) -> None:
        self.writer, self.document = writer, writer.document
        self.changes = edit.changes
        self.set: dict[int, Quantizer] = {}  # by node
        self.orphans: list[Node] = []

    def run(self) -> None:
        anew: dict[tuple[int, tuple[Quantizer, ...]], list[Use]] = {}
        for use, sequence in self.changes.values():
            if use.quantizers == sequence and all(q.read_as is None for q in use.quantizers):
                continue
            if use.quantizers and len(use.quantizers) == len(sequence):
                for old, new in zip(use.quantizers, sequence, strict=True):
                    if old != new or old.read_as is not None:
                        self.parameters(use, old, new)
            else:
                anew.setdefault((id(use.tensor), sequence), []).append(use)
        if any(sequence for _, sequence in anew):
            self.only_pairs()
        for (_, sequence), uses in anew.items():
            self.rebuild(uses, sequence)
        self.document.prune(self.orphans)

    # -- other parameters ---------------------------------------------------------------------

    def parameters(self, use: Use, old: Quantizer, new: Quantizer) -> None:
        nodes = [op for op in (old.quantize, old.dequantize) if op is not None]
        if not nodes or any(op.native.rpartition("::")[2] not in _PAIR for op in nodes):
            kind = nodes[0].native if nodes else use.op.native if use.op is not None else "the file"
            raise WriteError(f"{kind} has its quantizers in a form that qlint cannot write")
        if new.dynamic or new.grid != "affine" or new.scale is None or new.zero_point is None or new.granularity == "block":
            raise WriteError(f"qlint cannot write a quantizer that is {new}")
        for op in nodes:
            node = self.writer.node(op)
            before = self.set.get(id(node))
            if before is not None:
                if before != new:
                    raise WriteError(f"{node.name or node.op_type} serves readers that would need different parameters")
                continue
            if old.storage != new.storage and not self.document.outputs.isdisjoint(node.outputs) and op is not old.dequantize:
                raise WriteError(f"{node.outputs[0]} is what callers get back, and would be of another type")
            self.set[id(node)] = new
            if op is old.dequantize and old.quantize is None:
                self.recode(use, op, node, old, new)
            self.writer.configure(node, new, scale_type_of(use), op)

    def recode(self, use: Use, op: Op, node: Node, old: Quantizer, new: Quantizer) -> None:
        """The integers of a constant, written again for another grid; those of other readers stay."""
        stored = op.uses["x"].tensor
        if stored.data is None or not use.tensor.constant:
            raise WriteError(f"{node.name or node.op_type} reads integers that an operator makes (a Clip, say), which would be on another grid, too")
        if same_codes(old, new):
            return
        read = old.read_as or old
        integers = requantized(stored.data.array(), read, new)
        name = self.document.array(f"{stored.name}_{new.storage}", new.storage, stored.data.shape, packed(new.storage, integers))
        node.inputs[0] = name

    # -- more or fewer ----------------------------------------------------------------------------

    def rebuild(self, uses: list[Use], sequence: tuple[Quantizer, ...]) -> None:
        """Some readers of one tensor get a new series of quantizers in place of theirs."""
        tensor = uses[0].tensor
        for use in uses:
            for q in use.quantizers:
                self.orphans += [self.writer.node(op) for op in (q.quantize, q.dequantize) if op is not None]
        beside = self.beside(uses, sequence)
        if beside:
            name = beside
        elif tensor.constant:
            name = self.weight(tensor, uses[0], sequence)
        elif any(use.kind == "output" for use in uses):
            name = self.behind_output(tensor, uses, sequence)
        else:
            at = min(self.document.nodes.index(self.writer.node(use.op)) for use in uses if use.op is not None)
            name = self.pairs(tensor.name, sequence, at, scale_type_of(uses[0]))
        for use in uses:
            if use.kind != "output":
                self.writer.rewire(use, name)

    def beside(self, uses: list[Use], sequence: tuple[Quantizer, ...]) -> str:
        """What another reader of the tensor sees that has, or gets, the same quantizers; '' if there is none."""
        ours = set(map(id, uses))
        for other in uses[0].tensor.uses:
            if id(other) in ours or other.kind != "op" or len(other.quantizers) != len(sequence) or any(use.kind == "output" for use in uses):
                continue
            if sequence and self.changes.get(id(other), (other, other.quantizers))[1] == sequence and all(q.dequantize is not None for q in other.quantizers):
                return other.name
        return ""

    def only_pairs(self) -> None:
        """Quantizers of two kinds in one file are more than its readers expect."""
        for _, q in self.writer.model.quantizers():
            for op in (q.quantize, q.dequantize):
                if op is not None and op.native.rpartition("::")[2] not in _PAIR:
                    raise WriteError(f"the file writes its quantizers as {op.native}: convert it to QuantizeLinear and DequantizeLinear first")

    def pairs(self, source: str, sequence: Sequence[Quantizer], at: int, scale_type: str, last: str = "") -> str:
        """QuantizeLinear and DequantizeLinear for each quantizer, from position `at` on; the name of what comes out."""
        name = source
        for number, q in enumerate(sequence, 1):
            if q.dynamic or q.grid != "affine" or q.scale is None:
                raise WriteError(f"qlint cannot write a quantizer that is {q}")
            domain = next((op.domain for op in (q.quantize, q.dequantize) if op is not None and op.domain == "com.microsoft"), "")
            for op_type in _PAIR:
                out = last if last and op_type == _PAIR[1] and number == len(sequence) else self.document.fresh(f"{source}_{op_type}_Output")
                node = Node.new(op_type, self.document.fresh(f"{source}_{op_type}"), [name], [out], domain)
                self.writer.configure(node, q, scale_type)
                self.document.nodes.insert(at, node)
                at, name = at + 1, out
        return name

    def behind_output(self, tensor: Tensor, uses: list[Use], sequence: Sequence[Quantizer]) -> str:
        """Quantizers between what makes a graph output and the output, which keeps its name."""
        if any(use.quantizers for use in uses) or tensor.producer is None:
            raise WriteError(f"the output {tensor.name} is quantized already, or handed through from an input")
        maker = self.writer.node(tensor.producer)
        inner = self.document.fresh(f"{tensor.name}_float")
        maker.outputs[maker.outputs.index(tensor.name)], maker.changed = inner, True
        ours = {(id(self.writer.node(use.op)), use.slot) for use in uses if use.op is not None}
        for node in self.document.nodes:
            for slot, name in enumerate(node.inputs):
                if name == tensor.name and (id(node), slot) not in ours:
                    node.inputs[slot], node.changed = inner, True
        return self.pairs(inner, sequence, self.document.nodes.index(maker) + 1, scale_type_of(uses[0]), last=tensor.name)

    def weight(self, tensor: Tensor, use: Use, sequence: Sequence[Quantizer]) -> str:
        """A constant on another grid: its integers and one DequantizeLinear, or its real values if there is no quantizer."""
        assert tensor.data is not None
        values = real(tensor.data, use.quantizers)
        scale_type = scale_type_of(use)
        if not sequence:
            return self.document.array(f"{tensor.name}_float", scale_type, tensor.data.shape, packed(scale_type, values))
        if len(sequence) > 1:
            raise WriteError(f"{tensor.name} would get several quantizers")
        q = sequence[0]
        integers = self.document.array(f"{tensor.name}_quantized", q.storage, tensor.data.shape, packed(q.storage, quantized(values, q)))
        out = self.document.fresh(f"{tensor.name}_DequantizeLinear_Output")
        node = Node.new("DequantizeLinear", self.document.fresh(f"{tensor.name}_DequantizeLinear"), [integers], [out])
        self.writer.configure(node, q, scale_type)
        self.document.nodes.insert(0, node)
        return out


def _size(shape: Sequence[int]) -> int:
    size = 1
    for d in shape:
        size *= d
    return size
