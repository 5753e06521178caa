"""Types and zero points of weights on Qualcomm's HTP: graphs that the real backend answered.

Answers of onnxruntime-qnn 2.7.0, with htp_arch 73 and with the SoC of SM8550 alike, to 360 graphs: a MatMul, a Gemm, a Conv and a MatMul with
an Add behind it (which becomes a Gemm), with weights of six types, per tensor and per output channel, and inputs of three. What is not integer
runs on the CPU, and a Conv is refused: it has been made channels-last by then. Where the provider is installed it is asked again.
"""

from __future__ import annotations

from importlib.util import find_spec
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

BACKENDS = ["qnn-htp@v73", "qnn-htp@sm8550"]
KINDS = ("MatMul", "Gemm", "Conv", "MatMul Add")
MIDDLE = {"uint4": 8, "uint8": 128, "uint16": 32768}
SIZE = 8  # channels in and out


class _Graph(Nodes):
    def codes(self, storage: str, shape: tuple[int, ...], *values: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, getattr(TensorProto, storage.upper()), shape, values))
        return name

    def quantized(self, x: str, storage: str) -> str:
        grid = self.constant(np.float32(0.02)), self.codes(storage, (), MIDDLE.get(storage, 0))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid), *grid)

    def weight(self, storage: str, zero_point: int, several: bool, shape: tuple[int, ...], axis: int) -> str:
        codes = self.codes(storage, shape, *(n % 7 + (3 if storage.startswith("u") else -3) for n in range(int(np.prod(shape)))))
        count = (SIZE,) if several else ()
        scale = self.constant(np.linspace(0.01, 0.02, SIZE, dtype=np.float32) if several else np.float32(0.01))
        along: dict[str, object] = {"axis": axis} if several else {}
        return self.add("DequantizeLinear", codes, scale, self.codes(storage, count, *[zero_point] * (SIZE if several else 1)), **along)


def _model(kind: str, weight: str, zero_point: int, several: bool, x: str, path: Path) -> tuple[Path, str]:
    """The model, and the name of the operator with the weights."""
    g = _Graph()
    first, *behind = kind.split()
    shape, axis = ((SIZE, SIZE, 1, 1), 0) if first == "Conv" else ((SIZE, SIZE), 1)
    y = made = g.add(first, g.quantized("a", x), g.weight(weight, zero_point, several, shape, axis))
    if behind:
        y = g.add(behind[0], y, g.constant(np.ones(SIZE, np.float32)))
    return g.save(path, {"a": (1, SIZE, 6, 6) if first == "Conv" else (5, SIZE)}, g.quantized(y, x), opset=21), f"{made}_node"


def _places(path: Path, label: str, backend: str) -> set[str]:
    """What qlint says, and what the backend says where there is one."""
    verdict = judge(canonical(read(path)), load(backend))
    said = {"refused"} if verdict.outcome == "refused" else {verdict.where(op) for op in verdict.model.ops if op.label == label}
    if find_spec("onnxruntime_qnn") is not None:
        from qlint.oracles import judge as ask

        answer = ask(path, *backend.split("@"))
        said.add("refused" if answer.outcome == "refused" else answer.placements[label])
    return {"integer" if place == "absorbed" else place for place in said}


RULES = [  # weights, zero point, per channel, input: kinds in integer
    ("uint8", 0, True, "uint8", ()), ("uint8", 128, True, "uint8", KINDS), ("uint8", 100, True, "uint8", ()), ("uint8", 0, False, "uint8", KINDS), ("int8", 3, True, "uint8", ()),
    ("uint4", 0, True, "uint8", KINDS), ("uint4", 8, True, "uint8", ()), ("int4", 0, True, "uint16", KINDS),
    ("uint16", 32768, True, "uint16", ("Gemm", "MatMul Add")), ("uint16", 0, False, "uint16", ("MatMul", "Conv")), ("uint16", 32768, False, "uint16", KINDS),
    ("int16", 0, False, "uint16", KINDS), ("int16", 0, True, "uint16", KINDS), ("int16", 3, False, "uint16", ()), ("int16", 0, False, "uint8", ()), ("int8", 0, True, "int16", KINDS),
    ("uint8", 128, False, "int16", ()),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("weight", "zero_point", "several", "x", "integer"), RULES)
def test_types_and_zero_points(weight: str, zero_point: int, several: bool, x: str, integer: tuple[str, ...], kind: str, backend: str, tmp_path: Path) -> None:
    path, label = _model(kind, weight, zero_point, several, x, tmp_path / "model.onnx")
    assert _places(path, label, backend) == {"integer" if kind in integer else "refused" if kind == "Conv" else "cpu"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("storage", "zero_point", "axis", "place"), [("uint8", 128, 1, "integer"), ("int8", 0, 1, "integer"), ("uint8", 0, 1, "cpu"), ("int8", 5, 1, "cpu"), ("uint8", 128, 0, "cpu")])
