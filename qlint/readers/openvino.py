"""OpenVINO IR: a .xml with the layers, and the .bin beside it with the constants, which stay there until someone asks.

Every layer is an op, except those that are something else in a graph: Parameter and Result are the model's inputs and
outputs, a Const is a tensor with data. Two spellings are read as what they mean. A constant of integers that goes through
Convert, Subtract and Multiply (the last two with constants), and perhaps a Reshape, is a weight that is dequantized: one
`dequantize` op, named like the Multiply, whose attribute `layers` names all of them. A constant that only gets its group
axis for a GroupConvolution stands in ONNX's layout there, as a weight with groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Data, Model, Op, Tensor, Use
from qlint.readers import openvino_ops as ops
from qlint.readers.data import File, Literal, Stored, size_of
from qlint.readers.openvino_xml import Layer, Net, Port, dimension, numbers, parse

MAX_LAYERS = 1_000_000
_GROUPED = {"GroupConvolution", "GroupConvolutionBackpropData"}
# Types that a compressed constant may have; nf4 is a codebook (QLoRA, arXiv 2305.14314, appendix E).
_INTEGERS = {"int8", "uint8", "int4", "uint4", "int2", "uint2", "int32", "int16", "uint16", "nf4", "float8e4m3fn", "float8e5m2", "float4e2m1"}
_AGAIN = "export or copy both files again"


def read_openvino(path: Path) -> Model:
    """The layers of an IR. The .bin is mapped when a constant is needed, and may be missing until then.

    Raises:
        ReadError: the .xml is damaged, hostile or no IR, or a constant lies outside of the .bin.
    """
    return _Reader(path).model()


class _Bin:
    """The file with the constants: mapped once, when the first one is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: File | None = None

    @property
    def size(self) -> int | None:
        return self.path.stat().st_size if self.path.is_file() else None

    def file(self) -> File:
        if self._file is None:
            try:
                self._file = File.of(self.path)
            except OSError as error:
                raise ReadError("cannot be read, and the constants of the model are there", subject=str(self.path), hint=_AGAIN) from error
        return self._file


@dataclass(slots=True, eq=False)
class Blob:
    """Bytes [offset, offset + nbytes) of the .bin."""

    dtype: str
    shape: tuple[int, ...]
    bin: _Bin
    offset: int
    nbytes: int
    where: str

    def values(self) -> tuple[Any, ...]:
        return self._stored().values()

    def array(self) -> Any:
        return self._stored().array()

    def _stored(self) -> Stored:
        file = self.bin.file()
        end = self.offset + self.nbytes
        if end > len(file.buffer):
            raise ReadError(f"{self.where} would lie at [{self.offset}, {end}) of a file of {len(file.buffer)} bytes", subject=str(self.bin.path), hint=_AGAIN)
        return Stored(self.dtype, self.shape, file, self.offset, end, self.where)


@dataclass(slots=True, eq=False)
class View:
    """The same elements in another shape."""

    data: Data
    shape: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def values(self) -> tuple[Any, ...]:
        return self.data.values()

    def array(self) -> Any:
        return self.data.array().reshape(self.shape)


