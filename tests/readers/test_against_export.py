"""torch.export archives against `torch.export.load`: operator for operator, argument for argument, value for value."""

import io
import json
import random
import warnings
import zipfile

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from export_against import ours, same_program
from torch import nn
from torch_models import Attention, InPlace, Learned, Mobile, Residual

import qlint
from qlint.errors import ReadError
from qlint.readers import read

warnings.filterwarnings("ignore")
quantized = torch.ops.quantized_decomposed


class Quantized(nn.Module):
    """A conv and a linear layer as the PT2E flow leaves them: Q/DQ around activations, weights stored as integers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("conv", torch.randint(-127, 127, (8, 3, 3, 3), dtype=torch.int8))
        self.register_buffer("conv_scale", torch.rand(8) * 0.01 + 0.001)
        self.register_buffer("conv_zero", torch.zeros(8, dtype=torch.int64))
        self.register_buffer("fc", torch.randint(-127, 127, (10, 8), dtype=torch.int8))
        self.unused = nn.Parameter(torch.rand(1000))

    @staticmethod
    def qdq(x, scale, zero):
        return quantized.dequantize_per_tensor(quantized.quantize_per_tensor(x, scale, zero, 0, 255, torch.uint8), scale, zero, 0, 255, torch.uint8)

    def forward(self, x):
        w = quantized.dequantize_per_channel(self.conv, self.conv_scale, self.conv_zero, 0, -127, 127, torch.int8)
        x = self.qdq(torch.relu(nn.functional.conv2d(self.qdq(x, 0.02, 128), w, padding=1)), 0.05, 0)
        x = self.qdq(x.mean((2, 3)), 0.03, 0)
        return nn.functional.linear(x, quantized.dequantize_per_tensor(self.fc, 0.004, 0, -127, 127, torch.int8))


class Branches(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            x = x * 2
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: (x - 1).relu(), (x,))


class Structures(nn.Module):
    def forward(self, x, more):
        a, b = x.chunk(2, 1)
        return {"sum": a + b * 3 + more["y"], "top": torch.topk(a, 2)[0]}, a.view(a.shape[0], -1)



IMAGE = torch.zeros(2, 3, 16, 16)
MODELS = {
    "residual": (Residual(), (IMAGE,), None),
    "dynamic": (Residual(), (IMAGE,), ({0: torch.export.Dim("batch", min=2)},)),
    "mobile": (Mobile(), (IMAGE,), None),
    "attention": (Attention(), (torch.zeros(2, 5, 8),), None),
    "learned": (Learned(), (IMAGE,), None),
    "in-place": (InPlace(), (IMAGE,), None),
    "quantized": (Quantized(), (IMAGE,), None),
    "branches": (Branches(), (torch.ones(3),), None),
    "structures": (Structures(), (torch.ones(2, 8), {"y": torch.ones(2, 4)}), None),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")

    def save(name):
        path = folder / f"{name}.pt2"
        if not path.exists():
            module, inputs, dynamic = MODELS[name]
            torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic), path)
        return path

    return save


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("branches", "dynamic")])
def test_every_operator_and_argument(name, saved):
    same_program(saved(name))


def test_shapes_and_symbols_are_those_of_the_file(saved):
    model = read(saved("dynamic"))
    (batch, *rest) = model.inputs[0].shape
    assert isinstance(batch, str)
    assert rest == [3, 16, 16]
    assert all(tensor.shape is not None and tensor.dtype for op in model.ops for tensor in op.outputs[:1])
    assert read(saved("residual")).inputs[0].shape == (2, 3, 16, 16)


def test_quantizers_of_the_pt2e_flow(saved):
    model = qlint.load(saved("quantized"))
    conv, linear = (next(op for op in model.ops if op.kind == kind) for kind in ("conv", "linear"))
    w, x = conv.uses["w"].quantizers[0], conv.uses["x"].quantizers[0]
    assert (w.storage, w.granularity, w.axis, w.qmin, w.qmax, len(w.scale)) == ("int8", "channel", 0, -127, 127, 8)
    assert (x.storage, x.scale, x.zero_point, x.qmin, x.qmax) == ("uint8", (0.02,), (128,), 0, 255)
    assert linear.uses["w"].quantizers[0].scale == (0.004,)
    assert not any("unused" in name for name in model.tensors)
    assert [op.kind for op in model.ops] == ["conv", "relu", "reduce_mean", "linear"]


def test_branches_are_bodies_and_wrapped_graphs_are_not(saved):
    model = read(saved("branches"))
    (branch,) = [op for op in model.ops if op.bodies]
    assert [[op.kind for op in body.ops] for body in branch.bodies.values()] == [["add"], ["sub", "relu"]]
    assert "mul" in [op.kind for op in model.ops]


def test_messages_know_the_module_and_the_line(saved):
    conv = next(op for op in read(saved("mobile")).ops if op.kind == "conv")
    assert "." in conv.name or conv.name
    assert conv.source.startswith("torch_models.py:")


def test_the_layout_before_2_9(saved, tmp_path):
    path, old = saved("quantized"), tmp_path / "old.pt2"
    program, state, constants = torch.export.load(path), io.BytesIO(), io.BytesIO()
    torch.save(dict(program.state_dict), state)
    torch.save(program.constants, constants)
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(old, "w") as archive:
        archive.writestr("version", "8.20")
        archive.writestr("serialized_exported_program.json", new.read(next(n for n in new.namelist() if n.endswith("models/model.json"))))
        archive.writestr("serialized_state_dict.pt", state.getvalue())
        archive.writestr("serialized_constants.pt", constants.getvalue())
    assert ours(old) == ours(path)


def edited(path, target, change):
    """The archive with its program changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            archive.writestr(name, change(name, content))
    return target


