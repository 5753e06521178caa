"""TFLite files: from the tables of a mapped flatbuffer to a Model; every operator is a node, weights stay where they are.

The grid of a quantized tensor stands on the tensor. An activation that is fused into an operator becomes an op of its
own behind it, over a tensor without a grid, as other formats spell it; `nodes` has the operators as the file has them.
Subgraphs that an operator calls are its bodies.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Data, Model, Op, Quantizer, Shape, Tensor, Use
from qlint.readers import tflite_ops
from qlint.readers.data import External, File, Literal, Stored, bits, size_of
from qlint.readers.flatbuffer import Flatbuffer, Span, Table, tflite_schema
from qlint.readers.tflite_data import Dense, Strings
from qlint.readers.tflite_quantization import fake_grid, grid_of, hybrid

MAX_NODES = 1_000_000
MAX_DEPTH = 32  # of subgraphs that call each other
MAX_RANK = 64
MAX_SMALL = 4096  # elements of a constant that is looked at here: axes, paddings, permutations
_VERSION = 3
# TensorType → dtype, where that is not the name in small letters.
_DTYPES = {"FLOAT8_E4M3FN": "float8e4m3fn", "FLOAT8_E5M2": "float8e5m2"}
# What the graph of a file of so many bytes may take: an operator counts as 8, a tensor as 4, what an operator names as 1.
_PER_BYTE, _ALLOWANCE = 0.5, 1 << 15


def read_tflite(path: Path) -> Model:
    """The file's operators and tensors, those of the subgraphs that it calls included. Weights are lazy.

    Raises:
        ReadError: the file is damaged or truncated (at which offset), or holds no graph.
    """
    return _Reader(File.of(path)).model()


@dataclass(slots=True)
class _Scope:
    """One subgraph being filled."""

    model: Model
    prefix: str  # of the names of its operators
    tensors: list[Tensor]
    operators: int

    def tensor(self, index: int, what: str) -> Tensor:
        if not 0 <= index < len(self.tensors):
            raise ReadError(f"{what} would be the tensor {index} of {len(self.tensors)}")
        return self.tensors[index]


class _Reader:
    def __init__(self, file: File) -> None:
        self.file = file
        self.flat = Flatbuffer(file, tflite_schema())
        self.root = self.flat.root("Model")
        self.subgraphs: list[Table] = self.root["subgraphs"] or []
        self.buffers: list[Table] = self.root["buffers"] or []
        self.external: dict[int, Table] = {one["id"]: one for one in self.root["external_buffers"] or ()}
        self.codes = [*self._codes()]
        self.grids: dict[tuple[int, str], Quantizer | None] = {}
        self.notes: list[str] = []
        self.calling: list[int] = []
        self.called: set[int] = set()
        self.count = 0
        self.left = _ALLOWANCE + _PER_BYTE * len(file.buffer)

    # -- model ---------------------------------------------------------------------------------

    def model(self) -> Model:
        if not self.subgraphs:
            raise ReadError("holds no graph", hint="it is no TFLite model, or it was cut off")
        version = self.root["version"]
        if version != _VERSION:
            self.notes.append(f"the schema version is {version}; runtimes load version {_VERSION} only")
        model = Model(self.file.path.name, "tflite", self.root["description"] or "", notes=self.notes)
        model.metadata.update({"schema_version": str(version), **dict(self._metadata())})
        self._graph(0, model, "")
        self._remarks(model)
        return model

    def _metadata(self) -> Iterator[tuple[str, str]]:
        """Entries that are short texts, of others their size; and which subgraph each signature starts."""
        for one in self.root["metadata"] or ():
            span = self._bytes(one["buffer"])
            raw = self.file.buffer[span.start : span.end].rstrip(b"\0") if span is not None and span.size <= 64 else b""
            text = raw.decode("ascii", "replace")
            yield one["name"] or "", text if text and text.isascii() and text.isprintable() else f"{0 if span is None else span.size} bytes"
        for one in self.root["signature_defs"] or ():
            yield f"signature:{one['signature_key'] or ''}", f"subgraph {one['subgraph_index']}"

    def _remarks(self, model: Model) -> None:
        compiled = Counter(op.attrs["compiled_for"] for op in model.walk() if "compiled_for" in op.attrs)
        if compiled:
            model.metadata["compiled_for"] = ", ".join(compiled)
        others = {i: len(graph["operators"] or ()) for i, graph in enumerate(self.subgraphs) if i not in self.called}
        if any(others.values()):
            named = ", ".join(self.subgraphs[i]["name"] or str(i) for i in [*others][:8])
            self.notes.append(f"no operator calls the subgraphs {named}, with {sum(others.values())} operators: they are entry points of their own and not looked at")

    def _codes(self) -> Iterator[tuple[str, str, int]]:
        """(name, domain, version) of each operator code. A builtin one is the larger of two fields, as the older ended at 127."""
        names = self.flat.schema.enums["BuiltinOperator"]
        numbers = {name: number for number, name in names.items()}
        for code in self.root["operator_codes"] or ():
            number = max(code["deprecated_builtin_code"], numbers.get(code["builtin_code"], code["builtin_code"]))
            name, domain = names.get(number, f"BUILTIN_{number}"), ""
            if name == "CUSTOM":
                name = code["custom_code"] or name
                domain = "flex" if name.startswith("Flex") else "custom"
            yield name, domain, code["version"]

    def _spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise ReadError("has a graph that is many times the size of the file: its operators share their parts", hint="it is no sensible model")

    # -- graphs --------------------------------------------------------------------------------

    def _graph(self, index: int, model: Model, prefix: str) -> None:
        """Fill a model with a subgraph."""
        if not 0 <= index < len(self.subgraphs):
            raise ReadError(f"calls the subgraph {index} of {len(self.subgraphs)}")
        if index in self.calling or len(self.calling) >= MAX_DEPTH:
            raise ReadError(f"has a subgraph {index} that calls itself, or calls nested more than {MAX_DEPTH} deep")
        self.calling.append(index)
        self.called.add(index)
        graph = self.subgraphs[index]
        if graph["name"] is not None:
            model.metadata["graph"] = graph["name"]
        tables: list[Table] = graph["tensors"] or []
        operators: list[Table] = graph["operators"] or []
        self.count += len(operators)
        if self.count > MAX_NODES:
            raise ReadError(f"has more than {MAX_NODES} operators")
        self._spend(4 * len(tables) + 8 * len(operators))
        scope = _Scope(model, prefix, [self._tensor(number, table, model) for number, table in enumerate(tables)], len(operators))
        for tensor, table in zip(scope.tensors, tables, strict=True):
            tensor.quantizer = self._quantizer(table["quantization"], tensor, scope)
        for number in self._listed(graph["inputs"]):
            tensor = scope.tensor(number, "an input")
            tensor.is_input = True
            model.inputs.append(tensor)
            signature = tables[number]["shape_signature"]
            if signature is not None and min(signature, default=0) < 0:
                model.metadata[f"shape_signature:{tensor.name}"] = str([*signature])
        for number, table in enumerate(operators):
            self._operator(number, table, scope)
        for slot, number in enumerate(self._listed(graph["outputs"])):
            tensor = scope.tensor(number, "an output")
            use = Use(tensor, None, "output", slot, "output", (), tensor.name)
            tensor.uses.append(use)
            model.outputs.append(use)
        for tensor in scope.tensors:  # a constant of no elements needs no buffer
            if tensor.size == 0 and tensor.producer is None and tensor.data is None and not tensor.is_input and not tensor.variable:
                tensor.data = Literal(tensor.dtype, _numbers(tensor.shape), ())
        self.calling.pop()

    def _listed(self, indices: Sequence[int] | None) -> Sequence[int]:
        """The indices of a vector, which cost what is made of them."""
        self._spend(len(indices or ()))
        return indices or ()

    # -- tensors -------------------------------------------------------------------------------

    def _tensor(self, number: int, table: Table, model: Model) -> Tensor:
        name = _unused(table["name"] or f"tensor:{number}", number, model)
        kind = table["type"]
        dtype = _DTYPES.get(kind, kind.lower()) if isinstance(kind, str) else f"type {kind}"
        tensor = model.tensors[name] = Tensor(name, dtype, self._shape(table, name), variable=table["is_variable"])
        tensor.data = self._data(table, tensor)
        if tensor.data is not None:
            tensor.shape = tensor.data.shape
        return tensor

    @staticmethod
    def _shape(table: Table, name: str) -> Shape | None:
        """What a runtime allocates if nobody resizes an input; no dimensions may mean a scalar or an unknown rank."""
        shape = table["shape"] or ()
        if len(shape) > MAX_RANK:
            raise ReadError(f"the tensor {name!r} has {len(shape)} dimensions, more than {MAX_RANK}")
        if not len(shape) and not table["has_rank"]:
            return None
        return tuple(d if d >= 0 else None for d in shape)

    def _data(self, table: Table, tensor: Tensor) -> Data | None:
        """The constant that a tensor is: in the flatbuffer, behind it, or in another file; None if it is none."""
        dims, where = _numbers(table["shape"]), f"the tensor {tensor.name!r}"
        if table["external_buffer"]:
            one = self.external.get(table["external_buffer"])
            groups = self.root["external_buffer_groups"] or []
            if one is None or one["group"] >= len(groups):
                raise ReadError(f"the data of {where} would lie in the external buffer {table['external_buffer']}, which is not there")
            return External(tensor.dtype, dims, self.file, groups[one["group"]]["name"] or "", one["offset"], one["length"], where)
        span = self._bytes(table["buffer"])
        if span is None or tensor.variable:
            return None
        if tensor.dtype == "string":
            return Strings(dims, self.file, span, where)
        if table["sparsity"] is None and size_of(tensor.dtype, dims) > span.size:
            raise ReadError(f"{where} of shape {list(dims)} and type {tensor.dtype} needs {size_of(tensor.dtype, dims)} bytes and has {span.size}")
        if table["sparsity"] is not None:
            count = span.size * 8 // max(bits(tensor.dtype), 1)
            return Dense(dims, Stored(tensor.dtype, (count,), self.file, span.start, span.end, where), table["sparsity"])
        return Stored(tensor.dtype, dims, self.file, span.start, span.end, where)

    def _bytes(self, index: int) -> Span | None:
        """What a buffer holds; None if nothing. In files above 2 GB it lies behind the flatbuffer, at an offset that is above 1."""
        if index >= len(self.buffers):
            raise ReadError(f"uses the buffer {index} of {len(self.buffers)}")
        buffer = self.buffers[index]
        return self._outside(buffer["offset"], buffer["size"]) or (buffer["data"] if buffer["data"] is not None and buffer["data"].size else None)

    def _outside(self, offset: int, size: int) -> Span | None:
        if offset <= 1:
            return None
        self.flat.check(offset, size, "a buffer behind the flatbuffer")
        return Span(offset, offset + size)

    def _quantizer(self, parameters: Table | None, tensor: Tensor, scope: _Scope) -> Quantizer | None:
        if parameters is None:
            return None
        if parameters["details"] is not None:  # of tensors of this subgraph
            return grid_of(parameters, tensor.dtype, tensor.shape, scope.tensors)
        key = id(parameters), tensor.dtype
        if key not in self.grids:
            self.grids[key] = grid_of(parameters, tensor.dtype, tensor.shape, scope.tensors)
        return self.grids[key]

    # -- operators -----------------------------------------------------------------------------

    def _operator(self, number: int, table: Table, scope: _Scope) -> None:
        if table["opcode_index"] >= len(self.codes):
            raise ReadError(f"the operator {number} is of the code {table['opcode_index']} of {len(self.codes)}")
        native, domain, version = self.codes[table["opcode_index"]]
        kind = "custom" if domain or native.startswith("BUILTIN_") else tflite_ops.kind_of(native)
        name = f"{scope.prefix}{native}:{number}"
        op = Op(number, name, kind, native, domain=domain, opset=version, since=0 if kind == "custom" else version)
        scope.model.nodes.append(op)
        scope.model.ops.append(op)
        inputs = self._listed(table["inputs"])
        for slot, (role, index) in enumerate(zip(tflite_ops.roles(native, kind, len(inputs)), inputs, strict=True)):
            if index != -1:
                tensor = scope.tensor(index, f"an input of {name}")
                use = op.uses[role] = Use(tensor, op, role, slot, "op", (), tensor.name)
                tensor.uses.append(use)
        options = self._options(table)
        shapes = {role: use.tensor.shape for role, use in op.uses.items()}
        op.attrs = {**options, **tflite_ops.translated(native, options, shapes, _constants(op))}
        if table["intermediates"]:  # scratch tensors, which hold quantization parameters
            op.attrs["intermediates"] = [scope.tensor(index, f"an intermediate of {name}").name for index in self._listed(table["intermediates"])]
        outputs = [scope.tensor(index, f"an output of {name}") if index != -1 else Tensor("") for index in self._listed(table["outputs"])]
        op.source = next((tensor.name for tensor in outputs), "")
        self._make(op, outputs, scope)
        if kind == "custom" and native in tflite_ops.COMPILED:
            op.attrs["compiled_for"] = tflite_ops.COMPILED[native]
        if kind == "dequantize" and "x" in op.uses and op.uses["x"].tensor.dtype == "float16":
            op.kind = "cast"  # of weights that are stored as float16
        if native == "FAKE_QUANT" and outputs:
            op.kind, outputs[0].quantizer = "fake_quantize", fake_grid(op)
        dynamic = hybrid(op)
        if dynamic is not None:
            op.uses["x"].quantizers = (dynamic,)
        self._bodies(options, op, scope)

    def _options(self, table: Table) -> dict[str, Any]:
        """The options under their own names; those of custom operators are bytes that nobody looks at."""
        found: dict[str, Any] = {**(table["builtin_options"] or {}), **(table["builtin_options_2"] or {})}
        span = self._outside(table["large_custom_options_offset"], table["large_custom_options_size"]) or table["custom_options"]
        if span is not None:
            found["custom_options"] = span
        for name, value in found.items():
            if isinstance(value, Span):
                found[name] = Stored("uint8", (value.size,), self.file, value.start, value.end, f"the option {name}")
        return found

    def _make(self, op: Op, outputs: list[Tensor], scope: _Scope) -> None:
        """Outputs onto an op; those of its fused activation if it has one."""
        name = op.attrs.get("fused_activation_function")
        if name in tflite_ops.ACTIVATIONS and op.native in tflite_ops.FUSING and outputs:
            self._spend(9)
            kind, attrs = tflite_ops.ACTIVATIONS[name]
            between = _unused(op.name, op.index, scope.model)
            inner = scope.model.tensors[between] = Tensor(between, outputs[0].dtype, outputs[0].shape)
            added = len(scope.model.ops) - len(scope.model.nodes)
            act = Op(scope.operators + added, f"{op.name}/{name}", kind, name, dict(attrs), opset=op.opset, since=op.since, source=op.source, fused=True)
            act.uses["x"] = Use(inner, act, "x", 0, "op", (), inner.name)
            inner.uses.append(act.uses["x"])
            scope.model.ops.append(act)
            self._make(act, outputs[:1], scope)
            outputs = [inner, *outputs[1:]]
        op.outputs = outputs
        for tensor in outputs:
            if tensor.producer is not None or tensor.data is not None:
                self.notes.append(f"the tensor {tensor.name!r} is made twice, the second time by {op.label}")
            tensor.producer = op

    def _bodies(self, options: dict[str, Any], op: Op, scope: _Scope) -> None:
        """The subgraphs that an operator calls; each call has its own copy."""
        called: dict[str, int] = {}
        for name, value in options.items():
            if name == "subgraph" or name.endswith("_subgraph_index"):
                called[name.removesuffix("_subgraph_index")] = value
            elif (name.endswith("_subgraph_indices") or name == "called_computations") and value is not None:
                called |= {f"{name.removesuffix('_subgraph_indices')}[{i}]": index for i, index in enumerate(self._listed(value))}
        for label, index in called.items():
            body = op.bodies[label] = Model(f"{op.label}/{label}", "tflite", notes=self.notes)
            graph = self.subgraphs[index] if 0 <= index < len(self.subgraphs) else {}
            self._graph(index, body, f"{scope.prefix}{graph.get('name') or f'subgraph {index}'}/")


def _unused(name: str, number: int, model: Model) -> str:
    """A name that no tensor of the model has."""
    while name in model.tensors:
        name = f"{name}:{number}"
    return name


def _numbers(shape: Sequence[Any] | None) -> tuple[int, ...]:
    """The dimensions of a constant; one that is no number above 0 holds nothing."""
    return tuple(d if isinstance(d, int) and d > 0 else 0 for d in shape or ())


def _constants(op: Op) -> tflite_ops.Values:
    def values(role: str) -> Sequence[Any] | None:
        data = op.uses[role].tensor.data if role in op.uses else None
        small = isinstance(data, Stored) and math.prod(data.shape) <= MAX_SMALL and data.dtype in ("int32", "int64")
        return data.values() if data is not None and small else None

    return values
