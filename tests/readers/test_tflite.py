"""What stands in a TFLite file beyond its tables: subgraphs, data elsewhere, grids of every form, activations that are fused."""

from collections import Counter

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper
from test_hostile_tflite import every_table, sparsity, texts
from tflite_against import compare_model, compare_tables
from tflite_build import CODES, File, conv_network, options, schema

import qlint
from qlint.errors import QlintError
from qlint.graph.axes import channel_axes
from qlint.judge import judge
from qlint.lint.toy import toy
from qlint.passes import canonical
from qlint.readers import read
from qlint.report.summary import quantization


def interpreter(path):
    found = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    found.allocate_tensors()
    return found


def single(code, inputs, dtype="FLOAT32", shape=(1, 4), how=None, **more):
    """A file of one operator on an input `x`; `inputs(g)` adds the others."""
    file = File()
    g = file.graph()
    x = g.tensor("x", shape, dtype)
    others = inputs(g)
    g.content.inputs, g.content.outputs = [x], [g.tensor("y", [1, 3], dtype)]
    g.op(code, [x, *others], g.content.outputs, how, **more)
    return file


# -- operators ------------------------------------------------------------------------------------------------


def test_a_fused_activation_is_an_op_behind_its_operator_and_no_node(tmp_path):
    model = canonical(read(conv_network().save(tmp_path / "m.tflite")))
    assert [op.label for op in model.nodes] == ["CONV_2D:0", "DEPTHWISE_CONV_2D:1", "ADD:2", "RESHAPE:3", "FULLY_CONNECTED:4", "SOFTMAX:5"]
    assert [(op.label, op.kind, op.fused) for op in model.ops][:5] == [
        ("CONV_2D:0", "conv", False), ("CONV_2D:0/RELU6", "clip", True), ("DEPTHWISE_CONV_2D:1", "conv", False), ("ADD:2", "add", False), ("ADD:2/RELU", "relu", True),
    ]  # fmt: skip
    conv, clip = model.ops[:2]
    assert (clip.attrs["min"], clip.attrs["max"]) == (0.0, 6.0)
    assert clip.uses["x"].tensor is conv.y and not clip.uses["x"].quantizers and len({op.index for op in model.ops}) == len(model.ops)
    assert [str(use.quantizers[0]) for use in clip.y.uses] == ["int8, scale 0.0234375, zero point -128"] * 2
    assert [edge[2] for edge in model.nx.edges(conv.index, keys=True)] == [(clip.index, 0)]


def test_kernels_see_a_fused_activation_as_one_that_stands_alone(tmp_path):
    model = canonical(read(conv_network().save(tmp_path / "m.tflite")))
    verdict = judge(model, toy())
    conv, clip, *_ = model.ops
    assert verdict.of(conv).chain == verdict.of(clip).chain == (conv, clip)
    (result,) = qlint.check(tmp_path / "m.tflite", backend=toy()).results
    assert [op.name for op in result.ops] == [op.label for op in model.nodes]


