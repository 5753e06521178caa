"""Encodings files: each format as its tools write it, what is wrong in them, and what they mean for a model.

The files in tests/readers/aimet were written by aimet-onnx 2.42.0 (`sim.export(..., encoding_version=…)`), for a network of
two convolutions, an add, a linear layer and a softmax that was made for this.
"""

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qlint
from qlint.errors import ReadError
from qlint.lint.testing import Graph, s8, u8
from qlint.passes.encodings import merge
from qlint.readers.encodings import read_encodings

HERE = Path(__file__).parent / "aimet"
ZOO = Path(__file__).parents[1] / "zoo"
FILE = ZOO / "tiny_results_v1.2/ic_aimet_symmetric.json"
VERSIONS = ("0.6.1", "1.0.0", "2.0.0")


def written(tmp_path, content):
    path = tmp_path / "net.encodings"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def one(tmp_path, content):
    """The only entry of a file."""
    (entry,) = read_encodings(written(tmp_path, content)).entries
    return entry


def grid_of(q):
    return q.storage, q.granularity, q.scale, q.zero_point, (q.qmin, q.qmax)


def levels(q):
    """The real values at both ends of every group, which do not depend on the container."""
    return [(s * (q.qmin - z), s * (q.qmax - z), q.levels) for s, z in q.pairs()]


# -- AIMET and QNN ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_aimet_writes_fits_its_model(version):
    found = qlint.check(HERE / "net.onnx", backend="snpe", encodings=HERE / f"net_{version}.encodings")
    (result,) = found.results
    assert not found.errors and not found.findings
    assert result.summary.integer + result.summary.absorbed == result.summary.ops and result.summary.quantization.startswith("W8 per-channel, A8 per-tensor")
    assert f"AIMET encodings {version}" in result.notes[-1]


def test_all_versions_of_aimet_say_the_same():
    told = [{entry.name: entry.grid for entry in read_encodings(HERE / f"net_{version}.encodings").entries} for version in VERSIONS]
    assert told[0].keys() == told[1].keys() <= told[2].keys()  # 2.0.0 has the biases, too
    for name, grid in told[0].items():
        for other in told[1:]:
            assert [pytest.approx(pair, rel=1e-6) for pair in levels(grid)] == levels(other[name]), name


def test_a_file_of_a_real_submission_is_complete_for_its_network():
    found = qlint.check(ZOO / "tiny/pretrainedResnet.tflite", backend="snpe", encodings=FILE)
    (result,) = found.results
    assert result.summary.integer == result.summary.ops == 16
    assert result.notes[-1].startswith("26 tensors have their quantizers from ic_aimet_symmetric.json (AIMET encodings 0.5.0)")
    assert not [finding for finding in found.findings if finding.code in ("QL808", "QL809", "QL810", "QL812", "QL813")]
    assert "SOFTMAX:15" in [finding.subject for finding in found.findings]  # which has the range of its logits


def test_and_stale_for_another_network():
    found = qlint.check(ZOO / "tiny/kws_ref_model.tflite", encodings=FILE)
    worst = found.findings[0]
    assert (worst.rule, worst.severity) == ("stale-encoding", "error")
    assert "24 of the 26 entries" in worst.message and "another network" in worst.message


def old(**fields):
    return {"version": "0.4.0", "activation_encodings": {}, "param_encodings": {"w": fields.pop("channels", [fields])}}


