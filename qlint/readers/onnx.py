"""ONNX files: the protobuf is walked in place, weights stay where they are.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Data, Dim, Model, Op, Shape, Tensor, Use
from qlint.readers import onnx_ops
from qlint.readers.data import DTYPES, Literal, Stored, bits, count, external
from qlint.readers.protobuf import LENGTH, VARINT, Buffer, Damaged, Span, fields, floats, packed, signed, text

MAX_NODES = 5_000_000
MAX_DEPTH = 32  # of control-flow bodies and function calls
# What passes a constant on without making it an activation: a weight behind any of these is still one.
_PASS_ON = {"DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze"}
_VALUE_TYPES = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}


def read_onnx(path: Path) -> Model:
    """The file's nodes, tensors and opset imports. Weights are lazy.

    Raises:
        ReadError: the file is damaged or truncated (at which offset), or holds no graph.
    """
    with path.open("rb") as file:
        try:
            buffer: Buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):
            buffer = file.read()
    try:
        return _File(path, buffer).model()
    except ReadError as error:
        error.subject = error.subject or str(path)
        error.hint = error.hint or "export or download it again"
        raise
    except RecursionError as error:
        raise ReadError("is nested too deeply to be a model", subject=str(path)) from error


@dataclass(slots=True)
class _Node:
    """A NodeProto: names and spans, nothing resolved."""

    op_type: str = ""
    name: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: list[Span] = field(default_factory=list)
    source: str = ""


@dataclass(slots=True)
class _Function:
    inputs: list[str]
    outputs: list[str]
    nodes: list[_Node]
    defaults: dict[str, Any]
    opsets: dict[str, int]


@dataclass
class _Scope:
    """One graph being filled: its tensors by name, and the scope around it."""

    model: Model
    opsets: dict[str, int]
    outer: _Scope | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    depth: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)  # attributes of the function call that is inlined

    def tensor(self, name: str) -> Tensor:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.tensors:
                return scope.tensors[name]
            scope = scope.outer
        tensor = self.tensors[name] = self.model.tensors[name] = Tensor(name)
        return tensor

    def own(self, name: str) -> Tensor:
        """A tensor that this graph defines, whatever the outer one has."""
        if name not in self.tensors:
            self.tensors[name] = self.model.tensors[name] = Tensor(name)
        return self.tensors[name]

    def is_constant(self, name: str) -> bool:
        return name in self.constants or (self.outer is not None and name not in self.tensors and self.outer.is_constant(name))


class _File:
    def __init__(self, path: Path, buffer: Buffer) -> None:
        self.path, self.buffer = path, buffer
        self.functions: dict[tuple[str, str], _Function] = {}
        self.count = 0

    # -- model ---------------------------------------------------------------------------------

    def model(self) -> Model:
        buffer = self.buffer
        model = Model(name=self.path.name, format="onnx")
        graph: Span | None = None
        for number, wire, a, b in fields(buffer, 0, len(buffer)):
            if number == 7 and wire == LENGTH:
                graph = (a, b)
            elif number == 8 and wire == LENGTH:
                domain, version = self._opset((a, b))
                model.opsets[domain] = version
            elif number == 1 and wire == VARINT:
                model.metadata["ir_version"] = str(a)
            elif number in (2, 3) and wire == LENGTH:
                model.producer = f"{model.producer} {text(buffer, a, b)}".strip()
            elif number == 14 and wire == LENGTH:
                key, value = self._pair((a, b))
                model.metadata[key] = value
            elif number == 25 and wire == LENGTH:
                self._function((a, b))
        if graph is None:
            raise ReadError("holds no graph", hint="it is no ONNX model, or it was cut off")
        scope = _Scope(model, model.opsets)
        self._graph(graph, scope)
        model.ops = model.nodes
        self._note_order(model)
        missing = {op.domain for op in model.nodes} - set(model.opsets) - {""}
        model.notes += [f"the domain {domain!r} is used but not imported" for domain in sorted(missing)]
        return model

    def _opset(self, span: Span) -> tuple[str, int]:
        domain, version = "", 0
        for number, _, a, b in fields(self.buffer, *span):
            if number == 1:
                domain = text(self.buffer, a, b)
            elif number == 2:
                version = signed(a)
        return "" if domain == "ai.onnx" else domain, version

    def _pair(self, span: Span) -> tuple[str, str]:
        found = {number: text(self.buffer, a, b) for number, wire, a, b in fields(self.buffer, *span) if wire == LENGTH}
        return found.get(1, ""), found.get(2, "")

    @staticmethod
    def _note_order(model: Model) -> None:
        made: set[int] = set()
        own = {id(t) for op in model.nodes for t in op.outputs}
        for op in model.nodes:
            if any(id(u.tensor) in own and id(u.tensor) not in made for u in op.uses.values()):
                model.notes.append(f"the nodes are not in topological order: {op.label} comes before what it reads")
                return
            made.update(id(t) for t in op.outputs)

    # -- graphs --------------------------------------------------------------------------------

    def _graph(self, span: Span, scope: _Scope) -> None:
        buffer, model = self.buffer, scope.model
        if scope.depth > MAX_DEPTH:
            raise ReadError(f"has graphs nested more than {MAX_DEPTH} deep")
        nodes: list[Span] = []
        inputs: list[Span] = []
        outputs: list[Span] = []
        infos: list[Span] = []
        for number, wire, a, b in fields(buffer, *span):
            if wire != LENGTH:
                continue
            if number == 1:
                nodes.append((a, b))
            elif number == 5:
                self._initializer((a, b), scope)
            elif number == 15:
                self._sparse((a, b), scope)
            elif number == 11:
                inputs.append((a, b))
            elif number == 12:
                outputs.append((a, b))
            elif number == 13:
                infos.append((a, b))
            elif number == 2 and not scope.depth:
                model.metadata.setdefault("graph", text(buffer, a, b))
            elif number == 14:
                model.metadata[f"quantization_annotation:{len(model.metadata)}"] = self._annotation((a, b))
        for one in inputs:
            tensor = self._value_info(one, scope)
            if tensor.data is None:  # before IR 4 initializers are listed as inputs too
                tensor.is_input = True
                model.inputs.append(tensor)
        for one in infos:
            self._value_info(one, scope)
        for one in nodes:
            self._add(self._node(one), scope)
        for slot, one in enumerate(outputs):
            tensor = self._value_info(one, scope, existing=True)
            use = Use(tensor, None, "output", slot, "output", (), tensor.name)
            tensor.uses.append(use)
            model.outputs.append(use)

    def _annotation(self, span: Span) -> str:
        name, pairs = "", []
        for number, wire, a, b in fields(self.buffer, *span):
            if wire == LENGTH and number == 1:
                name = text(self.buffer, a, b)
            elif wire == LENGTH and number == 2:
                pairs.append("=".join(self._pair((a, b))))
        return " ".join([name, *pairs])

    def _value_info(self, span: Span, scope: _Scope, existing: bool = False) -> Tensor:
        name, kind = "", None
        for number, wire, a, b in fields(self.buffer, *span):
            if number == 1 and wire == LENGTH:
                name = text(self.buffer, a, b)
            elif number == 2 and wire == LENGTH:
                kind = (a, b)
        tensor = scope.tensor(name) if existing else scope.own(name)
        if kind is not None:
            for number, wire, a, b in fields(self.buffer, *kind):
                if number == 1 and wire == LENGTH:
                    dtype, shape = self._tensor_type((a, b))
                    tensor.dtype = tensor.dtype or dtype
                    tensor.shape = shape if tensor.shape is None else tensor.shape
        return tensor

    def _tensor_type(self, span: Span) -> tuple[str, Shape | None]:
        dtype, shape = "", None
        for number, wire, a, b in fields(self.buffer, *span):
            if number == 1 and wire == VARINT:
                dtype = DTYPES.get(a, "")
            elif number == 2 and wire == LENGTH:
                shape = tuple(self._dim((c, d)) for n, w, c, d in fields(self.buffer, a, b) if n == 1 and w == LENGTH)
        return dtype, shape

    def _dim(self, span: Span) -> Dim:
        for number, wire, a, b in fields(self.buffer, *span):
            if number == 1 and wire == VARINT:
                return signed(a) if signed(a) >= 0 else None
            if number == 2 and wire == LENGTH:
                return text(self.buffer, a, b) or None
        return None

    # -- tensors -------------------------------------------------------------------------------

    def _initializer(self, span: Span, scope: _Scope) -> None:
        name, data = self._tensor(span)
        tensor = scope.own(name)
        tensor.data, tensor.dtype, tensor.shape = data, data.dtype, data.shape
        scope.constants.add(name)

    def _sparse(self, span: Span, scope: _Scope) -> None:
        """A SparseTensorProto: its values carry the name, its dims the dense shape."""
        dims: list[int] = []
        values: tuple[str, Data] | None = None
        for number, wire, a, b in fields(self.buffer, *span):
            if number == 1 and wire == LENGTH:
                values = self._tensor((a, b))
            elif number == 3:
                dims += packed(self.buffer, wire, a, b)
        if values is not None:
            name, data = values
            tensor = scope.own(name)
            tensor.data, tensor.dtype, tensor.shape = data, data.dtype, tuple(dims)
            scope.constants.add(name)

    def _tensor(self, span: Span) -> tuple[str, Data]:
        """(name, data) of a TensorProto; large fields are only referred to."""
        buffer = self.buffer
        dims: list[int] = []
        dtype, name, location = 1, "", 0
        raw: Span | None = None
        typed: list[tuple[int, int, int, int]] = []
        elsewhere: dict[str, str] = {}
        for number, wire, a, b in fields(buffer, *span):
            if number == 1:
                dims += packed(buffer, wire, a, b)
            elif number == 2:
                dtype = a
            elif number == 8:
                name = text(buffer, a, b)
            elif number == 9:
                raw = (a, b)
            elif number in (4, 5, 6, 7, 10, 11):
                typed.append((number, wire, a, b))
            elif number == 13:
                key, value = self._pair((a, b))
                elsewhere[key] = value
            elif number == 14:
                location = a
        kind, shape = DTYPES.get(dtype, f"type {dtype}"), tuple(dims)
        if any(d < 0 for d in shape):
            raise ReadError(f"is damaged: the constant {name!r} has the shape {list(shape)}")
        if location == 1 or (elsewhere and raw is None and not typed):
            return name, self._external(name, kind, shape, elsewhere)
        if typed:
            return name, _Typed(buffer, kind, shape, tuple(typed))
        start, end = raw or (0, 0)
        needed = -(-count(shape) * bits(kind) // 8)
        if end - start < needed:
            raise Damaged(f"is damaged: the constant {name!r} of shape {list(shape)} and type {kind} needs {needed} bytes and has {end - start}")
        return name, Stored(kind, shape, end - start, lambda: buffer[start:end], f"the constant {name!r}")

    def _external(self, name: str, dtype: str, shape: tuple[int, ...], entry: dict[str, str]) -> Data:
        size = -(-count(shape) * bits(dtype) // 8)
        try:
            offset, length = int(entry.get("offset") or 0), int(entry.get("length") or size)
        except ValueError as error:
            raise ReadError(f"is damaged: the external data of {name!r} has no valid offset or length") from error
        load = external(self.path.parent, entry.get("location", ""), offset, length, name)
        return Stored(dtype, shape, length, load, f"the external data of {name!r}")

    # -- nodes ---------------------------------------------------------------------------------

    def _node(self, span: Span) -> _Node:
        buffer, node = self.buffer, _Node()
        for number, wire, a, b in fields(buffer, *span):
            if wire != LENGTH:
                continue
            if number == 1:
                node.inputs.append(text(buffer, a, b))
            elif number == 2:
                node.outputs.append(text(buffer, a, b))
            elif number == 3:
                node.name = text(buffer, a, b)
            elif number == 4:
                node.op_type = text(buffer, a, b)
            elif number == 5:
                node.attributes.append((a, b))
            elif number == 7:
                node.domain = text(buffer, a, b)
            elif number == 9:
                key, value = self._pair((a, b))
                if key in ("pkg.torch.onnx.stack_trace", "namespace", "pkg.torch.onnx.name_scopes"):
                    node.source = node.source or value
        if node.domain == "ai.onnx":
            node.domain = ""
        return node

    def _add(self, node: _Node, scope: _Scope) -> None:
        function = self.functions.get((node.domain, node.op_type))
        if function is not None:
            self._inline(node, function, scope)
            return
        self.count += 1
        if self.count > MAX_NODES:
            raise ReadError(f"has more than {MAX_NODES} nodes")
        opset = scope.opsets.get(node.domain, 0)
        known = onnx_ops.schema(node.op_type, node.domain, opset)
        kind = onnx_ops.kind_of(node.op_type, node.domain)
        op = Op(
            index=len(scope.model.nodes), name=node.name, kind=kind,
            native=f"{node.domain}::{node.op_type}" if node.domain else node.op_type, domain=node.domain, opset=opset,
            since=known[0] if known else 0, source=node.source,
        )  # fmt: skip
        given = self._attributes(node, op, scope)
        if known:
            op.attrs = {**{k: v for k, v in known[2].items() if v is not None}, **given}
            op.unknown_attrs = tuple(name for name in given if name not in known[2])
        else:
            op.attrs = given
        specified = list(known[1]) if known else []
        names = onnx_ops.roles(node.op_type, node.domain, kind, len(node.inputs), specified)
        if kind == "matmul" and len(node.inputs) > 1 and "w" in names:
            weight = node.inputs[names.index("w")]
            if not scope.is_constant(weight):
                names = [name.replace("x", "lhs", 1) if name.startswith("x") else name.replace("w", "rhs", 1) if name.startswith("w") else name for name in names]
        for slot, name in enumerate(node.inputs):
            if name:
                tensor = scope.tensor(name)
                role = names[slot]
                use = Use(tensor, op, role, slot, "op", (), name)
                op.uses[role if role not in op.uses else f"{role}_{slot}"] = use
                tensor.uses.append(use)
        for name in node.outputs:
            tensor = scope.own(name) if name else Tensor("")
            tensor.producer = op
            op.outputs.append(tensor)
        while op.outputs and not op.outputs[-1].name:
            op.outputs.pop()
        if kind == "constant" and op.outputs:
            self._constant(op, scope)
        elif node.op_type in _PASS_ON and node.inputs and scope.is_constant(node.inputs[0]):
            scope.constants.update(node.outputs)
        scope.model.nodes.append(op)

    @staticmethod
    def _constant(op: Op, scope: _Scope) -> None:
        data: Any = op.attrs.get("value")
        for name, dtype in _VALUE_TYPES.items():
            if name in op.attrs:
                value = op.attrs[name]
                data = Literal(dtype, (len(value),), tuple(value)) if isinstance(value, list) else Literal(dtype, (), (value,))
        tensor = op.outputs[0]
        if isinstance(data, Data):
            tensor.data, tensor.dtype, tensor.shape = data, data.dtype, data.shape
        scope.constants.add(tensor.name)

    # -- attributes ----------------------------------------------------------------------------

    def _attributes(self, node: _Node, op: Op | None, scope: _Scope) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for span in node.attributes:
            name, value, bodies, reference = self._attribute(span)
            if reference:
                if reference in scope.arguments:
                    found[name] = scope.arguments[reference]
                continue
            if bodies and op is not None:
                for number, body in enumerate(bodies):
                    label = name if len(bodies) == 1 else f"{name}[{number}]"
                    inner = Model(name=f"{op.label}/{label}", format="onnx", opsets=scope.opsets)
                    self._graph(body, _Scope(inner, scope.opsets, scope, depth=scope.depth + 1, arguments=scope.arguments))
                    inner.ops = inner.nodes
                    op.bodies[label] = inner
                continue
            found[name] = value
        return found

    def _attribute(self, span: Span) -> tuple[str, Any, list[Span], str]:
        """(name, value, graphs, reference to an attribute of the enclosing function)."""
        buffer = self.buffer
        name, reference, kind = "", "", 0
        value: Any = None
        many: list[Any] = []
        graphs: list[Span] = []
        for number, wire, a, b in fields(buffer, *span):
            if number == 1:
                name = text(buffer, a, b)
            elif number == 20:
                kind = a
            elif number == 2:
                value = floats(buffer, a, b)[0]
            elif number == 3:
                value = signed(a)
            elif number == 4:
                value = text(buffer, a, b)
            elif number == 5:
                value = self._tensor((a, b))[1]
            elif number in (6, 11):
                graphs.append((a, b))
            elif number == 7:
                many += floats(buffer, a, b)
            elif number == 8:
                many += packed(buffer, wire, a, b)
            elif number == 9:
                many.append(text(buffer, a, b))
            elif number == 10:
                many.append(self._tensor((a, b))[1])
            elif number == 21:
                reference = text(buffer, a, b)
        if many or kind in (6, 7, 8, 9):
            value = many
        return name, value, graphs, reference

    # -- functions -----------------------------------------------------------------------------

    def _function(self, span: Span) -> None:
        buffer = self.buffer
        name = domain = ""
        function = _Function([], [], [], {}, {})
        for number, wire, a, b in fields(buffer, *span):
            if wire != LENGTH:
                continue
            if number == 1:
                name = text(buffer, a, b)
            elif number == 10:
                domain = text(buffer, a, b)
            elif number == 4:
                function.inputs.append(text(buffer, a, b))
            elif number == 5:
                function.outputs.append(text(buffer, a, b))
            elif number == 7:
                function.nodes.append(self._node((a, b)))
            elif number == 9:
                key, version = self._opset((a, b))
                function.opsets[key] = version
            elif number == 11:
                attribute, value, _, _ = self._attribute((a, b))
                function.defaults[attribute] = value
        self.functions["" if domain == "ai.onnx" else domain, name] = function

    def _inline(self, call: _Node, function: _Function, scope: _Scope) -> None:
        """The function's nodes in place of the call, named `CALL/NODE`."""
        if scope.depth > MAX_DEPTH:
            raise ReadError(f"has function calls nested more than {MAX_DEPTH} deep, or a function that calls itself")
        prefix = f"{call.name or next(iter(call.outputs), call.op_type)}/"
        renamed = dict(zip(function.inputs, call.inputs, strict=False))
        renamed |= dict.fromkeys(function.inputs[len(call.inputs):], "")
        renamed |= dict(zip(function.outputs, call.outputs, strict=False))
        arguments = {**function.defaults, **self._attributes(call, None, scope)}
        inner = _Scope(
            scope.model, {**scope.opsets, **function.opsets}, scope.outer, scope.tensors, scope.constants, scope.depth + 1, arguments
        )

        def name_of(name: str) -> str:
            return renamed.get(name, f"{prefix}{name}" if name else "")

        for node in function.nodes:
            inlined = _Node(
                node.op_type, prefix + (node.name or next(iter(node.outputs), "")), node.domain,
                [name_of(n) for n in node.inputs], [name_of(n) for n in node.outputs], node.attributes, node.source or call.source,
            )  # fmt: skip
            self._add(inlined, inner)