@dataclass(slots=True)
class _Scope:
    """One network or body being filled: its model, and what each output port of each layer yields."""

    model: Model
    tensors: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    sources: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # input port → output port


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path, self.bin = path, _Bin(path.with_suffix(".bin"))
        self.bytes = self.bin.size
        self.count = 0
        self.notes: list[str] = []

    def model(self) -> Model:
        net = parse(self.path)
        model = Model(name=self.path.name, format="openvino", notes=self.notes)
        model.metadata = {"ir_version": net.attributes.get("version", ""), "graph": net.attributes.get("name", ""), **net.info}
        model.producer = f"OpenVINO {net.info.get('Runtime_version', '')}".strip()
        self._net(net, model)
        if self.bytes is None and any(isinstance(t.data, Blob) for t in model.tensors.values()):
            raise ReadError(f"needs {self.bin.path.name} beside it, where its constants are, and there is none", hint="copy the .bin next to the .xml, under the same name")
        return model

    # -- networks ------------------------------------------------------------------------------

    def _net(self, net: Net, model: Model) -> None:
        scope = _Scope(model)
        scope.sources = {(to_layer, to_port): (layer, port) for layer, port, to_layer, to_port in net.edges}
        self._check(net)
        for layer in net.layers:
            for port in layer.outputs:
                scope.tensors[layer.id, port.id] = self._tensor(layer, port, model)
            if layer.type == "Const":
                self._constant(layer, scope)
            elif layer.type == "Parameter":
                self._parameter(layer, scope)
        for layer in net.layers:
            if layer.type not in ("Const", "Parameter", "Result"):
                self._op(layer, scope)
        for layer in net.layers:
            if layer.type == "Result":
                self._result(layer, scope)
        self._decompressed(model)
        for number, op in enumerate(model.nodes):
            op.index = number
        model.ops = model.nodes

    def _check(self, net: Net) -> None:
        self.count += len(net.layers)
        if self.count > MAX_LAYERS:
            raise ReadError(f"has more than {MAX_LAYERS} layers")
        known = {layer.id for layer in net.layers}
        if len(known) < len(net.layers):
            raise ReadError("has two layers with the same id")
        for layer, port, to_layer, to_port in net.edges:
            if layer not in known or to_layer not in known:
                raise ReadError(f"has an edge from port {port} of layer {layer!r} to port {to_port} of layer {to_layer!r}, and no such layer")

    @staticmethod
    def _tensor(layer: Layer, port: Port, model: Model) -> Tensor:
        name = next(numbers(port.names), "") or (layer.name if len(layer.outputs) == 1 else f"{layer.name}:{port.id}")
        while name in model.tensors:
            name = f"{name}#{len(model.tensors)}"
        tensor = model.tensors[name] = Tensor(name, ops.TYPES.get(port.precision.lower(), port.precision.lower()), tuple(port.dims) if port.ranked else None)
        return tensor

    def _constant(self, layer: Layer, scope: _Scope) -> None:
        data = layer.data
        shape, offset, size = [dimension(part) for part in numbers(data.get("shape", ""))], dimension(data.get("offset", "")), dimension(data.get("size", ""))
        dtype = ops.TYPES.get(data.get("element_type", ""), data.get("element_type", ""))
        if not layer.outputs:
            raise ReadError(f"has the constant {layer.name!r} without an output port")
        if offset is None or size is None or None in shape:
            raise ReadError(f"has the constant {layer.name!r} without a place in the .bin: offset {data.get('offset')!r}, size {data.get('size')!r}, shape {data.get('shape')!r}", hint=_AGAIN)
        sizes = tuple(d for d in shape if d is not None)
        if dtype != "string" and size < size_of(dtype, sizes):
            raise ReadError(f"has the constant {layer.name!r} of shape {list(sizes)} and type {dtype}, which needs {size_of(dtype, sizes)} bytes and has {size}", hint=_AGAIN)
        if self.bytes is not None and offset + size > self.bytes:
            raise ReadError(f"has the constant {layer.name!r} at [{offset}, {offset + size}) of {self.bin.path.name}, a file of {self.bytes} bytes", hint=_AGAIN)
        tensor = scope.tensors[layer.id, layer.outputs[0].id]
        tensor.dtype, tensor.shape = dtype, sizes
        tensor.data = Blob(dtype, sizes, self.bin, offset, size, f"the constant {layer.name!r}") if size else Literal(dtype, sizes, ())

    @staticmethod
    def _parameter(layer: Layer, scope: _Scope) -> None:
        for port in layer.outputs:
            tensor = scope.tensors[layer.id, port.id]
            tensor.is_input = True
            scope.model.inputs.append(tensor)

    def _result(self, layer: Layer, scope: _Scope) -> None:
        for slot, tensor in enumerate(self._inputs(layer, scope)):
            use = Use(tensor, None, "output", slot, "output", (), tensor.name)
            tensor.uses.append(use)
            scope.model.outputs.append(use)

    def _inputs(self, layer: Layer, scope: _Scope) -> list[Tensor]:
        found: list[Tensor] = []
        for port in layer.inputs:
            source = scope.sources.get((layer.id, port.id))
            tensor = scope.tensors.get(source) if source is not None else None
            if tensor is None:
                raise ReadError(f"has nothing at input port {port.id} of {layer.name!r} ({layer.type})")
            found.append(tensor)
        return found

    # -- layers --------------------------------------------------------------------------------

    def _op(self, layer: Layer, scope: _Scope) -> None:
        model, inputs = scope.model, self._inputs(layer, scope)
        kind = ops.kind_of(layer.type, layer.version)
        known = layer.version.startswith("opset")
        if kind == "matmul" and len(inputs) == 2 and (inputs[1].constant or _reads_constant(inputs[1])) and inputs[1].rank == 2:
            kind = "linear"
        op = Op(len(model.nodes), layer.name, kind, layer.type, domain="" if known else layer.version, since=dimension(layer.version[5:]) or 0 if known else 0)
        op.attrs = ops.attributes(layer.data, kind, inputs)
        if layer.type in _GROUPED and len(inputs) > 1:
            self._group(op, inputs, model)
        roles = ops.roles(kind, len(inputs))
        if kind == "matmul" and len(inputs) == 2 and not inputs[1].constant and not _reads_constant(inputs[1]):
            roles = ["lhs", "rhs"]
        for slot, (role, tensor) in enumerate(zip(roles, inputs, strict=True)):
            use = op.uses[role] = Use(tensor, op, role, slot, "op", (), tensor.name)
            tensor.uses.append(use)
        for port in layer.outputs:
            tensor = scope.tensors[layer.id, port.id]
            tensor.producer = op
            op.outputs.append(tensor)
        for name, body in layer.nets.items():
            op.bodies[name] = Model(name=f"{layer.name}/{name}", format="openvino", notes=self.notes)
            self._net(body, op.bodies[name])
        if layer.maps:
            op.attrs["port_map"] = [{"is": tag, **attributes} for tag, attributes in layer.maps]
        op.source = layer.info.get("fused_names", {}).get("value", "")
        model.nodes.append(op)

    @staticmethod
    def _group(op: Op, inputs: list[Tensor], model: Model) -> None:
        """Weights of a grouped convolution are (G, O/G, I/G, ...), transposed ones (G, I/G, O/G, ...): in ONNX's layout G is not an axis."""
        weight = inputs[1]
        shape = weight.shape
        if shape is None or len(shape) < 3 or not all(isinstance(d, int) for d in shape):
            return
        sizes = [d for d in shape if isinstance(d, int)]
        op.attrs["group"] = sizes[0]
        merged = (sizes[0] * sizes[1], *sizes[2:])
        reshape = weight.producer
        if reshape is not None and reshape.kind == "reshape" and reshape.uses["x"].tensor.shape == merged and len(weight.uses) == 0:
            use = reshape.uses["x"]
            use.tensor.uses.remove(use)
            reshape.uses["shape"].tensor.uses.remove(reshape.uses["shape"])
            model.nodes.remove(reshape)
            inputs[1] = use.tensor
        elif weight.data is not None and not weight.uses:
            weight.data, weight.shape = View(weight.data, merged), merged

    # -- compressed weights -----------------------------------------------------------------------

    def _decompressed(self, model: Model) -> None:
        """Convert → Subtract? → Multiply behind a constant of integers become one `dequantize`."""
        gone: set[int] = set()
        for convert in model.nodes:
            if convert.kind != "cast" or convert.uses["x"].tensor.dtype not in _INTEGERS or not convert.uses["x"].tensor.constant:
                continue
            chain, zero_point = [convert], None
            subtract = _next(convert, "sub")
            if subtract is not None:
                zero_point = _stored(subtract.uses["rhs"].tensor)
                chain.append(subtract)
            multiply = _next(chain[-1], "mul")
            if multiply is None or (subtract is not None and zero_point is None):
                continue
            scale = _stored(multiply.uses["rhs"].tensor)
            if scale is None:
                continue
            gone.update(id(op) for op in chain)
            if subtract is not None and subtract.uses["rhs"].tensor.producer is not None:
                gone.add(id(subtract.uses["rhs"].tensor.producer))
            self._dequantize(multiply, convert.uses["x"].tensor, scale, zero_point, chain, model)
        for reshape in model.nodes:
            if reshape.kind == "reshape" and self._reshaped(reshape):
                gone.add(id(reshape))
        model.nodes[:] = [op for op in model.nodes if id(op) not in gone]

    @staticmethod
    def _reshaped(reshape: Op) -> bool:
        """A dequantized constant that only gets another shape is stored in that shape instead, if its channels stay an axis."""
        before, out = reshape.uses["x"], reshape.outputs[0]
        op = before.tensor.producer
        shape = tuple(d for d in out.shape or () if isinstance(d, int))
        if op is None or op.kind != "dequantize" or len(before.tensor.uses) != 1 or out.shape is None or len(shape) != len(out.shape):
            return False
        x = op.uses["x"]
        axis = _moved(op.attrs["axis"], x.tensor.shape, shape) if op.uses["scale"].tensor.shape else 0
        if axis is None or "block_size" in op.attrs or x.tensor.data is None:
            return False
        stored = Tensor(x.tensor.name, x.tensor.dtype, shape, View(x.tensor.data, shape))
        x.tensor.uses.remove(x)
        op.uses["x"] = Use(stored, op, "x", 0, "op", (), stored.name)
        stored.uses.append(op.uses["x"])
        if "shape" in reshape.uses:
            reshape.uses["shape"].tensor.uses.remove(reshape.uses["shape"])
        op.attrs = {**op.attrs, "axis": axis, "layers": [*op.attrs["layers"], reshape.name]}
        op.outputs = [out]
        out.producer = op
        return True

    def _dequantize(self, op: Op, x: Tensor, scale: Tensor, zero_point: Tensor | None, chain: list[Op], model: Model) -> None:
        for inner in chain:
            for use in inner.uses.values():
                if use in use.tensor.uses:
                    use.tensor.uses.remove(use)
        for use in op.uses.values():
            if use in use.tensor.uses:
                use.tensor.uses.remove(use)
        axis, block = _spread(scale.shape, x.shape)
        op.kind, op.attrs, op.uses = "dequantize", {"axis": axis, "layers": [inner.name for inner in (*chain, op)]}, {}
        if block:
            op.attrs["block_size"] = block
        for slot, (role, tensor) in enumerate((("x", x), ("scale", _flat(scale, model)), ("zero_point", zero_point and _flat(zero_point, model, x.dtype)))):
            if tensor is not None:
                use = op.uses[role] = Use(tensor, op, role, slot, "op", (), tensor.name)
                tensor.uses.append(use)


