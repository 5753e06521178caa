"""An operator between two grids on Qualcomm's HTP: what was seen when all pairs of nine grids were asked.

Answers of onnxruntime-qnn 2.7.0, with htp_arch 73 and with the SoC of SM8550 alike. Where the provider is installed it is asked again.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_nodes import Nodes

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

GRIDS = {"u8": ("UINT8", 122), "u8m": ("UINT8", 128), "s8": ("INT8", 0), "s8a": ("INT8", 5), "u16": ("UINT16", 32768), "u16a": ("UINT16", 1000), "s16": ("INT16", 0)}


class _Graph(Nodes):
    def on(self, x: str, grid: str) -> str:
        if not grid:
            return x
        storage, zero_point = GRIDS[grid]
        name = f"z{len(self.constants)}"
        parameters = self.constant(np.float32(0.0001 if "16" in grid else 0.02)), name
        self.constants.append(helper.make_tensor(name, getattr(TensorProto, storage), [], [zero_point]))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *parameters), *parameters)

    def operator(self, kind: str, x: str) -> str:
        more = {"Tile": [self.numbers(1, 1, 2, 1)], "Expand": [self.numbers(2, 8, 6, 6)], "Reshape": [self.numbers(1, -1)]}.get(kind, [])
        return self.add(kind, x, *more)


@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
@pytest.mark.parametrize(
    ("kind", "x", "y", "place"),
    [
        ("Tile", "u8", "u8", "integer"), ("Tile", "u8", "u8m", "cpu"), ("Tile", "s8", "s8a", "cpu"), ("Tile", "u16", "u16", "integer"), ("Tile", "u16", "u16a", "cpu"),
        ("Tile", "s16", "s16", "cpu"), ("Tile", "u8", "s8", "float"), ("Expand", "u8", "u8m", "integer"), ("Expand", "u16", "u16a", "integer"), ("Expand", "s16", "s16", "cpu"),
        ("Reshape", "u8", "u8m", "integer"), ("Reciprocal", "u8", "u8", "integer"), ("Reciprocal", "u8", "s8", "float"), ("Reciprocal", "u16", "s16", "float"),
        ("Reciprocal", "", "u8", "float"),
    ],
)  # fmt: skip
def test_between_two_grids(kind: str, x: str, y: str, place: str, backend: str, tmp_path: Path) -> None:
    g = _Graph()
    made = g.operator(kind, g.on("a", x))
    path = g.save(tmp_path / "model.onnx", {"a": (1, 8, 6, 6)}, g.on(made, y), opset=21)
    verdict = judge(canonical(read(path)), load(backend))
    assert verdict.outcome == "runs"
    assert {verdict.where(op) for op in verdict.model.ops if op.native == kind} == {place}
    if find_spec("onnxruntime_qnn") is not None:
        from qlint.oracles import judge as ask

        assert ask(path, *backend.split("@")).placements[f"{made}_node"] == place


@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
def test_a_reciprocal_of_quantized_data_that_stays_in_float_has_no_kernel(backend: str, tmp_path: Path) -> None:
    g = _Graph()
    path = g.save(tmp_path / "model.onnx", {"a": (1, 8, 6, 6)}, g.add("Reciprocal", g.on("a", "u8")), opset=21)
    assert judge(canonical(read(path)), load(backend)).outcome == "refused"
