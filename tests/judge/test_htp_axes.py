"""A Transpose of activations with a scale per channel on Qualcomm's HTP: graphs that the real backend answered.

Answers of onnxruntime-qnn 2.7.0, with htp_arch 73 and with the SoC of SM8550 alike: where the operator behind the Transpose runs,
or that the model is refused. The Transpose's own output has one scale, which is the first of those in front or another one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_nodes import Nodes

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read


class _Graph(Nodes):
    def weight(self, *shape: int) -> str:
        return self.pair(self.constant(np.ones(shape, np.float32)), 0.01)

    def reader(self, kind: str, x: str) -> str:
        more: dict[str, Callable[[], tuple[list[str], dict[str, object]]]] = {
            "Reshape": lambda: ([self.numbers(1, 4, 12)], {}), "Squeeze": lambda: ([self.numbers(0)], {}), "Flatten": lambda: ([], {}), "Tile": lambda: ([self.numbers(1, 1, 2, 1)], {}),
            "Gather": lambda: ([self.numbers(0, 2)], {"axis": 3}), "Softmax": lambda: ([], {}), "Slice": lambda: ([self.numbers(0), self.numbers(1), self.numbers(1)], {}), "Add": lambda: ([x], {}),
            "Concat": lambda: ([x], {"axis": 2}), "Pad": lambda: ([self.numbers(0, 0, 0, 0, 0, 0, 1, 0)], {}), "ReduceMean": lambda: ([self.numbers(3)], {}), "MatMul": lambda: ([self.weight(6, 5)], {}),
            "Transpose": lambda: ([], {"perm": (0, 1, 3, 2)}), "Conv": lambda: ([self.weight(3, 4, 1, 1)], {}), "MaxPool": lambda: ([], {"kernel_shape": [2, 2]}),
            "AveragePool": lambda: ([], {"kernel_shape": [2, 2]}), "Resize": lambda: (["", "", self.numbers(1, 4, 4, 12)], {"mode": "nearest"}), "DepthToSpace": lambda: ([], {"blocksize": 2}),
        }  # fmt: skip
        inputs, attributes = more.get(kind, lambda: ([], {}))()
        return self.add(kind, x, *inputs, **attributes)


def _model(reader: str, path: Path, behind: float = 0.02) -> Path:
    g = _Graph()
    x = g.pair(g.add("Sigmoid", g.pair("a", 0.05)), [0.02, 0.022])
    x = g.pair(g.add("Transpose", x, perm=(0, 2, 1, 3)), behind)
    y = g.pair(g.add("Tanh", g.pair(g.reader(reader, x), behind)), 0.01)
    return g.save(path, {"a": [1, 2, 4, 6]}, y)


def _place(path: Path, kind: str, backend: str) -> str:
    model = canonical(read(path))
    verdict = judge(model, load(backend))
    place = next(verdict.where(op) for op in reversed(model.ops) if op.native == kind)
    return "refused" if verdict.outcome == "refused" else {"absorbed": "integer"}.get(place, place)


ANSWERS = {
    "cpu": ["Reshape", "Squeeze", "Flatten", "Tile", "Gather"],
    "refused": ["Relu", "Sigmoid", "Softmax", "Slice", "Add", "Concat", "Pad", "ReduceMean"],
    "integer": ["MatMul", "Transpose", "Conv", "MaxPool", "AveragePool", "Resize", "DepthToSpace"],
}


@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
@pytest.mark.parametrize(("reader", "place"), [(reader, place) for place, readers in ANSWERS.items() for reader in readers])
def test_a_transpose_hands_on_the_scales_in_front_of_it(reader: str, place: str, backend: str, tmp_path: Path) -> None:
    assert _place(_model(reader, tmp_path / "model.onnx"), reader, backend) == place


@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
@pytest.mark.parametrize("reader", ["Relu", "Reshape"])
def test_one_whose_output_has_another_scale_is_no_unit(reader: str, backend: str, tmp_path: Path) -> None:
    assert _place(_model(reader, tmp_path / "model.onnx", behind=0.0201), reader, backend) == "integer"
