"""Which kernels of the HTP read one input from main memory and one from TCM: models that the real backend answered."""

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


class _Graph(Nodes):
    def __init__(self, storage: type) -> None:
        super().__init__()
        self.storage = storage

    def quantized(self, x: str) -> str:
        grid = self.constant(np.float32(0.02)), self.constant(self.storage(128))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid), *grid)

    def weight(self) -> str:
        values = np.random.default_rng(0).integers(0, 255, (8, 8, 1, 1), np.uint8)
        return self.add("DequantizeLinear", self.constant(values), self.constant(np.float32(0.01)), self.constant(np.uint8(128)))

    def save(self, path: Path, output: str) -> None:
        def value(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 16, 16])

        graph = helper.make_graph(self.nodes, "g", [value("a"), value("b")], [value(output)], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


@pytest.mark.parametrize(
    ("kind", "storage", "tiled", "misplaced", "outcome"),
    [
        ("Add", np.uint8, False, 0, "runs"),
        ("Add", np.uint8, True, 0, "refused"),
        ("Add", np.uint8, True, 1, "refused"),
        ("Mul", np.uint8, False, 0, "runs"),
        ("Mul", np.uint8, True, 0, "refused"),
        ("Mul", np.uint8, True, 1, "runs"),
        ("Sub", np.uint8, True, 0, "runs"),
        ("Div", np.uint16, False, 1, "refused"),
        ("Max", np.uint16, False, 0, "refused"),
        ("Max", np.uint16, False, 1, "runs"),
    ],
)
def test_inputs_from_both_memories(kind: str, storage: type, tiled: bool, misplaced: int, outcome: str, tmp_path: Path) -> None:
    """A float subtraction leaves its result in main memory; a convolution tiles its own (onnxruntime-qnn 2.7.0, htp_arch 73)."""
    graph = _Graph(storage)
    astray = graph.quantized(graph.add("Sub", graph.quantized("a"), graph.constant(np.float32(0.3))))
    other = graph.quantized("b")
    if tiled:
        other = graph.quantized(graph.add("Conv", other, graph.weight(), kernel_shape=[1, 1]))
    inputs = (astray, other) if misplaced == 0 else (other, astray)
    graph.save(tmp_path / "model.onnx", graph.quantized(graph.add(kind, *inputs)))
    assert judge(canonical(read(tmp_path / "model.onnx")), load("qnn-htp@v73")).outcome == outcome


@pytest.mark.parametrize(("swapped", "outcome"), [(False, "refused"), (True, "runs")])
def test_the_last_input_decides_where_an_operator_is_planned(swapped: bool, outcome: str, tmp_path: Path) -> None:
    """A float subtraction is planned in TCM and a product is not; their sum looks at the last one."""
    graph = _Graph(np.uint8)
    difference = graph.add("Sub", "a", "b")
    product = graph.add("Abs", graph.add("Mul", "a", graph.constant(np.float32(0.7))))
    graph.save(tmp_path / "model.onnx", graph.add("Add", *((product, difference) if swapped else (difference, product))))
    assert judge(canonical(read(tmp_path / "model.onnx")), load("qnn-htp@v73")).outcome == outcome


@pytest.mark.parametrize(
    ("kind", "storage", "first", "reader", "outcome"),
    [
        ("Mul", np.uint16, False, "Conv", "refused"),
        ("Mul", np.uint16, False, "Softmax", "refused"),
        ("Mul", np.uint16, False, "Sigmoid", "runs"),
        ("Add", np.uint16, False, "Conv", "refused"),
        ("Add", np.uint16, True, "Conv", "runs"),
        ("Add", np.uint16, False, "Softmax", "runs"),
    ],
)
def test_a_constant_in_front_of_tiles(kind: str, storage: type, first: bool, reader: str, outcome: str, tmp_path: Path) -> None:
    """An operator with a constant works on tiles if they are wanted behind it, and tiles are read from one memory."""
    graph = _Graph(storage)
    astray = graph.quantized(graph.add("Sub", graph.quantized("a"), graph.constant(np.float32(0.3))))
    grid = graph.constant(np.float32(0.02)), graph.constant(storage(128))
    constant = graph.add("DequantizeLinear", graph.constant(np.arange(16, dtype=storage)), *grid)
    y = graph.quantized(graph.add(kind, *((constant, astray) if first else (astray, constant))))
    y = graph.add("Conv", y, graph.weight(), kernel_shape=[1, 1]) if reader == "Conv" else graph.add(reader, y)
    graph.save(tmp_path / "model.onnx", graph.quantized(y))
    assert judge(canonical(read(tmp_path / "model.onnx")), load("qnn-htp@v73")).outcome == outcome


@pytest.mark.parametrize(("size", "outcome"), [(16, "refused"), (1, "runs")])
def test_a_product_and_a_sum_with_vectors_are_a_convolution(size: int, outcome: str, tmp_path: Path) -> None:
    graph = _Graph(np.uint8)
    y = graph.quantized(graph.add("Sub", graph.quantized("a"), graph.constant(np.float32(0.3))))
    for kind in ("Mul", "Add"):
        grid = graph.constant(np.float32(0.02)), graph.constant(np.uint8(128))
        y = graph.quantized(graph.add(kind, y, graph.add("DequantizeLinear", graph.constant(np.arange(size, dtype=np.uint8)), *grid)))
    graph.save(tmp_path / "model.onnx", y)
    assert judge(canonical(read(tmp_path / "model.onnx")), load("qnn-htp@v73")).outcome == outcome


def test_a_body_reads_a_tensor_of_the_graph_around_it(tmp_path: Path) -> None:
    """What is planned for a body starts with what comes from outside."""

    def branch(kind: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{kind}_y", TensorProto.FLOAT, [1, 8])
        return helper.make_graph([helper.make_node(kind, ["r"], [f"{kind}_y"], name=kind)], kind, [], [out])

    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch("Exp"), else_branch=branch("Sqrt")),
    ]
    x, c = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    graph = helper.make_graph(nodes, "g", [x, c], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "if.onnx")
    verdict = judge(canonical(read(tmp_path / "if.onnx")), load("qnn-htp@v73"))
    assert {op.name for op in verdict.model.walk() if id(op) in verdict.placements} == {"relu", "if", "Exp", "Sqrt"}


