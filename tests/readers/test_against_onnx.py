"""The reader against `onnx` itself: node for node, attribute for attribute, value for value."""

import math
import os

import numpy as np
import onnx
import onnx_corpus as corpus
import pytest
from onnx import TensorProto, helper, inliner, numpy_helper
from onnx_against import compare, compare_data, equal

from qlint.errors import ReadError
from qlint.readers import read
from qlint.readers.data import DTYPES, bits

FLOAT = TensorProto.FLOAT
DTYPE_NUMBERS = [n for n in TensorProto.DataType.values() if n]
NEWEST = onnx.defs.onnx_opset_version()


def save(folder, model):
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def model_of(nodes, inputs=(), outputs=("y",), initializers=(), opset=17, functions=(), domains=(), **fields):
    """A model over float tensors; `inputs` are names or value infos."""
    info = [i if not isinstance(i, str) else helper.make_tensor_value_info(i, FLOAT, [2, 3]) for i in inputs]
    out = [helper.make_tensor_value_info(o, FLOAT, None) if isinstance(o, str) else o for o in outputs]
    graph = helper.make_graph(nodes, "g", info, out, list(initializers), sparse_initializer=fields.pop("sparse", ()))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), **fields)


def branch(name, nodes, output, inputs=(), initializers=()):
    return helper.make_graph(nodes, name, [helper.make_tensor_value_info(i, FLOAT, None) for i in inputs],
                             [helper.make_tensor_value_info(output, FLOAT, None)], list(initializers))  # fmt: skip


# -- whole corpora ------------------------------------------------------------------------------------------


def test_node_tests(tmp_path):
    """Every operator that onnx has a node test for, and the function bodies that define operators."""
    assert len(corpus.node_tests()) > 1500
    for model in corpus.node_tests().values():
        compare(model, read(save(tmp_path, model)), tmp_path)


@pytest.mark.parametrize("path", [*corpus.ZOO, *corpus.stored()], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_networks(path):
    compare(onnx.load(path), read(path), path.parent)


@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
def test_every_operator_at_every_opset(tmp_path, opset):
    """Defaults and versions are those of the specification at that opset, for all operators at once."""
    names = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    nodes = [helper.make_node(name, ["x"], [f"{name}:y"], name) for name in sorted(names)]
    model = model_of(nodes, ["x"], ["Relu:y"], opset=opset)
    compare(model, read(save(tmp_path, model)), tmp_path)


# -- constants ----------------------------------------------------------------------------------------------


def array_of(dtype, shape):
    """Values that use the whole range of codes."""
    size = math.prod(shape)
    if dtype == TensorProto.STRING:
        return np.array([f"s{i} ü" for i in range(size)], dtype=object).reshape(shape)
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    if dtype == TensorProto.BOOL:
        return (np.arange(size) % 3 == 0).reshape(shape)
    if kind.kind == "c":
        return (np.arange(size) - 1j * np.arange(size) / 4).astype(kind).reshape(shape)
    if bits(DTYPES[dtype]) < 16:  # every code in turn
        codes = (np.arange(size) * 7 % 2 ** min(8, bits(DTYPES[dtype]))).astype(np.uint8)
        return codes.view(kind).reshape(shape)
    if kind.kind in "iu":
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        return np.array([(low, high, 0, 1, high - 1)[i % 5] for i in range(size)], dtype=kind).reshape(shape)
    return np.array([(-1.5, 0.0, 1e-3, 3.0, -0.0, np.inf, np.nan)[i % 7] for i in range(size)], np.float32).astype(kind).reshape(shape)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 7), (2, 1, 5)], ids=str)
@pytest.mark.parametrize("dtype", DTYPE_NUMBERS, ids=lambda d: DTYPES[d])
def test_every_dtype(tmp_path, dtype, shape):
    """Raw, in typed fields and as a Constant; every element type of the specification."""
    array = array_of(dtype, shape)
    tensors = [helper.make_tensor("typed", dtype, shape, array if dtype == TensorProto.STRING else array.ravel())]
    if dtype != TensorProto.STRING:
        tensors.append(numpy_helper.from_array(array, "raw"))
    constant = helper.make_node("Constant", [], ["c"], "c", value=tensors[-1])
    out = helper.make_tensor_value_info("y", dtype, None)
    model = model_of([constant, helper.make_node("Identity", ["c"], ["y"], "id")], outputs=[out], initializers=tensors, opset=NEWEST)
    ours = read(save(tmp_path, model))
    compare(model, ours, tmp_path)
    compare_data(tensors[-1], ours.tensors["c"], tmp_path)


