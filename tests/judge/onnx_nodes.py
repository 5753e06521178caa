"""Nodes of a small ONNX graph, named as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Nodes:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}_node", **attributes))
        return name

    def numbers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def pair(self, x: str, scale: Sequence[float] | float = 0.05, zero_point: int = 122, axis: int = 1) -> str:
        """QuantizeLinear to uint8 and DequantizeLinear; several scales are per channel."""
        size = np.shape(scale)
        grid = self.constant(np.array(scale, np.float32)), self.constant(np.full(size, zero_point, np.uint8))
        along: dict[str, object] = {"axis": axis} if size else {}
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid, **along), *grid, **along)

    def save(self, path: Path, inputs: dict[str, Sequence[int]], *outputs: str, opset: int = 20) -> Path:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (*inputs.items(), *((output, None) for output in outputs))]
        graph = helper.make_graph(self.nodes, "g", ends[: len(inputs)], ends[len(inputs) :], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
        return path
