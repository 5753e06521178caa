"""Attention at 16 bits on Qualcomm's HTP: graphs that the real backend answered.

Answers of onnxruntime-qnn 2.7.0, the same with htp_arch 73 and with the SoC of SM8550 but where the test says so. In models that
ONNX Runtime's `quantize_static` makes of BERT and ViT, a mask that was empty during calibration has the scale 1, and the values
come from a transpose of five dimensions that the CPU runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nodes import Nodes

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

ZERO = {np.uint8: 128, np.int8: 0, np.uint16: 32768, np.int16: 0}
BOTH = pytest.mark.parametrize("target", ["v73", "sm8550"])


class _Graph(Nodes):
    def __init__(self, storage: type = np.int16) -> None:
        super().__init__()
        self.storage, self.inputs, self.outputs = storage, [], []

    def quantized(self, x: str, scale: float = 0.02, storage: type | None = None) -> str:
        kind = storage or self.storage
        grid = self.constant(np.float32(scale)), self.constant(kind(ZERO[kind]))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid), *grid)

    def input(self, *shape: int, scale: float = 0.02, storage: type | None = None) -> str:
        name = f"in{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self.quantized(name, scale, storage)

    def op(self, kind: str, *inputs: str, scale: float = 0.02, **attributes: object) -> str:
        return self.quantized(self.add(kind, *inputs, **attributes), scale)

    def half(self, x: str, scale: float = 0.02) -> str:
        return self.op("Mul", x, self.quantized(self.constant(np.float32(0.5)), 2e-5), scale=scale)

    def view(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(np.array(shape, np.int64)))

    def outcome(self, end: str, target: str, folder: Path) -> str:
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, None)]
        model = helper.make_model(helper.make_graph(self.nodes, "g", self.inputs, ends, self.constants), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / "model.onnx")
        return judge(canonical(read(folder / "model.onnx")), load(f"qnn-htp@{target}")).outcome


@BOTH
@pytest.mark.parametrize(
    ("left", "right", "stack", "in_front", "outcome"),
    [
        (np.int16, np.int16, (2,), "", "refused"),
        (np.int16, np.int16, (1, 2), "", "refused"),
        (np.int16, np.int8, (2,), "", "refused"),
        (np.uint16, np.int16, (2,), "", "refused"),
        (np.uint16, np.uint16, (2,), "", "runs"),
        (np.uint16, np.uint8, (2,), "", "runs"),
        (np.uint8, np.uint8, (2,), "", "runs"),
        (np.int16, np.int16, (1,), "", "runs"),
        (np.int16, np.int16, (), "", "runs"),
        (np.int16, np.int16, (2,), "left", "runs"),
        (np.int16, np.int16, (2,), "right", "runs"),
    ],
)
def test_a_stack_of_products_of_what_comes_in(left, right, stack, in_front, outcome, target, tmp_path):
    """A signed factor has no slices where it comes in, if the other one does so too."""
    graph = _Graph(left)
    x, y = graph.input(*stack, 17, 17), graph.input(*stack, 17, 8, storage=right)
    if in_front == "left":
        x = graph.op("Relu", x)
    elif in_front == "right":
        y = graph.op("Relu", y)
    assert graph.outcome(graph.op("MatMul", x, y), target, tmp_path) == outcome


@BOTH
@pytest.mark.parametrize(
    ("storage", "query", "key", "value", "outcome"),
    [
        (np.int16, "half", "transposed", "as it is", "refused"),
        (np.int16, "half", "transposed", "viewed", "runs"),
        (np.int16, "half", "as it is", "viewed", "refused"),
        (np.int16, "as it is", "transposed", "viewed", "refused"),
        (np.int16, "half", "viewed", "viewed", "runs"),
        (np.int16, "half", "as it is", "relu", "refused"),
        (np.uint16, "half", "transposed", "as it is", "runs"),
    ],
)
def test_an_attention(storage, query, key, value, outcome, target, tmp_path):
    graph = _Graph(storage)
    q, k, v = graph.input(1, 4, 17, 8), graph.input(1, 4, *((17, 8) if key == "transposed" else (8, 17))), graph.input(1, 4, 17, 8)
    q = graph.half(q) if query == "half" else q
    k = graph.op("Transpose", k, perm=[0, 1, 3, 2]) if key == "transposed" else graph.view(k, 1, 4, 8, 17) if key == "viewed" else k
    v = graph.op("Relu", v) if value == "relu" else graph.view(v, 1, 4, 17, 8) if value == "viewed" else v
    scores = graph.op("Softmax", graph.op("MatMul", q, k), scale=3e-5)
    assert graph.outcome(graph.op("MatMul", scores, v), target, tmp_path) == outcome


@BOTH
@pytest.mark.parametrize(
    ("storage", "mask", "rows", "outcome"),
    [
        (np.int16, 5e-5 * 8180, 1, "runs"),
        (np.int16, 5e-5 * 8220, 1, "refused"),
        (np.int16, 1.0, 1, "refused"),
        (np.int16, 1.0, 12, "runs"),
        (np.uint16, 1.0, 1, "refused"),
        (np.uint8, 1.0, 1, "runs"),
    ],
)
def test_a_mask_whose_steps_are_far_larger_than_those_of_the_sum(storage, mask, rows, outcome, target, tmp_path):
    graph = _Graph(storage)
    scores = graph.half(graph.input(1, 2, 12, 12), scale=5e-5)
    hidden = graph.half(graph.input(1, 2 if rows > 1 else 1, rows, 12), scale=mask)
    masked = graph.op("Add", scores, hidden, scale=5e-5)
    assert graph.outcome(graph.op("Softmax", masked, scale=3e-5), target, tmp_path) == outcome


@pytest.mark.parametrize(("second", "clamped", "outcome"), [("Relu", False, "float"), ("Relu", True, "integer"), ("Clip", False, "integer")])
def test_two_clamps_in_a_row(second, clamped, outcome, tmp_path):
    """The second Relu vanishes if the quantizer does its work; of a Relu and a Clip ONNX Runtime makes one Clip."""
    graph = _Graph(np.uint8)
    x = graph.add("Relu", graph.input(1, 2, 12, 12))
    bounds = (graph.constant(np.float32(0.0)), graph.constant(np.float32(6.0))) if second == "Clip" else ()
    y = graph.add(second, x, *bounds)
    grid = graph.constant(np.float32(0.02)), graph.constant(np.uint8(0 if clamped else 128))
    end = graph.add("DequantizeLinear", graph.add("QuantizeLinear", y, *grid), *grid)
    graph.outcome(end, "v73", tmp_path)
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("qnn-htp@v73"))
    assert {"integer" if p.where == "absorbed" else p.where for p in verdict.placements.values() if p.op.kind in ("relu", "clip")} == {outcome}
