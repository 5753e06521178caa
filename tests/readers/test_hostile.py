"""Files made to hurt: each is read or refused in a sentence, quickly, in little memory, and never another way."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from qlint.errors import QlintError
from qlint.passes import canonical
from qlint.readers import read

ZOO = Path(__file__).parents[1] / "zoo"
FLOAT = TensorProto.FLOAT


def survives(path) -> str:
    """Read, or refused: the sentence then. Anything else is raised."""
    try:
        canonical(read(path))
    except QlintError as error:
        assert error.message and str(path) in str(error)
        return error.message
    return ""


def small_model() -> bytes:
    """Every kind of message: a function, a body, sparse, external, typed and raw constants, metadata."""
    typed = helper.make_tensor("typed", FLOAT, [2], [1.0, 2.0])
    raw = numpy_helper.from_array(np.float32([[1, 2], [3, 4]]), "raw")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.float32([1]), "sparse"), numpy_helper.from_array(np.int64([1])), [2, 2])
    outside = TensorProto(name="outside", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="w.bin")
    scale, zero = numpy_helper.from_array(np.float32(0.5), "s"), numpy_helper.from_array(np.uint8(3), "z")
    function = helper.make_function("local", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    then = helper.make_graph([helper.make_node("Neg", ["h"], ["n"])], "then", [], [helper.make_tensor_value_info("n", FLOAT, ["N", 2])])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "raw"], ["m"]), helper.make_node("Add", ["m", "typed"], ["a"]), helper.make_node("Mul", ["a", "outside"], ["o"]),
        helper.make_node("F", ["o"], ["h"], domain="local"), helper.make_node("If", ["c"], ["i"], then_branch=then, else_branch=then),
        helper.make_node("Conv", ["i", "k"], ["y"], kernel_shape=[3], strides=[1], pads=[1, 1]), helper.make_node("Constant", [], ["k"], value=raw),
        helper.make_node("Reshape", ["y", "to"], ["z1"]), helper.make_node("Slice", ["z1", "to", "to"], ["z2"]), helper.make_node("Softmax", ["z2"], ["z3"], axis=-1),
    ]  # fmt: skip
    to = helper.make_tensor("to", TensorProto.INT64, [2], [-1, 2])
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["N", 2]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z3", FLOAT, None)], [typed, raw, outside, scale, zero, to], sparse_initializer=[sparse])
    model = helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)])
    helper.set_model_props(model, {"key": "value"})
    return model.SerializeToString()


SOURCES = {"small": small_model(), "tdnn": (ZOO / "tract/qtdnn_10x5_101_i32_biases.onnx").read_bytes(), "qlinear": (ZOO / "onnx/test_qlinearconv.onnx").read_bytes()}


# -- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_cut_at_every_length(tmp_path, name):
    source = SOURCES[name]
    path = tmp_path / "m.onnx"
    for length in range(0, len(source), 1 if name == "small" else 16):
        path.write_bytes(source[:length])
        survives(path)


def test_a_large_file_cut_anywhere(tmp_path):
    source = (ZOO / "tiny_results_v1.3/resnet.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    for length in range(64, len(source), 64 * 16):
        path.write_bytes(source[:length])
        assert "damaged or truncated" in survives(path)


@pytest.mark.parametrize("name", SOURCES)
def test_every_byte_changed(tmp_path, name):
    """Each byte of the files set to values that make other types, lengths and numbers of it."""
    source = SOURCES[name]
    path = tmp_path / "m.onnx"
    for at in range(0, len(source), 1 if name == "small" else 3):
        for value in {0, 0x7F, 0x80, 0xFF, source[at] ^ 1, source[at] ^ 2, source[at] ^ 8}:
            path.write_bytes(source[:at] + bytes([value]) + source[at + 1 :])
            survives(path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage(tmp_path, data):
    source = bytearray(SOURCES[data.draw(st.sampled_from(sorted(SOURCES)))])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(source) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                source[at] = data.draw(st.integers(0, 255))
            case 1:  # a number that is larger than anything
                source[at:at] = b"\xff" * data.draw(st.integers(1, 12))
            case 2:
                del source[at : at + data.draw(st.integers(1, 40))]
            case 3:
                end = data.draw(st.integers(at, len(source)))
                source[at:at] = source[at:end]
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(source))
    survives(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=200), head=st.sampled_from([b"", b"\x08\x08", b"\x08\x08:", b"\x08\x08:\xc8\x01"]))
def test_noise(tmp_path, content, head):
    path = tmp_path / "m.onnx"
    path.write_bytes(head + content)
    survives(path)


# -- attributes and values that no specification allows ------------------------------------------------------

_VALUES = [0, -1, 2**62, -(2**62), 0.5, float("nan"), float("inf"), "text", [], [0], [-1, -1], [2**40] * 3, [0.5], ["a"], list(range(70))]


@pytest.mark.parametrize("kind", sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""} - {"Constant"}))
def test_attributes_of_any_value(tmp_path, kind):
    """Every attribute of an operator, with every value, in and out of the specification, also where ORT defines the operator."""
    schema = onnx.defs.get_schema(kind)
    path = tmp_path / "m.onnx"
    inputs = [helper.make_tensor_value_info(f"i{n}", FLOAT, [2, 3, 4, 5][:rank]) for n, rank in enumerate((4, 4, 1, 2, 0))]
    fixed = [helper.make_tensor("k", TensorProto.INT64, [3], [-5, 0, 2**62]), numpy_helper.from_array(np.float32([np.nan, -1.5]), "f")]
    count = min(max(schema.min_input, 1), 5)
    for name in schema.attributes:
        nodes = []
        for number, value in enumerate(_VALUES):
            node = helper.make_node(kind, [], [f"y{number}"])
            ins = [f"i{n}" for n in range(count)] if number % 2 else ["i0", "k", "f", "k", "k"][: max(count, 2)]
            node.input.extend(ins)
            node.attribute.append(helper.make_attribute(name, value, attr_type=None if value != [] else onnx.AttributeProto.INTS))
            for other in schema.attributes.values():
                if other.required and other.name != name and other.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.INT):
                    node.attribute.append(helper.make_attribute(other.name, [1, 1] if other.type == onnx.AttributeProto.INTS else 1))
            nodes.append(node)
        graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y0", FLOAT, None)], fixed)
        for domain in ("", "com.microsoft"):
            for node in graph.node:
                node.domain = domain
            path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]).SerializeToString())
            assert survives(path) == ""


# -- bombs --------------------------------------------------------------------------------------------------


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def doubling_functions(depth=30):
    """A file of 3 KB that stands for 2**30 nodes."""
    functions = [helper.make_function("l", f"f{i}", ["a"], ["b"], [helper.make_node(f"f{i + 1}", ["a"], ["t"], domain="l"), helper.make_node(f"f{i + 1}", ["t"], ["b"], domain="l")], [helper.make_opsetid("l", 1)]) for i in range(depth)]
    last = helper.make_function("l", f"f{depth}", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    return with_functions([*functions, last], "f0")


def with_functions(functions, called):
    graph = helper.make_graph([helper.make_node(called, ["x"], ["y"], domain="l")], "g", [helper.make_tensor_value_info("x", FLOAT, [2])], [helper.make_tensor_value_info("y", FLOAT, None)])
    return helper.make_model(graph, functions=functions, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("l", 1)]).SerializeToString()


def self_calling():
    return with_functions([helper.make_function("l", "f", ["a"], ["b"], [helper.make_node("f", ["a"], ["b"], domain="l")], [helper.make_opsetid("l", 1)])], "f")


def self_calling_in_a_body():
    body = helper.make_graph([helper.make_node("f", ["a"], ["t"], domain="l")], "t", [], [helper.make_tensor_value_info("t", FLOAT, None)])
    return with_functions([helper.make_function("l", "f", ["a"], ["b"], [helper.make_node("If", ["a"], ["b"], then_branch=body, else_branch=body)], [helper.make_opsetid("l", 1)])], "f")


def long_chain_of_functions(length=3000):
    functions = [helper.make_function("l", f"f{i}", ["a"], ["b"], [helper.make_node(f"f{i + 1}" if i + 1 < length else "Relu", ["a"], ["b"], domain="l" if i + 1 < length else "")], [helper.make_opsetid("l", 1)]) for i in range(length)]
    return with_functions(functions, "f0")


def deep_bodies(depth=2000):
    content = b""
    for _ in range(depth):
        attribute = field(1, b"body") + field(6, content) + b"\xa0\x01\x05"
        content = field(1, field(2, b"y") + field(4, b"Loop") + field(5, attribute))
    return b"\x08\x08" + field(7, content) + field(8, b"\x10\x11")


def one_node_graph(node, initializers=(), inputs=()):
    graph = helper.make_graph([node], "g", list(inputs), [helper.make_tensor_value_info("y", FLOAT, None)], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def huge_dims():
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[2**40, 2**40, 2**40])
    return one_node_graph(helper.make_node("Identity", ["w"], ["y"]), [tensor])


def huge_typed():
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[2**12], float_data=[1.0])
    return one_node_graph(helper.make_node("Cast", ["w"], ["y"], to=1), [tensor])


def huge_sparse():
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.float32([1]), "w"), numpy_helper.from_array(np.int64([1])), [2**30, 2**30])
    return one_node_graph(helper.make_node("Constant", [], ["y"], sparse_value=sparse))


def huge_results():
    """Shapes of a million dimensions, fills of 2**60 elements, numbers that double with every step."""
    nodes, last = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("ConstantOfShape", ["big"], ["f"]), helper.make_node("Expand", ["f", "big"], ["e"])], "s"
    for i in range(400):
        nodes += [helper.make_node("Concat", [last, last], [f"c{i}"], axis=0), helper.make_node("Mul", [f"c{i}", f"c{i}"], [f"m{i}"])]
        nodes += [helper.make_node("Expand", ["x", f"m{i}"], [f"e{i}"]), helper.make_node("ConstantOfShape", [f"m{i}"], [f"f{i}"])]
        last = f"m{i}"
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [3, 5])], [helper.make_tensor_value_info(last, 7, None)], [helper.make_tensor("big", 7, [3], [2**20] * 3)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def folding_without_end():
    """20,000 additions of 4,096 constants."""
    nodes = [helper.make_node("Add", [f"t{i}", "k"], [f"t{i + 1}"]) for i in range(20_000)]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("t20000", 7, None)], [helper.make_tensor(n, 7, [4096], [1] * 4096) for n in ("t0", "k")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def cycle(length=20_000):
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{(i + 1) % length}"]) for i in range(length)]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("t0", FLOAT, None)])
    return helper.make_model(graph).SerializeToString()


def self_reading():
    return one_node_graph(helper.make_node("Add", ["y", "y"], ["y"]))


def quantizer_cycle():
    nodes = [helper.make_node("QuantizeLinear", ["d", "s"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s"], ["d"]), helper.make_node("QuantizeLinear", ["x", "x"], ["x"])]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("d", FLOAT, None)], [numpy_helper.from_array(np.float32(1), "s")])
    return helper.make_model(graph).SerializeToString()


def backwards(length=20_000):
    """Every node before the one that it reads from."""
    nodes = [helper.make_node("Relu", [f"t{i - 1}"], [f"t{i}"]) for i in range(length, 0, -1)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("t0", FLOAT, [1])], [helper.make_tensor_value_info(f"t{length}", FLOAT, None)])
    return helper.make_model(graph).SerializeToString()


def empty_messages(count=300_000):
    """Two bytes for each: nodes, initializers, inputs, functions."""
    graph = b"".join(bytes([number << 3 | 2, 0]) for number in (11, 12, 13) for _ in range(count // 3))
    return b"\x08\x08" + field(7, graph)


def nodes_of_nothing():
    return b"\x08\x08" + field(7, b"\x0a\x00" * 300_000)


def many_readers(count=30_000):
    nodes = [helper.make_node("Relu", ["x"], [f"y{i}"]) for i in range(count)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [1])], [helper.make_tensor_value_info("y0", FLOAT, None)])
    return helper.make_model(graph).SerializeToString()


def quantizer_ladder(length=10_000):
    """A tensor quantized ten thousand times in a row."""
    nodes, last = [], "x"
    for i in range(length):
        nodes += [helper.make_node("QuantizeLinear", [last, "s", "z"], [f"q{i}"]), helper.make_node("DequantizeLinear", [f"q{i}", "s", "z"], [f"d{i}"])]
        last = f"d{i}"
    constants = [numpy_helper.from_array(np.float32(1), "s"), numpy_helper.from_array(np.uint8(1), "z")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [1])], [helper.make_tensor_value_info(last, FLOAT, None)], constants)
    return helper.make_model(graph).SerializeToString()


def a_million_dimensions():
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[2**62] * 1_000_000)
    return one_node_graph(helper.make_node("Identity", ["w"], ["y"]), [tensor])


def a_type_of_a_million_dimensions():
    return one_node_graph(helper.make_node("Identity", ["x"], ["y"]), inputs=[helper.make_tensor_value_info("x", FLOAT, [2**40] * 200_000)])


def shapes_of_thousands_of_dimensions():
    nodes = [helper.make_node("Reshape", ["x", "to"], [f"y{i}"]) for i in range(20_000)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [2])], [helper.make_tensor_value_info("y0", FLOAT, None)], [helper.make_tensor("to", 7, [4096], [2**60] * 4096)])
    return helper.make_model(graph).SerializeToString()


def a_constant_in_many_shapes(length=20_000):
    nodes = [helper.make_node("Reshape", [f"t{i}", "to" if i % 2 else "one"], [f"t{i + 1}"]) for i in range(length)]
    nodes += [helper.make_node("QuantizeLinear", ["x", f"t{length}"], ["q"]), helper.make_node("DequantizeLinear", ["q", f"t{length}"], ["y"])]
    constants = [numpy_helper.from_array(np.float32(1), "t0"), helper.make_tensor("to", 7, [2], [1, 1]), helper.make_tensor("one", 7, [1], [1])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [2])], [helper.make_tensor_value_info("y", FLOAT, None)], constants)
    return helper.make_model(graph).SerializeToString()


def one_scale_on_every_axis(count=20_000):
    nodes = [helper.make_node("QuantizeLinear", ["x", "s"], [f"q{i}"], axis=i) for i in range(count)]
    nodes += [helper.make_node("QLinearConv", ["q0", "one", "z", "w", "s", "z", "one", "z", "b"], [f"c{i}"]) for i in range(count // 4)]
    constants = [numpy_helper.from_array(np.ones(4096, np.float32), "s"), numpy_helper.from_array(np.float32(1), "one"), numpy_helper.from_array(np.uint8(0), "z"),
                 numpy_helper.from_array(np.ones((4096, 1, 1), np.uint8), "w"), numpy_helper.from_array(np.ones(4096, np.int32), "b")]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [2])], [helper.make_tensor_value_info("q0", 2, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def a_node_of_many_inputs_and_outputs(count=100_000):
    node = helper.make_node("Split", [f"i{i}" for i in range(count)], [f"o{i}" for i in range(count)])
    return one_node_graph(node)


def calls_of_one_name(count=20_000):
    function = helper.make_function("l", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])], [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("f", ["x"], [f"y{i}"], "same", domain="l") for i in range(count)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, [2])], [helper.make_tensor_value_info("y0", FLOAT, None)])
    return helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("l", 1)]).SerializeToString()


BOMBS = {  # the file, and a word of the sentence that refuses it; '' where it is only strange
    doubling_functions: "stand for more than", self_calling: "calls itself", self_calling_in_a_body: "calls itself", long_chain_of_functions: "nested more than",
    deep_bodies: "nested more than", huge_dims: "needs", huge_typed: "needs 4096 values", huge_sparse: "", huge_results: "", folding_without_end: "", cycle: "", self_reading: "",
    quantizer_cycle: "", backwards: "", empty_messages: "", nodes_of_nothing: "no operator", many_readers: "", quantizer_ladder: "",
    a_million_dimensions: "has the shape", a_type_of_a_million_dimensions: "dimensions", shapes_of_thousands_of_dimensions: "", a_constant_in_many_shapes: "",
    one_scale_on_every_axis: "", a_node_of_many_inputs_and_outputs: "", calls_of_one_name: "",
}  # fmt: skip
_MEASURE = """
import resource, sys
from qlint.errors import QlintError
from qlint.readers import read
from qlint.passes import canonical
def peak():  # of this program alone; ru_maxrss starts with the memory of the process that started it
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) if sys.platform == "linux" else 0
before = peak()
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
try:
    canonical(read(sys.argv[1]))
    said = ""
