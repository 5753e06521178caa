"""Edits on TFLite files: the grids of tensors, the integers of constants, and QUANTIZE and DEQUANTIZE operators.

An operator of TFLite runs in integer if the tensors that it reads and writes are integers. Where all that an operator
reads gets a grid, what it writes becomes integer as well; whoever still wants floats gets them from a DEQUANTIZE
behind it. What stays float gets a QUANTIZE for those who read integers. The file's own inputs and outputs stay as they
are: callers know them by their types.
"""

from __future__ import annotations

from collections.abc import Iterable

from qlint.fixing.arithmetic import WriteError, packed, quantized, real, requantized, same_codes
from qlint.fixing.edits import Edit, Remove, Requantize
from qlint.fixing.tflite_file import DATA_ALIGNED, Document, Table, Vector
from qlint.graph import Model, Op, Quantizer, Tensor, Use

Sequence = tuple[Quantizer, ...]
FLOATS = ("float32",)
# Versions of operators that are the first with 8-bit integers, where that is not 2 (tflite/tools/versioning/op_version.cc).
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1, "HARD_SWISH": 1, "QUANTIZE": 1, "PRELU": 1, "SPLIT": 2, "PACK": 2}
_READING = {"uint8": 1, "int8": 2, "int16": 3}  # of DEQUANTIZE
_WRITING = {"int16": 2}  # of QUANTIZE


def edited(document: Document, model: Model, edits: Iterable[Edit]) -> None:
    """Make edits on a document; `model` is the canonical model that was read from the same file.

    Raises:
        WriteError: an edit has no form in this file. The document is of no use then.
    """
    writer = _Writer(document, model)
    for edit in edits:
        if isinstance(edit, Requantize):
            writer.requantize(edit)
        elif isinstance(edit, Remove):
            writer.remove(edit.nodes)
        else:
            raise WriteError(f"qlint does not write this into TFLite files: {type(edit).__name__.lower()}")


