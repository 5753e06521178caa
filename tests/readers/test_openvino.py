"""OpenVINO IR: layer for layer, attribute for attribute and value for value what OpenVINO's own reader finds; hostile files."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from qlint.api import load
from qlint.errors import ReadError
from qlint.readers import read
from qlint.readers.openvino_ops import TYPES
from qlint.readers.openvino_xml import MAX_DEPTH, parse

ov = pytest.importorskip("openvino")
opset = pytest.importorskip("openvino.opset13")

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes.builder import render  # noqa: E402
from probes.networks import NETWORKS, network  # noqa: E402
from probes.style import STYLES, plan  # noqa: E402

ZOO = Path(__file__).parents[1] / "zoo"
REAL = [ZOO / "tiny_results_v1.3/resnet.onnx", ZOO / "tiny_results_v1.3/deep_autoencoder.onnx", ZOO / "Ultra-Light-Fast-Generic-Face-Detector-1MB/version-RFB-320.onnx"]
KEPT = []
NOT_OPS = ("Parameter", "Constant", "Result")


def saved(model, folder):
    path = folder / "model.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def converted(name, style, folder):
    net = network(name)
    source = folder / "model.onnx"
    source.write_bytes(render(net, plan(net, STYLES[style])))
    return saved(ov.convert_model(source), folder)


def parameter(*shape, dtype=np.float32):
    return opset.parameter(list(shape), dtype, name="x")


def compressed(weight_type, zero_point=None, block=0):
    """x · W with integer weights, as NNCF compresses them."""
    rows, columns = 6, 8
    kind = getattr(ov.Type, weight_type)
    low, high = (0, 15) if weight_type == "u4" else (0, 255) if weight_type == "u8" else (-8, 7) if weight_type == "i4" else (-120, 120)
    values = np.random.default_rng(0).integers(low, high + 1, (rows, columns))
    shape = (rows, columns // block, block) if block else (rows, columns)
    stored = values.astype(np.uint8 if weight_type[0] == "u" else np.int8).reshape(shape)
    weight = opset.constant(packed(stored, kind) if "4" in weight_type else stored)
    y = opset.convert(weight, np.float32)
    scale_shape = (*shape[:-1], 1)
    if zero_point is not None:
        zeros = packed(np.full(scale_shape, zero_point), kind) if "4" in weight_type else np.full(scale_shape, zero_point, np.uint8)
        y = opset.subtract(y, opset.convert(opset.constant(zeros), np.float32))
    scales = np.linspace(0.01, 0.02, math.prod(scale_shape), dtype=np.float32).reshape(scale_shape)
    y = opset.multiply(y, opset.constant(scales), name="w_dq")
    if block:
        y = opset.reshape(y, opset.constant(np.array([rows, columns])), False)
    x = parameter(2, columns)
    return ov.Model([opset.matmul(x, y, False, True, name="product")], [x]), values, scales


def packed(values, kind):
    """Two codes a byte, the lower four bits first."""
    codes = (values.reshape(-1) & 15).astype(np.uint8)
    if codes.size % 2:
        codes = np.append(codes, np.uint8(0))
    KEPT.append(codes[::2] | codes[1::2] << 4)  # the tensor does not own its memory
    return ov.Tensor(KEPT[-1], list(values.shape), kind)


def few_operations():
    """One of each sort: grouped, transposed, pooled, resized, padded, split, normalised, clamped, looped and branched."""
    x = parameter(1, 4, 8, 8)
    weight = opset.constant(np.ones((2, 3, 2, 3, 3), np.float32))
    y = opset.group_convolution(x, weight, [2, 2], [1, 1], [0, 0], [1, 1], name="grouped")
    up = opset.convolution_backprop_data(y, opset.constant(np.ones((6, 4, 2, 2), np.float32)), [2, 2], name="up")
    y = opset.max_pool(up, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], rounding_type="ceil", name="pooled").output(0)
    y = opset.avg_pool(y, [1, 1], [1, 1], [0, 0], [2, 2], True, name="averaged")
    y = opset.clamp(y, -1.0, 6.0, name="clamped")
    y = opset.pad(y, opset.constant(np.array([0, 0, 1, 1])), opset.constant(np.array([0, 0, 1, 1])), "reflect", name="padded")
    y = opset.transpose(y, opset.constant(np.array([0, 2, 3, 1])), name="turned")
    left, right = opset.split(y, opset.constant(3), 2, name="halves").outputs()
    y = opset.concat([opset.relu(left), opset.swish(right)], 3, name="joined")
    y = opset.softmax(opset.mvn(y, opset.constant(np.array([3])), True, 1e-5, "INSIDE_SQRT", name="normed"), -1, name="shares")
    return ov.Model([opset.reduce_mean(y, opset.constant(np.array([1, 2])), True, name="mean"), opset.convert(y, "i32", name="whole")], [x])


def branched():
    x, condition = parameter(2, 3), opset.parameter([], np.bool_, name="condition")
    branch = opset.if_op(condition.output(0))
    bodies = []
    for make in (opset.relu, opset.tanh):
        inner = opset.parameter([2, 3], np.float32)
        bodies.append((ov.Model([make(inner)], [inner]), inner))
    branch.set_then_body(bodies[0][0])
    branch.set_else_body(bodies[1][0])
    branch.set_input(x.output(0), bodies[0][1], bodies[1][1])
    y = branch.set_output(bodies[0][0].results[0], bodies[1][0].results[0])
    return ov.Model([y], [x, condition])


def layers(model):
    """Names in the file of every op that qlint read, those that went into a dequantized weight included."""
    return {name for op in model.nodes for name in (op.name, *op.attrs.get("layers", ()))}


def same(path):
    """What OpenVINO reads and what qlint reads from one file."""
    theirs, ours = ov.Core().read_model(path), read(path)
    named = {op.name: op for op in ours.nodes}
    known = layers(ours)
    for op in theirs.get_ordered_ops():
        name, kind = op.get_friendly_name(), op.get_type_name()
        if kind in NOT_OPS:
            continue
        if name not in named:
            assert name in known or _regrouped(op) or _zero_point(op), (name, kind)
            continue
        mine = named[name]
        assert (mine.native.lower(), len(mine.outputs)) == (kind.lower(), op.get_output_size())
        for tensor, value in zip(mine.outputs, op.outputs(), strict=True):
            assert tensor.dtype == TYPES[value.get_element_type().get_type_name()]
            dims = tuple(d.get_length() if d.is_static else None for d in value.get_partial_shape()) if value.get_partial_shape().rank.is_static else None
            assert tensor.shape == dims or mine.kind == "dequantize"  # one that a Reshape follows has the shape behind it
        if mine.kind != "dequantize":
            assert len(mine.uses) == op.get_input_size()
            values(mine, op)
            attributes(mine, op)
    assert [t.dtype for t in ours.inputs] == [TYPES[p.get_element_type().get_type_name()] for p in theirs.inputs]
    assert len(ours.outputs) == len(theirs.outputs)
    return theirs, ours


def _regrouped(op):
    """A Reshape whose only work is the group axis of weights."""
    return op.get_type_name() == "Reshape" and all("Group" in reader.get_node().get_type_name() for reader in op.output(0).get_target_inputs())


def _zero_point(op):
    """The Convert of a zero point."""
    return op.get_type_name() == "Convert" and all(reader.get_node().get_type_name() == "Subtract" for reader in op.output(0).get_target_inputs())


def values(mine, op):
    for use, value in zip(mine.uses.values(), op.input_values(), strict=True):
        source = value.get_node()
        if source.get_type_name() == "Constant":
            assert use.tensor.data is not None
            if source.get_element_type().get_type_name() in ("f32", "i64", "i32", "i8", "u8"):
                assert np.array_equal(use.tensor.data.array().reshape(-1), source.data.reshape(-1))


RENAMED = {"kernel": "kernel_shape", "eps": "epsilon", "keep_dims": "keepdims", "transpose_a": "transA", "transpose_b": "transB", "pad_mode": "mode"}
GIVEN_OTHERWISE = {"pads_begin", "pads_end", "auto_pad", "rounding_type", "exclude-pad", "approximation_mode", "destination_type", "mode", "port_map"}


def attributes(mine, op):
    """Every attribute that OpenVINO tells; those in another convention are checked by their own tests."""
    for name, value in op.get_attributes().items():
        if name in GIVEN_OTHERWISE or value is None or "body" in name:
            continue
        found = mine.attrs.get(RENAMED.get(name, name))
        given = [int(v) if isinstance(v, bool) else v for v in value] if hasattr(value, "__iter__") and not isinstance(value, str) else int(value) if isinstance(value, bool) else value
        if isinstance(given, list):
            found = [found] if isinstance(found, int) else found  # "0" may be a number or a list of one
            assert found == given or (not given and found in ("", [], None)), (mine, name, found, given)
        elif isinstance(given, float):
            assert found == pytest.approx(given)
        else:
            assert str(found).lower() == str(given).lower(), (mine, name, found, given)
    if "pads_begin" in op.get_attributes() and mine.kind in ("conv", "conv_transpose", "max_pool", "avg_pool"):
        told = op.get_attributes()
        assert mine.attrs["pads"] == [*told["pads_begin"], *told["pads_end"]]


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_real_networks(path, tmp_path):
    same(saved(ov.convert_model(path), tmp_path))


@pytest.mark.parametrize("name", ["resnet", "mobilenet-v2", "unet", "vit", "shufflenet"])
@pytest.mark.parametrize("style", ["u8s8", "s8s8"])
def test_quantized_networks(name, style, tmp_path):
    assert name in NETWORKS
    same(converted(name, style, tmp_path))


def test_few_operations(tmp_path):
    _, ours = same(saved(few_operations(), tmp_path))
    ops = {op.name: op for op in ours.nodes}
    assert ops["grouped"].attrs["group"] == 2
    assert ops["grouped"].uses["w"].tensor.shape == (6, 2, 3, 3)
    assert ops["grouped"].attrs["pads"] == [1, 1, 0, 0]
    assert ops["pooled"].attrs["ceil_mode"] == 1 and ops["pooled"].attrs["kernel_shape"] == [2, 2]
    assert ops["averaged"].attrs["count_include_pad"] == 0
    assert (ops["clamped"].kind, ops["clamped"].attrs["min"], ops["clamped"].attrs["max"]) == ("clip", -1, 6)
    assert ops["turned"].attrs["perm"] == [0, 2, 3, 1]
    assert (ops["halves"].kind, ops["halves"].attrs["axis"]) == ("split", 3)
    assert ops["padded"].attrs["mode"] == "reflect"
    assert ops["whole"].attrs["to"] == 6  # INT32 in ONNX
    assert ops["mean"].attrs["keepdims"] == 1


def test_branches_are_bodies(tmp_path):
    _, ours = same(saved(branched(), tmp_path))
    branch = next(op for op in ours.nodes if op.kind == "if")
    assert {name: [op.kind for op in body.nodes] for name, body in branch.bodies.items()} == {"then_body": ["relu"], "else_body": ["tanh"]}


@pytest.mark.parametrize(("kind", "zero", "block"), [("i8", None, 0), ("u8", 117, 0), ("i4", None, 0), ("u4", 7, 0), ("i4", None, 4), ("u4", 8, 4)])
def test_compressed_weights(kind, zero, block, tmp_path):
    model, codes, scales = compressed(kind, zero, block)
    ours = load(saved(model, tmp_path))
    product = next(op for op in ours.ops if op.name == "product")
    if block:  # the Reshape that puts the blocks together again keeps its place
        product = next(op for op in ours.ops if op.kind == "reshape")
        weight = product.uses["x"]
    else:
        weight = product.uses["w"]
        assert product.attrs["transB"] == 1
    q = weight.quantizers[-1]
    assert q.storage == {"i": "", "u": "u"}[kind[0]] + f"int{kind[1:]}"
    assert q.granularity == ("block" if block else "channel") and (block or q.axis == 0)
    assert list(q.scale) == pytest.approx(scales.reshape(-1).tolist())
    assert set(q.zero_point) == {zero or 0}
    assert q.block_size == block
    stored = weight.tensor.data.values()
    assert [int(v) for v in stored] == codes.reshape(-1).tolist()


def fake(low, high, levels, shape=(1, 3, 4, 4), out=None):
    x = parameter(*shape)
    bounds = [opset.constant(np.array(b, np.float32)) for b in (low, high, *(out or (low, high)))]
    return ov.Model([opset.relu(opset.fake_quantize(x, *bounds, levels, name="fq"))], [x])


@pytest.mark.parametrize(
    ("low", "high", "levels", "storage", "zero_point"),
    [(0.0, 2.55, 256, "uint8", 0), (-1.28, 1.27, 256, "int8", 0), (-1.27, 1.27, 255, "int8", 0), (0.0, 1.5, 16, "uint4", 0), (-0.55, 2.0, 256, "uint8", 55)],
)
def test_fake_quantize(low, high, levels, storage, zero_point, tmp_path):
    q = load(saved(fake(low, high, levels), tmp_path)).ops[0].uses["x"].quantizers[0]
    scale = (high - low) / (levels - 1)
    assert q.scale[0] == pytest.approx(scale, rel=1e-5)
    assert (q.levels, q.granularity) == (levels, "tensor")
    assert q.range == pytest.approx((low, high), abs=scale / 100)
    if low >= 0 or low == -high or storage == "int8":
        assert q.storage == storage
    real_zero = scale * (q.zero_point[0] - q.qmin)
    assert real_zero == pytest.approx(-low, abs=scale / 100)
    assert zero_point == pytest.approx(-low / scale if storage.startswith("u") else 0, abs=0.01)


def test_fake_quantize_per_channel(tmp_path):
    low, high = np.zeros((1, 3, 1, 1)), np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    q = load(saved(fake(low, high, 256), tmp_path)).ops[0].uses["x"].quantizers[0]
    assert (q.granularity, q.axis, len(q.scale)) == ("channel", 1, 3)


# -- files that are not as they should be ----------------------------------------------------------


def refused(path, *words):
    with pytest.raises(ReadError) as caught:
        for tensor in read(path).tensors.values():
            if tensor.data is not None:
                tensor.data.values()
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.fixture
def small(tmp_path):
    return saved(compressed("i8")[0], tmp_path)


def test_without_the_bin(small):
    small.with_suffix(".bin").unlink()
    refused(small, "model.bin", "copy the .bin")


@pytest.mark.parametrize("length", [0, 1, 40])
def test_with_a_bin_that_is_cut_off(small, length):
    file = small.with_suffix(".bin")
    file.write_bytes(file.read_bytes()[:length])
    refused(small, "model.bin", f"a file of {length} bytes")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [('offset="0"', 'offset="99999999999"', "a file of"), ('offset="0"', 'offset="-1"', "without a place"), ('shape="6, 8"', 'shape="6, 8000000000"', "which needs"),
     ('from-layer="0"', 'from-layer="77"', "no such layer"), ('id="1"', 'id="0"', "same id"), ("<edges>", "<edges><broken>", "not well-formed")],
)  # fmt: skip
def test_with_other_words_in_it(small, old, new, word):
    text = small.read_text()
    assert old in text
    small.write_text(text.replace(old, new, 1))
    refused(small, word)


def hostile(tmp_path, text):
    path = tmp_path / "hostile.xml"
    path.write_text(text)
    return path


def test_entities_are_refused(tmp_path):
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(ReadError, match="document type"):
        parse(hostile(tmp_path, f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a0 "ha">{laughs}]><net name="&a11;" version="11"/>'))


def test_external_entities_are_refused(tmp_path):
    refused(hostile(tmp_path, '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY f SYSTEM "file:///etc/passwd">]><net name="n">&f;</net>'), "document type")


def test_depth_is_bounded(tmp_path):
    deep = MAX_DEPTH * 3
    refused(hostile(tmp_path, '<?xml version="1.0"?><net>' + "<layers>" * deep + "</layers>" * deep + "</net>"), "nested more than")


def test_other_xml_is_none(tmp_path):
    refused(hostile(tmp_path, '<?xml version="1.0"?><svg><net/></svg>'), "no OpenVINO IR")
    refused(hostile(tmp_path, '<?xml version="1.0"?><svg/>'), "no OpenVINO IR")


def test_every_length(small):
    """Cut off anywhere, it is a sentence and never another error."""
    data = small.read_bytes()
    for length in range(0, len(data) - 8, 97):
        small.write_bytes(data[:length])
        with pytest.raises(ReadError):
            read(small)


def test_any_attribute(small):
    """Any one attribute missing or strange: read, or a sentence."""
    text = small.read_text()
    for value in ("", "-1", "1e9999", "x" * 5000, "999999999999999999999"):
        for name in ("id", "shape", "offset", "size", "element_type", "precision", "version", "type", "from-port", "to-layer", "transpose_b"):
            small.write_text(text.replace(f'{name}="', f'{name}="{value}" old_{name}="'))
            try:
                load(small)
            except ReadError as error:
                assert error.subject


def test_nothing_is_read_that_nobody_asked_for(small):
    model = read(small)
    weight = next(t for t in model.tensors.values() if t.data is not None)
    assert weight.data.bin._file is None
    assert parse(small).layers
