"""ONNX files: from the messages of a mapped file to a Model; every node is an op, weights stay where they are.

Functions of the model are put in place of their calls. The bodies of control-flow operators are filled once
the graph around them is complete, so that they find every tensor that they read from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, repeat, zip_longest
from pathlib import Path

from qlint.errors import ReadError
from qlint.graph import Data, Ignored, Model, Module, Op, Shape, Tensor, Use
from qlint.graph.order import data_flow
from qlint.readers import onnx_ops
from qlint.readers import onnx_proto as proto
from qlint.readers.data import DTYPES, File, Literal
from qlint.readers.protobuf import VARINT, Span, fields, key, signed, text

MAX_NODES = 1_000_000
MAX_UNROLLED = 200_000  # nodes that calls of functions may add
SMALL = 128  # bytes of an attribute that is likely to come again
MAX_DEPTH = 32  # of control-flow bodies and function calls
_VALUE_TYPES = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64",
                "value_string": "string", "value_strings": "string"}  # fmt: skip
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type")
_PLAIN = {"float", "int", "string", "floats", "ints", "strings"}  # attributes that point to nothing in the file
_LIKE = {"eye_like", "random_normal_like", "random_uniform_like", "bernoulli"}
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET, _PROPERTY, _FUNCTION = (
    key(1, VARINT), key(2), key(3), key(7), key(8), key(14), key(25),
)  # fmt: skip
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO, _ANNOTATION, _SPARSE_INITIALIZER = (
    key(number) for number in (1, 2, 5, 11, 12, 13, 14, 15)
)


def read_onnx(path: Path) -> Model:
    """The file's nodes, tensors and opset imports. Weights are lazy.

    Raises:
        ReadError: the file is damaged or truncated (at which offset), or holds no graph.
    """
    return _Reader(File.of(path)).model()


@dataclass(slots=True)
class _Scope:
    """One graph or function being filled: its tensors by name, and the scope around it."""

    model: Model
    opsets: dict[str, int]
    outer: _Scope | None = None
    depth: int = 0
    prefix: str = ""  # of the names in a function
    source: str = ""  # where the function call came from
    arguments: dict[str, tuple[proto.Attribute, _Scope]] = field(default_factory=dict)  # attributes of the function call, and where they stand
    tensors: dict[str, Tensor | None] = field(default_factory=dict)  # None: an input that the function call leaves out
    bodies: list[tuple[Op, str, Span, _Scope]] = field(default_factory=list)  # to be filled when the graph is complete

    def tensor(self, name: str) -> Tensor | None:
        """The tensor that a name means here."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.tensors:
                return scope.tensors[name]
            scope = scope.outer
        return self.own(name)

    def own(self, name: str) -> Tensor:
        """A tensor that this graph defines, whatever the outer one has."""
        tensor = self.tensors.get(name)
        if tensor is None:
            full, taken = self.prefix + name, self.model.tensors
            while full in taken:
                full = f"{full}#{len(taken)}"
            tensor = self.tensors[name] = taken[full] = Tensor(full)
        return tensor


