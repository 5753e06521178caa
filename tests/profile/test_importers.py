"""Configurations of other tools become profiles: valid ones, that say no more than the file does."""

import json
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from qlint.errors import ProfileError
from qlint.graph import Model
from qlint.judge import judge
from qlint.judge.kernels import Kernels
from qlint.judge.situations import Settled
from qlint.lint.testing import Graph, s8, u8
from qlint.passes import canonical
from qlint.profile import load
from qlint.profile.importers import draft
from qlint.profile.json_schema import json_schema
from qlint.profile.load import from_data
from qlint.readers import read

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

IMPORTS = Path(__file__).parent / "imports"
TOOLS = ("aimet", "nncf", "tpc", "torch")
DONE = ("integer", "absorbed")


def made(tool, source=None):
    return draft(tool, str(source or IMPORTS / f"{tool}.json"))


@cache
def imported(tool, source=None):
    """The profile, through the file that the command writes."""
    path = Path(f"{tool}.toml")
    text = made(tool, source).to_toml()
    return from_data(tomllib.loads(text), str(path))


@pytest.mark.parametrize("tool", TOOLS)
def test_the_file_is_a_valid_profile(tool, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(made(tool).to_toml(), encoding="utf-8")
    profile = load(str(path))
    Kernels(profile)
    assert profile == imported(tool)
    assert {one.kind for one in profile.evidence.values()} == {"inferred"}, "nobody measured anything"
    assert profile.world == "open", "what the file does not name is unknown"
    jsonschema.Draft202012Validator(json_schema()).validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_left_stands_in_the_head_and_what_is_commented_out_can_be_used(tool, tmp_path):
    found = made(tool)
    head, _, body = found.to_toml().partition("\nid = ")
    assert found.left and all(" ".join(sentence.split()) in head for sentence in found.left)
    if found.others:
        path = tmp_path / "all.toml"
        opened = body.partition("If it does:\n")
        path.write_text("id = " + opened[0] + "If it does:\n" + opened[2].replace("# ", ""), encoding="utf-8")
        assert load(str(path)).kernels[-1].match == "*"


LEFT = {
    "aimet": ["ChannelShuffle", "Cast", "encoding_constraints", "LayerNormalization", "MatmulAdd", "bit widths"],
    "nncf": ["DepthWiseConvolution", "ShuffleChannels", "narrow_range"],
    "tpc": ["SSDPostProcess", "TopK", "simd_size", "is_simd_padding"],
    "torch": ["quant_min_lower_bound -127 of int8", "lstm", "boolean_dispatch", "granularity"],
}


@pytest.mark.parametrize(("tool", "words"), LEFT.items())
def test_everything_that_finds_no_place_is_said(tool, words):
    told = "\n".join(made(tool).left)
    assert [word for word in words if word not in told] == []


def network(x, w, *, skip=True) -> Model:
    """Two convolutions with relu, and a sum."""
    g = Graph()
    a = g.input() | x()
    b = g.op("relu", g.conv(a, w=w())) | x()
    c = g.conv(b, w=w())
    return g.model(g.op("relu", g.op("add", b, (c | x()) if skip else c)) | x())


def placed(profile, model):
    verdict = judge(model, profile)
    return {op.kind: verdict.where(op) for op in model.ops}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_network_quantized_as_the_file_says_is_integer(tool):
    grid = {"aimet": u8, "nncf": u8, "torch": u8, "tpc": lambda: s8(0.25)}[tool]
    weight = {"tpc": lambda: s8(0.25)}.get(tool, s8)
    if tool == "nncf":  # knows no relu: it has none in its table, and its patterns are code
        assert placed(imported(tool), network(grid, weight))["conv"] == "integer"
    else:
        assert set(placed(imported(tool), network(grid, weight)).values()) <= set(DONE)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_the_file_does_not_allow_is_unknown_and_never_integer(tool):
    assert placed(imported(tool), network(u8, s8, skip=False))["add"] == "unknown"
    g = Graph()
    assert placed(imported(tool), g.model(g.op("gelu", g.input() | u8()) | u8()))["gelu"] == "unknown"


def test_power_of_two_scales_and_sides_of_a_tpc():
    profile = imported("tpc")
    assert placed(profile, network(lambda: s8(0.25), lambda: s8(0.3)))["conv"] == "integer"  # weights are symmetric, any scale
    assert placed(profile, network(lambda: s8(0.3), lambda: s8(0.25)))["conv"] == "unknown"
    assert placed(profile, network(lambda: u8(0.25, 128), lambda: s8(0.25)))["conv"] == "unknown"


def test_torch_reads_its_own_configurations_only_if_asked():
    assert "torch" not in {name.partition(".")[0] for name in made("torch").source.split()}
    torch = pytest.importorskip("torch")
    found = draft("torch", "qnnpack")
    assert str(torch.__version__).partition("+")[0] in found.toolchain
    assert found.id == "torch-qnnpack" and any("0.000244140625" in sentence for sentence in found.left)
    with pytest.raises(ProfileError, match="fbgemm"):
        draft("torch", "fbgem")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"defaults": 3}', '{"configs": 1}', '{"operator_set": [1], "default_qco": 2}', '{"config": {"quantization": {"a": 1}}, "operations": [{"type": "Add", "quantization": {"activations": ["b"]}}]}'])
