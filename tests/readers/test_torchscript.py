"""What a TorchScript file becomes: the canonical graph, its quantizers, shapes and names, and the files that are none."""

import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import torch.ao.quantization as quantization  # noqa: E402
import torch_models as models  # noqa: E402
from torch import nn  # noqa: E402
from torch.ao.quantization import quantize_fx  # noqa: E402
from torch_against import QUIET, SIZES, STRUCTURE  # noqa: E402

import qlint  # noqa: E402
from qlint.errors import ReadError  # noqa: E402
from qlint.graph.macs import macs  # noqa: E402
from qlint.passes import canonical  # noqa: E402
from qlint.readers import read  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
COMPUTES = {"conv", "linear", "add", "concat", "max_pool", "global_avg_pool"}


class Exported(nn.Module):
    """Of operators that the exporter to ONNX knows in quantized form."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn, self.relu = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.conv3, self.pool = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 8, 1), nn.MaxPool2d(2)
        self.avg, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 4)

    def forward(self, x):
        x = self.relu(self.bn(self.conv1(x)))
        y = torch.cat([torch.relu(self.conv3(self.conv2(x)) + x), x], 1)
        return self.fc(torch.flatten(self.avg(self.pool(y)), 1))


def save(module, path, *inputs):
    models.traced(module, *inputs or (models.IMAGE,)).save(str(path))
    return canonical(read(path))


def grids(model, kinds=COMPUTES):
    """(kind, role, scale, zero point, levels) over every use of what computes."""
    found = Counter()
    for op in model.ops:
        if op.kind in kinds:
            for role, use in op.uses.items():
                if role != "b":
                    assert len(use.quantizers) == 1, use
                    quantizer = use.quantizers[0]
                    found.update((op.kind, role, f"{s:.6g}", z, quantizer.levels) for s, z in quantizer.pairs())
    return found


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_the_same_grids_as_in_the_exported_onnx(tmp_path, engine):
    """A converted network says the same as what PyTorch's exporter makes of it."""
    module = models.converted(engine, Exported())
    torch.onnx.export(module, (models.IMAGE,), str(tmp_path / "m.onnx"), dynamo=False, opset_version=13)
    ours, theirs = save(module, tmp_path / "m.pt"), canonical(read(tmp_path / "m.onnx"))
    assert grids(ours) == grids(theirs)
    assert sum(grids(ours).values()) > 10
    assert [use.quantizers for use in ours.outputs] == [use.quantizers for use in theirs.outputs]
    assert all(tensor.shape for tensor in ours.tensors.values() if tensor.producer)


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_fake_quantizers(tmp_path, engine):
    """Every FakeQuantize module of a prepared network: its scale, zero point and codes."""
    module = models.prepared(engine)
    model = save(module, tmp_path / "m.pt")
    theirs = Counter()
    for _, one in module.named_modules():
        if isinstance(one, torch.ao.quantization.FakeQuantizeBase):
            scales, zeros = one.scale.tolist(), one.zero_point.tolist()
            theirs.update((f"{s:.6g}", z, one.quant_min, one.quant_max) for s, z in zip(scales, zeros, strict=True))
    ours = Counter()
    for quantizer in {id(q.quantize): q for _, q in model.quantizers()}.values():
        assert quantizer.origin == "fake-quant"
        ours.update((f"{s:.6g}", z, quantizer.qmin, quantizer.qmax) for s, z in quantizer.pairs())
    assert set(ours) == set(theirs)  # modules that are used in several places are one of theirs
    conv = next(op for op in model.ops if op.kind == "conv")
    weight = conv.uses["w"].quantizers[0]
    assert (weight.granularity, weight.axis) == (("channel", 0) if engine == "fbgemm" else ("tensor", None))