@settings(max_examples=60)
@given(
    bits=st.sampled_from([2, 4, 8, 16]), zeros=st.lists(st.floats(0, 1), min_size=1, max_size=4), scale=st.floats(1e-6, 10), symmetric=st.booleans(),
)  # fmt: skip
def test_versions_are_spellings_of_the_same_grid(tmp_path_factory, bits, zeros, scale, symmetric):
    tmp_path = tmp_path_factory.mktemp("spellings")
    top = (1 << bits) - 1
    offsets = [-(1 << bits - 1) if symmetric else -round(zero * top) for zero in zeros]
    scales = [scale * (number + 1) for number in range(len(offsets))]
    ranges = [(s * o, s * (o + top)) for s, o in zip(scales, offsets, strict=True)]
    name = "int" if symmetric else "uint"
    spellings = [
        {"version": "0.6.1", "param_encodings": {"w": [
            {"dtype": "int", "bitwidth": bits, "is_symmetric": str(symmetric), "scale": s, "offset": o, "min": low, "max": high}
            for s, o, (low, high) in zip(scales, offsets, ranges, strict=True)
        ]}},
        {"version": "1.0.0", "param_encodings": [
            {"name": "w", "enc_type": "PER_CHANNEL", "dtype": "INT", "bw": bits, "is_sym": symmetric, "scale": scales, "offset": [float(o) for o in offsets]}
        ]},
        {"version": "2.0.0", "encodings": [
            {"name": "w", "output_dtype": f"{name}{bits}", "y_scale": scales, "axis": 0, **({} if symmetric else {"y_zero_point": [-o for o in offsets]})}
        ]},
    ]  # fmt: skip
    grids = [entry.grid for entry in (one(tmp_path, spelling) for spelling in spellings) if entry.contradiction is None]
    assert len(grids) == 3
    for grid in grids:
        assert [pytest.approx((*pair, top + 1)) for pair in ranges] == levels(grid)
        assert grid.storage == f"{name}{bits}" and grid.scale == tuple(scales)


def test_overrides_with_nothing_but_a_range(tmp_path):
    """SNPE makes the range hold zero, then scale and offset follow."""
    entry = one(tmp_path, {"activation_encodings": {"x": [{"bitwidth": 8, "min": -1.0, "max": 1.55}]}, "param_encodings": {}})
    assert grid_of(entry.grid) == ("uint8", "tensor", (pytest.approx(0.01),), (100,), (0, 255)) and entry.parameter is False


@pytest.mark.parametrize(
    ("bits", "offset", "storage", "zero", "ends"),
    [(8, -128, "int8", 0, (-128, 127)), (8, -127, "int8", 0, (-127, 127)), (8, 0, "uint8", 0, (0, 255)), (5, -16, "int8", 0, (-16, 15)), (32, -(1 << 31), "int32", 0, (-(1 << 31), (1 << 31) - 1))],
)  # fmt: skip
def test_symmetric_weights(tmp_path, bits, offset, storage, zero, ends):
    grid = one(tmp_path, old(bitwidth=bits, is_symmetric="True", scale=0.5, offset=offset)).grid
    assert grid_of(grid) == (storage, "tensor", (0.5,), (zero,), ends)


def test_activations_are_unsigned_with_an_offset(tmp_path):
    enc = {"bitwidth": 8, "is_symmetric": "True", "scale": 0.5, "offset": -128, "min": -64.0, "max": 63.5}
    entry = one(tmp_path, {"activation_encodings": {"x": enc}})  # without the list, as some tools have it
    assert grid_of(entry.grid) == ("uint8", "tensor", (0.5,), (128,), (0, 255)) and entry.contradiction is None


def test_float_and_blocks(tmp_path):
    entries = read_encodings(written(tmp_path, {"version": "1.0.0", "activation_encodings": [
        {"name": "f", "enc_type": "PER_TENSOR", "dtype": "FLOAT", "bw": 16},
        {"name": "b", "enc_type": "PER_BLOCK", "dtype": "INT", "bw": 4, "is_sym": True, "scale": [1, 2, 3, 4], "offset": [-8] * 4, "block_size": 2},
        {"name": "l", "enc_type": "LPBQ", "dtype": "INT", "bw": 8, "compressed_bw": 4, "is_sym": True, "scale": [0.5, 2.0], "offset": [-128] * 2,
         "per_block_int_scale": [1, 3, 2, 4], "block_size": 2},
        {"name": "s", "enc_type": "PER_TENSOR", "dtype": "INT", "bw": 2, "is_sym": True, "scale": [0.5], "offset": [-2], "zero_point_shift": [0.5]},
    ]})).entries  # fmt: skip
    floats, blocks, lpbq, shifted = entries
    assert (floats.grid, floats.float_type) == (None, "float16")
    assert (blocks.grid.granularity, blocks.grid.block_size, blocks.grid.scale) == ("block", 2, (1, 2, 3, 4))
    assert (lpbq.grid.storage, lpbq.grid.scale, lpbq.grid.scale_shape) == ("int4", (0.5, 1.5, 4.0, 8.0), (2, 2))
    assert levels(shifted.grid) == [(-0.75, 0.75, 4)]  # -3, -1, 1, 3 quarters


