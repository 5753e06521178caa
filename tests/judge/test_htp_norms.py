"""Which types of input, weights and bias Qualcomm's HTP takes for a normalization: models that the real backend answered.

Answers of onnxruntime-qnn 2.7.0 with htp_arch 73.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from ml_dtypes import int4, uint4
from onnx import TensorProto, helper
from onnx_nodes import Nodes

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

STORAGE = {"u8": np.uint8, "s8": np.int8, "u16": np.uint16, "s16": np.int16, "s32": np.int32, "u4": uint4, "s4": int4}
MIDDLE = {"u4": 8, "s4": 0, "u8": 128, "s8": 0, "u16": 32768, "s16": 0, "s32": 0}
CHANNELS = 4


class _Graph(Nodes):
    def quantized(self, x: str, form: str) -> str:
        grid = self.constant(np.float32(0.02)), self.constant(STORAGE[form](MIDDLE[form]))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid), *grid)

    def parameter(self, form: str, *, per_channel: bool = False) -> str:
        if form == "float":
            return self.constant(np.ones(CHANNELS, np.float32))
        shape = (CHANNELS,) if per_channel else ()
        values = np.full(CHANNELS, MIDDLE[form] + (5 if form.endswith("4") else 100)).astype(STORAGE[form])
        scale, zero_point = np.full(shape, 0.01, np.float32), np.full(shape, MIDDLE[form]).astype(STORAGE[form])
        return self.add("DequantizeLinear", self.constant(values), self.constant(scale), self.constant(zero_point), axis=0)


def where(kind: str, x: str, gamma: str, beta: str, folder: Path, *, per_channel: bool = False, rank: int = 4) -> str:
    """Where the normalization runs, or `refused`."""
    graph = _Graph()
    shape = (1, *[CHANNELS] * (rank - 1))
    inputs = [graph.quantized("x", x), graph.parameter(gamma, per_channel=per_channel), graph.parameter(beta)]
    if kind == "BatchNormalization":
        inputs += [graph.constant(np.full(CHANNELS, 0.1, np.float32)), graph.constant(np.ones(CHANNELS, np.float32))]
    end = graph.quantized(graph.add(kind, *inputs), x)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", end)]
    made = helper.make_graph(graph.nodes, "g", ends[:1], ends[1:], graph.constants)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / "model.onnx")
    verdict = judge(canonical(read(folder / "model.onnx")), load("qnn-htp@v73"))
    placed = [placement.where for placement in verdict.placements.values() if placement.op.native == kind]
    return "refused" if verdict.outcome == "refused" else placed[0]


@pytest.mark.parametrize(
    ("x", "gamma", "beta", "answer"),
    [
        ("u8", "u8", "s32", "integer"), ("u8", "s8", "s32", "integer"), ("u8", "s8", "float", "integer"), ("u8", "u8", "u8", "integer"),
        ("u8", "s8", "s8", "cpu"), ("u8", "u16", "s32", "cpu"), ("u8", "s16", "float", "cpu"),
        ("s8", "s8", "s8", "integer"), ("s8", "s8", "s32", "cpu"), ("s8", "s8", "float", "cpu"), ("s8", "u8", "s32", "cpu"),
        ("u16", "s8", "s32", "integer"), ("u16", "s16", "float", "integer"), ("u16", "u16", "u16", "cpu"), ("s16", "s8", "s32", "cpu"), ("s16", "s16", "s16", "cpu"),
        ("u8", "float", "float", "float"),
    ],
)  # fmt: skip
def test_batch_norm(x, gamma, beta, answer, tmp_path):
    assert where("BatchNormalization", x, gamma, beta, tmp_path) == answer


@pytest.mark.parametrize(
    ("x", "gamma", "answer"),
    [
        ("u8", "u8", "integer"), ("u8", "s8", "integer"), ("u8", "u16", "refused"), ("s8", "s8", "refused"), ("s8", "u8", "refused"),
        ("u16", "u8", "integer"), ("u16", "s8", "integer"), ("u16", "u16", "integer"), ("u16", "s16", "refused"), ("s16", "s16", "refused"),
    ],
)  # fmt: skip
def test_instance_norm(x, gamma, answer, tmp_path):
    """It has left its layout behind when its types are looked at, so that nobody takes it any more."""
    assert where("InstanceNormalization", x, gamma, "s32", tmp_path) == answer


@pytest.mark.parametrize(
    ("x", "gamma", "answer"),
    [
        ("u8", "u8", "integer"), ("u8", "s8", "cpu"), ("s8", "s8", "integer"), ("s8", "u8", "cpu"), ("u16", "u8", "integer"), ("u16", "s16", "integer"), ("u16", "s8", "cpu"),
        ("s16", "u8", "cpu"), ("s16", "s16", "cpu"),
    ],
)  # fmt: skip
def test_layer_norm(x, gamma, answer, tmp_path):
    assert where("LayerNormalization", x, gamma, "s32", tmp_path) == answer


@pytest.mark.parametrize(("kind", "answer"), [("BatchNormalization", "float"), ("InstanceNormalization", "refused"), ("LayerNormalization", "refused")])
def test_weights_per_channel(kind, answer, tmp_path):
    assert where(kind, "u8", "u8", "s32", tmp_path, per_channel=True) == answer


def test_instance_norm_of_volumes(tmp_path):
    assert where("InstanceNormalization", "u8", "u8", "s32", tmp_path, rank=5) == "cpu"


@pytest.mark.parametrize(
    ("kind", "x", "gamma", "answer"),
    [
        ("InstanceNormalization", "u8", "s4", "integer"), ("InstanceNormalization", "u16", "u4", "integer"), ("InstanceNormalization", "s8", "s4", "refused"),
        ("LayerNormalization", "u8", "u4", "integer"), ("LayerNormalization", "u8", "s4", "cpu"), ("LayerNormalization", "s8", "s4", "integer"),
        ("LayerNormalization", "u16", "u4", "integer"), ("LayerNormalization", "u16", "s4", "cpu"),
        ("BatchNormalization", "u8", "s4", "integer"), ("BatchNormalization", "u8", "u4", "integer"), ("BatchNormalization", "s8", "s4", "cpu"),
    ],
)  # fmt: skip
def test_weights_of_4_bits(kind, x, gamma, answer, tmp_path):
    """They are taken like those of 8 bits."""
    assert where(kind, x, gamma, "s32", tmp_path) == answer
