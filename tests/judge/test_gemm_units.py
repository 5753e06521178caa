"""Products and what stands around them on ONNX Runtime's CPU provider and on Qualcomm's HTP: graphs that the real backends answered.

Answers of onnxruntime 1.32.0, and of onnxruntime-qnn 2.7.0 with the SoC of SM8550 (those about channels also with htp_arch 73).
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

SOME = np.random.RandomState(0)


class _Graph(Nodes):
    """One input; weights of int8."""

    def pair(self, x: str, scale: object = 0.02, zero_point: int | None = 128, **attributes: object) -> str:
        scales = np.asarray(scale, np.float32)
        grid = [self.constant(scales), *([] if zero_point is None else [self.constant(np.full(scales.shape, zero_point, np.uint8))])]
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid, **attributes), *grid, **attributes)

    def integers(self, values: np.ndarray, scale: object = 0.01, **attributes: object) -> str:
        scales = np.asarray(scale, np.float32)
        return self.add("DequantizeLinear", self.constant(values), self.constant(scales), self.constant(np.zeros(scales.shape, values.dtype)), **attributes)

    def weights(self, *shape: int, stored: bool = True, scale: object = 0.01, **attributes: object) -> str:
        values = SOME.randint(-100, 100, shape).astype(np.int8)
        return self.integers(values, scale, **attributes) if stored else self.constant(values.astype(np.float32) / 100)

    def bias(self, *shape: int, stored: bool = True, scale: float = 2e-4) -> str:
        return self.integers(SOME.randint(-1000, 1000, shape).astype(np.int32), scale) if stored else self.constant(SOME.randn(*shape).astype(np.float32))

    def placed(self, shape: tuple[int, ...], ends: list[str], backend: str, folder: Path) -> dict[str, str]:
        """Placement by kind of the first operator of each."""
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, at) for name, at in (("in", shape), *((end, None) for end in ends))]
        graph = helper.make_graph(self.nodes, "g", values[:1], values[1:], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / "model.onnx")
        verdict = judge(canonical(read(folder / "model.onnx")), load(backend))
        found: dict[str, str] = {}
        for placement in verdict.placements.values():
            found.setdefault(placement.op.kind, placement.where)
        return found | {"outcome": verdict.outcome}

    def read_by(self, y: str, what: str) -> list[str]:
        """`relu.q0+leaky.qm`: operators that read y, and what reads each: quantizers with the least zero point or another, or nothing."""
        ends: list[str] = []
        for reader in what.split("+"):
            kind, *behind = reader.split(".")
            bounds = [self.constant(np.float32(value)) for value in (0, 6)] if kind == "clip" else []
            z = self.add({"relu": "Relu", "leaky": "LeakyRelu", "clip": "Clip", "sigmoid": "Sigmoid"}[kind], y, *bounds)
            for end in behind:
                ends.append({"q0": lambda z=z: self.pair(z, 0.02, 0), "qm": lambda z=z: self.pair(z, 0.05, 100), "f": lambda z=z: self.add("Neg", z), "o": lambda z=z: z}[end]())
        return ends


@pytest.mark.parametrize("kind", ["linear", "matmul"])
@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("relu.q0+leaky.qm", "float"),
        ("relu.qm+leaky.qm", "integer"),
        ("relu.q0.f", "integer"),
        ("relu.q0.o", "integer"),
        ("relu.qm.f", "integer"),
        ("relu.qm", "float"),
        ("relu.qm.qm", "integer"),
        ("relu.f", "float"),
        ("relu.f.f", "integer"),
        ("leaky.qm", "integer"),
        ("relu.q0+sigmoid.f", "float"),
        ("clip.q0+leaky.qm", "float"),
        ("clip.qm", "float"),
        ("clip.qm.f", "integer"),
    ],
)
def test_ort_fuses_a_clamp_or_loses_it_to_the_quantizer(kind, what, where, tmp_path):
    """With one edge behind it a clamp becomes part of a float Gemm; one that vanishes leaves its quantizer beside the other readers."""
    graph = _Graph()
    operands = graph.pair("in"), graph.weights(8, 16), *([graph.bias(16)] if kind == "linear" else [])
    ends = graph.read_by(graph.add("Gemm" if kind == "linear" else "MatMul", *operands), what)
    assert graph.placed((6, 8), ends, "ort-cpu@x86", tmp_path)[kind] == where


@pytest.mark.parametrize("backend", ["ort-cpu@x86", "qnn-htp@sm8550"])
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_two_pairs_in_a_row_are_merged_if_they_give_their_zero_points(factor, given, backend, tmp_path):
    """ONNX Runtime looks for the scale of the bias; the other backend does not."""
    fits = {}
    for name, scale in (("first", 0.02), ("second", 0.02 * factor)):
        graph = _Graph()
        x = "in"
        for written, of in zip(given, (0.02, 0.02 * factor), strict=True):
            x = graph.pair(x, of, 0 if written else None)
        y = graph.pair(graph.add("Conv", x, graph.weights(16, 4, 1, 1), graph.bias(16, scale=scale * 0.01)), 0.05)
        fits[name] = graph.placed((1, 4, 8, 8), [y], backend, tmp_path)["conv"]
    seen = "first" if all(given) and factor > 1 else "second"
    assert fits == ({"first": "float", "second": "float", seen: "integer"} if backend.startswith("ort") else {"first": "integer", "second": "integer"})


@pytest.mark.parametrize(
    ("vector", "weights", "where"),
    [(False, "scalar", "integer"), (False, "vector", "integer"), (False, "float", "integer"), (True, "scalar", "float"), (True, "vector", "integer"), (True, "float", "integer")],
)
def test_ort_folds_the_bias_of_scales_of_one_shape(vector, weights, where, tmp_path):
    graph = _Graph()
    scale = [0.02] if vector else 0.02
    w = graph.weights(4, 4, 1, 1, stored=weights != "float", scale=[0.01] if weights == "vector" else 0.01)
    y = graph.pair(graph.add("Conv", graph.pair("in", scale), w, graph.bias(4, stored=False)), [0.05] if vector else 0.05)
    assert graph.placed((1, 4, 8, 8), [y], "ort-cpu@x86", tmp_path)["conv"] == where


_OTHERS: dict[str, tuple[object, dict[str, object], bool | None, str]] = {  # scale of the input, weights, bias stored (None: no bias), behind it
    "of two shapes": ([0.03], {"scale": 0.011}, False, "q"),
    "of one shape": (0.03, {}, False, "q"),
    "of one shape, not quantized behind": (0.03, {}, False, ""),
    "of one shape in front of a Relu": (0.03, {}, False, "relu q"),
    "of one shape in front of a LeakyRelu": (0.03, {}, False, "leaky q"),
    "stored": (0.03, {}, True, "q"),
    "none, weights in float": ([0.03], {"stored": False}, None, "q"),
    "scales of weights as a vector": ([0.03], {"scale": [0.01]}, False, "q"),
    "scales per channel": ([0.03], {"scale": [0.01, 0.02, 0.03, 0.04], "axis": 0}, False, "q"),
}


@pytest.mark.parametrize(
    ("other", "where"), list(zip(_OTHERS, ("float", "integer", "float", "integer", "float", "float", "integer", "integer", "integer"), strict=True))
)
def test_ort_folds_a_bias_of_two_shapes_once_it_folds_another(other, where, tmp_path):
    scale, weights, stored, behind = _OTHERS[other]
    graph = _Graph()
    y = graph.pair(graph.add("Conv", graph.pair("in", [0.02]), graph.weights(4, 4, 1, 1), graph.bias(4, stored=False)), [0.05])
    bias = [] if stored is None else [graph.bias(4, stored=stored, scale=3e-4)]
    z = graph.add("Conv", graph.pair(y, scale), graph.weights(4, 4, 1, 1, **weights), *bias)
    for step in behind.split():
        z = graph.pair(z, 0.05) if step == "q" else graph.add({"relu": "Relu", "leaky": "LeakyRelu"}[step], z)
    assert graph.placed((1, 4, 8, 8), [z], "ort-cpu@x86", tmp_path)["conv"] == where


@pytest.mark.parametrize(
    ("rank", "bias", "stored", "what", "where"),
    [
        (2, False, True, "relu.q0", "integer"),
        (2, False, True, "relu.qm", "cpu"),
        (2, False, True, "relu.f", "float"),
        (2, False, True, "clip.qm", "cpu"),
        (2, False, True, "sigmoid.qm", "float"),
        (2, False, False, "relu.q0", "integer"),
        (2, False, False, "relu.qm", "cpu"),
        (2, True, True, "relu.q0", "integer"),
        (2, True, True, "relu.qm", "cpu"),
        (2, True, True, "sigmoid.qm", "cpu"),
        (2, True, False, "relu.q0", "float"),
        (3, False, True, "relu.q0", "float"),
        (3, False, True, "relu.qm", "float"),
        (3, False, False, "relu.q0", "float"),
        (3, True, True, "relu.q0", "integer"),
        (3, True, True, "relu.qm", "cpu"),
        (3, True, True, "sigmoid.qm", "cpu"),
        (3, True, False, "relu.qm", "float"),
    ],
)
def test_htp_takes_a_matmul_and_an_add_for_a_gemm(rank, bias, stored, what, where, tmp_path):
    """In three dimensions it stands between two Reshapes, which keep a clamp away from it; the bias is quantized if a quantizer comes next."""
    graph = _Graph()
    y = graph.add("Add", graph.add("MatMul", graph.pair("in"), graph.weights(8, 16, stored=stored)), graph.bias(16, stored=bias))
    placed = graph.placed((1, 6, 8)[-rank:], graph.read_by(y, what), "qnn-htp@sm8550", tmp_path)
    assert placed["matmul"] == where


@pytest.mark.parametrize(
    ("what", "stored", "where"), [("relu.qm", True, "cpu"), ("relu.qm", False, "cpu"), ("relu.f", True, "float"), ("relu.qm.o", True, "cpu"), ("relu.q0", False, "integer")]
)
def test_htp_looks_behind_the_clamp_of_a_gemm(what, stored, where, tmp_path):
    graph = _Graph()
    ends = graph.read_by(graph.add("Gemm", graph.pair("in"), graph.weights(8, 16, stored=stored), graph.bias(16, stored=False)), what)
    assert graph.placed((6, 8), ends, "qnn-htp@sm8550", tmp_path)["linear"] == where


@pytest.mark.parametrize("target", ["v73", "sm8550"])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
@pytest.mark.parametrize(("channel", "outcome"), [(False, "runs"), (True, "refused")])
def test_htp_refuses_two_operands_per_channel(kind, channel, outcome, target, tmp_path):
    """Of one it computes with wrong numbers: a Conv and a Gemm were more than 100 steps off."""
    graph = _Graph()
    spatial, scales = "Conv" in kind, np.linspace(0.01, 0.02, 4)
    axis = {"Conv": 0, "ConvTranspose": 1}.get(kind, 1)
    w = graph.weights(*((4, 4, 1, 1) if spatial else (4, 4)), **({"scale": scales, "axis": axis} if channel else {}))
    y = graph.pair(graph.add(kind, graph.pair("in", scales, axis=1), w), 0.05)
    assert graph.placed((1, 4, 8, 8) if spatial else (6, 4), [y], f"qnn-htp@{target}", tmp_path)["outcome"] == outcome


@pytest.mark.parametrize(
    ("kind", "bias", "where"),
    [("Conv", True, "refused"), ("Conv", False, "refused"), ("ConvTranspose", True, "refused"), ("Gemm", True, "integer"), ("Gemm", False, "float")],
)
def test_htp_and_a_bias_beside_an_input_per_channel(kind, bias, where, tmp_path):
    graph = _Graph()
    spatial = kind != "Gemm"
    x = graph.pair("in", np.linspace(0.01, 0.02, 4), axis=1)
    y = graph.pair(graph.add(kind, x, graph.weights(*((4, 4, 1, 1) if spatial else (4, 4))), graph.bias(4, stored=bias)), 0.05)
    placed = graph.placed((1, 4, 8, 8) if spatial else (6, 4), [y], "qnn-htp@sm8550", tmp_path)
    assert (placed["outcome"] if spatial else placed["linear"]) == where


@pytest.mark.parametrize("target", ["v73", "sm8550"])
@pytest.mark.parametrize(
    ("shape", "axis", "w_axis", "bias", "where"),
    [
        ((6, 4), 1, 0, False, "refused"),
        ((1, 6, 4), 1, 0, False, "cpu"),
        ((1, 6, 4), 2, 0, False, "cpu"),
        ((1, 6, 4), 2, 1, False, "refused"),
        ((1, 6, 4), 0, 0, False, "integer"),  # one channel is per tensor
        ((2, 1, 6, 4), 0, 0, False, "cpu"),
        ((6, 4), 1, 0, True, "refused"),
        ((1, 6, 4), 1, 0, True, "float"),
        ((1, 6, 4), 2, 1, True, "float"),
        ((1, 6, 4), 0, 1, True, "integer"),
    ],
)
def test_htp_and_products_of_two_operands_per_channel(shape, axis, w_axis, bias, where, target, tmp_path):
    """Rows of more than one dimension are reshaped, and what comes of that has no kernel, is left alone, or stays in float."""
    graph = _Graph()
    scales = np.linspace(0.01, 0.02, shape[axis])
    y = graph.add("MatMul", graph.pair("in", scales, axis=axis), graph.weights(4, 4, scale=np.linspace(0.01, 0.02, 4), axis=w_axis))
    y = graph.add("Add", y, graph.bias(4)) if bias else y
    placed = graph.placed(shape, [graph.pair(y, 0.05)], f"qnn-htp@{target}", tmp_path)
    assert (placed["outcome"] if where == "refused" else placed["matmul"]) == where


@pytest.mark.parametrize(("clamp", "zero_point", "outcome"), [("", 128, "refused"), ("Relu", 0, "refused"), ("Relu", 10, "runs")])
def test_htp_and_a_bias_of_two_shapes_in_front_of_a_clamp(clamp, zero_point, outcome, tmp_path):
    """The scale of the input is a vector, that of the weights a scalar: a unit with its float bias has no kernel with its layout changed."""
    graph = _Graph()
    y = graph.add("Conv", graph.pair("in", [0.02]), graph.weights(4, 4, 1, 1), graph.bias(4, stored=False))
    y = graph.pair(graph.add(clamp, y) if clamp else y, zero_point=zero_point)
    assert graph.placed((1, 4, 8, 8), [y], "qnn-htp@sm8550", tmp_path)["outcome"] == outcome