@pytest.mark.parametrize(
    ("scale", "flat", "storage"),
    [
        ({"per_block_int_scale": [[3, 5], [11, 9]], "per_channel_float_scale": [[0.001], [0.002]]}, (0.003, 0.005, 0.022, 0.018), "int4"),
        ({"y_scale": {"x": [[3, 5], [11, 9]], "x_scale": [0.001, 0.002], "axis": 0}}, (0.003, 0.005, 0.022, 0.018), "int4"),
        ({"y_scale": {"x": [[0.5, 1.0]], "x_scale": 0.5, "input_dtype": "float8e4m3fn"}}, (0.25, 0.5), "float4e2m1"),
        ({"y_scale": [[0.01, 0.02]], "y_zero_point": [[0, 0]]}, (0.01, 0.02), "int4"),
    ],
)
def test_nested_scales(tmp_path, scale, flat, storage):
    grid = one(tmp_path, {"version": "2.1.0", "encodings": [{"name": "w", "output_dtype": storage, "axis": 1, "block_size": 32, **scale}]}).grid
    assert grid.scale == pytest.approx(flat) and (grid.granularity, grid.axis, grid.block_size, grid.storage) == ("block", 1, 32, storage)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bitwidth": 4, "scale": 0.01, "offset": -128, "min": -1.28, "max": 1.27}, ("the range -1.28 to 1.27", "-1.28 to -1.13, which scale 0.01, offset -128 and 4 bits make")),
        ({"bitwidth": 8, "scale": 0.02, "offset": -128, "min": -1.28, "max": 1.27}, ("the range -1.28 to 1.27", "scale 0.02")),
        ({"bitwidth": 8, "min": 3.56, "max": 3.54}, ("min 3.56 and max 3.54", "a min below the max")),
        ({"bitwidth": 8, "min": 1.0, "max": 3.54}, ("the range 1 to 3.54", "with zero in it")),
        ({"bitwidth": 8, "scale": 0.1, "offset": 7}, ("offset 7", "from -255 to 0")),
        ({"bitwidth": 8, "scale": 0.1, "offset": -5, "is_symmetric": "True"}, ("offset -5", "0 or -128")),
    ],
)
def test_contradictions(tmp_path, fields, says):
    found, wanted = one(tmp_path, old(**fields)).contradiction
    assert found == says[0] and says[1] in wanted


def test_ends_may_be_off_by_a_step(tmp_path):
    """The zero point is rounded, the range beside it is not always."""
    assert one(tmp_path, old(bitwidth=8, scale=0.1, offset=-128, min=-12.75, max=12.75)).contradiction is None