def test_fake_quantizers_that_are_off(tmp_path):
    module = models.prepared("qnnpack")
    assert all(q.observing and not q.uncalibrated for _, q in save(module, tmp_path / "m.pt").quantizers())
    module.apply(torch.ao.quantization.disable_observer)
    frozen = save(module, tmp_path / "m.pt")
    assert list(frozen.quantizers()) and not any(q.observing for _, q in frozen.quantizers())
    module.apply(torch.ao.quantization.disable_fake_quant)
    model = save(module, tmp_path / "m.pt")
    assert not list(model.quantizers()) and not model.notes
    off = {name for tensor in model.tensors.values() for name in tensor.disabled}
    assert {"activation_post_process_0", "conv1.weight_fake_quant", "fc.weight_fake_quant"} <= off and not model.observers


class FakeQuantized(nn.Module):
    """The fake quantizers that are not fused with their observers, and dropout between them."""

    def __init__(self):
        super().__init__()
        make = quantization.FakeQuantize.with_args(observer=quantization.MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8)
        self.before, self.conv, self.drop, self.behind = make(), nn.Conv2d(3, 4, 3), nn.Dropout(0.3), make()

    def forward(self, x):
        return self.behind(self.drop(torch.relu(self.conv(self.before(x)))))


@pytest.mark.parametrize("make", [models.traced, models.scripted])
def test_training_and_calibration_are_facts(tmp_path, make):
    """Exported while it is trained, and ready for use; the ranges are those that the modules have."""
    module = FakeQuantized()
    module(models.IMAGE)
    make(module, models.IMAGE).save(str(tmp_path / "training.pt"))
    training = canonical(read(tmp_path / "training.pt"))
    module.eval().apply(quantization.disable_observer)
    make(module, models.IMAGE).save(str(tmp_path / "ready.pt"))
    ready = canonical(read(tmp_path / "ready.pt"))
    assert [op.kind for op in training.ops] == ["conv", "relu", "dropout"] and [op.kind for op in ready.ops] == ["conv", "relu"]
    assert training.metadata["training"] == "true" and "training" not in ready.metadata
    assert [q.observing for _, q in training.quantizers()] == [True, True] and [q.observing for _, q in ready.quantizers()] == [False, False]
    assert [q.scale[0] for _, q in ready.quantizers()] == [pytest.approx(one.scale.item()) for one in (module.before, module.behind)]
    assert not training.observers and not any(q.uncalibrated for _, q in training.quantizers())


def test_calibration_that_never_ran(tmp_path):
    torch.backends.quantized.engine = "qnnpack"
    module = quantize_fx.prepare_qat_fx(models.Residual().train(), quantization.get_default_qat_qconfig_mapping("qnnpack"), (models.IMAGE,)).eval()
    module.apply(quantization.disable_observer)
    fresh = list(save(module, tmp_path / "m.pt").quantizers())
    assert len(fresh) == 17 and all(q.uncalibrated for _, q in fresh)
    module = quantize_fx.convert_fx(quantize_fx.prepare_fx(models.Residual().eval(), quantization.get_default_qconfig_mapping("qnnpack"), (models.IMAGE,)))
    save(module, tmp_path / "converted.pt")
    (finding,) = (f for f in qlint.check(tmp_path / "converted.pt").findings if f.rule == "uncalibrated-quantizer")
    assert finding.severity == "warning" and len(finding.sites) == 11


def test_observers_that_quantize_nothing(tmp_path):
    torch.backends.quantized.engine = "qnnpack"
    minmax = quantization.QConfig(quantization.MinMaxObserver, quantization.default_weight_observer)
    module = quantize_fx.prepare_fx(models.Residual().eval(), quantization.QConfigMapping().set_global(minmax), (models.IMAGE,))
    models.scripted(module).save(str(tmp_path / "m.pt"))
    report = qlint.check(tmp_path / "m.pt")
    distinct = {id(one) for one in module.modules() if isinstance(one, quantization.MinMaxObserver)}
    assert len(report.results[0].canonical.observers) == len(distinct) == 7
    assert "observer-enabled" in {finding.rule for finding in report.findings}


