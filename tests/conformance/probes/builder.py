"""Writes a network and its quantizers as an ONNX file, the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .net import Net, Shape
from .quant import Array, Quant, Series

MICROSOFT = "com.microsoft"
OUTPUT = "graph output"  # stands for a node name where a graph output reads
NEWEST = 28  # the newest opset that ONNX Runtime 1.32 loads
FLOAT = Series()


@dataclass
class Plan:
    """Which series of quantizers stands on each tensor, and on single uses that differ from it."""

    series: dict[str, Series] = field(default_factory=dict)
    uses: dict[tuple[str, int], Series] = field(default_factory=dict)  # (node name or OUTPUT, slot)

    def at(self, tensor: str, reader: str, slot: int) -> Series:
        return self.uses.get((reader, slot), self.series.get(tensor, FLOAT))


def ir_version(opset: int) -> int:
    return max(5, helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def render(net: Net, plan: Plan, domains: Mapping[str, int] | None = None) -> bytes:
    """The serialized model. `domains`: opset imports to use instead of those that the nodes need."""
    return _Writer(net, plan).model(domains).SerializeToString(deterministic=True)


class _Writer:
    def __init__(self, net: Net, plan: Plan) -> None:
        self.net, self.plan = net, plan
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.known: dict[tuple[object, ...], str] = {}
        self.taken: set[str] = set()
        self.storage_of: dict[str, int] = {}  # element type of graph inputs and outputs that are integers

    def model(self, domains: Mapping[str, int] | None) -> onnx.ModelProto:
        for node in self.net.nodes:
            inputs = [self.read(tensor, node.name, slot) for slot, tensor in enumerate(node.inputs)]
            self.nodes.append(helper.make_node(node.kind, inputs, node.outputs, node.name, domain=node.domain, **node.attrs))
        outputs = [self.read(tensor, OUTPUT, slot) for slot, tensor in enumerate(self.net.outputs)]
        graph = helper.make_graph(
            self.nodes,
            "probe",
            [self.input(name, shape) for name, shape in self.net.inputs.items()],
            [_value(name, self.storage_of.get(name, TensorProto.UNDEFINED), None) for name in outputs],
            list(self.initializers.values()),
        )
        if domains is None:
            others = sorted({node.domain for node in self.nodes} - {""})
            domains = {"": self.net.opset} | dict.fromkeys(others, 1)
        imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        model = helper.make_model(graph, producer_name="qlint-probes", ir_version=ir_version(self.net.opset), opset_imports=imports)
        self.complete_outputs(model)
        return model

    def input(self, name: str, shape: Shape) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.net.types.get(name, np.float32)))
        return _value(name, self.storage_of.get(name, kind), shape)

    def complete_outputs(self, model: onnx.ModelProto) -> None:
        """Outputs need a type and a shape: ask shape inference, about the float network where it stops at a
        quantizer of another domain, and at last the network itself."""
        inferred = onnx.shape_inference.infer_shapes(model).graph.output
        for tensor, value, output in zip(self.net.outputs, inferred, model.graph.output, strict=True):
            found, here = value.type.tensor_type, output.type.tensor_type
            here.elem_type = here.elem_type or found.elem_type or TensorProto.FLOAT
            if not found.HasField("shape"):
                found = self.without_quantizers(tensor)
            if found.HasField("shape"):
                here.shape.CopyFrom(found.shape)

    def without_quantizers(self, tensor: str) -> onnx.TypeProto.Tensor:
        if tensor in self.net.shapes or not self.plan.series:
            return _value("", TensorProto.FLOAT, self.net.shapes.get(tensor)).type.tensor_type
        model = _Writer(replace(self.net, outputs=[tensor]), Plan()).model(None)
        return model.graph.output[0].type.tensor_type

    # -- quantizers -----------------------------------------------------------------------------

    def read(self, tensor: str, reader: str, slot: int) -> str:
        """The name under which `reader` sees `tensor`, writing the quantizers in between on first sight."""
        if not tensor:
            return ""
        series = self.plan.at(tensor, reader, slot)
        own = (reader, slot) if series.per_use else None
        key = (tensor, series, (reader, slot) if series.per_use or series.dq_per_use else None)
        if key not in self.known:
            self.known[key] = self.write(tensor, series, own)
        return self.known[key]

    def write(self, tensor: str, series: Series, own: tuple[str, int] | None) -> str:
        now = tensor
        if tensor in self.net.consts and not (series.pairs and series.folded):
            self.initializer(tensor, self.net.consts[tensor])
        for step, quant in enumerate(series.pairs):
            last = step == len(series.pairs) - 1
            quantized = self.quantized(tensor, now, quant, series, own, first=step == 0)
            if last and series.ends_at_q:
                self.storage_of[quantized] = quant.storage.onnx
                return quantized
            now = self.node("DequantizeLinear", quantized, quant.dq or quant, f"{tensor}_dq")
            for _ in range(series.dead if last else 0):
                self.node("DequantizeLinear", quantized, quant.dq or quant, f"{tensor}_dead")
        return self.via(now, tensor, series) if series.via else now

    def quantized(self, tensor: str, now: str, quant: Quant, series: Series, own: tuple[str, int] | None, first: bool) -> str:
        if first and series.folded:
            return self.initializer(self.name(f"{tensor}_quantized"), quant.store(self.net.consts[tensor]))
        if first and series.starts_at_dq:
            self.storage_of[tensor] = quant.storage.onnx
            return tensor
        key = ("q", now, quant, own)
        if key not in self.known:
            self.known[key] = self.node("QuantizeLinear", now, quant, f"{tensor}_q")
        return self.known[key]

    def node(self, kind: str, source: str, quant: Quant, stem: str) -> str:
        name = self.name(stem)
        inputs = [source, self.initializer(f"{name}_scale", quant.scales())]
        if quant.zero is not None:
            inputs.append(self.initializer(f"{name}_zero_point", quant.zeros()))
        attrs = {} if quant.axis is None else {"axis": quant.axis}
        if quant.block:
            attrs["block_size"] = quant.block
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name, domain=quant.domain, **attrs))
        return f"{name}_out"

    def via(self, now: str, tensor: str, series: Series) -> str:
        """The node that a constant passes between its DequantizeLinear and its reader."""
        name, inputs, attrs = self.name(f"{tensor}_{series.via.lower()}"), [now], dict[str, Any]()
        if series.via == "Reshape":
            inputs.append(self.initializer(f"{name}_shape", np.array(series.via_shape, np.int64)))
        elif series.via == "Transpose":
            rank = self.net.consts[tensor].ndim
            attrs["perm"] = [*range(rank - 2), rank - 1, rank - 2]
        self.nodes.append(helper.make_node(series.via, inputs, [f"{name}_out"], name, **attrs))
        return f"{name}_out"

    def initializer(self, name: str, values: Array) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def name(self, stem: str) -> str:
        name, n = stem, 1
        while name in self.taken:
            n += 1
            name = f"{stem}{n}"
        self.taken.add(name)
        return name


def _value(name: str, kind: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