# -- MQBench and TensorRT -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "title", "grid"),
    [
        ({"tensorrt": {"blob_range": {"x": 12.7}}}, "MQBench clip ranges for TensorRT", ("int8", "tensor", (0.1,), (0,), (-128, 127))),
        ({"ppl": {"x": {"step": 0.1, "zero_point": 128, "min": -12.8, "max": 12.7, "bit": 8, "type": "biased"}}}, "MQBench clip ranges for PPL", ("uint8", "tensor", (0.1,), (128,), (0, 255))),
        ({"ppl": {"x": {"step": [0.1, 0.2], "zero_point": [0, 0], "min": [-12.8, -25.6], "max": [12.7, 25.4], "bit": 8}}}, "MQBench clip ranges for PPL", ("int8", "channel", (0.1, 0.2), (0, 0), (-128, 127))),
        ({"ppl": {"x": {"step": 0.1, "zero_point": 31380, "min": -3138.0, "max": 3415.5, "bit": 16}}}, "MQBench clip ranges for PPL", ("uint16", "tensor", (0.1,), (31380,), (0, 65535))),
        ({"vitis": {"x": {"scale": 0.125}}}, "MQBench clip ranges for Vitis", ("int8", "tensor", (0.125,), (0,), (-128, 127))),
        ({"ppl-cuda": {"x": 12.7}}, "MQBench clip ranges for PPL CUDA", ("int8", "tensor", (0.1,), (0,), (-128, 127))),
        ("x: 12.7\n", "MQBench clip ranges for PPL CUDA", ("int8", "tensor", (0.1,), (0,), (-128, 127))),
        ({"sophgo_tpu": {"x": {"threshold": 12.7, "min": -12.7, "max": 12.7, "ori_name": "x"}}, "w_qscheme": ""}, "MQBench clip ranges for Sophgo", ("int8", "tensor", (0.1,), (0,), (-128, 127))),
        ({"x": {"min": -12.7, "max": 12.7, "emin": 120}}, "MQBench ranges for STPU", ("int8", "tensor", (0.1,), (0,), (-127, 127))),
        ("x 0.1 117\n", "MQBench scales for Tengine", ("uint8", "tensor", (0.1,), (117,), (0, 255))),
        (f"TRT-8601-EntropyCalibration2\nx: {struct.pack('>f', 0.1).hex()}\n", "TensorRT calibration cache 8601-EntropyCalibration2", ("int8", "tensor", (0.1,), (0,), (-128, 127))),
        ({"activation_encodings": {"x": [{"bitwidth": 8, "min": 0.0, "max": 25.5}]}, "param_encodings": {}}, "quantization overrides", ("uint8", "tensor", (0.1,), (0,), (0, 255))),
    ],
)  # fmt: skip
def test_every_spelling(tmp_path, content, title, grid):
    told = read_encodings(written(tmp_path, content))
    (entry,) = told.entries
    storage, granularity, scale, zero, ends = grid_of(entry.grid)
    assert told.format.title == title and entry.name == "x" and entry.contradiction is None
    assert (storage, granularity, zero, ends) == (grid[0], grid[1], grid[3], grid[4]) and scale == pytest.approx(grid[2], rel=1e-6)


def test_a_calibration_cache_from_the_wild(tmp_path):
    """3c008912 is 0.00784522; names hold colons and blanks, and TensorRT's own tensors are nobody's loss."""
    text = "TRT-7103-EntropyCalibration2\nimage: 3c008912\n(Unnamed Layer* 2) [Convolution]_output: 3d0\na: b c: 3f800000\n"
    told = read_encodings(written(tmp_path, text))
    assert [entry.name for entry in told.entries] == ["image", "(Unnamed Layer* 2) [Convolution]_output", "a: b c"]
    assert told.entries[0].grid.scale == (pytest.approx(0.0078452, rel=1e-5),) and told.entries[2].grid.scale == (1.0,)
    assert [entry.name for entry in told.unmatched] == ["image", "a: b c"]


def test_bits_that_were_rounded_down(tmp_path):
    """MQBench writes the floor of log2 of the levels: 7 bits for [-127, 127]."""
    entry = one(tmp_path, {"ppl": {"x": {"step": 0.1, "zero_point": 0, "min": -12.7, "max": 12.7, "bit": 7}}})
    assert entry.contradiction == ("7 bits", "8 bits for the 255 levels that step, min and max make")


