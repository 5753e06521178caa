"""What real backends do with small graphs whose verdict is known (measured by hand from logs and optimized graphs)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from qlint.oracles import ORACLES, Answer, OracleMissing, judge, judge_many  # noqa: E402

U8, S8, U16, S32 = np.uint8, np.int8, np.uint16, np.int32
ELEMENT = {U8: TensorProto.UINT8, S8: TensorProto.INT8, U16: TensorProto.UINT16}


class Graph:
    """A few lines to write a QDQ graph with: every method returns the name of its tensor."""

    def __init__(self, shape: tuple[int | str, ...] = (1, 4, 8, 8)) -> None:
        self.nodes: list[Any] = []
        self.stored: list[Any] = []
        self.shape = shape
        self.random = np.random.default_rng(0)

    def store(self, values: Any) -> str:
        name = f"stored{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        output = f"tensor{len(self.nodes)}"
        domain = attributes.pop("domain", "")
        known = [i if isinstance(i, str) else self.store(i) for i in inputs]
        self.nodes.append(helper.make_node(kind, known, [output], name=name, domain=domain, **attributes))
        return output

    def q(self, x: str, scale: float = 0.05, zero: int = 128, dtype: Any = U8) -> str:
        """Through a quantizer: QuantizeLinear, then DequantizeLinear."""
        grid = np.float32(scale), dtype(zero)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *grid), *grid)

    def weight(self, *shape: int, zero: int = 0, axis: int | None = 0, dtype: Any = S8) -> str:
        values = self.random.integers(-100, 100, shape).astype(dtype)
        size = () if axis is None else (shape[axis],)
        return self.op("DequantizeLinear", values, np.full(size, 0.01, np.float32), np.full(size, zero, dtype), axis=axis or 0)

    def conv(self, x: str, w: str, name: str = "conv", bias_scale: float | None = None) -> str:
        bias = []
        if bias_scale is not None:
            bias = [self.op("DequantizeLinear", np.zeros(6, S32), np.full(6, bias_scale, np.float32), np.zeros(6, S32), axis=0)]
        return self.op("Conv", x, w, *bias, name=name, pads=[1, 1, 1, 1])

    def model(self, *outputs: str) -> bytes:
        values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)], values, self.stored
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("qonnx", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


Build = Callable[[Graph], str]


def conv(**weight: Any) -> Build:
    return lambda g: g.q(g.conv(g.q("x"), g.weight(6, 4, 3, 3, **weight)))


def conv_bias(scale: float) -> Build:
    return lambda g: g.q(g.conv(g.q("x"), g.weight(6, 4, 3, 3), bias_scale=scale))


def conv_then(kind: str, zero: int, *bounds: Any) -> Build:
    return lambda g: g.q(g.op(kind, g.conv(g.q("x"), g.weight(6, 4, 3, 3)), *bounds, name="act"), zero=zero)


def alone(kind: str, *rest: Any, same: bool = True, **attributes: Any) -> Build:
    return lambda g: g.q(g.op(kind, g.q("x"), *rest, name="op", **attributes), scale=0.05 if same else 0.1)


def add(quantized: bool) -> Build:
    return lambda g: g.q(g.op("Add", g.q("x"), g.q("x", 0.1) if quantized else g.op("Sin", "x", name="sin"), name="add"), 0.2)


def sixteen_bits(g: Graph) -> str:
    return g.q(g.conv(g.q("x", 1e-4, 32768, U16), g.weight(6, 4, 3, 3)), 1e-4, 32768, U16)


def per_channel_input(g: Graph) -> str:
    scale, zero = np.full(4, 0.05, np.float32), np.full(4, 128, U8)
    x = g.op("DequantizeLinear", g.op("QuantizeLinear", "x", scale, zero, axis=1), scale, zero, axis=1)
    return g.q(g.conv(x, g.weight(6, 4, 3, 3)))


def per_channel_output(g: Graph) -> str:
    scale, zero = np.full(6, 0.05, np.float32), np.full(6, 128, U8)
    y = g.conv(g.q("x"), g.weight(6, 4, 3, 3))
    return g.op("DequantizeLinear", g.op("QuantizeLinear", y, scale, zero, axis=1), scale, zero, axis=1)


def weight_only(g: Graph) -> str:
    return g.op("MatMul", "x", g.weight(8, 6, axis=1), name="op")


def dynamic(g: Graph) -> str:
    """What quantize_dynamic writes for a MatMul."""
    g.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], name="quantize"))
    product = g.op("MatMulInteger", "xq", g.random.integers(-100, 100, (8, 6)).astype(S8), "xz", np.int8(0), name="op")
    scale = g.op("Mul", "xs", np.float32(0.01), name="scale")
    return g.op("Mul", g.op("Cast", product, name="cast", to=1), scale, name="rescale")


def function(g: Graph) -> str:
    return g.q(g.op("HardSwish", g.q("x"), name="op"), 0.1)


def unnamed(g: Graph) -> str:
    return g.q(g.op("Sigmoid", g.op("MaxPool", g.q("x"), name="", kernel_shape=[2, 2]), name=""), 1 / 256, 0)


def moved(g: Graph) -> str:
    return g.op("Identity", g.q(g.op("Reshape", g.q("x"), np.array([1, 256]), name="op")), name="end")


ORT: list[tuple[str, Build, dict[str, str]]] = [
    ("conv", conv(), {"conv": "integer"}),
    ("conv, asymmetric weights", conv(zero=5), {"conv": "integer"}),
    ("conv, scales on the input channels: taken, fails when it runs", conv(axis=1), {"conv": "rejected"}),
    ("conv, bias on the accumulator's grid", conv_bias(0.05 * 0.01), {"conv": "integer"}),
    ("conv, bias of another scale", conv_bias(0.002), {"conv": "float"}),
    ("conv, 16-bit activations", sixteen_bits, {"conv": "float"}),
    ("relu that the zero point replaces", conv_then("Relu", 0), {"conv": "integer", "act": "absorbed"}),
    ("relu that it does not replace", conv_then("Relu", 40), {"conv": "float", "act": "float"}),
    ("add", add(True), {"add": "integer"}),
    ("add, one operand float", add(False), {"add": "float", "sin": "float"}),
    ("sigmoid", alone("Sigmoid"), {"op": "integer"}),
    ("tanh", alone("Tanh"), {"op": "float"}),
    ("softmax", alone("Softmax"), {"op": "integer"}),
    ("max-pool", alone("MaxPool", kernel_shape=[2, 2]), {"op": "integer"}),
    ("max-pool, other quantizer behind", alone("MaxPool", same=False, kernel_shape=[2, 2]), {"op": "float"}),
    ("transpose", alone("Transpose", perm=[0, 2, 3, 1]), {"op": "integer"}),
    ("identity between quantizers", alone("Identity"), {"op": "absorbed"}),
    ("hard-swish, which is inlined", function, {"op": "float"}),
    ("reshape", moved, {"op": "integer"}),
    ("names from outputs", unnamed, {"tensor2": "integer", "tensor3": "integer"}),
    ("weight-only matmul: quantizes its input on the fly", weight_only, {"op": "integer"}),
    ("dynamic", dynamic, {"op": "integer", "cast": "absorbed", "rescale": "absorbed", "quantize": "skip", "scale": "skip"}),
]
HTP: list[tuple[str, Build, dict[str, str]]] = [
    ("conv", conv(), {"conv": "integer"}),
    ("conv, per-tensor asymmetric weights", conv(zero=5, axis=None), {"conv": "integer"}),
    ("conv, scales on the input channels: left to the CPU, fails when it runs", conv(axis=1), {"conv": "rejected"}),
    ("conv, bias of another scale", conv_bias(0.002), {"conv": "integer"}),
    ("conv, 16-bit activations", sixteen_bits, {"conv": "integer"}),
    ("relu that the range replaces", conv_then("Relu", 0), {"conv": "integer", "act": "absorbed"}),
    ("add", add(True), {"add": "integer"}),
    ("add, one operand float", add(False), {"add": "float", "sin": "float"}),
    ("tanh", alone("Tanh"), {"op": "integer"}),
    ("hard-swish", function, {"op": "integer"}),
    ("max-pool, other quantizer behind", alone("MaxPool", same=False, kernel_shape=[2, 2]), {"op": "float"}),
    ("transpose", alone("Transpose", perm=[0, 2, 3, 1]), {"op": "integer"}),
    ("reduce-l2: dequantizes, computes, quantizes", alone("ReduceL2"), {"op": "float"}),
    ("weight-only matmul", weight_only, {"op": "float"}),
    ("dynamic: weights are dequantized, the product is float", dynamic, {"op": "float", "quantize": "skip", "scale": "skip"}),
]
OPENVINO: list[tuple[str, Build, dict[str, str]]] = [
    ("conv", conv(), {"conv": "integer"}),
    ("conv, asymmetric weights", conv(zero=5), {"conv": "float"}),
    ("conv, scales on the input channels", conv(axis=1), {"conv": "float"}),
    ("conv, bias of another scale", conv_bias(0.002), {"conv": "integer"}),
    ("conv, 16-bit activations: their quantizers are removed", sixteen_bits, {"conv": "float"}),
    ("relu, whatever the zero point", conv_then("Relu", 40), {"conv": "integer", "act": "absorbed"}),
    ("add: element-wise chains compute in float", add(True), {"add": "float"}),
    ("softmax", alone("Softmax"), {"op": "float"}),
    ("max-pool, other quantizer behind", alone("MaxPool", same=False, kernel_shape=[2, 2]), {"op": "integer"}),
    ("transpose", alone("Transpose", perm=[0, 2, 3, 1]), {"op": "integer"}),
    ("reduce-mean: reads uint8, computes in float", alone("ReduceMean"), {"op": "float"}),
    ("reshape", moved, {"op": "integer"}),
    ("names from outputs", unnamed, {"tensor2": "integer", "tensor3": "float"}),
    ("weight-only matmul", weight_only, {"op": "float"}),
    ("dynamic", dynamic, {"op": "float", "quantize": "skip"}),
]


def ask(build: Build, backend: str, target: str, shape: tuple[int | str, ...] = (1, 4, 8, 8)) -> Answer:
    graph = Graph(shape)
    return judge(graph.model(build(graph)), backend, target)


def check(cases: list[tuple[str, Build, dict[str, str]]], backend: str, target: str) -> None:
    models = []
    for _, build, _ in cases:
        graph = Graph()
        models.append(graph.model(build(graph)))
    answers = judge_many(models, backend, target)
    found = {name: {key: answer.placements.get(key) for key in wanted} for (name, _, wanted), answer in zip(cases, answers, strict=True)}
    assert found == {name: wanted for name, _, wanted in cases}


def test_ort_cpu() -> None:
    check(ORT, "ort-cpu", "x86")


def test_arm_keeps_signed_activations() -> None:
    def several_readers(g: Graph) -> str:
        x = g.op("QuantizeLinear", "x", np.float32(0.05), S8(3))
        first, second = (g.op("DequantizeLinear", x, np.float32(0.05), S8(3)) for _ in range(2))
        y = g.conv(first, g.weight(6, 4, 3, 3), "conv")
        return g.op("Add", g.q(y, zero=3, dtype=S8), g.q(g.conv(second, g.weight(6, 4, 3, 3), "other"), zero=3, dtype=S8))

    assert ask(several_readers, "ort-cpu", "arm").placements["conv"] == "integer"


def test_a_kernel_that_refuses_only_when_it_runs() -> None:
    answer = ask(per_channel_output, "ort-cpu", "x86")
    assert (answer.outcome, answer.placements) == ("refused", {"conv": "rejected"})
    assert "conv" in answer.reasons[0]


def test_symbolic_dimensions_that_fit_no_dummy_input_refuse_nothing() -> None:
    answer = ask(lambda g: g.op("Inverse", "x", name="op", domain="com.microsoft"), "ort-cpu", "x86", ("N", 4))
    assert (answer.outcome, answer.placements) == ("runs", {"op": "float"})


def test_an_unknown_operator_refuses_the_model() -> None:
    answer = ask(lambda g: g.op("Quant", "x", name="op", domain="qonnx"), "ort-cpu", "x86")
    assert (answer.outcome, answer.placements) == ("refused", {"op": "rejected"})


def test_reasons_name_no_place_on_this_machine(tmp_path: Path) -> None:
    answer = ask(per_channel_output, "ort-cpu", "x86")
    assert "/onnxruntime" not in answer.reasons[0] and str(tmp_path.parents[1]) not in answer.reasons[0]


def test_qnn_htp() -> None:
    pytest.importorskip("onnxruntime_qnn")
    check(HTP, "qnn-htp", "v73")


def test_htp_refuses_per_channel_asymmetric_weights() -> None:
    pytest.importorskip("onnxruntime_qnn")
    answer = ask(conv(zero=5), "qnn-htp", "v73")
    assert (answer.outcome, answer.placements) == ("refused", {"conv": "rejected"})


def test_htp_refuses_per_channel_activations() -> None:
    pytest.importorskip("onnxruntime_qnn")
    answer = ask(per_channel_input, "qnn-htp", "v73")
    assert (answer.outcome, answer.placements) == ("refused", {"conv": "rejected"})


def test_htp_leaves_symbolic_shapes_to_the_cpu() -> None:
    pytest.importorskip("onnxruntime_qnn")
    assert ask(conv(), "qnn-htp", "v73", ("N", 4, 8, 8)).placements == {"conv": "cpu"}


@pytest.mark.parametrize(("target", "outcome"), [("v73", "refused"), ("sm8350", "refused"), ("sm8450", "runs"), ("sm8550", "runs")])
def test_the_soc_decides_about_float(target: str, outcome: str) -> None:
    """Without a SoC every generation answers like SM8350, which has no float."""
    pytest.importorskip("onnxruntime_qnn")
    assert ask(lambda g: g.op("Gelu", "x", name="op"), "qnn-htp", target).outcome == outcome


def test_what_there_is_no_oracle_for() -> None:
    with pytest.raises(OracleMissing):
        judge(b"", "tensorrt", "orin")
    with pytest.raises(OracleMissing):
        judge(b"", "ort-cpu", "riscv")
    assert set(ORACLES) == {"ort-cpu", "qnn-htp", "tflite", "tflm", "ethos-u55", "ethos-u65", "ethos-u85", "openvino", "fbgemm", "x86", "onednn", "qnnpack", "x86-inductor", "xnnpack"}


def test_openvino():
    pytest.importorskip("openvino")
    from qlint.oracles.openvino_cpu import instruction_set

    if (here := instruction_set()) not in ("avx2", "avx512-vnni"):
        pytest.skip("the expectations are those of AVX2, and of AVX-512 with VNNI")
    check(OPENVINO, "openvino", here)


def test_openvino_speaks_for_this_machine_only():
    pytest.importorskip("openvino")
    from qlint.oracles.openvino_cpu import instruction_set

    other = "amx" if instruction_set() != "amx" else "avx2"
    answer = ask(conv(), "openvino", other)
    assert (answer.outcome, answer.placements) == ("crashed", {})
    assert "instruction set" in answer.reasons[0]