except QlintError as error:
    said = error.message
print(peak() - before, said)
"""


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda b: b.__name__)
def test_bombs(tmp_path, bomb):
    path = tmp_path / "m.onnx"
    path.write_bytes(bomb())
    done = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr[-2000:]
    memory, _, said = done.stdout.strip().partition(" ")
    assert BOMBS[bomb] in said and bool(said) == bool(BOMBS[bomb])
    # A few megabytes, or what a file of this size takes anyway (a node of 15 bytes is an Op of some 1,500).
    assert int(memory) * 1024 < 24e6 + 150 * path.stat().st_size


def test_values_are_refused_when_someone_asks(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(huge_sparse())
    data = read(path).nodes[0].outputs[0].data
    for ask in (data.values, data.array):
        with pytest.raises(QlintError, match="too large"):
            ask()


# -- other files ----------------------------------------------------------------------------------------------


def archive(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return out.getvalue()


REFUSED = {
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n", "Git LFS pointer", "git lfs pull"),
    "empty": (b"", "is empty", "did not finish"),
    "zeros": (bytes(4096), "holds only zeros", "did not finish"),
    "checkpoint": (archive("m/data.pkl", "m/data/0"), "PyTorch checkpoint", "torch.onnx.export"),
    "old checkpoint": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch checkpoint", "torch.onnx.export"),
    "pickle": (b"\x80\x04\x95", "pickle", "torch.onnx.export"), "protocol 5": (b"\x80\x05\x95", "pickle", "torch.onnx.export"),
    "damaged torchscript": (archive("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"), "data.pkl", "export or download it again"),
    "pt2": (archive("m/archive_format", "m/models/model.json"), "is no JSON", "torch.export.save"),
    "old pt2": (archive("serialized_exported_program.json", "version"), "is no JSON", "torch.export.save"),
    "safetensors": ((64).to_bytes(8, "little") + b'{"a":1}', "safetensors", "torch.onnx.export"), "gguf": (b"GGUF\3\0\0\0", "GGUF", "torch.onnx.export"),
    "executorch": (b"\x1c\0\0\0ET12" + b"\0" * 64, "ExecuTorch", "before it is lowered"),
    "ort": (b"\x1c\0\0\0ORTM" + b"\0" * 64, ".ort", ".onnx file"), "keras": (b"\x89HDF\r\n\x1a\n", "HDF5", "tf2onnx"),
    "html": (b"<!DOCTYPE html><html>", "HTML page", "download"), "html in capitals": (b"\n<!doctype HTML>", "HTML page", "download"),
    "text": (b"hello there, this is text", "text", "ONNX"), "json": (b'{"ir_version": 8}', "JSON", "ONNX"),
    "bytes": (bytes(range(200, 256)), "not know", "ONNX"), "zip": (archive("readme"), "zip archive", "ONNX"), "cut zip": (archive("m/data.pkl")[:20], "truncated", "again"),
    "gzip": (b"\x1f\x8b\x08", "gzip", "decompress"), "tar": (bytes(257) + b"ustar\0" + bytes(100), "tar archive", "unpack"),
    "no graph": (b"\x08\x08\x12\x04test", "holds no graph", "cut off"),
    "tensorflow": (field(1, b"\x0a\x01x\x12\x0bPlaceholder") * 3, "GraphDef", "tf2onnx"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(tmp_path, name):
    content, says, hint = REFUSED[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(QlintError) as error:
        read(path)
    assert says in error.value.message and hint in error.value.hint and error.value.subject == str(path)


def test_places_that_are_no_model(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    looping = tmp_path / "loop.onnx"
    looping.symlink_to(looping)
    for path, says in [
        (tmp_path / "nothing.onnx", "no such file"), (tmp_path, "folder"), (fifo, "regular file"), (Path("/dev/zero"), "regular file"), (looping, "cannot be read"),
        (tmp_path / ("x" * 5000), "cannot be read"), (tmp_path / "a\0b", "cannot be read"),
    ]:  # fmt: skip
        with pytest.raises(QlintError, match=says):
            read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(small_model())
    path.chmod(0)
    with pytest.raises(QlintError, match="cannot be read: Permission denied"):
        read(path)

