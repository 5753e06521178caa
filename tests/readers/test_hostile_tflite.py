"""TFLite files made to hurt: each is read or refused in a sentence, quickly, in little memory, and never another way."""

import os
import random
import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from test_hostile import _MEASURE, survives
from tflite_build import File, conv_network, options

from qlint.errors import QlintError
from qlint.readers import read

ZOO = Path(__file__).parents[1] / "zoo"


def every_table():
    """A file with a table of every sort that readers look at."""
    file = conv_network()
    g = file.graphs[0]
    g.content.signatureDefs = None
    x = g.tensor("f", [2, 4], "FLOAT32")
    scales = g.tensor("scales", [4, 2], "FLOAT16", data=np.full((4, 2), 0.5))
    blocks = g.tensor("blocks", [4, 4], "INT4", data=bytes(8))
    q = g.content.tensors[blocks].quantization = schema.QuantizationParametersT()
    q.details, q.detailsType = schema.BlockwiseQuantizationT(), schema.QuantizationDetails.BlockwiseQuantization
    q.details.scales, q.details.zeroPoints, q.details.blockSize = scales, -1, 2
    g.op("FULLY_CONNECTED", [x, blocks, -1], [g.tensor("h", [2, 4], "FLOAT32")], options("FullyConnectedOptions"))
    sparse = g.tensor("sparse", [2, 2], "FLOAT32", data=[1.0], sparsity=sparsity())
    g.op("DENSIFY", [sparse], [g.tensor("dense", [2, 2], "FLOAT32")], options("DensifyOptions"))
    g.op("GATHER", [g.tensor("texts", [2], "STRING", data=texts([b"one", b"two"])), g.tensor("i", [1], "INT32", data=[0])], [g.tensor("t", [1], "STRING")], options("GatherOptions"))
    c = g.tensor("c", [1], "BOOL")
    g.op("IF", [c, x], [g.tensor("i", [2, 4], "FLOAT32")], options("IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=1))
    g.op("STRIDED_SLICE", [x, *(g.tensor(n, [2], "INT32", data=d) for n, d in (("b", [0, 1]), ("e", [2, 3]), ("s", [1, 1])))], [g.tensor("p", [2], "FLOAT32")],
         options("StridedSliceOptions", beginMask=1, shrinkAxisMask=2))  # fmt: skip
    g.op("CUSTOM", [x], [g.tensor("u", [2, 4], "FLOAT32", shapeSignature=[-1, 4])], custom="mine", customOptions=np.arange(9, dtype=np.uint8))
    body = file.graph("body")
    inner = body.tensor("x", [2, 4], "FLOAT32")
    body.op("RELU", [inner], [body.tensor("y", [2, 4], "FLOAT32")])
    body.content.inputs, body.content.outputs = [inner], [1]
    group, outside = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
    group.name, outside.id, outside.group, outside.offset, outside.length = b"w.bin", 7, 0, 4, 16
    file.content.externalBufferGroups, file.content.externalBuffers = [group], [outside]
    g.op("RELU", [g.tensor("outside", [4], "FLOAT32", externalBuffer=7)], [g.tensor("o", [4], "FLOAT32")])
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"min_runtime_version", file.buffer(b"2.3.0" + bytes(11))
    signature, tensor = schema.SignatureDefT(), schema.TensorMapT()
    tensor.name, tensor.tensorIndex, signature.inputs, signature.signatureKey = b"in", 0, [tensor], b"serving"
    file.content.metadata, file.content.signatureDefs = [entry], [signature]
    return file


def sparsity(segments=(0, 1, 1), indices=(1,)):
    """A CSR matrix of two rows."""
    dense, sparse = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    dense.denseSize, sparse.format = 2, schema.DimensionType.SPARSE_CSR
    for field, values in (("arraySegments", segments), ("arrayIndices", indices)):
        vector = schema.Uint8VectorT()
        vector.values = np.array(values, np.uint8)
        setattr(sparse, field, vector)
        setattr(sparse, field + "Type", schema.SparseIndexVector.Uint8Vector)
    found = schema.SparsityParametersT()
    found.traversalOrder, found.dimMetadata = [0, 1], [dense, sparse]
    return found


def texts(words):
    places = np.cumsum([8 + 4 * len(words), *map(len, words)]).astype("<i4")
    return np.int32(len(words)).tobytes() + places.tobytes() + b"".join(words)


SOURCES = {"all": every_table().bytes(), "speech": (ZOO / "tflite-micro/micro_speech_quantized.tflite").read_bytes(), "lstm": (ZOO / "tflite-micro/trained_lstm_int8.tflite").read_bytes()}


def test_the_file_with_every_table_is_read(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(SOURCES["all"])
    model = read(path)
    assert len(model.nodes) == 13 and not model.notes
    assert {op.label for op in model.walk()} >= {"body/RELU:0", "mine:11"}


# -- damage -------------------------------------------------------------------------------------------------


def test_cut_at_every_length(tmp_path):
    source = SOURCES["all"]
    path = tmp_path / "m.tflite"
    for length in range(0, len(source), 7):
        path.write_bytes(source[:length])
        survives(path)


def mutated(source, rng):
    """A few bytes, numbers or stretches of a file changed: small numbers, large ones, those of other places."""
    raw = bytearray(source)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(8, len(raw))
        match rng.randrange(5):
            case 0:
                raw[at] = rng.randrange(256)
            case 1:
                raw[at & ~3 : (at & ~3) + 4] = rng.choice([0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(len(raw)), rng.randrange(1 << 32)]).to_bytes(4, "little")
            case 2:
                raw[at] ^= 1 << rng.randrange(8)
            case 3:
                del raw[at : at + rng.randint(1, 40)]
            case 4:
                other = rng.randrange(8, len(raw))
                raw[at : at + 8] = raw[other : other + 8]
    return bytes(raw)


@pytest.mark.parametrize("name", SOURCES)
def test_random_damage(tmp_path, name, count=1000):
    rng = random.Random(name)
    path = tmp_path / "m.tflite"
    for _ in range(count):
        path.write_bytes(mutated(SOURCES[name], rng))
        survives(path)


def test_every_word_of_the_tables_changed(tmp_path):
    source = SOURCES["all"]
    path = tmp_path / "m.tflite"
    for at in range(0, len(source) - 4, 4):
        value = (0xFFFFFFFF, 0x7FFFFFF0, 4)[at // 4 % 3]
        path.write_bytes(source[:at] + value.to_bytes(4, "little") + source[at + 4 :] if at != 4 else source)
        survives(path)


def test_noise(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "m.tflite"
    for _ in range(300):
        path.write_bytes(rng.randbytes(4) + b"TFL3" + rng.randbytes(rng.randrange(200)))
        survives(path)


# -- bombs --------------------------------------------------------------------------------------------------


def packed(build):
    """A file written table by table, so that tables can be shared: `build(builder)` returns what Model fields hold."""
    builder = flatbuffers.Builder(1 << 16)
    fields = build(builder)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    for name, offset in fields.items():
        getattr(schema, f"ModelAdd{name}")(builder, offset)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def table(builder, name, **fields):
    getattr(schema, f"{name}Start")(builder)
    for field, value in fields.items():
        getattr(schema, f"{name}Add{field}")(builder, value)
    return getattr(schema, f"{name}End")(builder)


def one_graph(builder, operators, tensors, inputs=()):
    code = table(builder, "OperatorCode", BuiltinCode=2)
    graph = table(builder, "SubGraph", Tensors=vector(builder, tensors), Operators=vector(builder, operators))
    return {"OperatorCodes": vector(builder, [code]), "Subgraphs": vector(builder, [graph]), "Buffers": vector(builder, [table(builder, "Buffer")])}


def one_operator_many_times(count=100_000):
    """100,000 operators that are one table, with 1,000 inputs."""

    def build(builder):
        inputs = builder.CreateNumpyVector(np.zeros(1000, np.int32))
        return one_graph(builder, [table(builder, "Operator", Inputs=inputs)] * count, [table(builder, "Tensor")])

    return packed(build)


def one_tensor_many_times(count=300_000):
    return packed(lambda builder: one_graph(builder, [], [table(builder, "Tensor", Name=builder.CreateString("t"))] * count))


def overlapping_vectors(count=100_000):
    """Vectors of numbers that start at every word of one another."""

    def build(builder):
        words = builder.CreateNumpyVector(np.full(count, 4000, np.int32))
        return one_graph(builder, [table(builder, "Operator", MutatingVariableInputs=words - 4 * i) for i in range(0, count // 2, 2)], [])

    return packed(build)


def doubling_calls(depth=30):
    """Each subgraph calls the next one twice."""
    file = File()
    for level in range(depth):
        g = file.graph(f"g{level}")
        for _ in range(2):
            g.op("IF", [g.tensor("c", [1], "BOOL")], [], options("IfOptions", thenSubgraphIndex=level + 1, elseSubgraphIndex=level + 1))
    file.graph("last")
    return file.bytes()


def self_calling():
    file = File()
    g = file.graph("g")
    g.op("WHILE", [], [], options("WhileOptions", condSubgraphIndex=0, bodySubgraphIndex=0))
    return file.bytes()


def deep_calls(depth=1000):
    file = File()
    for level in range(depth):
        file.graph(f"g{level}").op("CALL_ONCE", [], [], options("CallOnceOptions", initSubgraphIndex=level + 1))
    file.graph("last")
    return file.bytes()


def a_shape_of_a_million_dimensions():
    file = File()
    file.graph().tensor("t", [1] * 1_000_000)
    return file.bytes()


def a_million_scales():
    """One tensor with scales for each of 200,000 channels, read by nobody."""
    file = File()
    file.graph().tensor("t", [200_000], scale=np.full(200_000, 0.5))
    return file.bytes()


def huge_constant():
    file = File()
    g = file.graph()
    g.op("RESHAPE", [g.tensor("w", [1 << 30, 1 << 30, 1 << 30], "FLOAT32", data=[1.0]), g.tensor("to", [1], "INT32", data=[-1])], [g.tensor("y", [1], "FLOAT32")], options("ReshapeOptions"))
    return file.bytes()


def constant_that_is_too_short():
    file = File()
    g = file.graph()
    g.op("RESHAPE", [g.tensor("x", [4], "FLOAT32"), g.tensor("to", [100], "INT32", data=[-1])], [g.tensor("y", [1], "FLOAT32")], options("ReshapeOptions"))
    return file.bytes()


def cycle(length=5_000):
    file = File()
    g = file.graph()
    ts = [g.tensor(f"t{i}", [1]) for i in range(length)]
    for i in range(length):
        g.op("RELU", [ts[i]], [ts[(i + 1) % length]])
    return file.bytes()


BOMBS = {  # the file, and a word of the sentence that refuses it; '' where it is only strange
    one_operator_many_times: "many times the size", one_tensor_many_times: "many times the size", overlapping_vectors: "overlap", doubling_calls: "many times the size",
    self_calling: "calls itself", deep_calls: "nested more than", a_shape_of_a_million_dimensions: "1000000 dimensions", a_million_scales: "",
    huge_constant: "needs", constant_that_is_too_short: "needs 400 bytes and has 4", cycle: "",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda b: b.__name__)
def test_bombs(tmp_path, bomb):
    path = tmp_path / "m.tflite"
    path.write_bytes(bomb())
    done = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr[-2000:]
    memory, _, said = done.stdout.strip().partition(" ")
    assert BOMBS[bomb] in said and bool(said) == bool(BOMBS[bomb]), said
    assert int(memory) * 1024 < 24e6 + 150 * path.stat().st_size


# -- values that someone asks for ------------------------------------------------------------------------------


@pytest.mark.parametrize(("segments", "indices", "says"), [((0, 9, 9), (1,), "rows that are not there"), ((0, 1, 1), (200,), "outside"), ((0, 2, 1), (0, 1), "rows"), ((0, 0, 0), (1,), "1 values for 0 places")])
def test_sparse_tensors_that_are_none(tmp_path, segments, indices, says):
    file = File()
    file.graph().tensor("s", [2, 2], "FLOAT32", data=[1.0], sparsity=sparsity(segments, indices))
    (tensor,) = read(file.save(tmp_path / "m.tflite")).tensors.values()
    with pytest.raises(QlintError, match=says):
        tensor.data.values()


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\x7f", b"\x02\0\0\0\0\0\0\0", texts([b"one", b"two", b"three"]), texts([b"one", b"two"])[:-3], b"\1"])
def test_texts_that_are_none(tmp_path, raw):
    file = File()
    file.graph().tensor("s", [2], "STRING", data=raw)
    (tensor,) = read(file.save(tmp_path / "m.tflite")).tensors.values()
    with pytest.raises(QlintError, match="texts"):
        tensor.data.values()


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "", "nothing.bin"])
def test_external_data_stays_in_the_folder(tmp_path, location):
    file = every_table()
    file.content.externalBufferGroups[0].name = location.encode()
    (tmp_path / "model").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(64))
    model = read(file.save(tmp_path / "model/m.tflite"))
    with pytest.raises(QlintError, match=r"outside the model's folder|is missing"):
        model.tensors["outside"].data.values()