@pytest.mark.parametrize("dtype", [d for d in DTYPE_NUMBERS if (bits(DTYPES[d]) == 8 and "float" in DTYPES[d]) or 0 < bits(DTYPES[d]) < 8], ids=lambda d: DTYPES[d])
def test_every_code_of_the_small_types(tmp_path, dtype):
    size = 1 << bits(DTYPES[dtype])
    theirs = np.arange(size, dtype=np.uint8).view(helper.tensor_dtype_to_np_dtype(dtype))
    model = model_of([helper.make_node("Identity", ["c"], ["y"])], initializers=[numpy_helper.from_array(theirs, "c")], opset=NEWEST)
    data = read(save(tmp_path, model)).tensors["c"].data
    equal(theirs, data.array())
    np.testing.assert_array_equal(theirs.astype(np.float32), np.array(data.values(), np.float32))


def test_constants_of_every_attribute(tmp_path):
    values = {"value_float": 0.1, "value_int": -7, "value_floats": [0.1, -2.0], "value_ints": [1, -(2**62)], "value_string": "ü", "value_strings": ["a", "b"]}
    nodes = [helper.make_node("Constant", [], [name], name, **{name: value}) for name, value in values.items()]
    model = model_of([*nodes, helper.make_node("Identity", ["value_float"], ["y"])])
    ours = read(save(tmp_path, model))
    compare(model, ours, tmp_path)
    for name, value in values.items():
        tensor = ours.tensors[name]
        expected = np.array(value, np.float32) if "float" in name else np.array(value)
        assert tensor.shape == expected.shape
        assert tensor.dtype == {"f": "float32", "i": "int64", "U": "string"}[expected.dtype.kind]
        np.testing.assert_array_equal(expected, tensor.data.array())


def test_sparse_initializers(tmp_path):
    linear = helper.make_sparse_tensor(numpy_helper.from_array(np.float32([1, -2]), "s"), numpy_helper.from_array(np.int64([1, 5])), [2, 3])
    coordinates = helper.make_sparse_tensor(numpy_helper.from_array(np.int32([3, 4]), "t"), numpy_helper.from_array(np.int64([[0, 2], [1, 0]])), [2, 3])
    value = helper.make_node("Constant", [], ["c"], sparse_value=linear)
    model = model_of([value, helper.make_node("Identity", ["s"], ["y"])], initializers=(), sparse=[linear, coordinates])
    ours = read(save(tmp_path, model))
    compare(model, ours, tmp_path)
    np.testing.assert_array_equal(ours.tensors["c"].data.array(), [[0, 1, 0], [0, 0, -2]])


def test_initializers_as_inputs(tmp_path):
    """Before IR 4 that is how they were written; since then it means that a caller may replace them."""
    weight = numpy_helper.from_array(np.float32([[1, 2, 3]]), "w")
    for ir_version, overridable in ((3, False), (8, True)):
        info = helper.make_tensor_value_info("w", FLOAT, [1, 3])
        model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], ["x", info], initializers=[weight], ir_version=ir_version)
        ours = read(save(tmp_path, model))
        compare(model, ours, tmp_path)
        assert [t.name for t in ours.inputs] == ["x"]
        assert any("callers may replace them" in note for note in ours.notes) is overridable


# -- external data ------------------------------------------------------------------------------------------


def test_external_data_in_several_files(tmp_path):
    arrays = {f"w{i}": np.arange(10 * (i + 1), dtype=np.float32) for i in range(4)} | {"codes": np.int8([1, -2, 3])}
    tensors = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    for number, tensor in enumerate(tensors):
        location = f"weights/{number % 2}.bin"
        path = tmp_path / location
        path.parent.mkdir(exist_ok=True)
        offset = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(tensor.raw_data + b"\xff" * 64)
        keys = {"location": location, "offset": str(offset)} | ({"length": str(len(tensor.raw_data))} if number else {})
        external(tensor, keys)
    model = model_of([helper.make_node("Concat", list(arrays), ["y"], axis=0)], initializers=tensors)
    ours = read(save(tmp_path, model))
    for name, array in arrays.items():
        np.testing.assert_array_equal(ours.tensors[name].data.array(), array)
        assert ours.tensors[name].data.values() == tuple(array.tolist())