class _Reader:
    def __init__(self, file: File) -> None:
        self.file, self.buffer = file, file.buffer
        self.functions: dict[tuple[str, str, str], proto.Function] = {}
        self.count = self.unrolled = 0
        self.incomplete = False  # whether a type is still to be told from what comes later: of an operator's results, or in its bodies
        self.sizes: dict[tuple[str, str, str], int] = {}
        self.notes: list[str] = []
        self.ignored: list[Ignored] = []
        self.sorts: dict[tuple[str, str, int, int], tuple[onnx_ops.Operator, tuple[str, ...]]] = {}  # with the roles of so many inputs
        self.attributes: dict[bytes, proto.Attribute] = {}
        self.modules: dict[str, Module] = {}

    # -- model ---------------------------------------------------------------------------------

    def model(self) -> Model:
        buffer = self.buffer
        model = Model(name=self.file.path.name, format="onnx", notes=self.notes, ignored=self.ignored)
        graph: Span | None = None
        ir_version = 0
        for found, a, b in fields(buffer, 0, len(buffer)):
            if found == _GRAPH:
                graph = (a, b)
            elif found == _OPSET:
                domain, version = proto.opset(buffer, (a, b))
                model.opsets[domain] = version
            elif found == _IR_VERSION:
                ir_version = signed(a)
            elif found in (_PRODUCER, _PRODUCER_VERSION):
                model.producer = f"{model.producer} {text(buffer, a, b)}".strip()
            elif found == _PROPERTY:
                name, value = proto.pair(buffer, (a, b))
                model.metadata[name] = value
                if rule := proto.ignoring(name):
                    self.ignored.append(Ignored("", rule, value))
            elif found == _FUNCTION:
                function = proto.function(buffer, (a, b))
                self.functions[function.domain, function.name, function.overload] = function
        if graph is None:
            raise ReadError("holds no graph", hint="it is no ONNX model, or it was cut off")
        model.metadata["ir_version"] = str(ir_version)
        model.modules = self.modules
        if not model.opsets and ir_version < 3:  # before IR 3 there were no opset imports
            model.opsets[""] = 1
        self._graph(graph, _Scope(model, model.opsets), overridable=ir_version >= 4)
        if self.incomplete:
            _complete_types(model)
        self._remarks(model)
        return model

    def _remarks(self, model: Model) -> None:
        used = {domain for _, domain, *_ in self.sorts}
        self.notes += [f"the domain {domain!r} is used but not imported" for domain in sorted(used - set(model.opsets))]
        newest = onnx_ops.newest_opset()
        if model.opsets.get("", 0) > newest:
            self.notes.append(f"opset {model.opsets['']} is newer than {newest}, the newest that this version of qlint knows")

    # -- graphs --------------------------------------------------------------------------------

    def _graph(self, span: Span, scope: _Scope, overridable: bool = False) -> None:
        """Fill a scope's model. Where `overridable`, an initializer that is an input too is only its default."""
        if scope.depth > MAX_DEPTH:
            raise ReadError(f"has graphs nested more than {MAX_DEPTH} deep")
        buffer, model = self.buffer, scope.model
        nodes: list[Span] = []
        inputs: list[Span] = []
        outputs: list[Span] = []
        infos: list[Span] = []
        for found, a, b in fields(buffer, *span):
            if found == _NODE:
                nodes.append((a, b))
            elif found == _INITIALIZER:
                self._initializer(proto.tensor(self.file, (a, b)), scope)
            elif found == _SPARSE_INITIALIZER:
                self._initializer(proto.sparse(self.file, (a, b)), scope)
            elif found == _INPUT:
                inputs.append((a, b))
            elif found == _OUTPUT:
                outputs.append((a, b))
            elif found == _VALUE_INFO:
                infos.append((a, b))
            elif found == _GRAPH_NAME and not scope.depth:
                model.metadata.setdefault("graph", text(buffer, a, b))
            elif found == _ANNOTATION:
                name, facts = proto.annotation(buffer, (a, b))
                model.annotations.setdefault(name, {}).update(facts)
        defaults = 0
        for one in inputs:
            tensor = self._typed(one, scope)
            if tensor.data is None:
                tensor.is_input = True
                model.inputs.append(tensor)
            elif overridable:
                tensor.overridable = True
                defaults += 1
        if defaults:
            self.notes.append(f"{defaults} initializers are graph inputs too: callers may replace them, so runtimes do not take them for constants")
        for one in infos:
            self._typed(one, scope)
        for a, b in nodes:
            self._add(proto.node(buffer, a, b), scope)
        for slot, one in enumerate(outputs):
            name, dtype, shape = proto.value_info(buffer, one)
            tensor = scope.tensor(name) or scope.own(name)
            _declare(tensor, dtype, shape)
            use = Use(tensor, None, "output", slot, "output", (), tensor.name)
            tensor.uses.append(use)
            model.outputs.append(use)
        model.ops = model.nodes
        for op, label, body, inside in scope.bodies:
            inner = op.bodies[label] = Model(name=f"{op.label}/{label}", format="onnx", opsets=inside.opsets, notes=self.notes)
            self._graph(body, _Scope(inner, inside.opsets, inside, inside.depth + 1, inside.prefix, inside.source, inside.arguments))

    def _typed(self, span: Span, scope: _Scope) -> Tensor:
        """The tensor of a ValueInfoProto of this graph."""
        name, dtype, shape = proto.value_info(self.buffer, span)
        tensor = scope.own(name)
        _declare(tensor, dtype, shape)
        return tensor

    def _initializer(self, named: tuple[str, Data], scope: _Scope) -> None:
        name, data = named
        tensor = scope.own(name)
        if tensor.data is not None:
            self.notes.append(f"the initializer {name!r} is there twice")
        tensor.data, tensor.dtype, tensor.shape = data, data.dtype, data.shape

    # -- nodes ---------------------------------------------------------------------------------

    def _add(self, node: proto.Node, scope: _Scope) -> None:
        function = self.functions.get((node.domain, node.op_type, node.overload)) if self.functions else None
        if function is not None:
            self._inline(node, function, scope)
            return
        self.count += 1
        if self.count > MAX_NODES:
            raise ReadError(f"has more than {MAX_NODES} nodes")
        domain, names = node.domain, node.inputs
        opset = scope.opsets.get(domain, 0)
        sort = (node.op_type, domain, opset, len(names))
        if sort not in self.sorts:
            known = onnx_ops.operator(node.op_type, domain, opset)
            self.sorts[sort] = known, onnx_ops.roles(known.native, known.kind, known.inputs, len(names))
        known, roles = self.sorts[sort]
        nodes, tensors = scope.model.nodes, scope.tensors
        uses: dict[str, Use] = {}
        outputs: list[Tensor] = []
        op = Op(
            len(nodes), scope.prefix + node.name if node.name else "", known.kind, known.native, known.defaults.copy(), uses, outputs, domain, opset,
            known.since, (), node.source or scope.source, "", {}, known.dialect,
        )  # fmt: skip
        nodes.append(op)
        for path, cls in node.calls() if node.classes else ():
            op.module = path
            self.modules.setdefault(path, Module(cls))
        for slot, name in enumerate(names):
            tensor = (tensors.get(name) or scope.tensor(name)) if name else None
            if tensor is not None:
                role = roles[slot]
                use = uses[role] = Use(tensor, op, role, slot, "op", (), tensor.name)
                tensor.uses.append(use)
        for name in node.outputs:
            tensor = (tensors.get(name) or scope.own(name)) if name else Tensor("")
            if tensor.producer is not None or tensor.data is not None:
                self.notes.append(f"the tensor {name!r} is made twice, the second time by {node.name or node.op_type!r}")
            tensor.producer = op
            outputs.append(tensor)
        while outputs and not outputs[-1].name:
            outputs.pop()
        for span in node.attributes:
            self._attribute(span, known, op, scope)
        for rule, reason in node.ignored:
            self.ignored.append(Ignored(op.label, rule, reason))
        if known.outputs:
            _type_outputs(op, known.outputs)
        if known.kind == "constant" and outputs:
            _constant(op)
        for tensor in outputs:
            if not tensor.dtype:
                self.incomplete = True

    def _attribute(self, span: Span, known: onnx_ops.Operator, op: Op, scope: _Scope) -> None:
        one, inside = self._referenced(self._parsed(span), scope)
        if one is None:
            return
        wanted = known.types.get(name := one.name)
        if known.since and one.type != wanted:
            op.unknown_attrs = (*op.unknown_attrs, name)
            if wanted is not None:
                self.notes.append(f"{op.label}: the attribute {name!r} is of type {one.type or 'none'}, not {wanted}, and is taken as absent")
                return
        if not one.graphs:
            op.attrs[name] = list(one.value) if isinstance(one.value, list) else one.value
        self.incomplete = self.incomplete or bool(one.graphs)
        for number, body in enumerate(one.graphs):
            scope.bodies.append((op, name if one.type == "graph" else f"{name}[{number}]", body, inside))

    def _parsed(self, span: Span) -> proto.Attribute:
        """An attribute; small ones repeat from node to node and are parsed once."""
        start, end = span
        if end - start > SMALL:
            return proto.attribute(self.file, span)
        raw = self.buffer[start:end]
        one = self.attributes.get(raw)
        if one is None:
            one = proto.attribute(self.file, span)
            if one.type in _PLAIN:
                self.attributes[raw] = one
        return one

    @staticmethod
    def _referenced(one: proto.Attribute, scope: _Scope) -> tuple[proto.Attribute | None, _Scope]:
        """The attribute, and the scope of its graphs; one that refers to the function's call is taken from there, if it is given."""
        if not one.reference:
            return one, scope
        given, outside = scope.arguments.get(one.reference, (None, scope))
        return (None if given is None else replace(given, name=one.name)), outside

    # -- functions -----------------------------------------------------------------------------

    def _inline(self, call: proto.Node, function: proto.Function, scope: _Scope) -> None:
        """The function's nodes in place of the call, named `CALL/NODE`."""
        if scope.depth > MAX_DEPTH:
            raise ReadError(f"has function calls nested more than {MAX_DEPTH} deep")
        if not scope.prefix:
            self.unrolled += self._size(function, ())
            if self.unrolled > MAX_UNROLLED:
                raise ReadError(f"has function calls that stand for more than {MAX_UNROLLED} nodes", hint="it is no sensible model")
        inner = _Scope(
            scope.model, {**scope.opsets, **function.opsets}, None, scope.depth + 1,
            f"{scope.prefix}{call.name or next(filter(None, call.outputs), call.op_type)}/", call.source or scope.source, bodies=scope.bodies,
        )  # fmt: skip
        for span in (*function.defaults, *call.attributes):
            one, outside = self._referenced(proto.attribute(self.file, span), scope)
            if one is not None:
                inner.arguments[one.name] = one, outside
        given = [scope.tensor(name) if name else None for name in call.inputs]
        inner.tensors.update(zip_longest(function.inputs, given[: len(function.inputs)]))
        inner.tensors.update((name, scope.own(out)) for name, out in zip(function.outputs, call.outputs, strict=False) if out)
        for span in function.infos:
            self._typed(span, inner)
        for node in function.nodes:
            self._add(node, inner)

    def _size(self, function: proto.Function, calling: tuple[tuple[str, str, str], ...]) -> int:
        """How many nodes a call stands for, those of the functions that it calls included."""
        identity = function.domain, function.name, function.overload
        if identity in calling or len(calling) > MAX_DEPTH:
            raise ReadError(f"has a function {function.name!r} that calls itself, or calls nested more than {MAX_DEPTH} deep")
        if identity not in self.sizes:
            total = 0
            for node in function.nodes:
                for called in proto.operators(self.file, node):
                    inner = self.functions.get(called)
                    total += 1 if inner is None else self._size(inner, (*calling, identity))
            self.sizes[identity] = total
        return self.sizes[identity]