def test_ranges_by_node(tmp_path):
    """NNIE: what a node reads; names with the type of the node behind them are Sophgo's, weights by node STPU's."""
    g = Graph()
    x = g.input()
    model = g.model(g.op("add", g.conv(x, name="c", native="Conv"), x, name="a"))
    merge(model, read_encodings(written(tmp_path, {"nnie": {"gfpq_param_dict": {"a": [1.0, 2.0], "c": [2.0]}}})))
    assert [use.quantizers[0].grid for op in model.ops for role, use in op.uses.items() if role != "w"] == ["log"] * 3 and not model.encodings.unmatched
    for content, role in (({"sophgo_tpu": {"c_out_Conv": {"threshold": 1.27}}}, "lhs"), ({"c_weights": {"min": -1.27, "max": 1.27}}, "w")):
        g = Graph()
        model = merge(g.model(g.op("add", g.conv(g.input(), name="c", native="Conv"), g.input("y"))), read_encodings(written(tmp_path, content)))
        (use,) = [use for op in model.ops for use in op.uses.values() if use.quantizers]
        assert use.role == role and use.quantizers[0].scale == (pytest.approx(0.01),)


# -- merging ------------------------------------------------------------------------------------------


def test_the_file_wins_over_the_model_unless_its_toolchain_says_otherwise(tmp_path):
    def merged(content):
        g = Graph()
        model = merge(g.model(g.conv(g.input() | u8(0.5), w=s8()) | u8()), read_encodings(written(tmp_path, content)))
        (q,) = model.ops[0].uses["x"].quantizers
        return q, [finding.rule for finding in qlint.check(model).findings if finding.rule == "contradicted-quantizer"]

    overrides = {"activation_encodings": {"x": [{"bitwidth": 8, "scale": 0.25, "offset": 0}]}}
    q, rules = merged(overrides)
    assert (q.scale, q.origin, rules) == ((0.25,), "encodings", ["contradicted-quantizer"])
    assert "net.encodings" in str(q)
    q, rules = merged({"tensorrt": {"blob_range": {"x": 12.7}}})
    assert (q.scale, q.origin, rules) == ((0.5,), "qdq", ["contradicted-quantizer"])
    overrides["activation_encodings"]["x"][0]["scale"] = 0.5
    assert merged(overrides)[1] == []


def test_every_reader_and_the_output_get_it(tmp_path):
    g = Graph()
    c = g.conv(g.input(), name="c")
    model = g.model(g.op("relu", c), g.op("sigmoid", c), c)
    merge(model, read_encodings(written(tmp_path, {"activation_encodings": {"c_out": [{"bitwidth": 8, "scale": 0.25, "offset": -3}]}})))
    assert [len(use.quantizers) for use in c.tensor.uses] == [1, 1, 1] and c.tensor.uses[0].quantizers[0].readers == 3


@pytest.mark.parametrize(("kind", "axis", "channels"), [("conv", 0, 8), ("conv_transpose", 1, 8), ("linear", 1, 8)])
def test_channels_are_those_of_the_output(tmp_path, kind, axis, channels):
    g = Graph()
    w = g.constant(*{"conv": (8, 4, 3, 3), "conv_transpose": (4, 8, 3, 3), "linear": (4, 8)}[kind], name="w")
    model = g.model(g.conv(g.input(), w=w, kind=kind))
    one_channel = {"bitwidth": 8, "scale": 0.25, "offset": -128, "is_symmetric": "True"}
    told = read_encodings(written(tmp_path, old(channels=[one_channel] * channels)))
    merge(model, told)
    assert model.ops[0].uses["w"].quantizers[0].axis == axis and not told.misfits


def test_two_entries_of_one_tensor(tmp_path):
    entry = {"name": "x", "enc_type": "PER_TENSOR", "dtype": "INT", "bw": 8, "is_sym": False, "scale": [0.1], "offset": [0]}
    g = Graph()
    told = read_encodings(written(tmp_path, {"version": "1.0.0", "activation_encodings": [entry, {**entry, "scale": [0.2]}]}))
    model = merge(g.model(g.conv(g.input(), w=s8())), told)
    (finding,) = [finding for finding in qlint.check(model).findings if finding.rule == "inconsistent-encoding"]
    assert "a second entry, uint8, scale 0.2" in finding.message