def test_columns_of_a_second_factor(storage: str, zero_point: int, axis: int, place: str, backend: str, tmp_path: Path) -> None:
    """An activation may have a scale for each column; the results are those of the CPU within one step."""
    g = _Graph()
    grid = g.constant(np.linspace(0.01, 0.02, SIZE, dtype=np.float32)), g.codes(storage, (SIZE,), *[zero_point] * SIZE)
    second = g.add("DequantizeLinear", g.add("QuantizeLinear", "b", *grid, axis=axis), *grid, axis=axis)
    y = g.add("MatMul", g.quantized("a", "uint8"), second)
    path = g.save(tmp_path / "model.onnx", {"a": (5, SIZE), "b": (SIZE, SIZE)}, g.quantized(y, "uint8"), opset=21)
    assert _places(path, f"{y}_node", backend) == {place}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("default", "place"), [(False, "integer"), (True, "refused")])
def test_the_factor_of_an_instance_norm_may_not_be_the_default_of_an_input(default: bool, place: str, backend: str, tmp_path: Path) -> None:
    g = _Graph()
    factor = g.codes("int8", (SIZE,), *range(1, SIZE + 1))
    gamma = g.add("DequantizeLinear", factor, g.constant(np.float32(0.01)), g.codes("int8", (), 0))
    beta = g.add("DequantizeLinear", g.codes("int32", (SIZE,), *[0] * SIZE), g.constant(np.float32(0.01)))
    y = g.add("InstanceNormalization", g.quantized("a", "uint8"), gamma, beta)
    path = g.save(tmp_path / "model.onnx", {"a": (1, SIZE, 4, 4)}, g.quantized(y, "uint8"), opset=21)
    if default:
        model = onnx.load(path)
        model.graph.input.append(helper.make_tensor_value_info(factor, TensorProto.INT8, [SIZE]))
        onnx.save(model, path)
    assert _places(path, f"{y}_node", backend) == {place}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "factor", "zero_point", "place"),
    [("uint8", "uint8", 0, "integer"), ("uint8", "int8", 0, "cpu"), ("int8", "int8", 0, "integer"), ("int8", "uint8", 0, "cpu"), ("uint16", "uint16", 32768, "integer"), ("uint16", "uint16", 0, "cpu")],
)  # fmt: skip
def test_the_factor_of_a_layer_norm_without_bias(x: str, factor: str, zero_point: int, place: str, backend: str, tmp_path: Path) -> None:
    """120 graphs with and without a bias, of five inputs and eight factors."""
    g = _Graph()
    gamma = g.add("DequantizeLinear", g.codes(factor, (SIZE,), *range(1, SIZE + 1)), g.constant(np.float32(0.01)), g.codes(factor, (), zero_point))
    y = g.add("LayerNormalization", g.quantized("a", x), gamma)
    path = g.save(tmp_path / "model.onnx", {"a": (1, 6, SIZE)}, g.quantized(y, x), opset=21)
    assert _places(path, f"{y}_node", backend) == {place}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("weight", "x", "clamp", "behind", "place"),
    [
        ("", "uint8", "", ("uint8", 122), "integer"), ("", "uint8", "Relu", ("uint8", 122), "cpu"), ("", "uint8", "Clip", ("uint8", 122), "cpu"), ("", "uint8", "Relu", ("uint8", 0), "integer"),
        ("", "uint8", "Relu", None, "float"), ("", "int8", "Relu", ("uint8", 0), "float"), ("int8", "int8", "Relu", ("uint8", 0), "float"), ("int8", "uint8", "Relu", ("int8", 0), "cpu"),
    ],
)  # fmt: skip
def test_a_gemm_and_a_clamp(weight: str, x: str, clamp: str, behind: tuple[str, int] | None, place: str, backend: str, tmp_path: Path) -> None:
    """Float weights are quantized for the sake of a quantizer behind the clamp, and the unit without a quantized result runs on the CPU; a clamp that says nothing vanishes first."""
    g = _Graph()
    w = g.weight(weight, 0, False, (SIZE, SIZE), 1) if weight else g.constant(np.full((SIZE, SIZE), 0.1, np.float32))
    y = made = g.add("Gemm", g.quantized("a", x), w)
    if clamp:
        y = g.add(clamp, y, *([g.constant(np.float32(0)), g.constant(np.float32(1))] if clamp == "Clip" else []))
    if behind:
        grid = g.constant(np.float32(0.02)), g.codes(behind[0], (), behind[1])
        y = g.add("DequantizeLinear", g.add("QuantizeLinear", y, *grid), *grid)
    path = g.save(tmp_path / "model.onnx", {"a": (5, SIZE)}, y, opset=21)
    assert _places(path, f"{made}_node", backend) == {place}