@pytest.mark.parametrize(
    ("kind", "storage", "convolved", "outcome"),
    [
        ("Mul", np.uint16, False, "runs"), ("Add", np.uint16, False, "runs"), ("Sub", np.uint16, False, "runs"), ("Div", np.uint16, False, "refused"),
        ("Mul", np.uint8, False, "refused"), ("Mul", np.uint16, True, "refused"), ("Add", np.uint16, True, "refused"),
    ],
)  # fmt: skip
def test_a_single_number_beside_a_misplaced_tensor(kind: str, storage: type, convolved: bool, outcome: str, tmp_path: Path) -> None:
    """One of 16 bits is read from TCM, so that the result goes there too; in front of a convolution, which wants tiles, it is a parameter."""
    graph = _Graph(storage)
    astray = graph.quantized(graph.add("Sub", graph.quantized("a"), graph.constant(np.float32(0.3))))
    number = graph.add("DequantizeLinear", graph.constant(storage(250)), graph.constant(np.float32(0.02)), graph.constant(storage(128)))
    y = graph.quantized(graph.add(kind, astray, number))
    y = graph.add("Conv", y, graph.weight(), kernel_shape=[1, 1]) if convolved else graph.add("Concat", y, graph.quantized("b"), axis=3)
    graph.save(tmp_path / "model.onnx", graph.quantized(y))
    assert judge(canonical(read(tmp_path / "model.onnx")), load("qnn-htp@v73")).outcome == outcome