class _Writer:
    def __init__(self, document: Document, model: Model) -> None:
        self.document, self.model, graph = document, model, document.graph
        self.tensors, self.operators = graph.tables("tensors"), graph.tables("operators")
        self.codes, self.buffers = document.root.tables("operator_codes"), document.root.tables("buffers")
        self.nodes = list(self.operators)  # by number, as the file has them
        self.ops = {id(op) for op in (*model.ops, *model.nodes)}
        self.outside = {*graph.numbers("inputs"), *graph.numbers("outputs")}
        self.names: dict[str, list[int]] = {}
        for number, tensor in enumerate(self.tensors):
            self.names.setdefault(tensor.text("name"), []).append(number)
        self.changes: dict[int, tuple[Use, Sequence]] = {}
        self.grids: dict[int, Quantizer] = {}  # new grids of tensors, by number
        self.floats: dict[int, int] = {}  # by number of a tensor that became integer: the one with its real values
        self.quantized: dict[tuple[int, Quantizer], int] = {}  # what a QUANTIZE in here makes of a tensor

    # -- places ---------------------------------------------------------------------------------

    def number(self, name: str) -> int:
        """The tensor of the main graph that the file calls so."""
        found = self.names.get(name, [])
        if len(found) != 1:
            raise WriteError(f"{name} is not a tensor of the main graph, or shares its name")
        return found[0]

    def operator(self, op: Op | None) -> Table:
        """The file's operator: of an activation that is fused the one that applies it."""
        while op is not None and op.fused:
            op = op.uses["x"].tensor.producer
        if op is None or id(op) not in self.ops or not 0 <= op.index < len(self.nodes):
            raise WriteError(f"{op.label if op is not None else 'it'} is no operator of the main graph, which is all that qlint edits")
        return self.nodes[op.index]

    def final(self, use: Use) -> Sequence:
        """The quantizers that a reader is to have."""
        return self.changes[id(use)][1] if id(use) in self.changes else use.quantizers

    # -- changes of quantizers ------------------------------------------------------------------

    def requantize(self, edit: Requantize) -> None:
        self.changes = {key: (use, new) for key, (use, new) in edit.changes.items() if use.quantizers != new or any(q.read_as for q in use.quantizers)}
        grown: dict[int, tuple[Tensor, list[Use]]] = {}
        for use, new in self.changes.values():
            if len(use.quantizers) == len(new) == 1:
                self.regrid(use, new[0])
            elif not use.quantizers and len(new) == 1:
                grown.setdefault(id(use.tensor), (use.tensor, []))[1].append(use)
            else:
                self.resize(use, new)
        made: dict[int, Quantizer] = {}
        for _, uses in grown.values():
            for use in uses:
                if use.op is not None:
                    made |= self.become_integer(use.op)
        for tensor, uses in grown.values():
            if tensor.constant:
                self.constants(tensor, uses)
            elif id(tensor) not in made:
                self.insert(tensor, uses)
        for key in made:
            self.integer(next(tensor for tensor in self.model.tensors.values() if id(tensor) == key), made[key])

    def become_integer(self, op: Op) -> dict[int, Quantizer]:
        """The tensors (by id) that an operator writes, and their grids, once all that it reads has one."""
        for role, use in op.uses.items():
            if (use.tensor.dtype in FLOATS or (use.quantizers and use.quantizers[-1].dequantize is not None)) and not self.final(use):
                raise WriteError(f"{op.label} would read integers, and floats from {role}: it needs a quantizer there as well")
            if use.quantizers and use.quantizers[-1].dequantize is not None and self.final(use) == use.quantizers:
                self.rewire(use, self.written(use.quantizers[-1], use))
        found: dict[int, Quantizer] = {}
        last = op
        while last.outputs and last.outputs[0].uses and (behind := last.outputs[0].uses[0].op) is not None and behind.fused:
            last = behind
        for tensor in last.outputs:
            if tensor.dtype not in FLOATS:
                continue
            grids = dict.fromkeys(final[0] for use in tensor.uses if (final := self.final(use)))
            if len(grids) != 1:
                raise WriteError(f"{op.label} would have to write integers, and its readers say {'nothing' if not grids else 'different things'} of their grid")
            found[id(tensor)] = next(iter(grids))
        self.version(self.operator(op), _VERSIONS.get(op.native, 2))
        return found

    def regrid(self, use: Use, new: Quantizer) -> None:
        """Another grid for a tensor, and for all who read it."""
        old = use.quantizers[0]
        _writable(new, old)
        number = self.number(use.name) if old.dequantize is None else self.written(old, use)
        if number in self.outside and old.storage != new.storage:
            raise WriteError(f"{use.name} is what callers hand over or get back, and would be of another type")
        if number in self.grids:
            if self.grids[number] != new:
                raise WriteError(f"{use.name} has readers that would need different grids")
            return
        self.grid(number, new)
        if use.tensor.constant and not same_codes(old, new):
            assert use.tensor.data is not None
            self.constant(number, packed(new.storage, requantized(use.tensor.data.array(), old, new)))

    def written(self, q: Quantizer, use: Use) -> int:
        """The tensor with the integers that a DEQUANTIZE reads back for a reader."""
        assert q.dequantize is not None
        numbers = self.operator(q.dequantize).numbers("inputs")
        if q.dequantize.native != "DEQUANTIZE" or not numbers:
            raise WriteError(f"{use.name} is quantized by {q.dequantize.native}, which qlint does not change in TFLite files")
        return int(numbers[0])

    def grid(self, number: int, q: Quantizer) -> None:
        """A grid on a tensor, and with it its type."""
        assert q.scale is not None and q.zero_point is not None
        self.grids[number] = q
        table = self.tensors[number]
        zeros = [int(z) for z in q.zero_point] if len(q.zero_point) == len(q.scale) else [int(q.zero_point[0])] * len(q.scale)
        parameters = Table(self.document, "QuantizationParameters")
        parameters.changes = {"scale": Vector.of("f", q.scale), "zero_point": Vector.of("q", zeros)}
        if q.granularity == "channel" and q.axis:
            parameters.changes["quantized_dimension"] = q.axis
        table.changes |= {"quantization": parameters, "type": self.document.types[q.storage]}

    def constant(self, number: int, raw: bytes) -> None:
        """Another value of a constant, in a buffer of its own."""
        self.buffers.append(Table(self.document, "Buffer", changes={"data": Vector(raw, len(raw), DATA_ALIGNED)}))
        self.tensors[number].changes |= {"buffer": len(self.buffers) - 1, "external_buffer": None}

    # -- more and fewer of them -------------------------------------------------------------------

    def constants(self, tensor: Tensor, uses: list[Use]) -> None:
        """Float constants as integers: the tensor itself if all readers want it, else another one."""
        assert tensor.data is not None
        values = real(tensor.data, ())
        for q in dict.fromkeys(self.final(use)[0] for use in uses):
            _writable(q)
            wanted = [use for use in uses if self.final(use)[0] == q]
            number = self.number(tensor.name)
            readers = sum(table.numbers("inputs").count(number) for graph in self.document.root.tables("subgraphs") for table in graph.tables("operators"))
            if readers > len(wanted) or number in self.outside:
                number = self.twin(number, q)
                for use in wanted:
                    self.rewire(use, number)
            self.grid(number, q)
            self.constant(number, packed(q.storage, quantized(values, q)))

    def insert(self, tensor: Tensor, uses: list[Use]) -> None:
        """A QUANTIZE behind a tensor that stays float, for those who want integers."""
        for use in uses:
            q = self.final(use)[0]
            if use.kind == "output":
                raise WriteError(f"{use.name} is what callers get back, and would be of another type")
            beside = next((other.name for other in tensor.uses if self.final(other)[:1] == (q,) == other.quantizers and q.dequantize is other.quantizers[0].dequantize is None), "")
            self.rewire(use, self.number(beside) if beside else self.quantize(self.number(tensor.name), q))

    def integer(self, tensor: Tensor, q: Quantizer) -> None:
        """A tensor whose maker writes integers from now on; floats only for those who still want them."""
        _writable(q)
        number = self.number(tensor.name)
        maker = self.operator(tensor.producer)
        new = self.twin(number, q)
        self.grid(new, q)
        outputs = maker.numbers("outputs")
        maker.changes["outputs"] = Vector.of("i", [new if one == number else one for one in outputs])
        orphans: list[Op] = []
        floats = number in self.outside or any(reader.op is not None and reader.op.bodies for reader in tensor.uses)
        for use in tensor.uses:
            final = self.final(use)
            if use.kind == "output":
                continue
            if final and (not use.quantizers or use.quantizers[-1].dequantize is None):
                if len(final) > 1:
                    raise WriteError(f"{use.name} would be quantized twice")
                self.rewire(use, new)
                orphans += [op for old in use.quantizers for op in (old.quantize,) if op is not None]
            else:
                floats = True
                orphans += [op for old in use.quantizers for op in (old.quantize, old.dequantize) if op is not None]
                if use.quantizers:
                    self.rewire(use, number)
        if floats or any(number in table.numbers("inputs") for table in self.operators if table not in [self.nodes[op.index] for op in orphans]):
            version = _READING.get(q.storage, 2)
            self.operators.insert(self.operators.index(maker) + 1, self.made("DEQUANTIZE", version, new, number))
        self.remove(orphans)

    def resize(self, use: Use, new: Sequence) -> None:
        """One quantizer more behind those that are there, or one less of equal ones."""
        old = use.quantizers
        native = all(q.dequantize is None for q in old)
        if native and len(new) == len(old) + 1 and new[:-1] == old and use.kind == "op":
            _writable(new[-1])
            self.rewire(use, self.quantize(self.number(use.name), new[-1]))
        elif native and old and new == old[:-1] and old[-1].quantize is not None and use.kind == "op":
            maker = old[-1].quantize
            self.rewire(use, self.operator(maker).numbers("inputs")[0])
            self.remove([maker])
        else:
            raise WriteError(f"qlint does not write {', then '.join(map(str, new)) or 'no quantizer'} in place of {', then '.join(map(str, old))} into TFLite files")

    def quantize(self, number: int, q: Quantizer) -> int:
        """What a QUANTIZE makes of a tensor, right behind it."""
        _writable(q)
        if (number, q) not in self.quantized:
            new = self.quantized[number, q] = self.twin(number, q)
            self.grid(new, q)
            maker = next((at for at, table in enumerate(self.operators) if number in table.numbers("outputs")), -1)
            self.operators.insert(maker + 1, self.made("QUANTIZE", _WRITING.get(q.storage, 1), number, new))
        return self.quantized[number, q]

    def twin(self, number: int, q: Quantizer) -> int:
        """Another tensor of the same shape."""
        old = self.tensors[number]
        name = f"{old.text('name')}_{q.storage}"
        while name in self.names:
            name += "_"
        new = Table(self.document, "Tensor", changes={"name": name})
        for vector in ("shape", "shape_signature"):
            if old.place(vector) or vector in old.changes:
                new.changes[vector] = Vector.of("i", old.numbers(vector))
        if old.number("has_rank"):
            new.changes["has_rank"] = True
        self.tensors.append(new)
        self.names[name] = [len(self.tensors) - 1]
        return len(self.tensors) - 1

    def rewire(self, use: Use, number: int) -> None:
        """Let an operator read another tensor in one of its slots."""
        if use.op is None:
            raise WriteError(f"{use.name} is what callers get back, and would be of another type")
        table = self.operator(use.op)
        inputs = table.numbers("inputs")
        inputs[use.slot] = number
        table.changes["inputs"] = Vector.of("i", inputs)

    def remove(self, ops: Iterable[Op]) -> None:
        """Quantizer operators without readers, and those in front that have none then; a reader elsewhere keeps one."""
        queue = [self.operator(op) for op in ops]
        while queue:
            table = queue.pop()
            read = {number for each in self.operators for number in each.numbers("inputs")} | self.outside
            if table in self.operators and read.isdisjoint(table.numbers("outputs")):
                self.operators.remove(table)

    # -- operator codes ---------------------------------------------------------------------------

    def made(self, native: str, version: int, source: int, target: int) -> Table:
        """A new operator of one input and one output."""
        number = next(int(n) for n, name in self.document.schema.enums["BuiltinOperator"].items() if name == native)
        code = self.code(number, version)
        return Table(self.document, "Operator", changes={"opcode_index": code, "inputs": Vector.of("i", [source]), "outputs": Vector.of("i", [target])})

    def code(self, number: int, version: int) -> int:
        """The operator code of a builtin operator, of that version or a later one."""
        for index, table in enumerate(self.codes):
            if max(table.number("deprecated_builtin_code"), table.number("builtin_code")) == number and table.number("version") >= version:
                return index
        self.codes.append(Table(self.document, "OperatorCode", changes={"deprecated_builtin_code": min(number, 127), "builtin_code": number, "version": version}))
        return len(self.codes) - 1

    def version(self, operator: Table, version: int) -> None:
        """An operator of at least this version."""
        code = self.codes[operator.number("opcode_index")]
        number = max(code.number("deprecated_builtin_code"), code.number("builtin_code"))
        if code.number("version") < version and not code.text("custom_code"):
            operator.changes["opcode_index"] = self.code(number, version)


def _writable(new: Quantizer, old: Quantizer | None = None) -> None:
    if new.grid != "affine" or new.scale is None or new.zero_point is None or new.granularity == "block" or new.dynamic or (old is not None and (old.read_as is not None or old.dynamic)):
        raise WriteError(f"qlint cannot write a quantizer that is {new}")