AIMET_X = {"name": "x", "enc_type": "PER_TENSOR", "dtype": "INT", "bw": 8, "is_sym": False, "scale": [0.1], "offset": [0]}
SPELLINGS = {  # each says something of tensors by these names
    "AIMET 0.6.1": lambda one: {"version": "0.6.1", "activation_encodings": {name: [{"bitwidth": 8, "dtype": "int", "scale": 0.1, "offset": 0}] for name in one}, "param_encodings": {}},
    "AIMET 1.0.0": lambda one: {"version": "1.0.0", "activation_encodings": [{**AIMET_X, "name": name} for name in one], "param_encodings": []},
    "AIMET 2.0.0": lambda one: {"version": "2.0.0", "encodings": [{"name": name, "output_dtype": "uint8", "y_scale": 0.1} for name in one]},
    "overrides": lambda one: {"activation_encodings": {name: [{"bitwidth": 8, "min": 0.0, "max": 25.5}] for name in one}},
    "clip ranges, TensorRT": lambda one: {"tensorrt": {"blob_range": dict.fromkeys(one, 12.7)}},
    "clip ranges, SNPE": lambda one: {"activation_encodings": {name: [{"bitwidth": 8, "min": -1.28, "max": 1.27}] for name in one}, "param_encodings": {}},
    "clip ranges, PPL": lambda one: {"ppl": {name: {"step": 0.1, "zero_point": 128, "min": -12.8, "max": 12.7, "bit": 8} for name in one}},
    "clip ranges, PPL CUDA": lambda one: {"ppl-cuda": dict.fromkeys(one, 12.7)},
    "clip ranges, plain text": lambda one: "".join(f"{name}: 12.7\n" for name in one),
    "clip ranges, Vitis": lambda one: {"vitis": {name: {"scale": 0.125} for name in one}},
    "clip ranges, Sophgo": lambda one: {"sophgo_tpu": {name if name == "gone" else f"{name}_Relu": {"threshold": 12.7} for name in one}},
    "STPU": lambda one: {name: {"min": -12.7, "max": 12.7} for name in one}, "Tengine": lambda one: "".join(f"{name} 0.1 117\n" for name in one),
    "calibration cache": lambda one: "TRT-8601-MinMaxCalibration\n" + "".join(f"{name}: {struct.pack('>f', 0.1).hex()}\n" for name in one),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_unmatched_and_what_is_missing(spelling, tmp_path):
    """Of every spelling: a name that no tensor has, and a tensor that has no name in it."""

    def rules(*names):
        g = Graph()
        model = g.model(g.op("max_pool", g.op("relu", g.input("image"), name="relu", native="Relu")))
        merge(model, read_encodings(written(tmp_path, SPELLINGS[spelling](names))))
        return {finding.rule: finding.message for finding in qlint.check(model).findings if finding.code in ("QL808", "QL809")}

    found = rules("relu_out")
    assert found.keys() == {"missing-encoding"} and "image" in found["missing-encoding"]
    found = rules("relu_out", "gone")
    assert found.keys() == {"stale-encoding", "missing-encoding"} and "1 of the 2 entries" in found["stale-encoding"]


# -- files that are none ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("{", "is not valid JSON"),
        ("hello", "is text, and no encodings file"),
        ("[1]", "is a JSON list"),
        ({"a": 1}, "is JSON with a in it, not encodings"),
        ({"defaults": {}, "params": {}, "op_type": {}}, "is a configuration of AIMET's simulation"),
        ({"activation_encodings": {}}, "without a single entry"),
        ({"activation_encodings": 3}, "activation_encodings is neither an object nor a list"),
        ({"activation_encodings": {"x": [{"bitwidth": "eight", "scale": 1, "offset": 0}]}}, 'activation_encodings["x"][0] has bitwidth "eight"; expected a whole number from 1 to 32'),
        ({"activation_encodings": {"x": [{"scale": 1, "offset": 0}]}}, "has no bitwidth"),
        ({"activation_encodings": {"x": [{"bitwidth": 8}]}}, "has neither a scale nor a range; expected scale and offset, or min and max"),
        ({"activation_encodings": {"x": [{"bitwidth": 8, "scale": "a", "offset": 0}]}}, 'has scale "a"; expected a number'),
        ({"activation_encodings": {"x": [{"bitwidth": 8, "is_symmetric": "maybe"}]}}, "expected true or false"),
        ({"activation_encodings": {"x": []}}, "is empty; expected an encoding"),
        ({"activation_encodings": {"conv": {"input": {"0": {"bitwidth": 8}}}}}, "is about a module, not a tensor"),
        ({"activation_encodings": [{"bw": 8}]}, "activation_encodings[0] has no name"),
        ({"encodings": [{"name": "x", "output_dtype": "int9", "y_scale": 1}]}, 'has output_dtype "int9"'),
        ({"encodings": [{"name": "x", "output_dtype": "int8", "y_scale": [[1], [1, 2]]}]}, "lists of different lengths"),
        ({"tensorrt": {"blob_range": {"x": "wide"}}}, "tensorrt.blob_range[\"x\"] is 'wide'; expected a number"),
        ("TRT-8\nx: zz", "line 2 is 'x: zz'"),
        ("x: 1\ny: z", "line 2 is 'y: z'"),
    ],
)
def test_errors_name_the_file_the_entry_and_what_is_wanted(tmp_path, content, says):
    path = written(tmp_path, content)
    with pytest.raises(ReadError) as caught:
        read_encodings(path)
    assert caught.value.subject == str(path) and says in caught.value.message and caught.value.hint