def test_a_pickle_in_it_stays_closed(saved, tmp_path):
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "executed").encode() + b"'\ntR."

    def change(name, content):
        if name.endswith("_weights_config.json"):
            config = json.loads(content)
            for entry in config["config"].values():
                entry["use_pickle"] = True
            return json.dumps(config)
        return trap if "/data/weights/weight_" in name or name.endswith("model.pt") else content

    model = read(edited(saved("quantized"), tmp_path / "trap.pt2", change))
    assert not (tmp_path / "executed").exists()
    assert any("conv_scale" in note and "unknown" in note for note in model.notes)


@pytest.mark.parametrize("damage", ["cut", "no graph", "list", "bad node", "bad type", "deep"])
def test_damage_is_refused_in_a_sentence(damage, saved, tmp_path):
    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        graph = program["graph_module"]["graph"]
        if damage == "cut":
            return content[: len(content) // 2]
        if damage == "no graph":
            del program["graph_module"]["graph"]
        if damage == "list":
            return b"[]"
        if damage == "bad node":
            graph["nodes"][0]["inputs"] = [7]
        if damage == "bad type":
            graph["tensor_values"][graph["nodes"][0]["outputs"][0]["as_tensor"]["name"]]["sizes"] = [{"as_int": "many"}, 3]
        if damage == "deep":
            return b'{"graph_module":' + b"[" * 200_000
        return json.dumps(program)

    with pytest.raises(ReadError) as error:
        read(edited(saved("quantized"), tmp_path / "damaged.pt2", change))
    assert "models/model.json" in error.value.message
    assert "torch.export" in error.value.hint
    assert error.value.subject.endswith("damaged.pt2")


def test_several_programs_and_compiled_ones(saved, tmp_path):
    path, twice, compiled = saved("quantized"), tmp_path / "twice.pt2", tmp_path / "compiled.pt2"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(twice, "w") as two, zipfile.ZipFile(compiled, "w") as none:
        for name in source.namelist():
            two.writestr(name, source.read(name))
            if not name.endswith("models/model.json"):
                none.writestr(name, source.read(name))
            else:
                two.writestr(name.replace("model.json", "other.json"), source.read(name))
        none.writestr(f"{source.namelist()[0].partition('/')[0]}/data/aotinductor/model/model.so", b"\x7fELF")
    assert "the archive holds 2 programs, models/model.json, models/other.json; only the first is read" in qlint.check(twice).results[0].notes
    with pytest.raises(ReadError, match="holds only code that AOTInductor compiled") as refused:
        read(compiled)
    assert "before it is compiled" in refused.value.hint


def test_mutated_programs(saved, tmp_path):
    """Read or refused in a sentence, whatever became of the JSON."""
    dice = random.Random(17)
    for _ in range(150):
        def change(name, content):
            if not name.endswith(".json"):
                return content
            raw = bytearray(content)
            for _ in range(dice.randint(1, 3)):
                at = dice.randrange(len(raw))
                raw[at : at + dice.randint(0, 2)] = dice.choice([b"", b"0", b'"', b"-1", b"[", b"9" * 20, b"null", bytes([dice.randrange(256)])])
            return bytes(raw)

        try:
            qlint.load(edited(saved("quantized"), tmp_path / "mutated.pt2", change))
        except ReadError as error:
            assert error.message and "\n" not in error.message and error.hint
