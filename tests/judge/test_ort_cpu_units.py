"""What ONNX Runtime's CPU provider fuses: cases that onnxruntime 1.32.0 answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import Nodes

from qlint.judge import judge
from qlint.oracles import judge as ask
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read


@pytest.mark.parametrize(
    ("shape", "zero_point", "where"),
    [((), True, "integer"), ((), False, "integer"), ((1,), True, "integer"), ((1,), False, "float")],
)
def test_a_relu_in_front_of_a_quantizer_without_zero_point(shape, zero_point, where, tmp_path):
    """It vanishes if the zero point is written out or the scale is a scalar."""
    constants = {"s": np.full(shape, 0.03, np.float32), "z": np.zeros(shape, np.uint8), "w": np.ones((4, 3, 1, 1), np.int8), "ws": np.float32(0.01), "wz": np.int8(0)}
    grid = ["s", "z"] if zero_point else ["s"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *grid], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", *grid], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", *grid], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", *grid], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8]) for name, channels in (("x", 3), ("y", 4)))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86"))
    assert [p.where for p in verdict.placements.values() if p.op.kind == "conv"] == [where]


@pytest.mark.parametrize(
    ("mode", "scale", "zero_point", "outcome"),
    [
        ("nearest", None, 0, "runs"),
        ("nearest", 2 / 255, 0, "refused"),
        ("nearest", 2.02 / 255, 0, "refused"),
        ("nearest", 1 / 64, 0, "runs"),
        ("nearest", 0.01004, 0, "runs"),
        ("linear", 2 / 255, 0, "refused"),
        ("linear", 0.01004, 0, "refused"),
        ("linear", 1 / 64, 0, "runs"),
    ],
)
def test_a_resize_whose_factors_are_quantized(mode, scale, zero_point, outcome, tmp_path):
    """By 0.996 of 16 channels 15 are left, for which the convolution behind has no weights; 1.004 leaves them, but linear interpolation wants 1."""
    constants = {"s": np.float32(0.02), "z": np.uint8(128), "w": np.ones((4, 16, 1, 1), np.int8), "ws": np.float32(0.01), "wz": np.int8(0), "f": np.array([1, 1, 2, 2], np.float32)}
    grid, factors, nodes = ["s", "z"], "f", []
    if scale is not None:
        constants |= {"fs": np.float32(scale), "fz": np.uint8(zero_point)}
        nodes = [helper.make_node("QuantizeLinear", ["f", "fs", "fz"], ["fq"]), helper.make_node("DequantizeLinear", ["fq", "fs", "fz"], ["fd"])]
        factors = "fd"
    nodes += [
        helper.make_node("QuantizeLinear", ["x", *grid], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", *grid], ["xd"]),
        helper.make_node("Resize", ["xd", "", factors], ["r"], mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("QuantizeLinear", ["r", *grid], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", *grid], ["rd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["rd", "wd"], ["c"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("QuantizeLinear", ["c", *grid], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", *grid], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size, size]) for name, channels, size in (("x", 16, 8), ("y", 4, 16)))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    assert judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86")).outcome == outcome
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    try:
        session.run(None, {"x": np.zeros((1, 16, 8, 8), np.float32)})
        ran = "runs"
    except Exception:
        ran = "refused"
    assert ran == outcome


@pytest.mark.parametrize(
    ("x", "y", "where"),
    [(None, None, "integer"), (None, np.uint16, "integer"), (np.uint16, None, "integer"), (np.uint16, np.int16, "integer"), (None, np.uint8, "float"), (np.uint16, np.uint8, "float"), (np.uint8, np.uint16, "float")],
)
@pytest.mark.parametrize("axis", [1, -1])
def test_a_product_with_quantized_weights_alone(x, y, where, axis, tmp_path):
    """It becomes MatMulNBits, which quantizes its input on the fly, unless an 8-bit quantizer is at the input or the output, or the
    axis of the weight is counted from the end, as NNCF writes it."""
    where = where if axis == 1 else "float"
    constants = {"w": np.ones((16, 16), np.uint8), "ws": np.full(16, 0.01, np.float32), "wz": np.full(16, 128, np.uint8)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=axis)]

    def quantized(tensor: str, storage: type | None, scale: float) -> str:
        if storage is None:
            return tensor
        constants.update({f"{tensor}s": np.float32(scale), f"{tensor}z": storage(100)})
        nodes.append(helper.make_node("QuantizeLinear", [tensor, f"{tensor}s", f"{tensor}z"], [f"{tensor}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{tensor}q", f"{tensor}s", f"{tensor}z"], [f"{tensor}d"]))
        return f"{tensor}d"

    nodes.append(helper.make_node("MatMul", [quantized("x", x, 0.02), "wd"], ["y"], name="product"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 16]) for name in ("x", quantized("y", y, 0.03))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86"))
    assert [p.where for p in verdict.placements.values() if p.op.kind == "matmul"] == [where]
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    made = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert ("MatMulNBits" in made) == (where == "integer")


@pytest.mark.parametrize("level", [None, 0, 1, 4])
@pytest.mark.parametrize(("bits", "block", "zero_points", "order"), [(4, 32, "", False), (4, 16, "uint8", False), (4, 32, "float32", False), (4, 32, "", True), (8, 128, "uint8", False), (2, 64, "", False), (2, 16, "", False), (2, 256, "uint8", False)])
def test_matmul_n_bits_quantizes_its_input_where_its_result_is_not_that_in_float(level, bits, block, zero_points, order, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    k, n, rng = 256, 8, np.random.default_rng(0)
    blocks = k // block
    constants = {"w": rng.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8), "s": rng.uniform(0.005, 0.02, (n, blocks)).astype(np.float32)}
    if zero_points:
        size = -(-blocks * bits // 8) if zero_points == "uint8" else blocks
        constants["z"] = np.full((n, size), sum(1 << bits - 1 + at for at in range(0, 8, bits)) if zero_points == "uint8" else 1 << bits - 1, zero_points)
    if order:
        constants["g"] = (np.arange(k) // block).astype(np.int32)
    given = ["x", "w", "s", "z" if zero_points else "", *(["g"] if order else [])]
    attrs = {"K": k, "N": n, "bits": bits, "block_size": block} | ({} if level is None else {"accuracy_level": level})
    node = helper.make_node("MatMulNBits", given, ["y"], name="product", domain="com.microsoft", **attrs)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, size]) for name, size in (("x", k), ("y", n))]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], tensors), opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    (placement,) = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86")).placements.values()
    x = rng.standard_normal((4, k)).astype(np.float32)
    (y,) = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
    codes = np.stack([constants["w"] >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -1).reshape(n, k).astype(np.float64)
    exact = x @ ((codes - (1 << bits - 1)) * np.repeat(constants["s"], block, 1)).T
    assert placement.where == ("integer" if np.abs(y - exact).max() > 1e-4 * np.abs(exact).max() else "float")


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(
    ("scales", "where"),
    [((0.01,), "absorbed"), ((0.01, 0.02), "absorbed"), ((0.01, 0.01), "float"), ((0.01, 0.02, 0.01), "float")],
)
def test_products_of_equal_scales_share_one_that_then_keeps_them_apart(scales, where, twice, tmp_path):
    """The first of some products of one input that is quantized on the fly, at once or for each of them again: its rescaling."""
    nodes, tensors = [], []

    def constant(value):
        tensors.append(numpy_helper.from_array(np.asarray(value), f"c{len(tensors)}"))
        return tensors[-1].name

    for number, scale in enumerate(scales):
        q, s, z = (f"{role}{number if twice else 0}" for role in "qsz")
        if twice or not number:
            nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], [q, s, z]))
        nodes += [
            helper.make_node("Mul", [s, constant(np.float32(scale))], [f"scale{number}"]),
            helper.make_node("MatMulInteger", [q, constant(np.full((8, 4), number + 1, np.int8)), z], [f"sum{number}"]),
            helper.make_node("Cast", [f"sum{number}"], [f"cast{number}"], to=1),
            helper.make_node("Mul", [f"cast{number}", f"scale{number}"], [f"y{number}"], name=f"rescale{number}"),
        ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [6, 8]), *((f"y{number}", [6, 4]) for number in range(len(scales))))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86"))
    assert {p.op.name: p.where for p in verdict.placements.values()}["rescale0"] == where


@pytest.mark.parametrize(("to", "outcome"), [(1, "runs"), (10, "refused")])
def test_a_pair_is_not_inserted_in_front_of_what_vanishes(to, outcome, tmp_path):
    """Pairs of int8 that are inserted become invalid at opset 21; behind a Cast to the type that is there already stands one."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("Cast", ["t"], ["c"], to=to),
    ]
    if to == 1:
        nodes += [helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]), helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"])]
    else:
        nodes += [helper.make_node("Neg", ["c"], ["y"])]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (("s", np.float32(0.02)), ("z", np.int8(0)))]
    kinds = TensorProto.FLOAT, TensorProto.FLOAT if to == 1 else TensorProto.FLOAT16
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in zip("xy", kinds, ([4, 8], [8, 4]), strict=True))
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), tmp_path / "model.onnx")
    assert judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86")).outcome == outcome


