"""How many dimensions Qualcomm's HTP takes: graphs that the real backend answered, quantized and in float.

Answers of onnxruntime-qnn 2.7.0, with htp_arch 73 and with the SoC of SM8550: an operator of more dimensions goes to the CPU, or
the model is refused.
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

SHAPES = {4: (1, 4, 4, 6), 5: (1, 2, 4, 4, 6), 6: (1, 2, 2, 4, 4, 6)}


class _Graph(Nodes):
    def __init__(self, quantized: bool) -> None:
        super().__init__()
        self.quantized = quantized

    def grid(self, x: str, scale: float = 0.05) -> str:
        return self.pair(x, scale) if self.quantized else x

    def under_test(self, kind: str, rank: int) -> str:
        shape, x = SHAPES[rank], self.grid("a")
        more: dict[str, Callable[[], tuple[list[str], dict[str, object]]]] = {
            "MatMul": lambda: ([self.grid(self.constant(np.full((6, 5), 0.5, np.float32)))], {}), "Concat": lambda: ([self.grid("b")], {"axis": -1}),
            **dict.fromkeys(["Add", "Max", "Greater"], lambda: ([self.grid("b")], {})),
            "ReduceMean": lambda: ([self.numbers(-1)], {}), "Slice": lambda: ([self.numbers(n) for n in (0, 3, -1)], {}), "Unsqueeze": lambda: ([self.numbers(0)], {}),
            "Reshape": lambda: ([self.numbers(*shape, 1)], {}), "Transpose": lambda: ([], {"perm": (*range(rank - 2), rank - 1, rank - 2)}),
            "Gather": lambda: ([self.numbers(0, 2)], {"axis": -1}),
            "ScatterElements": lambda: ([self.constant(np.zeros(shape, np.int64)), self.grid(self.constant(np.zeros(shape, np.float32)))], {"axis": -1}),
        }  # fmt: skip
        inputs, attributes = more.get(kind, lambda: ([], {}))()
        y = self.add(kind, x, *inputs, **attributes)
        return self.add("Cast", y, to=1) if kind in ("Greater", "ArgMax") else self.grid(y)


def _place(kind: str, rank: int, quantized: bool, backend: str, path: Path) -> str:
    g = _Graph(quantized)
    y = g.under_test(kind, rank)
    inputs = {name: SHAPES[rank] for name in "ab" if any(name in node.input for node in g.nodes)}
    model = canonical(read(g.save(path, inputs, y)))
    verdict = judge(model, load(backend))
    place = next(verdict.where(op) for op in model.ops if op.native == kind)
    return "refused" if verdict.outcome == "refused" else {"absorbed": "integer"}.get(place, place)


FIVE = ["Relu", "Sigmoid", "Softmax", "Abs", "Exp", "HardSwish", "LeakyRelu", "Add", "Max", "Concat", "ReduceMean", "Slice", "Transpose", "Gather", "HardSigmoid"]
FOUR = ["Tanh", "Neg", "Sqrt", "Elu", "Log", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Softplus", "Atan", "LogSoftmax", "Gelu", "MatMul", "Unsqueeze", "Reshape", "ScatterElements"]


@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
@pytest.mark.parametrize(("kind", "most"), [*((kind, 5) for kind in FIVE), *((kind, 4) for kind in FOUR)])
def test_quantized(kind: str, most: int, backend: str, tmp_path: Path) -> None:
    for rank in (4, 5, 6):
        assert _place(kind, rank, True, backend, tmp_path / "model.onnx") == ("integer" if rank <= most else "cpu"), rank


@pytest.mark.parametrize(
    ("kind", "five", "backend"),
    [
        *((kind, "float", "qnn-htp@sm8550") for kind in ("Relu", "Gelu", "Add", "Slice", "Concat")),
        *((kind, "cpu", "qnn-htp@sm8550") for kind in ("Tanh", "Max", "HardSigmoid", "MatMul", "Reshape", "ScatterElements")),
        *((kind, "refused", "qnn-htp@sm8550") for kind in ("Greater", "Sign", "ArgMax")), ("Greater", "float", "qnn-htp@v73"), ("ArgMax", "refused", "qnn-htp@v73"),
    ],
)  # fmt: skip
def test_in_float(kind: str, five: str, backend: str, tmp_path: Path) -> None:
    assert _place(kind, 4, False, backend, tmp_path / "model.onnx") == "float"
    assert _place(kind, 5, False, backend, tmp_path / "model.onnx") == five
    assert _place(kind, 6, False, backend, tmp_path / "model.onnx") in ("cpu", "refused")


WINDOWS = (0, 1, 3, 2, 4, 5)


@pytest.mark.parametrize(
    ("six", "perm", "behind", "place"),
    [
        ((1, 2, 4, 2, 4, 6), WINDOWS, 0.05, "integer"), ((1, 2, 4, 2, 4, 6), WINDOWS, 0.03, "refused"), ((1, 2, 4, 2, 4, 6), (1, 0, 3, 2, 4, 5), 0.05, "cpu"),
        ((2, 2, 4, 2, 2, 6), WINDOWS, 0.05, "cpu"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", ["qnn-htp@v73", "qnn-htp@sm8550"])
def test_windows_of_six_dimensions(six: tuple[int, ...], perm: tuple[int, ...], behind: float, place: str, backend: str, tmp_path: Path) -> None:
    """Reshape, Transpose and Reshape, as a Swin transformer cuts its windows: together they run, if a dimension of one stays in its place."""
    assert _windows(six, perm, behind, True, backend, tmp_path / "model.onnx") == place


@pytest.mark.parametrize(("backend", "place"), [("qnn-htp@v73", "refused"), ("qnn-htp@sm8550", "float")])
def test_windows_in_float(backend: str, place: str, tmp_path: Path) -> None:
    assert _windows((1, 2, 4, 2, 4, 6), WINDOWS, 0.05, False, backend, tmp_path / "model.onnx") == place


def _windows(six: tuple[int, ...], perm: tuple[int, ...], behind: float, quantized: bool, backend: str, path: Path) -> str:
    g = _Graph(quantized)
    x = g.grid(g.add("Relu", g.grid("a")))
    x = g.grid(g.add("Reshape", x, g.numbers(*six)))
    x = g.grid(g.add("Transpose", x, perm=perm), behind)
    y = g.grid(g.add("Reshape", x, g.numbers(4, 16, 6)), behind)
    model = canonical(read(g.save(path, {"a": [1, 8, 8, 6]}, y)))
    verdict = judge(model, load(backend))
    places = {"integer" if verdict.where(op) == "absorbed" else verdict.where(op) for op in model.ops if op.native in ("Reshape", "Transpose")}
    return "refused" if verdict.outcome == "refused" else "+".join(sorted(places))
