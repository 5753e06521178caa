"""Edits on ONNX files: nodes and initializers of the main graph, through a document that copies all the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from qlint.fixing.arithmetic import WriteError, dequantized, packed, quantized, real, requantized, same_codes
from qlint.fixing.edits import Clamp, Depthwise, Edit, Explicit, Fold, RaiseOpset, Remove, Rename, Requantize, Sort, scale_type_of, storable
from qlint.fixing.onnx_explicit import make_explicit
from qlint.fixing.onnx_file import Document, Node, integer_attribute
from qlint.fixing.opsets import respelled
from qlint.graph import Model, Op, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes
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
    writer.sort()


class _Writer:
    def __init__(self, document: Document, model: Model) -> None:
        self.document, self.model = document, model
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
            _fold(self, edit)
        elif isinstance(edit, Depthwise):
            _depthwise(self, edit)

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
            raise WriteError(f"what {node.name or node.op_type} reads is no constant")
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


# -- batch-norm --------------------------------------------------------------------------------------


def _fold(writer: _Writer, edit: Fold) -> None:
    """The operator gets new weights (unless no channel is scaled) and a bias, and writes what the batch-norm wrote."""
    import numpy as np

    document, into = writer.document, edit.into
    node, norm = writer.node(into), writer.node(edit.batch_norm)
    gone = [norm] if edit.residue is None else [norm, writer.node(edit.residue)]
    factor = np.asarray(edit.factor)
    orphans: list[Node] = []
    scales: Sequence[float] = ()
    if np.any(factor != 1):
        scales = _scaled_weight(writer, into.uses["w"], factor, orphans)
    bias = into.uses.get("b")
    slot = bias.slot if bias is not None else 2
    node.inputs[len(node.inputs) :] = [""] * (slot + 1 - len(node.inputs))
    node.inputs[slot] = _new_bias(writer, into, np.asarray(edit.bias), scales, orphans)
    node.outputs[0] = norm.outputs[0]
    node.changed = True
    document.nodes = [each for each in document.nodes if each not in gone]
    document.prune(orphans)


def _scaled_weight(writer: _Writer, use: Use, factor: Any, orphans: list[Node]) -> Sequence[float]:
    """Weights times a factor for each output channel. Quantized ones keep their integers, and get a scale for each channel, which is returned."""
    import numpy as np

    document, op = writer.document, use.op
    assert op is not None and use.tensor.data is not None
    out, _ = channel_axes(op, "w")
    assert out is not None
    array = use.tensor.data.array()
    groups = op.attrs.get("group", 1) if op.kind == "conv_transpose" else 1
    if not use.quantizers:
        shape = [1] * (array.ndim + 1)
        shape[0], shape[out + 1] = groups, array.shape[out]
        parts = array.reshape(groups, -1, *array.shape[1:]) if groups > 1 else array[None]
        values = (parts.astype(np.float64) * factor.reshape(shape)).reshape(array.shape)
        dtype = use.tensor.data.dtype
        writer.rewire(use, document.array(f"{use.tensor.name}_folded", dtype, array.shape, packed(dtype, values)))
        return ()
    q = use.quantizers[0]
    if any(each.native.rpartition("::")[2] not in _PAIR for each in (q.quantize, q.dequantize) if each is not None) or q.dequantize is None:
        raise WriteError(f"the weight of {op.label} is quantized in a form that qlint cannot write")
    if len(use.quantizers) > 1 or q.read_as is not None or q.grid != "affine" or q.block_size or (q.granularity == "channel" and q.axis != out):
        raise WriteError(f"a batch-norm cannot be folded under a weight that is {', then '.join(map(str, use.quantizers))}")
    each = factor.reshape(groups, -1)
    if groups > 1 and np.any(each != each[0]):
        raise WriteError("the groups of a transposed convolution share the scales of its weight, and the batch-norm's factors differ between them")
    each = each[0]
    pairs = list(q.pairs())
    scale, zero = (np.asarray([pair[i] for pair in pairs] * (each.size if len(pairs) == 1 else 1)) for i in (0, 1))
    codes = np.asarray(array, np.int64) if q.quantize is None else quantized(array, q)
    spread = [1] * array.ndim
    spread[out] = each.size
    sign, middle = np.sign(each).reshape(spread), zero.reshape(spread)
    codes = np.rint((codes - middle) * sign + middle).astype(np.int64)
    if codes.size and (codes.min() < q.qmin or codes.max() > q.qmax):
        raise WriteError("a negative factor turns the sign of a weight of -128, and +128 is no number of its type")
    scales = np.where(each == 0, scale, scale * np.abs(each))
    new = storable(replace(
        q, scale=tuple(map(float, scales)), zero_point=tuple(map(int, zero)), granularity="channel", axis=out,
        scale_shape=(each.size,), zero_point_shape=None if q.zero_point_shape is None else (each.size,),
    ))  # fmt: skip
    orphans += [writer.node(each_op) for each_op in (q.quantize, q.dequantize) if each_op is not None]
    base, at = f"{use.tensor.name}_folded", document.nodes.index(writer.node(op))
    if q.quantize is None:
        source = document.array(base, q.storage, array.shape, packed(q.storage, codes))
        kinds: tuple[str, ...] = _PAIR[1:]
    else:
        source = document.array(base, "float32", array.shape, packed("float32", dequantized(codes, new)))
        kinds = _PAIR
    for op_type in kinds:
        name = document.fresh(f"{base}_{op_type}_Output")
        made = Node.new(op_type, document.fresh(f"{base}_{op_type}"), [source], [name])
        writer.configure(made, new, "float32")
        document.nodes.insert(at, made)
        at, source = at + 1, name
    writer.rewire(use, source)
    return tuple(new.scale or ())


def _new_bias(writer: _Writer, op: Op, values: Any, scales: Sequence[float], orphans: list[Node]) -> str:
    """A bias, on the grid of the accumulator if the old one was quantized, in float otherwise."""
    import numpy as np

    document, use = writer.document, op.uses.get("b")
    base = use.tensor.name if use is not None else f"{op.label}_bias"
    x, w = (op.uses[role].quantizers for role in ("x", "w"))
    q = use.quantizers[0] if use is not None and len(use.quantizers) == 1 and use.quantizers[0].quantize is None else None
    if use is None or q is None or not x or not w or not x[-1].scale:
        return document.array(document.fresh(f"{base}_folded"), "float32", values.shape, packed("float32", values))
    each = np.asarray(scales or w[-1].scale or (1.0,)) * x[-1].scale[0]
    per_channel: dict[str, Any] = {"granularity": "channel", "axis": 0, "scale_shape": (each.size,), "zero_point_shape": (each.size,)} if each.size > 1 else {}
    new = storable(replace(q, scale=tuple(map(float, each)), zero_point=(0,) * each.size, **per_channel))
    if np.abs(values / each).max(initial=0.0) > q.qmax:
        raise WriteError(f"the new bias of {op.label} is no {q.storage}")
    integers = document.array(f"{base}_folded", q.storage, values.shape, packed(q.storage, quantized(values, new)))
    out = document.fresh(f"{base}_DequantizeLinear_Output")
    made = Node.new("DequantizeLinear", document.fresh(f"{base}_folded_DequantizeLinear"), [integers], [out])
    writer.configure(made, new, "float32")
    document.nodes.insert(document.nodes.index(writer.node(op)), made)
    orphans += [writer.node(each_op) for each_op in (q.quantize, q.dequantize) if each_op is not None]
    return out


def _depthwise(writer: _Writer, edit: Depthwise) -> None:
    """A convolution with one weight for each channel in the batch-norm's place."""
    document, norm = writer.document, writer.node(edit.batch_norm)
    rank, channels = edit.batch_norm.uses["x"].tensor.rank or 4, len(edit.factor)
    base = norm.name or norm.outputs[0]
    weight = document.array(f"{base}_weight", "float32", (channels, *(1,) * (rank - 1)), packed("float32", edit.factor))
    bias = document.array(f"{base}_bias", "float32", (channels,), packed("float32", edit.bias))
    made = Node.new("Conv", norm.name, [norm.inputs[0], weight, bias], norm.outputs[:1], group=channels)
    document.nodes[document.nodes.index(norm)] = made
    document.prune([])
