"""What keeps an operator out of a unit of the QNN provider, or the model off the HTP: cases that the real backend answered.

Answers of onnxruntime-qnn 2.7.0 with htp_arch 73.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from ml_dtypes import int4
from onnx import TensorProto, helper
from onnx_nodes import Nodes

from qlint.judge import Verdict, judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read


class _Graph(Nodes):
    def quantized(self, x: str, scale: object = 0.02, axis: int = 1) -> str:
        scales = np.asarray(scale, np.float32)
        grid = self.constant(scales), self.constant(np.full(scales.shape, 128, np.uint8))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid, axis=axis), *grid, axis=axis)

    def weight(self, *shape: int, scale: object = 0.01, storage: type = np.int8) -> str:
        values = np.random.default_rng(0).integers(-7, 8, shape).astype(storage)
        scales = np.asarray(scale, np.float32)
        return self.add("DequantizeLinear", self.constant(values), self.constant(scales), self.constant(np.zeros(scales.shape, storage)))

    def verdict(self, path: Path, shape: tuple[int, ...], *outputs: str, opset: int = 21) -> Verdict:
        self.save(path / "model.onnx", shape, *outputs, opset=opset)
        return judge(canonical(read(path / "model.onnx")), load("qnn-htp@v73"))

    def save(self, path: Path, shape: tuple[int, ...], *outputs: str, opset: int = 21) -> None:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        ends = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
        model = helper.make_model(helper.make_graph(self.nodes, "g", [x], ends, self.constants), opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)


def _layer(graph: _Graph, x: str, x_scale: object, w_scale: object) -> str:
    y = graph.add("Gemm", graph.quantized(x, x_scale), graph.weight(8, 8, scale=w_scale), graph.constant(np.full(8, 0.05, np.float32)), transB=1)
    return graph.quantized(y)


@pytest.mark.parametrize(
    ("scales", "outcome"),
    [
        ([(0.02, 0.01)], "runs"),
        ([([0.02], 0.01)], "refused"),
        ([([0.02], [0.01])], "runs"),
        ([(0.02, [0.01])], "runs"),
        ([([0.02], 0.01), (0.02, 0.01)], "runs"),
        ([([0.02], 0.01), ([0.03], 0.02)], "refused"),
    ],
)
def test_a_float_bias_between_scales_of_two_shapes(scales, outcome, tmp_path):
    """ONNX Runtime folds it in a second round, if there is one: another layer is reason enough."""
    graph = _Graph()
    ends = [_layer(graph, "x", *pair) for pair in scales]
    assert graph.verdict(tmp_path, (2, 8), *ends).outcome == outcome


@pytest.mark.parametrize(
    ("quantized", "end", "outcome"),
    [((), True, "refused"), ((0,), True, "runs"), ((1,), True, "runs"), ((2,), True, "runs"), ((), False, "refused"), ((0,), False, "refused"), ((0, 1, 2), False, "refused")],
)
def test_gelu_is_fused_if_its_constants_are_plain_or_its_output_is(quantized, end, outcome, tmp_path):
    """A fused Gelu has no kernel; one that is not fused leaves its Erf to the CPU."""
    graph = _Graph()
    root, one, half = (
        graph.add("DequantizeLinear", graph.constant(np.uint8(200)), graph.constant(np.float32(value / 200)), graph.constant(np.uint8(0)))
        if number in quantized
        else graph.constant(np.float32(value))
        for number, value in enumerate((1.41421356, 1.0, 0.5))
    )
    x = graph.add("Relu", "x")
    erf = graph.add("Erf", graph.add("Div", x, root))
    y = graph.add("Mul", graph.add("Mul", x, graph.add("Add", erf, one)), half)
    verdict = graph.verdict(tmp_path, (1, 8, 16), graph.quantized(y) if end else y)
    assert verdict.outcome == outcome
    if outcome == "runs":
        assert [p.where for p in verdict.placements.values() if p.op.kind == "erf"] == ["cpu"]


@pytest.mark.parametrize(("half_first", "factor"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("opset", "end", "outcome"), [(17, True, "runs"), (17, False, "refused"), (20, False, "refused"), (20, True, "refused")])
def test_gelu_is_fused_since_there_is_one(opset, end, half_first, factor, outcome, tmp_path):
    """ONNX Runtime's Gelu is of opset 20, and divides; the provider's own stands for all spellings whose output is not quantized."""
    graph = _Graph()
    x = graph.add("Relu", "x")
    half = graph.constant(np.float32(0.5))
    scaled = graph.add("Mul", x, graph.constant(np.float32(0.70710678))) if factor else graph.add("Div", x, graph.constant(np.float32(1.41421356)))
    raised = graph.add("Add", graph.add("Erf", scaled), graph.constant(np.float32(1.0)))
    y = graph.add("Mul", graph.add("Mul", x, half), raised) if half_first else graph.add("Mul", graph.add("Mul", x, raised), half)
    if factor and end:
        outcome = "runs"
    assert graph.verdict(tmp_path, (1, 8, 16), graph.quantized(y) if end else y, opset=opset).outcome == outcome


@pytest.mark.parametrize("quantized", [False, True])
def test_a_resize_whose_factors_are_quantized(quantized, tmp_path):
    """ONNX Runtime's own quantizer for the HTP does that if they are a Constant node; no unit has that many quantizers."""
    graph = _Graph()
    factors = graph.constant(np.array([1, 1, 2, 2], np.float32))
    y = graph.add("Resize", graph.quantized("x"), "", graph.quantized(factors) if quantized else factors, mode="linear")
    verdict = graph.verdict(tmp_path, (1, 4, 8, 8), graph.quantized(y))
    assert [p.where == "integer" for p in verdict.placements.values() if p.op.kind == "resize"] == [not quantized]