@pytest.mark.parametrize(
    ("backend", "kind", "opset", "outcome"),
    [
        ("ort-cpu", "Mish", 17, "refused"), ("ort-cpu", "Mish", 18, "runs"), ("qnn-htp@sm8550", "HardSwish", 13, "refused"), ("ort-cpu", "HardSwish", 13, "refused"),
        ("ort-cpu", "MeanVarianceNormalization", 8, "runs"), ("ort-cpu", "ThresholdedRelu", 9, "runs"), ("openvino", "Mish", 17, "runs"), ("openvino", "HardSwish", 13, "runs"),
    ],
)  # fmt: skip
def test_an_operator_of_a_later_opset_is_not_registered(backend: str, kind: str, opset: int, outcome: str, tmp_path: Path) -> None:
    """`No Op registered for Mish with domain_version of 17`, but for what ONNX Runtime had before the specification; OpenVINO does not mind."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 3, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), tmp_path / "model.onnx")
    assert judge(canonical(read(tmp_path / "model.onnx")), load(backend)).outcome == outcome


@pytest.mark.parametrize(
    ("behind", "zero_point", "where"),
    [("", 300, "integer"), ("Sigmoid", 300, "integer"), ("Relu", 300, "float"), ("Clip", 300, "float"), ("Relu", 0, "integer"), ("Clip", 0, "float"), ("Relu", None, "integer")],
)  # fmt: skip
def test_a_product_of_stored_weights_in_front_of_a_clamp(behind: str, zero_point: int | None, where: str, tmp_path: Path) -> None:
    """MatMul and Add become MatMulNBits, but with a clamp that a quantizer behind it does not make vanish; without one it is a Relu of its own."""
    constants = {
        "w": np.ones((8, 4), np.int8), "ws": np.full(4, 0.01, np.float32), "wz": np.zeros(4, np.int8), "b": np.ones(4, np.float32), "s": np.float32(1e-4),
        "z": np.uint16(zero_point or 0), "low": np.float32(0), "high": np.float32(6),
    }  # fmt: skip
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=1), helper.make_node("MatMul", ["x", "wd"], ["p"], name="product"), helper.make_node("Add", ["p", "b"], ["a"])]
    y = "a"
    if behind:
        nodes.append(helper.make_node(behind, ["a", "low", "high"] if behind == "Clip" else ["a"], ["c"]))
        y = "c"
    if zero_point is not None:
        nodes += [helper.make_node("QuantizeLinear", [y, "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"])]
        y = "d"
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 8]), helper.make_tensor_value_info(y, TensorProto.FLOAT, [3, 4])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), tmp_path / "model.onnx")
    verdict = judge(canonical(read(tmp_path / "model.onnx")), load("ort-cpu@x86"))
    assert [p.where for p in verdict.placements.values() if p.op.name == "product"] == [where]


ROWS, LEFT = (2, 3, 5, 6), (5, 6)


@pytest.mark.parametrize(
    ("kind", "several", "shape", "axis", "behind", "where"),
    [
        ("MatMul", "rhs", (6, 4), 1, "QuantizeLinear", "integer"), ("MatMul", "rhs", (6, 4), 0, "QuantizeLinear", "float"), ("MatMul", "rhs", (6, 4), 1, "Erf", "integer"),
        ("MatMul", "rhs", (6, 4), 0, "Erf", "rejected"), ("MatMul", "rhs", (6, 6), 0, "Erf", "integer"), ("MatMul", "rhs", (2, 3, 6, 4), 3, "Erf", "rejected"),
        ("MatMul", "rhs", (2, 3, 6, 4), 3, "QuantizeLinear", "float"), ("MatMul", "lhs", LEFT, 1, "Erf", "rejected"), ("MatMul", "lhs", LEFT, 1, "QuantizeLinear", "float"),
        ("MatMul", "x", ROWS, 3, "Erf", "rejected"), ("MatMul", "x", ROWS, 3, "QuantizeLinear", "float"), ("Conv", "x", (1, 6, 5, 5), 1, "QuantizeLinear", "rejected"),
        ("Conv", "x", (1, 6, 5, 5), 1, "Erf", "float"),
    ],
)  # fmt: skip
def test_several_scales_for_an_activation(kind: str, several: str, shape: tuple[int, ...], axis: int, behind: str, where: str, tmp_path: Path) -> None:
    """The operator on integers is made, and its run says that a zero point is not valid; `x` stands in front of weights, `lhs` and `rhs` beside another activation."""
    g = Nodes()
    scales = [0.02] * shape[axis]
    inputs = {"a": shape} if several == "x" else {"a": shape, "b": (6, 4) if several == "lhs" else (*shape[:-2], 5, 6)}
    first = g.pair("a", scales, axis=axis)
    if several == "x":
        weights = np.ones((4, 6, 1, 1) if kind == "Conv" else (6, 4), np.int8)
        second = g.add("DequantizeLinear", g.constant(weights), g.constant(np.float32(0.01)), g.constant(np.int8(0)))
    else:
        second = g.pair("b")
    y = g.add(kind, *((second, first) if several == "rhs" else (first, second)))
    label = f"{y}_node"
    path = g.save(tmp_path / "model.onnx", inputs, g.pair(y) if behind == "QuantizeLinear" else g.add(behind, y))
    for target in ("x86", "arm"):
        verdict = judge(canonical(read(path)), load(f"ort-cpu@{target}"))
        answer = ask(path, "ort-cpu", target)
        assert answer.outcome == verdict.outcome == ("refused" if where == "rejected" else "runs")
        assert answer.outcome == "refused" or answer.placements[label] == where
        assert [placed.where for placed in verdict.placements.values() if placed.op.label == label] == [where]


@pytest.mark.parametrize(
    ("weights", "addend", "where"),
    [("float", (4, 1, 1), "integer"), ("float", (1, 4, 1, 1), "integer"), ("float", (1,), "float"), ("float", (1, 4, 3, 3), "float"), ("int8", (4, 1, 1), "float")],
)  # fmt: skip
def test_a_sum_with_a_constant_becomes_the_bias_of_a_convolution_of_float_weights(weights: str, addend: tuple[int, ...], where: str, tmp_path: Path) -> None:
    g = Nodes()
    w = g.constant(np.full((4, 6, 1, 1), 0.1, np.float32))
    if weights == "int8":
        w = g.add("DequantizeLinear", g.constant(np.ones((4, 6, 1, 1), np.int8)), g.constant(np.float32(0.01)), g.constant(np.int8(0)))
    conv = g.add("Conv", g.pair("a"), w)
    path = g.save(tmp_path / "model.onnx", {"a": (1, 6, 3, 3)}, g.pair(g.add("Add", conv, g.constant(np.ones(addend, np.float32)))))
    verdict, answer = judge(canonical(read(path)), load("ort-cpu@x86")), ask(path, "ort-cpu", "x86")
    assert answer.placements[f"{conv}_node"] == where
    assert [placed.where for placed in verdict.placements.values() if placed.op.kind == "conv"] == [where]


@pytest.mark.parametrize(("axis", "storage", "where"), [(1, np.uint8, "integer"), (0, np.uint8, "float"), (None, np.uint16, "integer"), (None, np.uint8, "float")])
def test_a_gemm_whose_bias_or_weights_the_optimizer_quantizes(axis: int | None, storage: type, where: str, tmp_path: Path) -> None:
    """With scales along the inner axis the bias stays in float; float weights behind 16 bits become MatMulNBits in front of 16 bits alone."""
    g = Nodes()
    bias = g.constant(np.ones(6, np.float32))
    if axis is None:
        grid = g.constant(np.float32(1e-4)), g.constant(np.uint16(32768))
        x, w = g.add("DequantizeLinear", g.add("QuantizeLinear", "a", *grid), *grid), g.constant(np.full((6, 6), 0.1, np.float32))
    else:
        x, w = g.pair("a"), g.add("DequantizeLinear", g.constant(np.ones((6, 6), np.int8)), g.constant(np.full(6, 0.01, np.float32)), g.constant(np.zeros(6, np.int8)), axis=axis)
    gemm = g.add("Gemm", x, w, bias)
    behind = g.constant(np.float32(0.01)), g.constant(storage(100))
    path = g.save(tmp_path / "model.onnx", {"a": (5, 6)}, g.add("DequantizeLinear", g.add("QuantizeLinear", gemm, *behind), *behind), opset=21)
    verdict, answer = judge(canonical(read(path)), load("ort-cpu@x86")), ask(path, "ort-cpu", "x86")
    assert answer.placements[f"{gemm}_node"] == where
    assert [placed.where for placed in verdict.placements.values() if placed.op.kind == "linear"] == [where]
