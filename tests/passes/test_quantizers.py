"""Quantizers on uses: what every dialect of ONNX says, read through the public doors."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.graph.values import Numbers
from qlint.passes import canonical
from qlint.readers import read

FLOAT, UINT8, INT8, INT32, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64
F32, I8, U8 = np.float32, np.int8, np.uint8


class Net:
    """A model in a few lines: nodes, constants by value."""

    def __init__(self, opset=21, microsoft=False):
        self.nodes, self.constants, self.opset, self.microsoft = [], [], opset, microsoft

    def const(self, value, dtype=None, name=None):
        name = name or f"c{len(self.constants)}"
        if isinstance(dtype, int):  # a type that numpy lacks
            flat = np.ravel(value)
            self.constants.append(helper.make_tensor(name, dtype, np.shape(value), flat.tolist()))
        else:
            self.constants.append(numpy_helper.from_array(np.asarray(value, dtype or F32), name))
        return name

    def add(self, kind, *inputs, outputs=1, domain="", name="", **attributes):
        names = [f"t{len(self.nodes)}{'abc'[i]}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name or f"n{len(self.nodes)}", domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def quant(self, x, scale=0.5, zero=3, dtype=U8, **attributes):
        s, z = self.const(scale), self.const(zero, dtype)
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, s, z, **attributes), s, z, **attributes)

    def canonical(self, tmp_path, *outputs, inputs=None, shape=(1, 4, 6, 6)):
        infos = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in (inputs or {"x": shape}).items()]
        graph = helper.make_graph(self.nodes, "g", infos, [helper.make_tensor_value_info(o, FLOAT, None) for o in outputs], self.constants)
        imports = [helper.make_opsetid("", self.opset), *([helper.make_opsetid("com.microsoft", 1)] if self.microsoft else [])]
        path = tmp_path / "m.onnx"
        path.write_bytes(helper.make_model(graph, opset_imports=imports).SerializeToString())
        return canonical(read(path))


def op(model, kind):
    found = [o for o in model.walk() if o.kind == kind]
    assert len(found) == 1
    return found[0]


def only(use):
    assert len(use.quantizers) == 1
    return use.quantizers[0]


# -- parameters of QuantizeLinear and DequantizeLinear --------------------------------------------------------


@pytest.mark.parametrize("road", ["Constant", "value_float", "Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Mul", "all"])
def test_scale_and_zero_point_through_chains(tmp_path, road):
    net = Net()
    scale, zero = net.const(0.1), net.const(7, U8)
    if road == "Constant":
        scale = net.add("Constant", value=numpy_helper.from_array(F32(0.1)))
        zero = net.add("Constant", value=numpy_helper.from_array(U8(7)))
    if road == "value_float":
        scale, zero = net.add("Constant", value_float=0.1), net.add("Cast", net.add("Constant", value_int=7), to=UINT8)
    if road in ("Identity", "all"):
        scale, zero = net.add("Identity", scale), net.add("Identity", zero)
    if road in ("Cast", "all"):
        scale, zero = net.add("Cast", net.add("Cast", scale, to=TensorProto.DOUBLE), to=FLOAT), net.add("Cast", net.add("Cast", zero, to=INT64), to=UINT8)
    if road in ("Unsqueeze", "all"):
        axes = net.const([0], np.int64)
        scale, zero = net.add("Unsqueeze", scale, axes), net.add("Unsqueeze", zero, axes)
    if road in ("Reshape", "Squeeze", "all"):
        shape = net.const([1], np.int64)
        scale, zero = net.add("Reshape", scale, shape), net.add("Reshape", zero, shape)
    if road == "Squeeze":
        scale, zero = net.add("Squeeze", scale), net.add("Squeeze", zero)
    if road == "Mul":
        scale = net.add("Mul", net.const(0.2), net.const(0.5))
    q = net.add("QuantizeLinear", "x", scale, zero)
    model = net.canonical(tmp_path, net.add("Relu", net.add("DequantizeLinear", q, scale, zero)))
    found = only(op(model, "relu").uses["x"])
    assert (found.storage, found.zero_point, found.granularity, found.dynamic) == ("uint8", (7,), "tensor", False)
    assert found.scale == (float(F32(F32(0.2) * F32(0.5)) if road == "Mul" else F32(0.1)),)
    assert found.scale_shape == found.zero_point_shape == ((1,) if road in ("Reshape", "Unsqueeze", "all") else ())
    assert found.read_as is None and found.quantize.kind == "quantize" and found.dequantize.kind == "dequantize"


@pytest.mark.parametrize(
    ("attributes", "opset", "storage"), [({}, 13, "uint8"), ({}, 25, "uint8"), ({"output_dtype": INT8}, 21, "int8"), ({"output_dtype": TensorProto.INT4}, 21, "int4"),
                                         ({"output_dtype": TensorProto.FLOAT8E4M3FN}, 21, "float8e4m3fn"), ({"output_dtype": TensorProto.UINT16}, 21, "uint16")],
)  # fmt: skip
def test_a_missing_zero_point_is_zero_and_uint8_unless_said(tmp_path, attributes, opset, storage):
    net = Net(opset)
    q = net.add("QuantizeLinear", "x", net.const(0.5), **attributes)
    model = net.canonical(tmp_path, net.add("Relu", net.add("DequantizeLinear", q, net.const(0.5))))
    found = only(op(model, "relu").uses["x"])
    assert (found.storage, found.zero_point, found.zero_point_shape, found.read_as) == (storage, (0,), None, None)


STORAGES = {  # dtype: (qmin, qmax, levels, bits)
    UINT8: (0, 255, 256, 8), INT8: (-128, 127, 256, 8), TensorProto.UINT16: (0, 65535, 65536, 16), TensorProto.INT16: (-32768, 32767, 65536, 16),
    TensorProto.UINT4: (0, 15, 16, 4), TensorProto.INT4: (-8, 7, 16, 4), TensorProto.UINT2: (0, 3, 4, 2), TensorProto.INT2: (-2, 1, 4, 2),
    TensorProto.FLOAT8E4M3FN: (-448, 448, 256, 8), TensorProto.FLOAT8E4M3FNUZ: (-240, 240, 256, 8), TensorProto.FLOAT8E5M2: (-57344, 57344, 256, 8),
    TensorProto.FLOAT8E5M2FNUZ: (-57344, 57344, 256, 8), TensorProto.FLOAT4E2M1: (-6, 6, 16, 4),
}  # fmt: skip


@pytest.mark.parametrize("dtype", STORAGES, ids=TensorProto.DataType.Name)
def test_every_storage_of_activations_and_weights(tmp_path, dtype):
    net = Net(25)
    zero, scale = net.const(0, dtype), net.const(0.25)
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", scale, zero), scale, zero)
    w = net.const(np.ones((6, 5)), dtype)
    model = net.canonical(tmp_path, net.add("MatMul", x, net.add("DequantizeLinear", w, scale, zero)), shape=(2, 6))
    product = op(model, "matmul")
    for found in (only(product.uses["x"]), only(product.uses["w"])):
        assert (found.qmin, found.qmax, found.levels, found.bits) == STORAGES[dtype]
        assert found.grid == ("float" if "FLOAT" in TensorProto.DataType.Name(dtype) else "affine")
    assert product.uses["w"].tensor.constant and product.uses["w"].tensor.dtype == only(product.uses["w"]).storage
    np.testing.assert_array_equal(product.uses["w"].tensor.data.array(), np.ones((6, 5)))


@pytest.mark.parametrize(("axis", "opset", "expected"), [(0, 13, 0), (-4, 13, 0), (-3, 21, 1), (None, 13, 1), (None, 10, 1)])
def test_axes_of_channels(tmp_path, axis, opset, expected):
    """Counted from the front; 1 where the attribute is left out; opset 10 has none."""
    net = Net(opset)
    size = 6 if expected == 0 else 4
    weight = net.const(np.ones((6, 4, 3, 3)), I8)
    attributes = {} if axis is None else {"axis": axis}
    w = net.add("DequantizeLinear", weight, net.const(np.arange(1, size + 1)), net.const(np.zeros(size), I8), **attributes)
    model = net.canonical(tmp_path, net.add("Conv", "x", w))
    found = only(op(model, "conv").uses["w"])
    assert (found.granularity, found.axis, found.scale, found.scale_shape) == ("channel", expected, tuple(range(1, size + 1)), (size,))


def test_one_channel_is_per_tensor_and_keeps_its_shape(tmp_path):
    net = Net()
    w = net.add("DequantizeLinear", net.const(np.ones((1, 4, 3, 3)), I8), net.const([0.5]), net.const([0], I8), axis=0)
    found = only(op(net.canonical(tmp_path, net.add("Conv", "x", w)), "conv").uses["w"])
    assert (found.granularity, found.axis, found.scale_shape) == ("tensor", None, (1,))


@pytest.mark.parametrize("dtype", [TensorProto.INT4, UINT8])
def test_blocks(tmp_path, dtype):
    net = Net()
    scales = np.arange(1, 11).reshape(2, 5)
    w = net.add("DequantizeLinear", net.const(np.ones((6, 5)), dtype if dtype != UINT8 else U8), net.const(scales), axis=0, block_size=3)
    found = only(op(net.canonical(tmp_path, net.add("MatMul", "x", w), shape=(2, 6)), "matmul").uses["w"])
    assert (found.granularity, found.axis, found.block_size, found.scale_shape) == ("block", 0, 3, (2, 5))
    assert tuple(found.scale) == tuple(range(1, 11)) and found.zero_point == (0,)


def test_millions_of_scales_are_not_held(tmp_path):
    net = Net()
    scales = np.linspace(1, 2, 64 * 512, dtype=F32).reshape(64, 512)
    scale, w = net.const(scales), net.const(np.ones((64 * 16, 512)), I8)
    twins = [net.add("MatMul", "x", net.add("DequantizeLinear", w, scale, axis=0, block_size=16)) for _ in range(2)]
    model = net.canonical(tmp_path, *twins, shape=(1, 1024))
    first, second = (only(o.uses["w"]) for o in model.ops)
    assert isinstance(first.scale, Numbers) and len(first.scale) == 64 * 512
    assert first == second and hash(first) == hash(second)
    np.testing.assert_array_equal(np.array(list(first.scale), F32), scales.ravel())
    assert first.scale[-1] == 2.0 and first.range[1] == pytest.approx(2 * 127)
    assert not first.power_of_two


def test_scales_that_are_quantized_themselves(tmp_path):
    """AIMET writes the scales of blocks as integers on a grid for each channel."""
    net = Net()
    inner = net.add("DequantizeLinear", net.const([[1, 2, 3], [4, 5, 6]], U8), net.const([0.5, 0.25]), axis=0)
    w = net.add("DequantizeLinear", net.const(np.ones((4, 3)), I8), inner, axis=0, block_size=2)
    found = only(op(net.canonical(tmp_path, net.add("MatMul", "x", w), shape=(1, 4)), "matmul").uses["w"])
    assert found.scale == (0.5, 1.0, 1.5, 1.0, 1.25, 1.5) and not found.dynamic


def test_scales_that_the_file_does_not_hold(tmp_path):
    net = Net()
    fed = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", "s"), "s")
    made = net.add("ReduceMax", "x", keepdims=0)
    computed = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", made), made)
    model = net.canonical(tmp_path, net.add("Relu", fed, name="fed"), net.add("Relu", computed, name="computed"), inputs={"x": (2, 3), "s": ()})
    fed, computed = (only(o.uses["x"]) for o in model.ops if o.kind == "relu")
    assert (fed.scale, fed.dynamic, fed.constant) == (None, False, False)
    assert (computed.scale, computed.dynamic) == (None, True)


def test_scales_that_callers_may_replace(tmp_path):
    """From IR 4 on an initializer that is a graph input too is only a default; a weight of that kind is still the weight."""
    net = Net()
    w = net.add("DequantizeLinear", net.const(np.ones((6, 4, 1, 1)), I8, "weight"), net.const(0.5, name="scale"), net.const(0, I8))
    model = net.canonical(tmp_path, net.add("Conv", net.quant("x"), w), inputs={"x": (1, 4, 6, 6), "scale": ()})
    use = op(model, "conv").uses["w"]
    assert (only(use).scale, only(use).dynamic, only(use).granularity) == (None, False, "tensor")
    assert use.tensor.constant and [t.name for t in model.inputs] == ["x"]


def test_integers_of_mqbench_and_of_qcdq(tmp_path):
    """`quant_min`/`quant_max` attributes, and an integer Clip between the two nodes: a 4-bit grid in an int8 container."""
    net = Net(17)
    s, z = net.const(0.5), net.const(0, I8)
    attributes = {"quant_min": -8, "quant_max": 7}
    one = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", s, z, **attributes), s, z, **attributes)
    low, high = net.const(-7, I8), net.const(7, I8)
    two = net.add("DequantizeLinear", net.add("Clip", net.add("QuantizeLinear", "x", s, z), low, high, name="clip"), s, z)
    weight = net.add("DequantizeLinear", net.add("Clip", net.const(np.ones((6, 5)), I8), low, high), s, z)
    model = net.canonical(tmp_path, net.add("MatMul", net.add("Add", one, two), weight), shape=(2, 6))
    add, product = op(model, "add"), op(model, "matmul")
    assert (only(add.uses["lhs"]).bits, only(add.uses["lhs"]).storage) == (4, "int8")
    assert (only(add.uses["rhs"]).qmin, only(add.uses["rhs"]).qmax, only(add.uses["rhs"]).read_as) == (-7, 7, None)
    assert (only(product.uses["w"]).qmin, only(product.uses["w"]).qmax) == (-7, 7)
    assert "clip" in {o.name for o in model.ops}  # it is still an op of the file


# -- the graph around them ------------------------------------------------------------------------------------


def test_an_integer_weight_and_a_fake_quantized_weight(tmp_path):
    net = Net()
    s, z = net.const(np.full(6, 0.5)), net.const(np.zeros(6), I8)
    stored = net.add("DequantizeLinear", net.const(np.ones((6, 4, 1, 1)), I8, "stored"), s, z, axis=0)
    fake = net.add("DequantizeLinear", net.add("QuantizeLinear", net.const(np.ones((6, 4, 1, 1)), F32, "fake"), s, z, axis=0), s, z, axis=0)
    model = net.canonical(tmp_path, net.add("Conv", "x", stored), net.add("Conv", "x", fake))
    integer, fake = (o.uses["w"] for o in model.ops)
    assert (integer.tensor.name, integer.tensor.dtype, only(integer).quantize) == ("stored", "int8", None)
    assert (fake.tensor.name, fake.tensor.dtype) == ("fake", "float32") and fake.tensor.constant
    assert only(integer) == only(fake) and only(fake).quantize is not None


@pytest.mark.parametrize("road", ["Transpose", "Reshape", "Identity", "Cast"])
def test_weights_behind_other_nodes_are_weights(tmp_path, road):
    """The quantizer sits on what the node in between reads; the product still knows its weight."""
    net = Net()
    w = net.add("DequantizeLinear", net.const(np.ones((5, 6)), I8), net.const(0.5), net.const(0, I8))
    extra = {"Reshape": [net.const([6, 5], np.int64)]}.get(road, [])
    w = net.add(road, w, *extra, **{"Cast": {"to": FLOAT}, "Transpose": {"perm": [1, 0]}}.get(road, {}))
    model = net.canonical(tmp_path, net.add("MatMul", "x", w), shape=(2, 5 if road in ("Identity", "Cast") else 6))
    product = op(model, "matmul")
    assert list(product.uses) == ["x", "w"]
    between = product.uses["w"].tensor.producer
    assert between.native == road and only(between.uses["x"]).storage == "int8" and between.uses["x"].tensor.constant


def test_a_product_of_activations_has_two_sides_in_any_file_order(tmp_path):
    net = Net()
    a, b = net.quant("x"), net.quant("x")
    weight = net.add("DequantizeLinear", net.add("QuantizeLinear", net.const(np.ones((6, 5))), net.const(1)), net.const(1))
    y = net.add("MatMul", a, b, name="two")
    z = net.add("MatMul", y, weight, name="one")
    net.nodes.reverse()
    roles = {o.name: list(o.uses) for o in net.canonical(tmp_path, z, shape=(6, 6)).ops}
    assert roles == {"two": ["lhs", "rhs"], "one": ["x", "w"]}


def test_quantizers_shared_by_readers_and_left_alone(tmp_path):
    net = Net()
    s, z = net.const(0.5), net.const(3, U8)
    q = net.add("QuantizeLinear", "x", s, z)
    shared, own = net.add("DequantizeLinear", q, s, z), net.add("DequantizeLinear", q, s, z)
    net.add("DequantizeLinear", q, s, z, name="dead")
    model = net.canonical(tmp_path, net.add("Relu", shared), net.add("Neg", shared), net.add("Abs", own), shared)
    uses = model.tensors["x"].uses
    assert sorted(u.kind for u in uses) == ["dead", "op", "op", "op", "output"]
    assert {only(u).readers for u in uses} == {3} and len({only(u) for u in uses}) == 1
    assert len({id(only(u).dequantize) for u in uses}) == 3
    assert next(u for u in uses if u.kind == "dead").name == "dead"


def test_quantizers_in_a_row_and_pairs_that_disagree(tmp_path):
    net = Net()
    twice = net.quant(net.quant("x", 0.5), 0.25)
    torn = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", net.const(0.5), net.const(3, U8)), net.const(0.125), net.const(4, U8))
    model = net.canonical(tmp_path, net.add("Relu", twice), net.add("Abs", torn))
    assert [q.scale for q in op(model, "relu").uses["x"].quantizers] == [(0.5,), (0.25,)]
    found = only(op(model, "abs").uses["x"])
    assert (found.scale, found.read_as.scale, found.read_as.zero_point) == ((0.5,), (0.125,), (4,))


def test_bodies_see_the_quantizers_of_the_graph_around_them(tmp_path):
    net = Net(17)
    inside = helper.make_graph([helper.make_node("DequantizeLinear", ["t0a", "c0", "c1"], ["d"]), helper.make_node("Relu", ["d"], ["r"], "relu")], "then", [], [helper.make_tensor_value_info("r", FLOAT, None)])
    other = helper.make_graph([helper.make_node("Neg", ["t1a"], ["r2"], "neg")], "else", [], [helper.make_tensor_value_info("r2", FLOAT, None)])
    net.quant("x")
    y = net.add("If", net.const(True, bool), then_branch=inside, else_branch=other)
    model = net.canonical(tmp_path, y)
    for kind in ("relu", "neg"):
        use = op(model, kind).uses["x"]
        assert use.tensor is model.tensors["x"] and only(use).scale == (0.5,)
    assert {u.op.name for u in model.tensors["x"].uses} == {"relu", "neg"}
    assert all("x" not in body.tensors for o in model.ops for body in o.bodies.values())


def test_integer_data_carries_its_grid(tmp_path):
    """Between a QuantizeLinear and its readers, ops that only move integers keep the grid."""
    net = Net()
    s, z = net.const(0.5), net.const(3, U8)
    q = net.add("QuantizeLinear", "x", s, z)
    pooled = net.add("MaxPool", q, kernel_shape=[2, 2])
    joined = net.add("Concat", net.add("Transpose", pooled, perm=[0, 1, 3, 2]), net.add("Transpose", pooled, perm=[0, 1, 3, 2]), axis=1)
    other = net.add("QuantizeLinear", "x", net.const(0.25), z)
    mixed = net.add("Concat", q, other, axis=1)
    model = net.canonical(tmp_path, net.add("Relu", net.add("DequantizeLinear", joined, s, z)), net.add("Abs", net.add("DequantizeLinear", mixed, s, z)))
    found = only(op(model, "relu").uses["x"])
    assert (found.scale, found.storage, found.read_as) == ((0.5,), "uint8", None)
    assert [only(u).scale for u in next(o for o in model.ops if o.name == "n6").uses.values()] == [(0.5,), (0.25,)]
    assert only(op(model, "abs").uses["x"]).quantize is None  # nobody says what a mixed concat is on


# -- integer operators ------------------------------------------------------------------------------------------


def test_qlinear_conv_has_quantizers_on_all_ports(tmp_path):
    net = Net()
    s, z = net.const(0.5), net.const(3, U8)
    ws, wz = net.const([0.25, 0.5]), net.const([0, 0], I8)
    q = net.add("QuantizeLinear", "x", s, z)
    y = net.add("QLinearConv", q, s, z, net.const(np.ones((2, 4, 1, 1)), I8), ws, wz, net.const(0.125), net.const(9, U8), net.const([1, 2], np.int32))
    model = net.canonical(tmp_path, net.add("DequantizeLinear", y, net.const(0.125), net.const(9, U8)))
    conv = op(model, "conv")
    assert list(conv.uses) == ["x", "w", "b"]
    assert (only(conv.uses["x"]).scale, only(conv.uses["x"]).read_as) == ((0.5,), None)
    assert (only(conv.uses["w"]).scale, only(conv.uses["w"]).axis) == ((0.25, 0.5), 0)
    assert (only(conv.uses["b"]).scale, only(conv.uses["b"]).storage, only(conv.uses["b"]).axis) == ((0.125, 0.25), "int32", 0)
    assert (only(model.outputs[0]).scale, only(model.outputs[0]).zero_point, model.outputs[0].tensor.producer) == ((0.125,), (9,), conv)


def test_products_of_integers(tmp_path):
    net = Net()
    s, z = net.const(0.5), net.const(3, U8)
    q = net.add("QuantizeLinear", "x", s, z)
    w = net.const(np.ones((6, 5)), I8)
    y = net.add("QLinearMatMul", q, s, z, w, net.const(np.ones(5)), net.const(np.zeros(5), I8), s, z)
    accumulated = net.add("MatMulInteger", q, w, z, net.const(0, I8))
    model = net.canonical(tmp_path, net.add("DequantizeLinear", y, s, z), net.add("Cast", accumulated, to=FLOAT), shape=(2, 6))
    native, integer = (o for o in model.ops if o.kind == "matmul")
    assert (only(native.uses["w"]).granularity, only(native.uses["w"]).axis) == ("channel", 1)
    assert (only(integer.uses["w"]).scale, only(integer.uses["w"]).zero_point, integer.outputs[0].dtype) == (None, (0,), "int32")
    assert op(model, "cast").uses["x"].quantizers == ()


def test_dynamic_quantization(tmp_path):
    net = Net()
    q, s, z = net.add("DynamicQuantizeLinear", "x", outputs=3)
    w, wz = net.const(np.ones((6, 5)), I8), net.const(0, I8)
    y = net.add("Mul", net.add("Cast", net.add("MatMulInteger", q, w, z, wz), to=FLOAT), net.add("Mul", s, net.const(0.5)))
    model = net.canonical(tmp_path, y, shape=(2, 6))
    product = op(model, "matmul")
    assert list(product.uses) == ["x", "w"] and only(product.uses["x"]).dynamic and only(product.uses["x"]).storage == "uint8"
    assert op(model, "dynamic_quantize").outputs[0].dtype == "uint8"


MICROSOFT = {  # operator: inputs as letters (x y activations, w weight, b bias, s scale, z zero point, n nothing), attributes, kind, roles
    "QLinearAdd": ("xszyszsz", {}, "add", ["lhs", "rhs"]), "QLinearMul": ("xszyszsz", {}, "mul", ["lhs", "rhs"]),
    "QLinearSigmoid": ("xszsz", {}, "sigmoid", ["x"]), "QLinearLeakyRelu": ("xszsz", {"alpha": 0.1}, "leaky_relu", ["x"]),
    "QLinearSoftmax": ("xszsz", {"axis": -1, "opset": 13}, "softmax", ["x"]), "QLinearAveragePool": ("xszsz", {"kernel_shape": [2, 2]}, "avg_pool", ["x"]),
    "QLinearGlobalAveragePool": ("xszsz", {"channels_last": 0}, "global_avg_pool", ["x"]), "QLinearReduceMean": ("xszsz", {"axes": [2]}, "reduce_mean", ["x"]),
    "QLinearConcat": ("szxszysz", {"axis": 1}, "concat", ["x0", "x1"]), "QLinearWhere": ("cxszyszsz", {}, "where", ["cond", "lhs", "rhs"]),
    "QLinearConv": ("xszwszszb", {}, "conv", ["x", "w", "b"]), "QGemm": ("mszvszbsz", {}, "linear", ["x", "w", "b"]),
    "QLinearMatMul": ("mszvszsz", {}, "matmul", ["x", "w"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MICROSOFT)
def test_operators_of_onnx_runtime(tmp_path, name):
    letters, attributes, kind, roles = MICROSOFT[name]
    net = Net(17, microsoft=True)
    s, z = net.const(0.5), net.const(3, U8)
    q, flat = net.add("QuantizeLinear", "x", s, z), net.add("QuantizeLinear", "m", s, z)
    made = {"s": s, "z": z, "x": q, "y": q, "m": flat, "c": net.const(np.ones((1, 4, 6, 6)), bool), "w": net.const(np.ones((4, 4, 1, 1)), U8),
            "v": net.const(np.ones((6, 5)), U8), "b": net.const(np.ones(4 if name == "QLinearConv" else 5), np.int32)}  # fmt: skip
    y = net.add(name, *(made[letter] for letter in letters), domain="com.microsoft", **attributes)
    model = net.canonical(tmp_path, net.add("DequantizeLinear", y, s, z), inputs={"x": (1, 4, 6, 6), "m": (2, 6)})
    found = op(model, kind)
    assert list(found.uses) == roles and found.native == f"com.microsoft::{name}"
    for role, use in found.uses.items():
        if role != "cond":
            assert only(use).scale == ((0.25,) if role == "b" else (0.5,)), role
    assert found.outputs[0].dtype == "uint8" and found.outputs[0].shape is not None
    assert (only(model.outputs[0]).scale, only(model.outputs[0]).read_as, model.outputs[0].tensor.producer) == ((0.5,), None, found)


def test_other_operators_of_onnx_runtime_stay_ops(tmp_path):
    net = Net(17, microsoft=True)
    s, z = net.const(0.5), net.const(3, U8)
    q = net.add("QuantizeLinear", "x", s, z)
    attention = net.add("QAttention", q, net.const(np.ones((6, 18)), U8), net.const(np.ones(18)), s, s, "", z, z, domain="com.microsoft", num_heads=2)
    bits = net.add("MatMulNBits", "x", net.const(np.ones((5, 1, 8)), U8), net.const(np.ones(5)), domain="com.microsoft", K=6, N=5, bits=4, block_size=16)
    model = net.canonical(tmp_path, attention, bits, shape=(1, 2, 6))
    assert [(o.native, o.kind) for o in model.ops] == [("com.microsoft::QAttention", "q_attention"), ("com.microsoft::MatMulNBits", "matmul")]
    weight = only(model.ops[1].uses["w"])
    assert (weight.storage, weight.granularity, weight.block_size, weight.zero_point, weight.bits) == ("uint4", "block", 16, (8,), 4)
    assert model.ops[1].outputs[0].shape == (1, 2, 5)