@pytest.mark.parametrize(("nodes", "where"), [(1, "integer"), (2, "float")])
def test_a_quantizer_is_moved_back_through_data_movement_if_it_is_one_node(nodes, where, tmp_path):
    """Two that say the same are merged only if they share their zero point."""
    graph = _Graph()
    moved = graph.add("Transpose", graph.add("Sigmoid", graph.quantized("x")), perm=[0, 2, 1])
    grid = graph.constant(np.float32(0.02)), graph.constant(np.uint8(128))
    ends = [graph.quantized(graph.add("Relu", graph.quantized(moved))) for _ in range(nodes)] if nodes == 2 else []
    if nodes == 1:
        read_by = graph.add("DequantizeLinear", graph.add("QuantizeLinear", moved, *grid), *grid)
        ends = [graph.quantized(graph.add("Relu", read_by)) for _ in range(2)]
    verdict = graph.verdict(tmp_path, (1, 4, 8), *ends)
    assert [p.where for p in verdict.placements.values() if p.op.kind == "sigmoid"] == [where]


@pytest.mark.parametrize(("shape", "outcome"), [((1, 4, 16), "runs"), ((1, 4, 16, 16), "refused")])
def test_4_bit_weights_per_tensor_with_a_bias(shape, outcome, tmp_path):
    graph = _Graph()
    kernel = [3] * (len(shape) - 2)
    bias = graph.constant(np.full(4, 0.05, np.float32))
    y = graph.add("Conv", graph.quantized("x"), graph.weight(4, 4, *kernel, storage=int4), bias, kernel_shape=kernel)
    assert graph.verdict(tmp_path, shape, graph.quantized(y)).outcome == outcome


@pytest.mark.parametrize(
    ("shape", "summed", "where"),
    [((2, 8), False, "integer"), ((1, 4, 8), False, "cpu"), ((1, 4, 8), True, "float")],
)
def test_a_product_with_an_output_per_channel(shape, summed, where, tmp_path):
    """It is reshaped to a matrix and back, and the quantizer has no axis to follow."""
    graph = _Graph()
    y = graph.add("MatMul", graph.quantized("x"), graph.weight(8, 6))
    if summed:
        y = graph.add("Add", y, graph.constant(np.ones(6, np.float32)))
    end = graph.quantized(y, np.linspace(0.02, 0.03, 6), axis=len(shape) - 1)
    verdict = graph.verdict(tmp_path, shape, end)
    assert [p.where for p in verdict.placements.values() if p.op.kind == "matmul"] == [where]


@pytest.mark.parametrize(
    ("perm", "axes", "outcome"),
    [(None, (2, 3), "refused"), ((0, 3, 1, 2), (2, 3), "runs"), ((0, 2, 3, 1), (2, 3), "refused"), ((0, 2, 3, 1), (1, 2), "refused")],
)
def test_a_mean_in_float_behind_a_transpose(perm, axes, outcome, tmp_path):
    """The transpose moves behind the mean, which is over other axes then: only one over the last axis and another prefers TCM."""
    graph = _Graph()
    x = graph.add("Relu", graph.quantized("x"))
    x = graph.add("Transpose", x, perm=perm) if perm else x
    mean = graph.add("ReduceMean", x, graph.constant(np.array(axes, np.int64)), keepdims=0)
    y = graph.add("Gemm", graph.quantized(mean), graph.weight(16 if perm is None or perm[1] == 3 else 8, 4))
    assert graph.verdict(tmp_path, (1, 16, 8, 8) if perm is None else (1, 8, 8, 16), graph.quantized(y)).outcome == outcome
