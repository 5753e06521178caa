"""A case of a rule, which is a model in memory, as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from qlint.graph import Model, Quantizer, Use

TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "uint4": 21, "int4": 22,
}  # fmt: skip


class Unwritable(Exception):
    """The case has no form as a file."""


def write(model: Model, path: Path) -> Path:
    """The model with a QuantizeLinear and a DequantizeLinear for each quantizer (constants: integers and a DequantizeLinear).

    Raises:
        Unwritable: a quantizer, a type or an operator that ONNX does not have.
    """
    return _Writer(model).save(path)


class _Writer:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.behind: dict[tuple[str, tuple[int, ...]], str] = {}
        self.random = np.random.default_rng(0)

    def save(self, path: Path) -> Path:
        for op in self.model.ops:
            uses = sorted(op.uses.values(), key=lambda use: use.slot)
            inputs = [self.source(use) for use in uses]
            native = op.native.rpartition("::")[2]
            if op.kind == "custom" or not onnx.defs.has(native):
                native = {"AvgPool": "AveragePool", "Linear": "Gemm", "Matmul": "MatMul", "Swish": "", "GlobalAvgPool": "GlobalAveragePool", "BatchNorm": "BatchNormalization", "LayerNorm": "LayerNormalization"}.get(native, "")
            if not native:
                raise Unwritable(op.native)
            attrs = dict(op.attrs)
            if native in ("Conv", "ConvTranspose"):
                attrs.setdefault("pads", [1, 1, 1, 1])
            if native == "Concat":
                attrs.setdefault("axis", 1)
            if native == "MaxPool" or native == "AveragePool":
                attrs.setdefault("kernel_shape", [1, 1])
            known = onnx.defs.get_schema(native).attributes
            self.nodes.append(helper.make_node(native, inputs, [tensor.name for tensor in op.outputs], name=op.name, **{k: v for k, v in attrs.items() if k in known}))
        outputs = [self.source(use, last=True) for use in self.model.outputs]
        for tensor in self.model.tensors.values():
            for use in tensor.uses:
                if use.kind == "dead":
                    self.source(use)
        infos = [helper.make_tensor_value_info(t.name, TYPES[t.dtype], t.shape) for t in self.model.inputs]
        types = {name: TYPES[use.quantizers[-1].storage] if name in self.integers else 1 for name, use in zip(outputs, self.model.outputs, strict=True)} if outputs else {}
        ends = [helper.make_tensor_value_info(name, types[name], use.tensor.shape and [None] * len(use.tensor.shape)) for name, use in zip(outputs, self.model.outputs, strict=True)]
        tensors = [value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()]
        opset = next((node.opset for node in self.model.nodes if node.opset), 21)
        made = helper.make_model(helper.make_graph(self.nodes, "case", infos, ends, tensors), opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        onnx.save(made, path)
        return path

    integers: frozenset[str] = frozenset()

    def source(self, use: Use, last: bool = False) -> str:
        """The tensor that a reader sees, behind its quantizers."""
        tensor = use.tensor
        name = tensor.name
        for depth, q in enumerate(use.quantizers):
            key = (tensor.name, tuple(id(each.dequantize) for each in use.quantizers[: depth + 1]))
            if key not in self.behind:
                self.behind[key] = self.pair(name, q, tensor, depth)
            name = self.behind[key]
        if tensor.data is not None and not use.quantizers and name not in self.constants:
            self.constants[name] = self.values(tensor).astype(tensor.dtype or "float32")
        if last and not use.quantizers and tensor.producer is None:
            raise Unwritable("an input that is an output")
        return name

    def values(self, tensor: Any) -> Any:
        array = tensor.data.array()
        return array if np.any(array) else self.random.normal(size=tensor.data.shape) * 0.2

    def pair(self, name: str, q: Quantizer, tensor: Any, depth: int) -> str:
        if q.grid != "affine" or q.dynamic or q.scale is None or q.zero_point is None or q.storage not in TYPES or q.block_size or q.origin != "qdq":
            raise Unwritable(str(q))
        if any(z % 1 for z in q.zero_point):
            raise Unwritable("a fractional zero point")
        node = q.dequantize
        base = f"{name}_{len(self.nodes)}"
        attrs = {"axis": q.axis} if q.granularity == "channel" else {}
        first, second = (self.parameters(f"{base}_{end}", grid) for end, grid in (("q", q), ("d", q.read_as or q)))
        stored = f"{base}_integers"
        if tensor.data is not None and q.quantize is None and depth == 0:
            shape = [1] * len(tensor.data.shape)
            if attrs:
                shape[q.axis] = -1
            scale, zero = (np.asarray(v, np.float64).reshape(shape if len(v) > 1 else ()) for v in (q.scale, q.zero_point))
            array = tensor.data.array()
            integers = array if array.dtype.kind in "iu" and tensor.dtype == q.storage else np.rint(self.values(tensor) / np.where(scale == 0, 1, scale)) + zero
            integers = np.clip(integers, q.qmin, q.qmax).astype(np.int64)
            self.constants[stored] = helper.make_tensor(stored, TYPES[q.storage], integers.shape, integers.reshape(-1).tolist())
        else:
            if tensor.data is not None and name == tensor.name:
                self.constants[name] = self.values(tensor).astype(np.float32)
            self.nodes.append(helper.make_node("QuantizeLinear", [name, *first], [stored], name=q.quantize.name if q.quantize is not None else f"{base}_q", **attrs))
        self.nodes.append(helper.make_node("DequantizeLinear", [stored, *second], [f"{base}_real"], name=node.name if node is not None else f"{base}_dq", **attrs))
        return f"{base}_real"

    def parameters(self, base: str, q: Quantizer) -> list[str]:
        self.constants[f"{base}_scale"] = np.asarray(q.scale, np.float32).reshape(q.scale_shape)
        if q.zero_point_shape is None:
            return [f"{base}_scale"]
        zeros = [int(z) for z in q.zero_point] * (1 if len(q.zero_point) == len(q.scale) else len(q.scale))
        self.constants[f"{base}_zero"] = helper.make_tensor(f"{base}_zero", TYPES[q.storage], q.zero_point_shape, zeros)
        return [f"{base}_scale", f"{base}_zero"]