@dataclass(frozen=True, slots=True)
class _Typed:
    """A constant in the typed fields of a TensorProto (`float_data`, `int32_data` ...)."""

    buffer: Buffer
    dtype: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int, int, int], ...]

    @property
    def nbytes(self) -> int:
        return -(-count(self.shape) * bits(self.dtype) // 8)

    def values(self) -> tuple[Any, ...]:
        return tuple(self._numbers())[: count(self.shape)]

    def array(self) -> Any:
        return Literal(self.dtype, self.shape, self.values()).array()

    def _numbers(self) -> Iterator[Any]:
        import struct

        from qlint.readers.data import decode

        for number, wire, a, b in self.spans:
            if number in (4, 10):
                yield from floats(self.buffer, a, b, "f" if number == 4 else "d")
            elif number == 6:
                yield text(self.buffer, a, b)
            elif number in (7, 11):
                yield from packed(self.buffer, wire, a, b)
            else:  # int32_data also holds the bits of the smaller types
                codes = packed(self.buffer, wire, a, b)
                if self.dtype in ("int32", "int16", "int8", "uint16", "uint8", "bool"):
                    yield from (bool(c) for c in codes) if self.dtype == "bool" else codes
                elif self.dtype in ("float16", "bfloat16"):
                    raw = b"".join(struct.pack("<H", c & 0xFFFF) for c in codes)
                    yield from decode(raw, self.dtype, len(raw) // 2)
                else:  # 8 bits and less: each number holds one byte, which may hold several values
                    raw = bytes(c & 0xFF for c in codes)
                    yield from decode(raw, self.dtype, len(raw) * 8 // bits(self.dtype))