def external(tensor, keys):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in keys.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"location": "../secret"}, "outside"), ({"location": "/etc/hostname"}, "outside"), ({"location": "sub/../../secret"}, "outside"),
        ({"location": "link"}, "outside"), ({"location": ""}, "outside"), ({"location": "missing.bin"}, "missing"), ({"location": "sub"}, "missing"),
        ({"location": "a\0b"}, "cannot be read"), ({"location": "loop"}, "cannot be read"), ({"location": "x" * 5000}, "cannot be read"),
        ({"location": "w.bin", "length": "999"}, "16 bytes"), ({"location": "w.bin", "offset": "-4"}, "16 bytes"),
        ({"location": "w.bin", "offset": str(2**70)}, "16 bytes"), ({"location": "w.bin", "length": "8"}, "needs 16 bytes"),
        ({"location": "w.bin", "length": "-1"}, "16 bytes"),
    ],
    ids=str,
)  # fmt: skip
def test_external_data_stays_in_the_folder(tmp_path, keys, says):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"x" * 64)
    (folder / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    external(tensor, keys)
    data = read(save(folder, model_of([helper.make_node("Identity", ["w"], ["y"])], initializers=[tensor]))).tensors["w"].data
    for use in (data.values, data.array):  # reading the model never opens the data
        with pytest.raises(ReadError, match=says) as error:
            use()
        assert str(folder / "model.onnx") in str(error.value)


def test_a_linked_model_brings_the_data_beside_its_target(tmp_path):
    """Download caches keep the files elsewhere and link to them, model and data alike."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    tensor = numpy_helper.from_array(np.float32([1, 2]), "w")
    (tmp_path / "blobs/d").write_bytes(tensor.raw_data)
    external(tensor, {"location": "w.bin"})
    os.replace(save(tmp_path, model_of([helper.make_node("Identity", ["w"], ["y"])], initializers=[tensor])), tmp_path / "blobs/m")
    (tmp_path / "snapshot/w.bin").symlink_to("../blobs/d")
    (tmp_path / "snapshot/model.onnx").symlink_to("../blobs/m")
    assert read(tmp_path / "snapshot/model.onnx").tensors["w"].data.values() == (1.0, 2.0)


# -- the shape of graphs ------------------------------------------------------------------------------------


def test_optional_inputs_and_outputs_unnamed_nodes_and_twins(tmp_path):
    nodes = [
        helper.make_node("Clip", ["x", "", "high"], ["c"]),
        helper.make_node("Resize", ["c", "", "", "sizes"], ["r"], "twin"),
        helper.make_node("Dropout", ["r"], ["d", ""], "twin"),
        helper.make_node("LSTM", ["d", "w", "r_", "", "", "", "c0"], ["", "h", ""], "lstm", hidden_size=3),
        helper.make_node("Add", ["h", "h"], ["y"]),
    ]
    model = model_of(nodes, ["x", "high", "sizes", "w", "r_", "c0"])
    ours = read(save(tmp_path, model))
    compare(model, ours, tmp_path)
    assert list(ours.nodes[0].uses) == ["x", "max"]
    assert list(ours.nodes[3].uses) == ["x", "w", "r", "initial_c"]
    assert {u.role: u.slot for u in ours.tensors["h"].uses} == {"lhs": 0, "rhs": 1}


def test_nodes_in_any_order(tmp_path):
    nodes = [helper.make_node("Neg", ["b"], ["y"], "n2"), helper.make_node("Relu", ["a"], ["b"], "n1"), helper.make_node("Abs", ["x"], ["a"], "n0")]
    model = model_of(nodes, ["x"])
    compare(model, read(save(tmp_path, model)), tmp_path)


def test_a_tensor_made_twice_is_noted(tmp_path):
    model = model_of([helper.make_node("Neg", ["x"], ["y"], "one"), helper.make_node("Abs", ["x"], ["y"], "two")], ["x"])
    ours = read(save(tmp_path, model))
    assert [op.name for op in ours.nodes] == ["one", "two"]
    assert any("'y' is made twice" in note for note in ours.notes)


def test_subgraphs_nested_capturing_and_shadowing(tmp_path):
    """Bodies read tensors of the graphs around them, even ones that come later in the file, and hide others."""
    weight = numpy_helper.from_array(np.float32([2]), "k")
    inner = branch("inner", [helper.make_node("Mul", ["late", "k"], ["m"], "mul"), helper.make_node("Add", ["m", "t"], ["o"], "add")], "o")
    then = branch("then", [helper.make_node("Neg", ["x"], ["t"], "neg"), helper.make_node("If", ["c"], ["z"], "nested", then_branch=inner, else_branch=inner)], "z", initializers=[weight])
    other = branch("else", [helper.make_node("Sub", ["x", "late"], ["t"], "sub")], "t")
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "x"], ["next"], "step"), helper.make_node("Identity", ["go"], ["go_on"], "go")], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("state", FLOAT, None)],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)],
    )  # fmt: skip
    scan = branch("scan", [helper.make_node("Relu", ["e"], ["f"], "relu")], "f", inputs=["e"])
    nodes = [
        helper.make_node("If", ["c"], ["a"], "if", then_branch=then, else_branch=other),
        helper.make_node("Abs", ["x"], ["late"], "abs"),
        helper.make_node("Loop", ["", "c", "a"], ["l"], "loop", body=body),
        helper.make_node("Scan", ["l"], ["y"], "scan", body=scan, num_scan_inputs=1),
    ]
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    model = model_of(nodes, ["x", c])
    ours = read(save(tmp_path, model))
    compare(model, ours, tmp_path)
    readers = [u.op.name for u in ours.tensors["late"].uses]
    assert sorted(readers) == ["mul", "mul", "sub"]
    assert {op.name for op in ours.walk()} >= {"mul", "add", "neg", "sub", "step", "relu"}


# -- functions ----------------------------------------------------------------------------------------------


def function(name, inputs, outputs, nodes, domain="local", attributes=(), defaults=(), overload="", opset=17):
    return helper.make_function(domain, name, inputs, outputs, nodes, [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)], attributes, defaults, overload=overload)


def refers(node, **attributes):
    """A node whose attributes take the value of an attribute of the function around it."""
    for name, (reference, kind) in attributes.items():
        node.attribute.add(name=name, ref_attr_name=reference, type=kind)
    return node


def call(name, inputs, outputs, node="", overload="", **attributes):
    one = helper.make_node(name, inputs, outputs, node, domain="local", **attributes)
    one.overload = overload
    return one


def compare_inlined(model, ours):
    """Equal to onnx's own inliner up to the names of inner nodes and tensors."""
    theirs = inliner.inline_local_functions(model)
    names, used = {}, set()

    def same(a, b):
        assert bool(a) == bool(b)
        assert names.setdefault(a, b) == b
        used.add(b)

    def graphs(theirs, ours):
        nodes = [n for n in theirs.node if n.op_type != "Constant" or n.output[0]]
        assert [n.op_type for n in nodes] == [op.native for op in ours.nodes]
        for node, op in zip(nodes, ours.nodes, strict=True):
            by_slot = {u.slot: u.name for u in op.uses.values()}
            for slot, name in enumerate(node.input):
                same(name, by_slot.get(slot, ""))
            for name, tensor in zip(node.output, op.outputs, strict=True):
                same(name, tensor.name)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    graphs(attribute.g, op.bodies[attribute.name])
                else:
                    value = helper.get_attribute_value(attribute)
                    assert op.attrs[attribute.name] == (list(value) if hasattr(value, "__iter__") and not isinstance(value, bytes) else value)
        for info, use in zip(theirs.output, ours.outputs, strict=True):
            same(info.name, use.name)

    graphs(theirs.graph, ours)
    assert len(used) == len(set(names.values()))


ATTR = onnx.AttributeProto


def test_functions_nested_with_attributes_and_missing_inputs(tmp_path):
    leaf = function("Leaf", ["a"], ["b"], [refers(helper.make_node("LeakyRelu", ["a"], ["t"], "leaky"), alpha=("slope", ATTR.FLOAT)), helper.make_node("Neg", ["t"], ["b"])],
                    attributes=["slope"])  # fmt: skip
    default = function("Default", ["a"], ["b"], [refers(helper.make_node("Elu", ["a"], ["b"], "elu"), alpha=("slope", ATTR.FLOAT))], defaults=[helper.make_attribute("slope", 0.5)])
    tree = function("Tree", ["a", "low"], ["b", "extra"], [
        refers(call("Leaf", ["a"], ["t"], "inner"), slope=("depth", ATTR.FLOAT)), call("Default", ["t"], ["u"]), helper.make_node("Clip", ["u", "low"], ["b"], "clip"),
        helper.make_node("Abs", ["u"], ["extra"], "abs"),
    ], attributes=["depth"])  # fmt: skip
    nodes = [call("Tree", ["x"], ["h"], "one", depth=0.25), call("Tree", ["h", "low"], ["y", "e"], "one", depth=2.0), call("Default", ["e"], ["z"], slope=3.0)]
    model = model_of(nodes, ["x", "low"], ["y", "z"], functions=[leaf, default, tree], domains=["local"])
    ours = read(save(tmp_path, model))
    compare_inlined(model, ours)
    assert [op.attrs["alpha"] for op in ours.nodes if "alpha" in op.attrs] == [0.25, 0.5, 2.0, 0.5, 3.0]
    assert len(ours.tensors) == len({id(t) for t in ours.tensors.values()}) and all(name == t.name for name, t in ours.tensors.items())


def test_an_attribute_reference_that_the_call_leaves_open_is_absent(tmp_path):
    leaf = function("Leaf", ["a"], ["b"], [refers(helper.make_node("LeakyRelu", ["a"], ["b"], "leaky"), alpha=("slope", ATTR.FLOAT))], attributes=["slope"])
    model = model_of([call("Leaf", ["x"], ["y"])], ["x"], functions=[leaf], domains=["local"])
    assert read(save(tmp_path, model)).nodes[0].attrs["alpha"] == helper.get_attribute_value(onnx.defs.get_schema("LeakyRelu").attributes["alpha"].default_value)


def test_ops_know_their_name_in_the_format_and_where_they_came_from(tmp_path):
    leaf = function("Leaf", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])])
    inside, direct = call("Leaf", ["x"], ["h"]), helper.make_node("Gelu", ["h"], ["y"], domain="com.microsoft")
    for node, line in ((inside, "net.py:12 in forward"), (direct, "net.py:13 in forward")):
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=line)
    model = model_of([inside, direct], ["x"], functions=[leaf], domains=["local", "com.microsoft"], ir_version=10)
    found = [(op.native, op.kind, op.source) for op in read(save(tmp_path, model)).nodes]
    assert found == [("Relu", "relu", "net.py:12 in forward"), ("com.microsoft::Gelu", "gelu", "net.py:13 in forward")]