class Functional(nn.Module):
    """Eager quantization sees modules only: the addition is left as it is."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant, self.one, self.two = quantization.QuantStub(), quantization.DeQuantStub(), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.quant(x)
        y = self.one(x) + self.two(x)
        return self.dequant(torch.cat([y, y], 1))


def test_an_addition_without_a_kernel(tmp_path):
    """PyTorch raises an error where the rule says so; concatenation has a kernel."""
    torch.backends.quantized.engine = "qnnpack"
    module = Functional().eval()
    module.qconfig = quantization.get_default_qconfig("qnnpack")
    prepared = quantization.prepare(module)
    prepared(models.IMAGE)
    converted = quantization.convert(prepared)
    with pytest.raises(NotImplementedError, match="aten::add"):
        converted(models.IMAGE)
    torch.jit.script(converted).save(str(tmp_path / "m.pt"))
    (finding,) = (f for f in qlint.check(tmp_path / "m.pt").findings if f.rule == "no-quantized-kernel")
    assert [site.op for site in finding.sites] == ["add"] and finding.severity == "error"


def test_operators_without_a_kernel_are_those_of_pytorch():
    """Each operator of the list that takes one tensor raises an error on a quantized one; those beside it do not."""
    from qlint.rules.no_quantized_kernel import WITHOUT

    x = torch.quantize_per_tensor(torch.rand(2, 4, 4, 4), 0.05, 3, torch.quint8)
    unary = {name for name in WITHOUT if name in "hardswish silu elu selu celu mish softplus amax amin argmax argmin exp sqrt rsqrt abs neg erf floor round sum".split()}
    for name in unary:
        function = getattr(torch, name, None) or getattr(nn.functional, name)
        with pytest.raises((NotImplementedError, RuntimeError), match=r"QuantizedCPU|quantized"):
            function(x)
    for name in ("relu", "sigmoid", "tanh", "flatten", "mean"):
        assert name not in WITHOUT and getattr(torch, name)(x).is_quantized
    assert len(unary) == 20


def test_learned_quantizers(tmp_path):
    model = save(models.Learned().eval(), tmp_path / "m.pt")
    conv = next(op for op in model.ops if op.kind == "conv")
    x, w = conv.uses["x"].quantizers[0], conv.uses["w"].quantizers[0]
    assert (x.bits, x.signed, x.algorithm, x.scale) == (4, True, "LSQ", (pytest.approx(0.03),))
    assert (w.qmin, w.qmax, w.axis, len(w.scale), w.narrow) == (-7, 7, 0, 4, True)
    y = model.outputs[0].quantizers[0]
    assert (y.scale, y.zero_point, y.qmin, y.qmax, y.bits) == ((0.25,), (3,), 0, 15, 4)


@pytest.mark.parametrize("name", ["residual", "mobile", "lstm", "bidirectional lstm", "attention", "encoder layer in steps", "prepared for qnnpack"])
def test_shapes(tmp_path, name):
    """The shape of every result is the one that PyTorch traced."""
    make, network, *inputs = models.MODELS[name]
    traced = make(network(), *inputs)
    traced.save(str(tmp_path / "m.pt"))
    raw = read(tmp_path / "m.pt")
    canonical(raw)
    theirs = Counter()
    for node in traced.inlined_graph.nodes():
        if node.kind() not in SIZES | STRUCTURE | QUIET:
            theirs.update((node.kind(), tuple(v.type().sizes() or ())) for v in node.outputs() if isinstance(v.type(), torch._C.TensorType))
    ours = Counter((op.native, tensor.shape) for op in raw.nodes if op.native not in SIZES | STRUCTURE | QUIET for tensor in op.outputs)
    missing = [key for key in theirs - ours if key[0] != "aten::slice" and key[1]]  # `x[:]` is left out, sizes are vectors of one
    assert not missing, (missing, ours - theirs)


def test_multiply_accumulates(tmp_path):
    model = save(models.Recurrent(True).eval(), tmp_path / "m.pt", models.SEQUENCE)
    layers = {op.kind: macs(op) for op in model.ops if op.kind in ("lstm", "matmul")}
    assert layers == {"lstm": 2 * 5 * 2 * (24 * (8 + 6) + 24 * (12 + 6)), "matmul": 2 * 5 * 12 * 4}


def test_names_are_those_of_the_modules(tmp_path):
    model = save(models.Mobile().eval(), tmp_path / "m.pt")
    assert [op.name for op in model.ops if op.kind == "conv"] == ["stem.0", "expand.0", "depthwise.0", "project.0"]
    conv = next(op for op in model.ops if op.name == "expand.0")
    assert conv.uses["w"].tensor.name == "expand.0.weight"
    assert len({op.name for op in model.ops}) == len(model.ops)
    file, _, line = conv.source.rpartition(":")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        code = archive.read(f"m/{file}").decode().splitlines()
    assert "torch._convolution" in code[int(line) - 1]


def test_what_is_written_into_a_tensor(tmp_path):
    """The last addition reads what the activation and the product have left behind, and not what was there before."""
    model = save(models.InPlace().eval(), tmp_path / "m.pt")
    last = model.ops[-1]
    assert last.kind == "add" and last.uses["lhs"].tensor.producer.kind == "relu"
    whole = last.uses["rhs"].tensor.producer
    part = whole.uses["updates"].tensor.producer  # z[:, :2] is a part of z[:]
    assert (whole.kind, part.kind, part.uses["updates"].tensor.producer.kind) == ("scatter", "scatter", "mul")
    assert whole.uses["x"].tensor.producer.kind == "add"


def test_dropout_and_the_like_are_gone(tmp_path):
    kinds = {op.kind for op in save(models.Mobile().eval(), tmp_path / "m.pt").ops}
    assert {"hard_swish", "clip", "swish", "resize", "reduce_mean", "softmax", "arg_max"} <= kinds
    assert not kinds & {"dropout", "detach", "contiguous", "to"}


def test_dynamic_quantization(tmp_path):
    model = save(models.dynamic(models.Recurrent()), tmp_path / "m.pt", models.SEQUENCE)
    lstm, linear = (next(op for op in model.ops if op.kind == kind) for kind in ("lstm", "matmul"))
    for op in (lstm, linear):
        assert op.uses["x"].quantizers[0].dynamic and op.uses["w"].quantizers[0].storage == "int8"
    assert {"w", "r", "b", "b_hh", "w_l1", "r_l1"} <= set(lstm.uses)


def test_control_flow(tmp_path):
    models.MODELS["scripted control"][0](models.Control().eval()).save(str(tmp_path / "m.pt"))
    model = canonical(read(tmp_path / "m.pt"))
    branch, loop = (next(op for op in model.ops if op.kind == kind) for kind in ("if", "loop"))
    assert [[op.kind for op in body.ops] for body in branch.bodies.values()] == [["linear"], ["linear", "relu"]]
    assert [op.kind for op in loop.bodies["body"].ops] == ["tanh"]
    assert sum(op.kind == "add" for op in model.ops) == 3
    assert not any(op.kind == "not_equal" for op in model.ops)


def test_state_from_one_run_to_the_next(tmp_path):
    """Both what the first run does and what later ones do, and the state that is kept."""
    models.scripted(models.Stateful().eval()).save(str(tmp_path / "m.pt"))
    model = canonical(read(tmp_path / "m.pt"))
    (branch,) = (op for op in model.ops if op.kind == "if")
    assert [sum(op.kind == "gru_cell" for op in body.walk()) for body in branch.bodies.values()] == [1, 1]
    assert model.ops[-1].kind == "tanh" and model.tensors["state"].variable
    assert model.notes == ["the network keeps state from one run to the next: their values are not known"]


def test_structures_are_taken_apart(tmp_path):
    models.scripted(models.Structures().eval()).save(str(tmp_path / "m.pt"))
    model = canonical(read(tmp_path / "m.pt"))
    assert [tensor.name for tensor in model.inputs] == ["x", "pair.0", "pair.1"]
    assert [op.kind for op in model.ops] == ["linear", "conv", "concat", "mul", "transpose", "matmul"]
    assert [op.name for op in model.ops[:2]] == ["layers.x", "layers.y"]
    assert [use.tensor.producer.kind for use in model.outputs] == ["mul", "matmul"]
    assert model.ops[3].uses["rhs"].tensor.data.values() == (0.5,)


def test_what_is_written_into_a_buffer(tmp_path):
    models.scripted(models.Cached()).save(str(tmp_path / "m.pt"))
    model = canonical(read(tmp_path / "m.pt"))
    assert {"matmul", "linear"} & {op.kind for op in model.ops} and model.outputs[0].tensor.producer.uses["x"].tensor.producer.kind == "scatter"
    assert [note for note in model.notes if "changes its buffers cache;" in note]


def test_notes(tmp_path):
    assert save(models.Residual().eval(), tmp_path / "m.pt").notes == []
    training = save(models.Residual().train(), tmp_path / "m.pt").notes
    assert training == ["3 operators reach no output and are left out: observers, checks of inputs, and the like"]
    calibrating = save(models.prepared("fbgemm", qat=False), tmp_path / "m.pt")
    assert any("observers" in note for note in calibrating.notes)
    assert not any("aminmax" in op.native for op in calibrating.ops)


# -- the command --------------------------------------------------------------------------------------------


def test_a_converted_network_runs_in_integer(tmp_path):
    save(models.converted("qnnpack", Exported()), tmp_path / "model.pt")
    report = qlint.check(tmp_path / "model.pt", ["snpe", "ort-cpu", "qnn-htp"])
    for result in report.results:
        assert (result.format, result.outcome, result.summary.integer_macs) == ("torchscript", "runs", 1.0)
        assert [finding.rule for finding in result.findings] == ["assumed-conversion"]


def test_a_file_without_shapes_is_judged_as_if_it_were_converted_with_some(tmp_path):
    """A scripted file holds none, and every converter asks for them."""
    torch.jit.script(models.converted("qnnpack", Exported())).save(str(tmp_path / "model.pt"))
    assert any(tensor.dynamic or tensor.shape is None for tensor in canonical(read(tmp_path / "model.pt")).tensors.values())
    for result in qlint.check(tmp_path / "model.pt", ["snpe", "qnn-htp"]).results:
        assert {op.placement for op in result.ops} <= {"integer", "absorbed"}
        assert [finding.rule for finding in result.findings] == ["assumed-conversion"]


def test_a_bias_of_zeros_in_the_type_of_another_tensor_is_a_constant(tmp_path):
    """Trained convolutions with their batch-norms add their bias later (torch/ao/nn/intrinsic/qat/modules/conv_fused.py); the code asks for its type."""
    path = tmp_path / "scripted.pt"
    models.scripted(models.prepared("qnnpack")).save(str(path))
    model = canonical(read(path))
    biases = [op.uses["b"].tensor.producer for op in model.ops if op.kind == "conv"]
    assert {"aten::zeros", "aten::zeros_like"} <= {op.native for op in biases}, "with a bias of its own, and without"
    assert {op.role for op in biases} == {"constant"} and {role for op in biases for role in op.uses} == {"x"}
    results = qlint.check(path, backend=["snpe", "qnnpack"]).results
    assert not any(op.placement == "unknown" for result in results for op in result.ops)


def test_a_float_network_does_not(tmp_path):
    save(Exported().eval(), tmp_path / "model.pt")
    (result,) = qlint.check(tmp_path / "model.pt", "ort-cpu").results
    assert result.summary.integer == 0 and "no-quantization" in {finding.rule for finding in result.findings}


def test_no_framework_is_imported(tmp_path):
    save(models.converted("fbgemm", Exported()), tmp_path / "m.pt")
    code = f"import sys; from qlint.readers import read; read({str(tmp_path / 'm.pt')!r}); print(sorted({{'torch', 'numpy', 'zipfile', 'networkx', 'pickle'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_voice_detector_with_control_flow():
    """silero_vad.jit: float, two networks behind branches, state from one run to the next; judged by six backends."""
    path = Path(__file__).parents[1] / "zoo/silero-vad/silero_vad.jit"
    report = qlint.check(path, ["snpe", "ort-cpu", "qnn-htp", "openvino", "tflite", "ethos-u85"])
    assert not report.errors and len(report.results) == 6
    model = report.results[0].canonical
    kinds = Counter(op.kind for op in model.walk())
    assert kinds["if"] >= 20 and kinds["lstm_cell"] == 4 and kinds["conv"] >= 12
    assert [tensor.name for tensor in model.inputs] == ["x", "sr"]
    for result in report.results:
        assert not result.summary.integer_macs and "_state" in " ".join(result.notes)


# -- other files that go by these names ----------------------------------------------------------------------


def files(folder):
    from torch.ao.quantization import quantize_fx

    module = models.Residual().eval()
    for name, content, options in (
        ("weights.pth", module.state_dict(), {}), ("module.pt", module, {}), ("legacy.pth", module.state_dict(), {"_use_new_zipfile_serialization": False}),
        ("fx.pt", quantize_fx.fuse_fx(module), {}), ("checkpoint.pt", {"epoch": 3, "model": module.state_dict(), "lr": [0.1]}, {}), ("tensor.pt", torch.ones(3), {}),
    ):  # fmt: skip
        torch.save(content, folder / name, **options)
    torch.jit.optimize_for_inference(torch.jit.script(module)).save(str(folder / "lowered.pt"))
    (folder / "m.gguf").write_bytes(b"GGUF" + bytes(60))
    (folder / "m.pte").write_bytes(bytes(4) + b"ET12" + bytes(60))
    (folder / "m.safetensors.pt").write_bytes(b"\x10\0\0\0\0\0\0\0" + b'{"a":1}')


def test_what_is_no_network_is_refused(tmp_path):
    files(tmp_path)
    wanted = {
        "weights.pth": "is a PyTorch checkpoint: weights without a graph", "checkpoint.pt": "is a PyTorch checkpoint: weights without a graph",
        "tensor.pt": "is a PyTorch checkpoint: weights without a graph", "legacy.pth": "is a PyTorch checkpoint of the format before 1.6",
        "module.pt": "is a pickled Python object, of the class torch_models.Residual", "fx.pt": "is a pickled FX GraphModule",
        "lowered.pt": "was lowered for x86 by torch.jit.optimize_for_inference", "m.gguf": "is a GGUF file", "m.pte": "is an ExecuTorch program",
        "m.safetensors.pt": "is a safetensors file",
    }  # fmt: skip
    for name, what in wanted.items():
        start = time.process_time()
        with pytest.raises(ReadError, match=re.escape(what)) as refused:
            read(tmp_path / name)
        assert time.process_time() - start < 1
        assert refused.value.hint and refused.value.subject.endswith(name)


def test_linear_layers_of_more_than_two_dimensions(tmp_path):
    """As exporters write them: a product and an addition, with the same multiply-accumulates."""
    model = save(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4, bias=False)), tmp_path / "m.pt", models.SEQUENCE)
    assert [(op.kind, op.y.shape) for op in model.ops] == [("matmul", (2, 5, 6)), ("add", (2, 5, 6)), ("matmul", (2, 5, 4))]
    assert [macs(op) for op in model.ops] == [2 * 5 * 8 * 6, 0, 2 * 5 * 6 * 4]
    assert len(model.nodes) == 2 and model.ops[1].uses["lhs"].tensor.producer is model.ops[0]


def test_operators_that_onnx_spells_in_several(tmp_path):
    class Several(nn.Module):
        def forward(self, x):
            a, b = torch.stack([x, x.square()], 1).unbind(1)
            q = nn.functional.scaled_dot_product_attention(a, b, x)
            return nn.functional.glu(q, -1) * torch.rsqrt(x[..., :4].abs() + 1), x.unflatten(-1, (2, -1))

    model = save(Several().eval(), tmp_path / "m.pt", models.SEQUENCE)
    kinds = Counter(op.kind for op in model.ops if op.role == "data")
    assert kinds["concat"] == 1 and kinds["squeeze"] == 2 and kinds["softmax"] == 1 and kinds["sigmoid"] == 1 and kinds["reciprocal"] == 1
    assert not {"stack", "unbind", "glu", "rsqrt", "attention", "unflatten"} & set(kinds)
    assert [use.tensor.shape for use in model.outputs] == [(2, 5, 4), (2, 5, 2, 4)]
    scale = next(op for op in model.ops if op.kind == "softmax").uses["x"].tensor.producer.uses["lhs"].tensor.producer.uses["rhs"].tensor
    assert scale.data.values() == (pytest.approx(8**-0.25),)
