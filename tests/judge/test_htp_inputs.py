"""An input of a model that Qualcomm's HTP reads quantized, and in float as well: graphs that the real backend answered.

Answers of onnxruntime-qnn 2.7.0, with htp_arch 73 and with the SoC of SM8550: whether the model compiles and runs.
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


class _Graph(Nodes):
    def pair(self, x: str, scale: float = 0.02) -> str:
        grid = self.constant(np.float32(scale)), self.constant(np.uint8(128))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid), *grid)


@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
@pytest.mark.parametrize(
    ("float_reader", "outcome"),
    [
        ("Sigmoid of the input", "refused"),
        ("Sigmoid of another input", "runs"),
        ("Sigmoid behind the quantizer", "runs"),
        ("Erf of the input", "runs"),  # on the CPU
        ("Add behind an Erf", "runs"),  # in a later partition
    ],
)
@pytest.mark.parametrize("unit", [True, False])
def test_an_input_is_declared_once(unit: bool, float_reader: str, outcome: str, backend: str, tmp_path: Path) -> None:
    graph = _Graph()
    stored = graph.pair("a")
    ends = [graph.add("Relu", stored)]
    if unit:
        ends = [graph.pair(ends[0])]
    kind, _, where = float_reader.partition(" ")
    if kind == "Add":
        ends.append(graph.add("Add", graph.add("Erf", ends[0]), "a"))
    else:
        ends.append(graph.add(kind, {"of another input": "b", "behind the quantizer": stored}.get(where, "a")))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6, 12]) for name in ("a", "b", *ends)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "g", values[: 2 if where == "of another input" else 1], values[2:], graph.constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=10,
    )  # fmt: skip
    onnx.save(model, tmp_path / "model.onnx")
    assert judge(canonical(read(tmp_path / "model.onnx")), load(backend)).outcome == outcome