def _declare(tensor: Tensor, dtype: str, shape: Shape | None) -> None:
    """What a ValueInfoProto says; it does not overrule what is known."""
    tensor.dtype = tensor.dtype or dtype
    tensor.shape = shape if tensor.shape is None else tensor.shape


def _type_outputs(op: Op, types: tuple[str | int | None, ...]) -> None:
    """The dtypes of an op's outputs, by its specification: fixed, an input's, or what an attribute says."""
    for tensor, told in zip(op.outputs, chain(types, repeat(types[-1])), strict=False) if types else ():
        if not tensor.dtype:
            tensor.dtype = (_input_type(op, told) if isinstance(told, int) else told) or _asked_type(op) or _default_type(op)


def _input_type(op: Op, slot: int) -> str:
    for use in op.uses.values():
        if use.slot == slot:
            return use.tensor.dtype
    return ""


def _asked_type(op: Op) -> str:
    return next((DTYPES[n] for name in _TYPE_ATTRIBUTES if isinstance(n := op.attrs.get(name), int) and n in DTYPES), "")


def _complete_types(model: Model) -> None:
    """Once more along the data: what control flow hands out has the type that its bodies give it."""
    for op in data_flow(model.nodes):
        for body in op.bodies.values():
            _complete_types(body)
            for tensor, use in zip(op.outputs, body.outputs[op.kind == "loop" :], strict=False):  # a loop's first one is its condition
                tensor.dtype = tensor.dtype or use.tensor.dtype
        _type_outputs(op, onnx_ops.operator(op.native.rpartition("::")[2], op.domain, op.opset).outputs)


def _default_type(op: Op) -> str:
    """What an operator makes when neither an attribute nor an input says it."""
    if op.kind == "quantize":
        return "uint8"  # ONNX and ONNX Runtime: neither a zero point nor `output_dtype`
    if op.kind == "dequantize":
        return _input_type(op, 1)
    if op.kind == "constant_of_shape":
        value = op.attrs.get("value")
        return value.dtype if isinstance(value, Data) else "float32"
    return _input_type(op, 0) if op.kind in _LIKE else "float32" if op.native == "com.microsoft::QGemm" else ""


def _constant(op: Op) -> None:
    """The value of a Constant node, onto its output."""
    name = next((name for name in ("value", "sparse_value", *_VALUE_TYPES) if name in op.attrs), "")
    data = op.attrs.get(name)
    if name in _VALUE_TYPES:
        data = Literal(_VALUE_TYPES[name], (len(data),), tuple(data)) if isinstance(data, list) else Literal(_VALUE_TYPES[name], (), (data,))
    if isinstance(data, Data):
        out = op.outputs[0]
        out.data, out.dtype, out.shape = data, data.dtype, data.shape
