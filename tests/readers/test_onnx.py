"""The reader against `onnx` itself: node for node, attribute for attribute, value for value."""

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.readers import read
from qlint.readers.data import DTYPES

ZOO = sorted((Path(__file__).parents[1] / "zoo").rglob("*.onnx"))


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_zoo(path):
    compare(onnx.load(path), read(path))


def compare(theirs, ours):
    nodes = list(theirs.graph.node)
    assert [(n.name, n.op_type, [o for o in n.output if o]) for n in nodes] == [
        (op.name, op.native.split("::")[-1], [t.name for t in op.outputs]) for op in ours.nodes
    ]
    for node, op in zip(nodes, ours.nodes, strict=True):
        assert [i for i in node.input if i] == [u.name for u in sorted(op.uses.values(), key=lambda u: u.slot)]
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                np.testing.assert_array_equal(numpy_helper.to_array(value), op.attrs[attribute.name].array())
            elif isinstance(value, onnx.GraphProto):
                assert [n.name for n in value.node] == [o.name for o in op.bodies[attribute.name].nodes]
            else:
                assert plain(value) == op.attrs[attribute.name]
    for initializer in theirs.graph.initializer:
        tensor = ours.tensors[initializer.name]
        array = numpy_helper.to_array(initializer)
        assert tensor.dtype == DTYPES[initializer.data_type]
        assert tensor.shape == array.shape
        np.testing.assert_array_equal(array, tensor.data.array())
    constants = {i.name for i in theirs.graph.initializer}
    assert [i.name for i in theirs.graph.input if i.name not in constants] == [t.name for t in ours.inputs]
    assert [o.name for o in theirs.graph.output] == [u.name for u in ours.outputs]


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


NUMERIC = [
    TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BFLOAT16,
    TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ, TensorProto.UINT4,
    TensorProto.INT4, TensorProto.FLOAT4E2M1, TensorProto.UINT2, TensorProto.INT2,
]  # fmt: skip


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: DTYPES[d])
def test_every_dtype(tmp_path, dtype, raw):
    values = np.array([0, 1, 1, 0, 1, 1, 0, 1, 1]).reshape(3, 3)
    array = values.astype(helper.tensor_dtype_to_np_dtype(dtype))
    tensor = numpy_helper.from_array(array, "c") if raw else helper.make_tensor("c", dtype, (3, 3), array.astype(np.float32).ravel().tolist())
    graph = helper.make_graph([helper.make_node("Identity", ["c"], ["y"])], "g", [], [helper.make_tensor_value_info("y", dtype, (3, 3))], [tensor])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    data = read(path).tensors["c"].data
    assert data.dtype == DTYPES[dtype]
    np.testing.assert_array_equal(np.array(data.values(), dtype=np.float32), array.astype(np.float32).ravel())
    np.testing.assert_array_equal(data.array(), array)


@pytest.mark.parametrize("name", ["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float4e2m1", "float8e8m0", "bfloat16"])
def test_every_code_of_the_small_floats(name):
    from qlint.readers.data import Stored, bits, numpy_dtype

    if name == "bfloat16":
        raw = np.arange(65536, dtype=np.uint16).tobytes()
        theirs = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16)
    else:
        raw = bytes(range(256)) if bits(name) == 8 else bytes(i | (i + 1) << 4 for i in range(0, 16, 2))
        theirs = np.arange(256 if bits(name) == 8 else 16, dtype=np.uint8).view(numpy_dtype(name))
    ours = Stored(name, theirs.shape, len(raw), lambda: raw).values()
    for mine, real in zip(ours, theirs.astype(np.float32).tolist(), strict=True):
        assert mine == real or (math.isnan(mine) and math.isnan(real))


def test_external_data_stays_in_the_folder(tmp_path):
    from qlint.errors import ReadError

    (tmp_path / "secret").write_bytes(b"x" * 64)
    folder = tmp_path / "model"
    folder.mkdir()
    array = np.arange(4, dtype=np.float32)
    for location, works in [("w.bin", True), ("../secret", False), ("/etc/hostname", False), ("missing.bin", False)]:
        (folder / "w.bin").write_bytes(array.tobytes())
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", "0"), ("length", "16")):
            tensor.external_data.add(key=key, value=value)
        graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, [4])], [tensor])
        (folder / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
        data = read(folder / "m.onnx").tensors["w"].data  # reading the model never opens the data
        if works:
            np.testing.assert_array_equal(data.array(), array)
        else:
            with pytest.raises(ReadError):
                data.array()


def test_functions_are_inlined_and_bodies_share_outer_tensors(tmp_path):
    function = helper.make_function("local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["t"], "add"), helper.make_node("Relu", ["t"], ["b"], "relu")], [helper.make_opsetid("", 17)])
    then = helper.make_graph([helper.make_node("Neg", ["h"], ["n"], "neg")], "then", [], [helper.make_tensor_value_info("n", 1, None)])
    other = helper.make_graph([helper.make_node("Abs", ["h"], ["m"], "abs")], "else", [], [helper.make_tensor_value_info("m", 1, None)])
    nodes = [
        helper.make_node("Twice", ["x"], ["h"], "call", domain="local"),
        helper.make_node("If", ["c"], ["y"], "if", then_branch=then, else_branch=other),
    ]
    inputs = [helper.make_tensor_value_info("x", 1, [2]), helper.make_tensor_value_info("c", 9, [])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, None)])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]), path)
    model = read(path)
    assert [op.name for op in model.nodes] == ["call/add", "call/relu", "if"]
    assert {use.op.name for use in model.tensors["h"].uses} == {"neg", "abs"}
    assert [op.name for op in model.walk()] == ["call/add", "call/relu", "if", "neg", "abs"] or len(list(model.walk())) == 5