def test_other_files_are_refused_in_a_sentence(tool, text, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        draft(tool, str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("tool", TOOLS)
def test_damaged_files_never_crash(tool, tmp_path):
    """Every value in turn replaced by something else: a profile, or a sentence."""
    whole = json.loads((IMPORTS / f"{tool}.json").read_text(encoding="utf-8"))
    path = tmp_path / "damaged.json"
    variants = list(_damaged(whole))
    for damaged in variants[:: len(variants) // 100]:
        path.write_text(json.dumps(damaged), encoding="utf-8")
        try:
            draft(tool, str(path))
        except ProfileError as error:
            assert str(error)


def _damaged(value):
    yield from (None, "x", -1, [[]], {"a": 1})
    if isinstance(value, dict):
        for key, one in value.items():
            yield {name: each for name, each in value.items() if name != key}
            yield from ({**value, key: each} for each in _damaged(one))
    if isinstance(value, list):
        for at, one in enumerate(value):
            yield from ([*value[:at], each, *value[at + 1 :]] for each in _damaged(one))


# -- beside the profiles that were written by hand --------------------------------------------------------
# (kind of op, or *; what the other profile misses): why the imported one says integer where it does not.
_UNFOLDED = "the pattern is for fusing: convert_fx folds a batch normalization before it lowers, and leaves one that was not folded in float"
ENGINE = {
    ("conv", "quantizer"): _UNFOLDED, ("conv_transpose", "quantizer"): _UNFOLDED, ("batch_norm", "quantizer"): _UNFOLDED, ("relu", "quantizer"): _UNFOLDED,
    ("linear", "dynamic"): _UNFOLDED,
    ("matmul", "presence"): "torch observes a product of two activations, no engine has a kernel for it",
    ("softmax", "*"): "torch has observers for it, the engines but for QNNPACK's own operator no kernel",
    ("group_norm", "kernel"): "the same",
    ("concat", "layout"): "the kernel wants the channels last; the configuration says nothing of layouts",
}  # fmt: skip
EXPLAINED = {
    ("aimet", "qnn-htp@v73"): {
        ("*", "same_storage"): "AIMET simulates grids, not containers; HTP wants one container at all ports of a unit",
        ("*", "dynamic_shape"): "the configuration says nothing of shapes",
        ("*", "storage"): "the configuration says nothing of bit widths, nor of the type of a bias",
        ("*", "zero_point"): "the same: uint4 weights, and int16 with a zero point",
        ("*", "writers"): "the simulation has one quantizer for a tensor, a file may have one for each reader",
        ("layer_norm", "quantizer"): "parameters other than weights are not carried over",
    },
    ("nncf", "openvino@avx2"): {
        ("add", "kernel"): "NNCF quantizes the inputs of every sum; the CPU plugin runs one in integer only as a part of a convolution",
        ("*", "quantizer"): "NNCF allows 16 bits for the plugin's floats; the plugin removes such quantizers",
        ("*", "zero_point"): "NNCF lists asymmetric weights, and activations on both sides of a product; the plugin's kernels want int8 around zero",
        ("*", "storage"): "the same",
        ("max_pool", "refusal"): "NNCF does not know that removing a 16-bit quantizer behind pooling leaves an invalid model",
        ("resize", "attribute"): "NNCF tells linear from nearest only; linear is computed in floats, nearest not in every coordinate mode",
    },
    ("torch", "fbgemm"): ENGINE,
    ("torch", "x86"): ENGINE,
    ("torch", "onednn"): ENGINE,
    ("torch", "qnnpack"): {**ENGINE, ("*", "storage"): "torch lists int8 for XNNPACK's kernels behind the same name; QNNPACK's own take uint8 alone"},
}  # fmt: skip
PROBED = ("conv", "gemm", "add", "softmax", "layer-norm", "max-pool", "resize-linear", "matmul-activations")


@cache
def probed():
    """Canonical models of one operator with one factor each, that no backend was chosen for."""
    import probes

    return [(probe.id, probe.model) for probe in probes.probes("single") if probe.id.split("/")[1] in PROBED]


def _models(tool, path):
    """What the two profiles are asked about: probes of one operator; for torch, graphs with fake quantizers."""
    if tool == "torch":
        yield from (one for storage in ("uint8", "int8") for one in trained(storage))
        return
    for name, data in probed():
        path.write_bytes(data)
        yield name, canonical(read(path))


SHARED = ("relu", "clip", "max_pool", "avg_pool", "global_avg_pool", "resize", "reshape", "flatten", "transpose", "squeeze", "reduce_mean", "depth_to_space")
OWN = ("sigmoid", "tanh", "hard_sigmoid", "softmax", "elu", "leaky_relu", "hard_swish", "layer_norm", "instance_norm", "group_norm", "batch_norm")
FIXED = {"sigmoid": (1 / 256, 0), "hard_sigmoid": (1 / 256, 0), "softmax": (1 / 256, 0), "tanh": (1 / 128, 128)}


def trained(storage):
    """Operators between fake quantizers, as convert_fx finds them."""

    def fake(scale=0.05, zp=0, of=storage):
        return replace(u8(scale, zp) if of == "uint8" else s8(scale, zp), origin="fake-quant")

    def weight():
        return fake(of="int8")

    for kind in ("conv", "conv_transpose", "linear"):
        for behind in ((), ("relu",), ("batch_norm",), ("batch_norm", "relu")):
            g = Graph()
            wire = g.conv(g.input() | fake(), w=weight(), kind=kind)
            for each in behind:
                wire = g.op(each, wire)
            yield f"{kind} {' '.join(behind)}", g.model(wire | fake())
    for kind in ("add", "mul", "matmul"):
        for behind in ((), ("relu",)):
            g = Graph()
            wire = g.op(kind, g.input("a") | fake(), g.input("b") | fake())
            for each in behind:
                wire = g.op(each, wire)
            yield f"{kind} {' '.join(behind)}", g.model(wire | fake())
    for kind in (*SHARED, *OWN):
        g = Graph()
        behind = fake(*FIXED[kind]) if kind in FIXED and storage == "uint8" else fake() if kind in SHARED else fake(0.07)
        yield kind, g.model(g.op(kind, g.input() | fake()) | behind)
    g = Graph()
    yield "concat", g.model(g.op("concat", g.input("a") | fake(), g.input("b") | fake(), attrs={"axis": 1}) | fake())


@pytest.mark.parametrize(("tool", "other"), EXPLAINED, ids=[f"{tool}-{other}" for tool, other in EXPLAINED])
def test_imported_and_handwritten_profiles_agree_or_the_difference_is_explained(tool, other, tmp_path):
    source = other if tool == "torch" else None
    ours, theirs = imported(tool, source), load(other)
    settled = Settled(Kernels(ours)), Settled(Kernels(theirs))
    explained, agreed, used, unexplained = EXPLAINED[tool, other], 0, set(), {}
    for name, model in _models(tool, tmp_path / "probe.onnx"):
        mine, their = (judge(model, profile, settled=each) for profile, each in zip((ours, theirs), settled, strict=True))
        for op in model.ops:
            if op.role != "data" or mine.where(op) not in DONE:
                continue
            if their.where(op) in DONE and their.outcome == "runs":
                agreed += 1
                continue
            missed = {m.dimension.partition(" ")[0] for m in their.mismatches if m.op is op} or {"refusal"}
            why = {key for key in explained for dimension in missed if key in ((op.kind, dimension), ("*", dimension), (op.kind, "*"))}
            used |= why
            if not why or not missed <= {dimension for key in why for dimension in ((key[1],) if key[1] != "*" else missed)}:
                unexplained.setdefault((op.kind, their.where(op), *sorted(missed)), name)
    assert not unexplained
    assert agreed > 20, "nothing was compared"
    assert set(explained) == used, "an explanation that explains nothing"
