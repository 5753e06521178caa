"""Small ONNX networks to be fixed: a few lines each, deterministic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Network:
    """Every method adds to the graph and returns the name of its tensor."""

    def __init__(self, shape: tuple[int, ...] = (1, 3, 16, 16), storage: Any = np.uint8, opset: int = 19, weight: Any = np.int8) -> None:
        self.storage, self.weight_storage, self.opset, self.shape = storage, weight, opset, shape
        self.nodes: list[Any] = []
        self.stored: dict[str, Any] = {}
        self.random = np.random.default_rng(0)

    def store(self, name: str, values: Any) -> str:
        self.stored[name] = np.asarray(values)
        return name

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def grid(self, x: str, scale: float = 0.05, zero_point: int | None = None, name: str = "") -> str:
        """A QuantizeLinear and a DequantizeLinear; the zero point is in the middle unless it is given."""
        name = name or x
        middle = 0 if np.iinfo(self.storage).min else (np.iinfo(self.storage).max + 1) // 2
        s = self.store(f"{name}_scale", np.float32(scale))
        z = self.store(f"{name}_zero_point", self.storage(middle if zero_point is None else zero_point))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, s, z, name=f"{name}_q"), s, z, name=f"{name}_dq")

    def weight(self, name: str, shape: tuple[int, ...], *, axis: int | None = None, float_form: bool = False, size: float = 0.08) -> str:
        """Integers with a DequantizeLinear; float values with both nodes where `float_form`."""
        values = (self.random.normal(size=shape) * size).astype(np.float32)
        others = None if axis is None else tuple(i for i in range(len(shape)) if i != axis)
        scale = np.asarray(np.abs(values).max(axis=others) / 127, np.float32)
        s = self.store(f"{name}_scale", scale)
        z = self.store(f"{name}_zero_point", np.zeros(scale.shape, self.weight_storage))
        spread = scale if axis is None else scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        attributes = {} if axis is None else {"axis": axis}
        if float_form:
            x = self.op("QuantizeLinear", self.store(name, values), s, z, name=f"{name}_q", **attributes)
        else:
            x = self.store(name, np.clip(np.rint(values / spread), -127, 127).astype(self.weight_storage))
        return self.op("DequantizeLinear", x, s, z, name=f"{name}_dq", **attributes)

    def conv(self, x: str, name: str, channels: tuple[int, int], *, axis: int | None = None, bias: bool = True, kind: str = "Conv", group: int = 1, float_form: bool = False, kernel: int = 3) -> str:
        into, out = channels
        shape = (into, out // group, kernel, kernel) if kind == "ConvTranspose" else (out, into // group, kernel, kernel)
        inputs = [x, self.weight(f"{name}_w", shape, axis=axis, float_form=float_form)]
        if bias:
            inputs.append(self.store(f"{name}_b", (self.random.normal(size=out) * 0.2).astype(np.float32)))
        return self.op(kind, *inputs, name=name, kernel_shape=[kernel] * 2, strides=[1, 1], dilations=[1, 1], pads=[kernel // 2] * 4, group=group)

    def batch_norm(self, x: str, name: str, channels: int, *, negative: bool = True) -> str:
        gamma = self.random.uniform(0.5, 1.5, channels).astype(np.float32)
        if negative:
            gamma[1] *= -1
        parts = {"gamma": gamma, "beta": self.random.normal(size=channels), "mean": self.random.normal(size=channels), "var": self.random.uniform(0.5, 2, channels)}
        return self.op("BatchNormalization", x, *(self.store(f"{name}_{key}", value.astype(np.float32)) for key, value in parts.items()), name=name)

    def save(self, path: Path, y: str, shape: list[int] | None = None) -> Path:
        tensors = [numpy_helper.from_array(value, name) for name, value in self.stored.items()]
        x, out = helper.make_tensor_value_info("x", 1, self.shape), helper.make_tensor_value_info(y, 1, shape)
        graph = helper.make_graph(self.nodes, "network", [x], [out], tensors)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9), path)
        return path


def signed(path: Path) -> Path:
    """Five convolutions on int8 activations, as ONNX Runtime's own tool quantizes them; two tensors have several readers.

    Those readers, three convolutions and the add, ONNX Runtime leaves in float on x86.
    """
    n = Network(storage=np.int8)
    first = n.grid(n.op("Relu", n.grid(n.conv(n.grid("x"), "conv1", (3, 8)), 0.03), name="relu1"), 0.03)
    second = n.grid(n.op("Relu", n.grid(n.conv(first, "conv2", (8, 8)), 0.03), name="relu2"), 0.03)
    third = n.grid(n.conv(second, "conv3", (8, 8)), 0.04)
    joined = n.grid(n.op("Add", third, first, name="add"), 0.06)
    left, right = (n.grid(n.conv(joined, name, (8, 8)), 0.05) for name in ("conv4", "conv5"))
    return n.save(path, n.grid(n.op("Concat", left, right, name="concat", axis=1), 0.05), [1, 16, 16, 16])


def residual(path: Path, storage: Any = np.uint8) -> Path:
    """A residual block quantized at the inputs of convolutions only: what the add reads and writes is in float."""
    n = Network(storage=storage)
    first = n.op("Relu", n.conv(n.grid("x"), "conv1", (3, 8)), name="relu1")
    second = n.op("Relu", n.conv(n.grid(first, 0.03, 0 if storage is np.uint8 else -128), "conv2", (8, 8)), name="relu2")
    third = n.conv(n.grid(second, 0.03, 0 if storage is np.uint8 else -128), "conv3", (8, 8))
    added = n.op("Add", third, first, name="add")
    last = n.conv(n.grid(added, 0.06), "conv4", (8, 8))
    return n.save(path, n.grid(last, 0.08), [1, 8, 16, 16])