def _reads_constant(tensor: Tensor) -> bool:
    """Whether a tensor is computed from constants alone, by the few layers that stand behind weights."""
    op = tensor.producer
    depth = 0
    while op is not None and depth < 8:
        first = next(iter(op.uses.values()), None)
        if first is None or any(not use.tensor.constant and use.tensor.producer is None for use in op.uses.values()):
            return False
        if first.tensor.constant:
            return True
        op, depth = first.tensor.producer, depth + 1
    return False


def _next(op: Op, kind: str) -> Op | None:
    """The only reader of an op, if it is of this kind and takes it at its left."""
    uses = op.outputs[0].uses
    reader = uses[0].op if len(uses) == 1 else None
    return reader if reader is not None and reader.kind == kind and uses[0].role == "lhs" else None


def _stored(tensor: Tensor) -> Tensor | None:
    """The constant that a scale or zero point is; one that is only converted counts."""
    if tensor.data is not None:
        return tensor
    op = tensor.producer
    if op is not None and op.kind == "cast" and op.uses["x"].tensor.data is not None:
        return op.uses["x"].tensor
    return None


def _spread(scale: Any, x: Any) -> tuple[int, int]:
    """(axis, block size) of scales that are broadcast to `x`: along one axis, or in blocks along the axis of size 1 beside it."""
    if scale is None or x is None or math.prod(scale) == 1:
        return 0, 0
    padded = (1,) * (len(x) - len(scale)) + tuple(scale)
    varying = [i for i, size in enumerate(padded) if size != 1]
    if len(varying) == 1:
        return varying[0], 0
    shared = [i for i, size in enumerate(padded) if size == 1]
    return (shared[-1], int(x[shared[-1]])) if shared else (varying[-1], 1)


def _moved(axis: int, before: Any, after: tuple[int, ...]) -> int | None:
    """Where an axis is after a reshape: the one of its size with as many elements in front of it."""
    front = math.prod(before[:axis])
    return next((i for i, size in enumerate(after) if size == before[axis] and math.prod(after[:i]) == front), None)


def _flat(tensor: Tensor, model: Model, dtype: str = "") -> Tensor:
    """A scale or a zero point as one row of numbers, or as a single one."""
    data = tensor.data
    assert data is not None
    length = math.prod(data.shape)
    flat = Tensor(tensor.name, dtype or tensor.dtype, (length,) if length != 1 else ())
    flat.data = View(data, flat.shape)  # type: ignore[arg-type]
    return flat