def test_overloads_of_functions(tmp_path):
    functions = [function("F", ["a"], ["b"], [helper.make_node(op, ["a"], ["b"], op)], overload=overload) for op, overload in (("Relu", ""), ("Neg", "n"), ("Abs", "a"))]
    nodes = [call("F", ["x"], ["h"], overload="n"), call("F", ["h"], ["i"], overload="a"), call("F", ["i"], ["y"])]
    model = model_of(nodes, ["x"], functions=functions, domains=["local"], ir_version=10)
    assert [op.native for op in read(save(tmp_path, model)).nodes] == ["Neg", "Abs", "Relu"]


def test_bodies_in_functions_capture_the_function_s_tensors(tmp_path):
    then = branch("then", [helper.make_node("Mul", ["t", "a"], ["m"], "mul")], "m")
    other = branch("else", [call("Twice", ["t"], ["m2"], "twice")], "m2")
    twice = function("Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"], "add")])
    one = function("Choose", ["a", "c"], ["b"], [helper.make_node("Neg", ["a"], ["t"], "neg"), helper.make_node("If", ["c"], ["b"], "if", then_branch=then, else_branch=other)])
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    nodes = [call("Choose", ["x", "c"], ["h"], "first"), call("Choose", ["h", "c"], ["y"], "second")]
    model = model_of(nodes, ["x", c], functions=[twice, one], domains=["local"])
    ours = read(save(tmp_path, model))
    compare_inlined(model, ours)
    assert [op.name for op in ours.nodes] == ["first/neg", "first/if", "second/neg", "second/if"]
    assert {op.name for op in ours.walk()} >= {"first/mul", "first/twice/add", "second/mul", "second/twice/add"}
    assert sorted(u.op.name for u in ours.tensors["h"].uses) == ["second/mul", "second/neg"]


def test_an_attribute_of_another_type_than_the_specification_s_is_absent_and_noted(tmp_path):
    model = model_of([helper.make_node("Softmax", ["x"], ["y"], "soft", axis=0.5)], ["x"])
    ours = read(save(tmp_path, model))
    assert ours.nodes[0].attrs == {"axis": -1} and ours.nodes[0].unknown_attrs == ("axis",)
    assert any("'axis' is of type float" in note for note in ours.notes)