def test_a_file_that_is_not_there():
    with pytest.raises(ReadError, match="No such file"):
        read_encodings("nowhere.json")


NUMBERS = st.floats() | st.integers(-300, 300) | st.sampled_from([1e308, 1e-320, -1e308, 1 << 70, 10**400])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["name", "bitwidth", "bw", "scale", "offset", "min", "max", "x", "dtype", "enc_type", "output_dtype", "y_scale", "axis", "step", "zero_point", "bit", "is_sym"]
    ), inner, max_size=5), max_leaves=12,
)  # fmt: skip


@settings(max_examples=150)
@given(key=st.sampled_from(["activation_encodings", "param_encodings", "encodings", "tensorrt", "ppl", "vitis", "sophgo_tpu", "nnie"]), inner=JSON)
def test_any_json_is_read_or_refused(tmp_path_factory, key, inner):
    path = tmp_path_factory.mktemp("any") / "f.json"
    path.write_text(json.dumps({key: inner}), encoding="utf-8")
    try:
        told = read_encodings(path)
    except ReadError:
        return
    g = Graph()
    for finding in qlint.check(merge(g.model(g.conv(g.input())), told)).findings:
        assert finding.message
    assert all(math.prod(entry.grid.scale_shape) in (1, len(entry.grid.scale)) for entry in told.entries if entry.grid is not None and entry.grid.scale)


SEEDS = [json.loads(path.read_text()) for path in sorted(HERE.glob("*.encodings"))] + [
    {"tensorrt": {"blob_range": {"x": 12.7}}}, {"vitis": {"x": {"scale": 0.125}}}, {"sophgo_tpu": {"x": {"threshold": 12.7}}}, {"x": {"min": -1.0, "max": 2.0}},
    {"ppl": {"x": {"step": [0.1, 0.2], "zero_point": [128, 0], "min": [-12.8, 0], "max": [12.7, 3], "bit": 8}}},
]  # fmt: skip


def places(document, path=()):
    yield path
    for key, value in document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ():
        yield from places(value, (*path, key))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_files_are_read_or_refused(tmp_path_factory, data):
    """One or two values of a real file are something else: it is refused in a sentence, or every rule takes what is read."""
    document = json.loads(json.dumps(data.draw(st.sampled_from(SEEDS))))
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from([place for place in places(document) if place] or [("x",)]))
        inside = document
        for key in path:
            inside = inside[key]
        inside[last] = data.draw(JSON)
    path = tmp_path_factory.mktemp("mutated") / "f.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    try:
        read_encodings(path)
    except ReadError as error:
        assert error.message and error.hint
        return
    assert qlint.check(HERE / "net.onnx", backend="snpe", encodings=path).errors == []