@pytest.mark.parametrize("code", ["UNIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "L2_NORMALIZATION"])
def test_activations_of_cells_stay_where_they_are(tmp_path, code):
    name = {"UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions", "RNN": "RNNOptions", "L2_NORMALIZATION": "L2NormOptions"}[code]
    model = read(single(code, lambda g: [], how=options(name, fusedActivationFunction=4)).save(tmp_path / "m.tflite"))
    assert model.ops == model.nodes and model.ops[0].attrs["fused_activation_function"] == "TANH"


def test_operators_by_number_whichever_field_holds_it(tmp_path):
    file = File()
    g = file.graph()
    for old, new in ((3, 0), (0, 3), (127, CODES["GELU"]), (3, 3), (-1, 0), (0, 777)):
        g.op("ADD", [], [])
        code = file.content.operatorCodes[-1]
        code.deprecatedBuiltinCode, code.builtinCode = old, new
    assert [op.native for op in read(file.save(tmp_path / "m.tflite")).nodes] == ["CONV_2D", "CONV_2D", "GELU", "CONV_2D", "ADD", "BUILTIN_777"]
    assert [op.kind for op in read(tmp_path / "m.tflite").nodes][-2:] == ["add", "custom"]


def test_custom_operators_by_their_own_names(tmp_path):
    file = File()
    g = file.graph()
    for name in (b"TFLite_Detection_PostProcess", b"FlexAddV2", b"ethos-u", None):
        g.op("CUSTOM", [], [], custom=name, customOptions=np.arange(3, dtype=np.uint8))
    model = read(file.save(tmp_path / "m.tflite"))
    assert [(op.label, op.kind, op.domain) for op in model.nodes] == [
        ("TFLite_Detection_PostProcess:0", "custom", "custom"), ("FlexAddV2:1", "custom", "flex"), ("ethos-u:2", "custom", "custom"), ("CUSTOM:3", "custom", "custom"),
    ]  # fmt: skip
    assert model.nodes[0].attrs["custom_options"].values() == (0, 1, 2)
    assert model.metadata["compiled_for"] == model.nodes[2].attrs["compiled_for"] == "Arm Ethos-U"


def test_the_content_decides_what_a_file_is(tmp_path):
    assert read(conv_network().save(tmp_path / "model.onnx")).format == "tflite"


# -- subgraphs ------------------------------------------------------------------------------------------------


def branches():
    """IF in WHILE in the main graph; a subgraph that two operators call, and one that none does."""
    file = File()
    main, cond, body, shared, alone = (file.graph(name) for name in ("main", "cond", "body", "shared", "alone"))
    x, go = main.tensor("x", [2], "FLOAT32"), main.tensor("go", [1], "BOOL")
    w, y = main.tensor("w", [2], "FLOAT32"), main.tensor("y", [2], "FLOAT32")
    main.op("WHILE", [x], [w], options("WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2))
    main.op("IF", [go, w], [y], options("IfOptions", thenSubgraphIndex=3, elseSubgraphIndex=3))
    main.content.inputs, main.content.outputs = [x, go], [y]
    for g, code in ((cond, "LESS"), (body, "IF"), (shared, "NEG"), (alone, "ABS")):
        a, b = g.tensor("a", [2], "FLOAT32"), g.tensor("b", [2], "BOOL" if code == "LESS" else "FLOAT32")
        if code == "IF":
            g.op("IF", [g.tensor("c", [1], "BOOL", data=[1]), a], [b], options("IfOptions", thenSubgraphIndex=3, elseSubgraphIndex=3))
        else:
            g.op(code, [a, a] if code == "LESS" else [a], [b])
        g.content.inputs, g.content.outputs = [a], [b]
    return file


def test_subgraphs_that_operators_call_are_their_bodies(tmp_path):
    path = branches().save(tmp_path / "m.tflite")
    compare_tables(path)
    model = read(path)
    compare_model(model, path.read_bytes())
    assert {op.label: list(op.bodies) for op in model.walk() if op.bodies} == {"WHILE:0": ["cond", "body"], "body/IF:0": ["then", "else"], "IF:1": ["then", "else"]}
    assert Counter(op.label for op in model.walk()) == {"WHILE:0": 1, "cond/LESS:0": 1, "body/IF:0": 1, "body/shared/NEG:0": 2, "IF:1": 1, "shared/NEG:0": 2}
    assert [note for note in model.notes if "alone, with 1 operators" in note]
    assert [op.name for op in qlint.check(path).results[0].ops] == ["WHILE:0", "cond/LESS:0", "body/IF:0", *["body/shared/NEG:0"] * 2, "IF:1", *["shared/NEG:0"] * 2]


def test_variables_are_state_and_no_inputs(tmp_path):
    file = single("UNIDIRECTIONAL_SEQUENCE_LSTM", lambda g: [*[-1] * 17, g.tensor("h", [1, 3], isVariable=True, scale=0.5), g.tensor("c", [1, 3], "INT16", isVariable=True, scale=0.25)],
                  how=options("UnidirectionalSequenceLSTMOptions"), intermediates=[0])  # fmt: skip
    model = canonical(read(file.save(tmp_path / "m.tflite")))
    uses = model.ops[0].uses
    assert {role: use.tensor.variable for role, use in uses.items()} == {"x": False, "initial_h": True, "initial_c": True}
    assert [t.name for t in model.inputs] == ["x"] and [str(uses[r].quantizers[0]) for r in ("initial_h", "initial_c")] == ["int8, scale 0.5, zero point 0", "int16, scale 0.25, zero point 0"]
    assert model.ops[0].attrs["intermediates"] == ["x"]


# -- tensors --------------------------------------------------------------------------------------------------


def test_unnamed_tensors_and_twins(tmp_path):
    file = File()
    g = file.graph()
    for name in ("t", None, "t", "", "t"):
        g.tensor(name, [1])
    g.op("RELU", [0], [2])
    model = read(file.save(tmp_path / "m.tflite"))
    assert list(model.tensors) == ["t", "tensor:1", "t:2", "tensor:3", "t:4"] == [t.name for t in model.tensors.values()]


def test_a_tensor_that_is_called_like_an_operator(tmp_path):
    file = conv_network()
    file.graphs[0].content.tensors[3].name = "CONV_2D:0"
    model = canonical(read(file.save(tmp_path / "m.tflite")))
    conv, clip = model.ops[:2]
    assert conv.y.name == "CONV_2D:0:0" and clip.y is model.tensors["CONV_2D:0"] and len(clip.y.uses) == 2


def test_shapes_are_what_a_runtime_allocates(tmp_path):
    file = File()
    g = file.graph()
    g.content.inputs = [g.tensor("resizable", [1, 4], shapeSignature=[-1, 4]), g.tensor("scalar", []), g.tensor("unknown", [], hasRank=False), g.tensor("dynamic", [-1, 4])]
    model = read(file.save(tmp_path / "m.tflite"))
    assert [t.shape for t in model.inputs] == [(1, 4), (), None, (None, 4)]
    assert model.metadata["shape_signature:resizable"] == "[-1, 4]"


def test_data_behind_the_flatbuffer(tmp_path):
    """Models above 2 GB: LiteRT finds the same numbers at the same place."""
    file = single("ADD", lambda g: [g.tensor("w", [1, 4], "FLOAT32", data=[0.0] * 4)], how=options("AddOptions"))
    file.graphs[0].content.tensors[2].shape = [1, 4]
    (buffer,) = (b for b in file.content.buffers if b.data is not None)
    buffer.data, buffer.offset, buffer.size = None, 2, 16
    size = len(file.bytes())
    buffer.offset = size
    path = tmp_path / "m.tflite"
    path.write_bytes(file.bytes() + np.float32([1, 2, 3, 4]).tobytes())
    assert read(path).tensors["w"].data.values() == (1, 2, 3, 4) == tuple(interpreter(path).get_tensor(1)[0])
    path.write_bytes(file.bytes() + bytes(12))
    with pytest.raises(QlintError, match="a buffer behind the flatbuffer would lie at"):
        read(path)


def test_data_in_another_file(tmp_path):
    path = every_table().save(tmp_path / "m.tflite")
    (tmp_path / "w.bin").write_bytes(bytes(4) + np.float32([1, 2, 3, 4]).tobytes())
    assert read(path).tensors["outside"].data.array().tolist() == [1, 2, 3, 4]


def test_texts(tmp_path):
    path = single("ADD", lambda g: [g.tensor("t", [2], "STRING", data=texts([b"one", b"zwei"]))]).save(tmp_path / "m.tflite")
    assert read(path).tensors["t"].data.values() == (b"one", b"zwei")


@pytest.mark.parametrize("form", ["csr", "csc", "blocks"])
def test_sparse_tensors_are_what_litert_makes_of_them(tmp_path, form):
    """A CSR matrix; one walked by columns; blocks of two columns."""
    rows = schema.DimensionMetadataT()
    rows.denseSize = 3
    compressed = sparsity((0, 2, 2, 3), (0, 2, 1)).dimMetadata[1]
    found, data = schema.SparsityParametersT(), [1.0, 2.0, 3.0]
    found.traversalOrder, found.dimMetadata, shape = {"csr": ([0, 1], [rows, compressed], [3, 4]), "csc": ([1, 0], [rows, compressed], [4, 3]), "blocks": (None, None, [3, 8])}[form]
    if form == "blocks":
        block = schema.DimensionMetadataT()
        block.denseSize = 2
        found.traversalOrder, found.blockMap, found.dimMetadata, data = [0, 1, 2], [1], [rows, compressed, block], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    file = File()
    g = file.graph()
    g.op("DENSIFY", [g.tensor("s", shape, "FLOAT32", data=data, sparsity=found)], [g.tensor("d", shape, "FLOAT32")], options("DensifyOptions"))
    g.content.inputs, g.content.outputs = [], [1]
    path = file.save(tmp_path / "m.tflite")
    runtime = interpreter(path)
    runtime.invoke()
    assert np.array_equal(read(path).tensors["s"].data.array(), runtime.get_tensor(1)) and np.count_nonzero(runtime.get_tensor(1)) == len(data)


# -- grids ----------------------------------------------------------------------------------------------------


def detailed(details, kind, shape=(4, 8), **fields):
    file = File()
    g = file.graph()
    g.tensor("scales", fields.pop("scales"), "FLOAT32", data=np.arange(1, 1 + np.prod(fields["of"])).reshape(fields.pop("of")))
    g.tensor("zeros", [4, 4], "INT32", data=range(16))
    w = g.tensor("w", shape, "INT8", data=bytes(int(np.prod(shape))))
    q = g.content.tensors[w].quantization = schema.QuantizationParametersT()
    q.scale, q.zeroPoint, q.quantizedDimension = [7.0], [7], 0  # not looked at
    q.detailsType, q.details = getattr(schema.QuantizationDetails, kind), details
    for field, value in fields.items():
        setattr(details, field, value)
    return file


def test_blocks(tmp_path):
    file = detailed(schema.BlockwiseQuantizationT(), "BlockwiseQuantization", scales=[4, 4], of=[4, 4], zeroPoints=1, blockSize=2)
    q = read(file.save(tmp_path / "m.tflite")).tensors["w"].quantizer
    assert (q.granularity, q.axis, q.block_size, q.scale_shape, q.zero_point_shape) == ("block", 1, 2, (4, 4), (4, 4))
    assert list(q.scale) == list(range(1, 17)) and list(q.zero_point) == list(range(16))
    file.graphs[0].content.tensors[0].shape = [2, 8]
    q = read(file.save(tmp_path / "m.tflite")).tensors["w"].quantizer
    assert (q.axis, q.block_size) == (0, 2)


def test_blocks_of_a_shape(tmp_path):
    file = detailed(schema.BlockwiseQuantizationT(), "BlockwiseQuantization", scales=[4, 2], of=[4, 2], zeroPoints=-1, blockShape=[1, 4])
    q = read(file.save(tmp_path / "m.tflite")).tensors["w"].quantizer
    assert (q.granularity, q.axis, q.block_size, q.zero_point, q.zero_point_shape) == ("block", 1, 4, (0,), None)


@pytest.mark.parametrize(("scales", "dimensions", "block", "wanted"), [([4], [0], 0, ("channel", 0, 0)), ([4, 8], [0, 1], 0, ("block", 1, 1)), ([4, 2], [0, 1], 4, ("block", 1, 4)), ([1], [0], 0, ("tensor", 0, 0))])
def test_several_dimensions(tmp_path, scales, dimensions, block, wanted):
    file = detailed(schema.MultiAxisQuantizationT(), "MultiAxisQuantization", scales=scales, of=scales, zeroPoints=-1, blockSize=block, quantizedDimensions=dimensions)
    q = read(file.save(tmp_path / "m.tflite")).tensors["w"].quantizer
    assert (q.granularity, q.axis, q.block_size) == wanted and len(q.scale) == np.prod(scales)


def weights(kind):
    """A linear layer whose weights are stored in different ways, activations are float."""
    file = File()
    g = file.graph()
    x, y = g.tensor("x", [1, 8], "FLOAT32"), g.tensor("y", [1, 3], "FLOAT32")
    w = g.tensor("w", [3, 8], "FLOAT16" if kind == "float16" else "INT8", data=np.ones((3, 8)), scale=None if kind == "float16" else 0.5)
    if kind != "dynamic":
        real = g.tensor("real", [3, 8], "FLOAT32")
        g.op("DEQUANTIZE", [w], [real], options("DequantizeOptions"))
        w = real
    g.op("FULLY_CONNECTED", [x, w, -1], [y], options("FullyConnectedOptions", asymmetricQuantizeInputs=kind == "dynamic"))
    g.content.inputs, g.content.outputs = [x], [y]
    return file


@pytest.mark.parametrize(("kind", "says", "x", "w"), [("dynamic", "W8 per-tensor, A8 dynamic", ["int8, scale not constant"], ["int8, scale 0.5, zero point 0"]), ("weight-only", "W8 per-tensor", [], ["int8, scale 0.5, zero point 0"]), ("float16", "no quantizers, float16 weights", [], [])])
def test_dynamic_weight_only_and_half_precision_are_told_apart(tmp_path, kind, says, x, w):
    path = weights(kind).save(tmp_path / "m.tflite")
    model = canonical(read(path))
    (linear,) = (op for op in model.ops if op.kind == "linear")
    assert quantization(model) == says
    assert [str(q) for q in linear.uses["x"].quantizers] == x and [str(q) for q in linear.uses["w"].quantizers] == w
    assert all(q.dynamic for q in linear.uses["x"].quantizers) and all((q.dequantize is None) == (kind == "dynamic") for q in linear.uses["w"].quantizers)
    runtime = interpreter(path)
    runtime.set_tensor(0, np.float32([[0.1, 1000, 0, 0, 0, 0, 0, 0]]))
    runtime.invoke()
    rounded = abs(runtime.get_tensor(1)[0, 0] - (0.5 if kind != "float16" else 1) * 1000.1) > 0.01
    assert rounded == (kind == "dynamic")  # 0.1 is lost between steps of 1000 / 127


def test_requantizing_and_reading_back(tmp_path):
    file = File()
    g = file.graph()
    ts = [g.tensor("x", [2], "FLOAT32"), g.tensor("a", [2], scale=0.5), g.tensor("b", [2], "UINT8", scale=0.25, zero_point=3), g.tensor("y", [2], "FLOAT32"), g.tensor("z", [2], "FLOAT32")]
    for code, i in (("QUANTIZE", 0), ("QUANTIZE", 1), ("DEQUANTIZE", 2), ("RELU", 3)):
        g.op(code, [ts[i]], [ts[i + 1]])
    g.content.inputs, g.content.outputs = [0], [4]
    model = canonical(read(file.save(tmp_path / "m.tflite")))
    (relu,) = model.ops
    assert relu.uses["x"].tensor.name == "x" and [str(q) for q in relu.uses["x"].quantizers] == ["int8, scale 0.5, zero point 0", "uint8, scale 0.25, zero point 3"]
    assert [op.kind for op in model.nodes] == ["quantize", "quantize", "dequantize", "relu"]


@pytest.mark.parametrize(("low", "high", "bits"), [(-1, 1, 8), (-1, 2, 8), (0.3, 6, 8), (-5, -1, 8), (-1, 1, 4), (0, 6, 16), (-0.7, 3.3, 2)])
def test_fake_quantizers_have_the_grid_that_litert_rounds_to(tmp_path, low, high, bits):
    file = File()
    g = file.graph()
    x, q, y = (g.tensor(name, [9], "FLOAT32") for name in "xqy")
    g.op("FAKE_QUANT", [x], [q], options("FakeQuantOptions", min=low, max=high, numBits=bits), version=2)
    g.op("NEG", [q], [y])
    g.content.inputs, g.content.outputs = [x], [y]
    path = file.save(tmp_path / "m.tflite")
    (neg,) = canonical(read(path)).ops
    (found,) = neg.uses["x"].quantizers
    assert found.origin == "fake-quant" and neg.uses["x"].tensor.name == "x" and found.levels == 1 << bits
    assert [op.kind for op in read(path).nodes] == ["fake_quantize", "neg"] and found.dequantize is not None  # what reads it reads floats
    values = np.float32([-9, -1.234, -0.413, -0.013, 0, 0.1, 0.777, 1.9, 9])
    runtime = interpreter(path)
    runtime.set_tensor(0, values)
    runtime.invoke()
    scale, zero = found.scale[0], found.zero_point[0]
    grid = scale * (np.clip(np.floor(values / scale + zero + 0.5), found.qmin, found.qmax) - zero)
    assert np.allclose(-runtime.get_tensor(2), grid, atol=scale / 100)


@pytest.mark.parametrize(("how", "wanted"), [({"min": -1, "max": 1, "numBits": 8, "narrowRange": True}, (1, 255, (128,))), ({"min": 1, "max": 1, "numBits": 8}, None), ({"min": -3e38, "max": 3e38, "numBits": 8}, None), ({"min": -1, "max": 1, "numBits": 40}, None)])
def test_fake_quantizers_that_no_runtime_takes(tmp_path, how, wanted):
    file = single("FAKE_QUANT", lambda g: [], how=options("FakeQuantOptions", **how))
    (use,) = canonical(read(file.save(tmp_path / "m.tflite"))).outputs
    (q,) = use.quantizers
    assert (q.scale is None) if wanted is None else (q.qmin, q.qmax, q.zero_point) == wanted


@pytest.mark.parametrize(("code", "shape", "axes"), [("CONV_2D", (6, 3, 3, 4), (0, 3)), ("DEPTHWISE_CONV_2D", (1, 3, 3, 6), (3, 0)), ("TRANSPOSE_CONV", (6, 3, 3, 4), (0, 3)), ("CONV_3D", (2, 3, 3, 4, 6), (4, 3)), ("CONV_3D_TRANSPOSE", (2, 3, 3, 6, 4), (3, 4)), ("FULLY_CONNECTED", (6, 4), (0, 1))])
def test_axes_of_channels(tmp_path, code, shape, axes):
    """Output and input channels of weights as TFLite lays them (tfl_ops.td)."""
    file = File()
    g = file.graph()
    w = g.tensor("w", shape, data=bytes(int(np.prod(shape))), scale=[1.0] * 6, axis=axes[0])
    g.op(code, [g.tensor("s", [4], "INT32"), w, g.tensor("x", [1] * len(shape))] if "TRANSPOSE" in code else [g.tensor("x", [1] * len(shape)), w], [])
    op = read(file.save(tmp_path / "m.tflite")).nodes[0]
    assert channel_axes(op, "w") == axes and op.uses["w"].tensor.quantizer.axis == axes[0]


# -- one network, two formats ---------------------------------------------------------------------------------


def qdq_twin():
    """`conv_network` as ONNX with QuantizeLinear and DequantizeLinear: its weights are those of the other layout."""
    nodes, constants = [], []

    def const(value, dtype):
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(constants)}"))
        return constants[-1].name

    def node(kind, *inputs, **attributes):
        nodes.append(helper.make_node(kind, list(inputs), [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    def qdq(x, scale, zero):
        s, z = const(scale, np.float32), const(zero, np.int8)
        return node("DequantizeLinear", node("QuantizeLinear", x, s, z), s, z)

    def weight(shape, scale, dtype=np.int8):
        per_channel = {"axis": 0} if np.ndim(scale) else {}
        return node("DequantizeLinear", const(np.ones(shape), dtype), const(scale, np.float32), const(np.zeros(np.shape(scale)), dtype), **per_channel)

    x = qdq("x", 0.5, -3)
    c = node("Conv", x, weight([6, 4, 3, 3], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), weight([6], [0.05, 0.1, 0.15, 0.2, 0.25, 0.3], np.int32), strides=[2, 2], pads=[0, 0, 1, 1])
    c = qdq(node("Clip", c, const(0, np.float32), const(6, np.float32)), 6 / 256, -128)
    d = qdq(node("Conv", c, weight([6, 1, 3, 3], [0.1] * 6), weight([6], [0.025] * 6, np.int32), strides=[1, 1], pads=[1, 1, 1, 1], group=6), 0.125, 4)
    a = qdq(node("Relu", node("Add", c, d)), 0.25, 0)
    r = qdq(node("Reshape", a, const([1, 96], np.int64)), 0.25, 0)
    f = qdq(node("Gemm", r, weight([3, 96], 0.01), transB=1), 0.5, 0)
    y = qdq(node("Softmax", f), 1 / 256, -128)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])], [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def signature(model):
    """(kind, role, real scale, real zero, levels) over every use, outputs of the graph included."""
    uses = [use for op in model.ops for use in op.uses.values()] + model.outputs
    return Counter(
        (use.op.kind if use.op else "", use.role, f"{s:.6g}", f"{-z * s:.6g}", q.levels) for use in uses for q in use.quantizers for s, z in q.pairs()
    )  # fmt: skip


def test_the_signature_is_that_of_the_same_network_in_onnx(tmp_path):
    onnx.save(qdq_twin(), tmp_path / "m.onnx")
    theirs = qlint.load(tmp_path / "m.onnx")
    ours = qlint.load(conv_network().save(tmp_path / "m.tflite"))
    assert [op.kind for op in ours.ops] == [op.kind for op in theirs.ops]
    assert signature(ours) == signature(theirs) and sum(signature(ours).values()) > 30
    assert all(op.attrs.get(name) == twin.attrs.get(name) for op, twin in zip(ours.ops, theirs.ops, strict=True) for name in ("strides", "pads", "group", "min", "max", "transB"))
