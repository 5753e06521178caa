"""What OpenVINO's CPU plugin fuses, moves and refuses: cases that openvino 2026.4.1 answered on AVX2, and alike on AVX-512 with VNNI.

Where it is installed, on a machine of one of these kinds, it is asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nodes import Nodes

from qlint.judge import Verdict, judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

OUTSIDE = -6, np.int8  # zero point and type of asymmetric data
AROUND = 0, np.int8
POSITIVE = 0, np.uint8
SHIFTED = 100, np.uint8
MEASURED = ("avx2", "avx512-vnni")


class _Graph(Nodes):
    def grid(self, scale: object, zero_point: int, storage: type) -> tuple[str, str]:
        scales = np.asarray(scale, np.float32)
        return self.constant(scales), self.constant(np.full(scales.shape, zero_point, storage))

    def quantized(self, x: str, zero_point: int = 100, storage: type = np.uint8, scale: object = 0.02) -> str:
        """One pair; several scales are per channel."""
        grid = self.grid(scale, zero_point, storage)
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *grid), *grid)

    def conv(self, x: str, inputs: int = 8, outputs: int = 8, group: int = 1, kernel: int = 1) -> str:
        values = np.random.default_rng(0).integers(-99, 99, (outputs, inputs // group, kernel, kernel)).astype(np.int8)
        w = self.add("DequantizeLinear", self.constant(values), *self.grid(0.01, *AROUND))
        return self.add("Conv", x, w, kernel_shape=[kernel, kernel], group=group)

    def stem(self) -> str:
        return self.add("Gelu", self.conv(self.quantized("x")))

    def model(self, path: Path, shape: tuple[int, ...], *outputs: str) -> None:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        ends = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
        graph = helper.make_graph(self.nodes, "g", [x], ends, self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def _target() -> str:
    """The target whose answers this machine can give; AVX2 where it can give none."""
    if find_spec("openvino") is None:
        return "avx2"
    from qlint.oracles.openvino_cpu import instruction_set

    return instruction_set() if instruction_set() in MEASURED else "avx2"


def _asked(path: Path) -> tuple[str, dict[str, str]] | None:
    if find_spec("openvino") is None:
        return None
    from qlint.oracles import judge as ask
    from qlint.oracles.openvino_cpu import instruction_set

    if instruction_set() != _target():
        return None
    answer = ask(path, "openvino", _target())
    return answer.outcome, answer.placements


def _judged(path: Path, target: str = "") -> Verdict:
    return judge(canonical(read(path)), load(f"openvino@{target or _target()}"))


def _outcome(path: Path) -> str:
    verdict = _judged(path)
    asked = _asked(path)
    assert asked is None or asked[0] == verdict.outcome
    return verdict.outcome


def _where(path: Path, kind: str) -> str:
    """Placement of the last node of a kind; what vanishes into an integer kernel is integer."""
    verdict = _judged(path)
    assert verdict.outcome == "runs", verdict.refusals
    found = [(op.name, verdict.where(op).replace("absorbed", "integer")) for op in verdict.model.ops if op.native == kind][-1]
    asked = _asked(path)
    assert asked is None or asked[1][found[0]].replace("absorbed", "integer") == found[1]
    return found[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(("nodes", "grid", "where"), [(2, OUTSIDE, "float"), (1, OUTSIDE, "integer"), (2, AROUND, "integer"), (2, SHIFTED, "integer")])
def test_a_convolution_of_int8_that_several_nodes_dequantize(nodes, grid, where, path):
    g = _Graph()
    x = g.stem()
    pairs = [g.quantized(x, *grid) for _ in range(nodes)]
    g.model(path, (1, 8, 8, 8), g.add("Softmax", pairs[-1]), g.add("Softmax", g.conv(pairs[0])))
    assert _where(path, "Conv") == where


@pytest.mark.parametrize(("grid", "size", "outcome"), [(AROUND, 2, "refused"), (OUTSIDE, 2, "refused"), (SHIFTED, 2, "runs"), (AROUND, 4, "runs")])
def test_an_average_over_all_of_an_image(grid, size, outcome, path):
    g = _Graph()
    pooled = g.quantized(g.add("AveragePool", g.quantized(g.stem(), *grid), kernel_shape=[2, 2]), *grid)
    g.model(path, (1, 8, size, size), g.conv(pooled))
    assert _outcome(path) == (outcome if _target() == "avx2" else "runs")
    assert [_judged(path, target).outcome for target in MEASURED] == [outcome, "runs"]


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ((0.02, *AROUND), (0.05, *AROUND), "integer"), ((0.02, *SHIFTED), (0.02, 90, np.uint8), "integer"),
        ((0.02, *SHIFTED), (0.05, *SHIFTED), "float"), ((0.02, *POSITIVE), (0.02, *AROUND), "float"),
    ],
)  # fmt: skip
def test_a_convolution_behind_a_concatenation_without_a_quantizer(one, other, where, path):
    g = _Graph()
    x = g.stem()
    joined = g.add("Concat", *(g.quantized(part, *grid, scale=scale) for part, (scale, *grid) in ((x, one), (g.add("Tanh", x), other))), axis=1)
    g.model(path, (1, 8, 8, 8), g.quantized(g.conv(joined, inputs=16)))
    assert _where(path, "Conv") == where


@pytest.mark.parametrize(("scale", "storage", "reader", "where"), [
    (0.00588, np.int8, "Conv", "float"), (0.00589, np.int8, "Conv", "integer"), (0.002, np.uint8, "Conv", "integer"),
    (0.002, np.int8, "MaxPool", "integer"),
])  # fmt: skip
@pytest.mark.parametrize("quantized", [True, False])
def test_a_small_range_behind_a_concatenation(scale, storage, reader, where, quantized, path):
    """255 steps that are less than 1.5."""
    g = _Graph()
    x, grid = g.quantized("x"), (-128 if storage is np.int8 else 0, storage)
    parts = [g.quantized(g.conv(x), *grid, scale=scale * part) if quantized else g.add("Tanh", g.conv(x)) for part in (1.0, 0.7)]
    joined = g.quantized(g.add("Concat", *parts, axis=1), *grid, scale=scale)
    if reader == "Conv":
        y = g.conv(joined, inputs=16)
    else:
        y = g.add("MaxPool", joined, kernel_shape=[2, 2])
    g.model(path, (1, 8, 8, 8), g.quantized(y, *grid, scale=scale if reader == "MaxPool" else 0.1))
    assert _where(path, "Concat") == where
    assert _where(path, reader) == where


@pytest.mark.parametrize(("grid", "where"), [(POSITIVE, "float"), (SHIFTED, "integer"), (AROUND, "integer")])
def test_a_transpose_in_front_of_the_first_factor_of_a_product(grid, where, path):
    g = _Graph()
    x = g.quantized("x", *grid)
    factors = [g.add("Transpose", g.conv(x), perm=perm) for perm in ((0, 3, 2, 1), (0, 2, 1, 3))]
    g.model(path, (1, 8, 8, 8), g.quantized(g.add("MatMul", *(g.quantized(factor, *grid) for factor in factors)), *grid))
    verdict = _judged(path)
    first = next(op for op in verdict.model.ops if op.native == "Transpose")
    asked = _asked(path)
    assert asked is None or asked[1][first.name].replace("absorbed", "integer") == where
    assert verdict.where(first).replace("absorbed", "integer") == where


@pytest.mark.parametrize(("zero_point", "axis", "between", "outcome"), [(5, 1, False, "refused"), (5, -2, False, "refused"), (0, 1, False, "runs"), (5, -1, False, "runs"), (5, 1, True, "runs")])
def test_a_product_of_what_was_concatenated(zero_point, axis, between, outcome, path):
    g = _Graph()
    grid = (zero_point, np.int8)
    x = g.quantized("x", *grid)
    joined = g.quantized(g.add("Concat", *(g.quantized(g.conv(x), *grid) for _ in range(2)), axis=axis), *grid)
    joined = g.quantized(g.add("Reshape", joined, g.constant(np.array([1, 128, 8]))), *grid) if between else joined
    w = g.add("DequantizeLinear", g.constant(np.ones((16 if axis == -1 else 8, 5), np.int8)), *g.grid(0.01, *AROUND))
    g.model(path, (1, 8, 8, 8), g.quantized(g.add("MatMul", joined, w), *grid))
    assert _outcome(path) == outcome


@pytest.mark.parametrize(("top", "where"), [(3.0, "float"), (1.0, "integer")])
def test_a_clip_between_quantizers_stays_only_where_the_second_one_reaches_farther(top, where, path):
    """The first quantizer is asymmetric; from 0 to 3 is what the second one can say."""
    g = _Graph()
    clipped = g.add("Clip", g.quantized(g.conv(g.quantized("x"))), g.constant(np.float32(0)), g.constant(np.float32(top)))
    g.model(path, (1, 8, 8, 8), g.conv(g.quantized(clipped, *POSITIVE, scale=3.0 / 255)))
    assert _where(path, "Clip") == where


@pytest.mark.parametrize(("group", "where"), [(8, "integer"), (1, "float")])
def test_data_quantized_per_channel(group, where, path):
    g = _Graph()
    x = g.quantized(g.stem(), *AROUND, scale=np.linspace(0.01, 0.03, 8))
    g.model(path, (1, 8, 8, 8), g.quantized(g.conv(x, group=group, kernel=3)))
    assert _where(path, "Conv") == where


@pytest.mark.parametrize(("zero_point", "integer", "outcome"), [(0, True, "refused"), (0, False, "refused"), (9, True, "refused"), (9, False, "runs")])
def test_a_quantizer_per_head_behind_a_product(zero_point, integer, outcome, path):
    g = _Graph()
    x = g.quantized("x", *AROUND) if integer else "x"
    product = g.add("MatMul", x, g.add("Transpose", x, perm=[0, 1, 3, 2]))
    heads = g.quantized(product, zero_point, np.int8, np.linspace(0.1, 0.2, 2))
    g.model(path, (1, 2, 6, 6), g.add("Softmax", heads))
    assert _outcome(path) == outcome


@pytest.mark.parametrize("twice", [False, True])
def test_a_16_bit_quantizer_in_front_of_what_is_an_output_already(twice, path):
    """It is removed, and then two outputs would be the same tensor."""
    g = _Graph()
    y = g.add("Relu", g.conv(g.quantized("x")))
    fine = g.quantized(y, 100, np.uint16, 0.001)
    g.model(path, (1, 8, 8, 8), fine, *[y] * twice)
    assert _outcome(path) == ("refused" if twice else "runs")


@pytest.mark.parametrize(("behind", "where"), [(True, "float"), (False, "integer")])
def test_data_movement_behind_an_average(behind, where, path):
    """Its result is float, unless a product reads it."""
    g = _Graph()
    flat = g.add("Flatten", g.add("AveragePool", g.quantized(g.stem(), *SHIFTED), kernel_shape=[4, 4], strides=[4, 4]))
    values = np.random.default_rng(0).integers(-99, 99, (32, 5)).astype(np.int8)
    w = g.add("DequantizeLinear", g.constant(values), *g.grid(0.01, *AROUND))
    g.model(path, (1, 8, 8, 8), g.quantized(g.add("MatMul", g.quantized(flat) if behind else flat, w)))
    assert _where(path, "Flatten") == where


SUMS: list[tuple[Callable[[_Graph, str], str], tuple[int, type], str]] = [
    (lambda g, x: g.quantized(x, *SHIFTED), SHIFTED, "integer"),
    (lambda g, x: x, OUTSIDE, "integer"),
    (lambda g, x: g.conv(g.quantized(x)), SHIFTED, "integer"),
]


@pytest.mark.parametrize(("other", "grid", "where"), SUMS, ids=["quantized", "float", "convolution"])
def test_a_sum_with_a_quantized_convolution(other, grid, where, path):
    g = _Graph()
    x = g.stem()
    inside = g.add("Relu", g.conv(g.quantized(x)))
    total = g.add("Add", g.quantized(g.conv(g.quantized(inside)), *grid), other(g, x))
    g.model(path, (1, 8, 8, 8), g.add("Softmax", g.conv(g.quantized(total))))
    assert _where(path, "Add") == where


@pytest.mark.parametrize(("scale", "where"), [(np.full(16, 0.01), "float"), (0.01, "integer")])
def test_an_embedding_with_a_scale_for_each_row_is_read_in_float(scale, where, path):
    g = _Graph()
    table = np.random.default_rng(0).integers(-99, 99, (16, 8)).astype(np.int8)
    rows = g.add("DequantizeLinear", g.constant(table), *g.grid(scale, *AROUND), axis=0)
    indices = g.add("Cast", "x", to=TensorProto.INT64)
    weight = g.add("DequantizeLinear", g.constant(table[:8]), *g.grid(0.01, *AROUND))
    g.model(path, (4,), g.add("MatMul", g.quantized(g.add("Gather", rows, indices), *AROUND), weight))
    assert _where(path, "Gather") == where


def _gelu(g: _Graph, x: str, *grid: object) -> str:
    """With numbers in float, or on a grid."""

    def number(value: float) -> str:
        return g.add("DequantizeLinear", g.constant(np.int8(127)), *g.grid(value / 127, *grid)) if grid else g.constant(np.float32(value))

    gate = g.add("Add", g.add("Erf", g.add("Mul", x, number(0.70710678))), number(1))
    return g.add("Mul", g.add("Mul", x, gate), number(0.5))


_SPELLED: dict[str, Callable[[_Graph, str], str]] = {
    "swish": lambda g, x: g.add("Mul", x, g.add("Sigmoid", x)),
    "gelu": _gelu,
    "mish": lambda g, x: g.add("Mul", x, g.add("Tanh", g.add("Softplus", x))),
    "gelu of quantized constants": lambda g, x: _gelu(g, x, *AROUND),
    "of two": lambda g, x: g.add("Mul", g.add("Abs", x), g.add("Sigmoid", x)),
}


@pytest.mark.parametrize("function", _SPELLED)
@pytest.mark.parametrize(("grid", "fused"), [(None, True), (POSITIVE, True), (AROUND, True), (SHIFTED, False)])
def test_a_function_in_several_operators_is_fused(function, grid, fused, path):
    """If there is nothing but a scale to undo between it and what it is fused into; two functions of one tensor are not."""
    g = _Graph()
    x, product = g.quantized("x"), "gelu" in function
    y = g.add("MatMul", x, g.add("DequantizeLinear", g.constant(np.ones((8, 8), np.int8)), *g.grid(0.01, *AROUND))) if product else g.conv(x)
    if grid is not None:
        y = g.quantized(y, *grid)
    g.model(path, (2, 4, 8) if product else (1, 8, 6, 6), g.quantized(_SPELLED[function](g, y)))
    assert _where(path, "Mul") == ("integer" if fused and " of " not in f" {function}" else "float")


_MOVES: dict[str, Callable[[_Graph, str], str]] = {
    "Gather": lambda g, x: g.add("Gather", x, g.constant(np.array([1, 0])), axis=2),
    "MaxPool": lambda g, x: g.add("MaxPool", x, kernel_shape=[2, 2]),
    "Reshape": lambda g, x: g.add("Reshape", x, g.constant(np.array([4, 8, 36]))),
    "Unsqueeze": lambda g, x: g.add("Unsqueeze", x, g.constant(np.array([4]))),
    "Transpose": lambda g, x: g.add("Transpose", x, perm=[0, 2, 3, 1]),
    "Slice": lambda g, x: g.add("Slice", x, g.constant(np.array([0])), g.constant(np.array([4])), g.constant(np.array([2]))),
    "DepthToSpace": lambda g, x: g.add("DepthToSpace", x, blocksize=2),
}


@pytest.mark.parametrize("kind", _MOVES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scales_that_are_moved(kind, axis, path):
    """Those of channels, that is along the second axis; a Transpose moves any, a Slice and a DepthToSpace none."""
    g = _Graph()
    grid = g.grid(np.linspace(0.01, 0.02, (4, 8, 6)[axis]), *POSITIVE)
    x = g.add("DequantizeLinear", g.add("QuantizeLinear", "x", *grid, axis=axis), *grid, axis=axis)
    g.model(path, (4, 8, 6, 6), g.quantized(_MOVES[kind](g, x)))
    moved = kind == "Transpose" or (axis == 1 and kind not in ("Slice", "DepthToSpace"))
    assert _where(path, kind) == ("integer" if moved else "float")


@pytest.mark.parametrize(("shape", "outcome"), [((8, 1, 1), "refused"), ((8,), "runs")])
def test_scales_that_are_no_vector(shape, outcome, path):
    """As NNCF writes those of asymmetric weights of a convolution."""
    g = _Graph()
    w = g.add("DequantizeLinear", g.constant(np.ones((8, 8, 1, 1), np.uint8)), *g.grid(np.full(shape, 0.01), *SHIFTED), axis=0)
    g.model(path, (1, 8, 4, 4), g.add("Conv", "x", w))
    assert _outcome(path) == outcome


@pytest.mark.parametrize(
    ("behind", "zero_point", "storage", "outcome"),
    [("", 0, np.uint8, "refused"), ("Relu", 0, np.uint8, "refused"), ("Gelu", 0, np.uint8, "refused"), ("MaxPool", 0, np.uint8, "runs"), ("", 0, np.int8, "runs"), ("", 5, np.uint8, "runs")],
)  # fmt: skip
def test_weights_of_uint8_around_zero_on_avx512(behind, zero_point, storage, outcome, path):
    """No implementation takes them and writes uint8; what is not quantized behind runs in float. On AVX2 nobody was asked."""
    g = _Graph()
    weights = g.constant(np.ones((8, 8, 1, 1), np.uint8))
    y = g.add("Conv", g.quantized("x"), g.add("DequantizeLinear", weights, *g.grid(0.01, zero_point, np.uint8)), kernel_shape=[1, 1])
    if behind:
        y = g.add(behind, y, **({"kernel_shape": [2, 2]} if behind == "MaxPool" else {}))
    g.model(path, (1, 8, 8, 8), g.quantized(y, 100 if storage is np.uint8 else 0, storage))
    assert _judged(path, "avx512-vnni").outcome == outcome
    if _target() == "avx512-vnni":
        asked = _asked(path)
        assert asked is None or asked[0] == outcome
