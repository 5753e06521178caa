"""Live objects: what is read of a module, an exported or scripted program or an ONNX model in memory, and that they stay as they were."""

import copy
import logging
import sys
import warnings

import onnx
import pytest
import torch
from torch import nn
from torch.ao.quantization import (
    FakeQuantize,
    FakeQuantizeBase,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    disable_fake_quant,
    get_default_qat_qconfig_mapping,
    prepare,
    prepare_qat,
)
from torch.ao.quantization import get_default_qat_qconfig as qat
from torch.ao.quantization import get_default_qconfig as ptq
from torch.ao.quantization.quantize_fx import prepare_qat_fx

import qlint
from qlint.errors import ReadError
from qlint.readers.live_freeze import freeze

pytestmark = pytest.mark.filterwarnings("ignore")
RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"
X = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


class Learned(FakeQuantizeBase):
    """What MQBench's LearnableFakeQuantize is: observers with TorchScript marks, flags that are tensors, a scale that is trained."""

    def __init__(self, bits=8, channels=0):
        super().__init__()
        self.activation_post_process = MovingAverageMinMaxObserver()
        self.quant_min, self.quant_max, self.ch_axis = -(1 << bits - 1), (1 << bits - 1) - 1, 0 if channels else -1
        self.bitwidth, self.pot_scale = bits, False
        self.scale, self.zero_point = (nn.Parameter(value) for value in (torch.full((channels or 1,), -0.02), torch.zeros(channels or 1)))
        self.observer_enabled[0] = 0

    @torch.jit.export
    def calculate_qparams(self):
        nothing = {}
        return self.activation_post_process.calculate_qparams(**nothing)  # no TorchScript, as in MQBench's own observers

    def forward(self, x):
        if self.observer_enabled[0] == 1:
            self.activation_post_process(x.detach())
        self.scale.data.abs_().clamp_(min=1e-8)
        if self.fake_quant_enabled[0] == 1:
            if self.ch_axis >= 0:
                return torch._fake_quantize_learnable_per_channel_affine(x, self.scale, self.zero_point, 0, self.quant_min, self.quant_max, 1.0)
            return torch._fake_quantize_learnable_per_tensor_affine(x, self.scale, self.zero_point, self.quant_min, self.quant_max, 1.0)
        return x


class Tanh(Learned):
    """DoReFa's, which transforms weights before it quantizes them."""

    def forward(self, x):
        return super().forward(torch.tanh(x) / torch.tanh(x).abs().max())


class Paper(nn.Module):
    """A step size quantizer as code of papers has it, of no library, with control flow over a value."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.step_size, self.factor, self.thd_neg, self.thd_pos = nn.Parameter(torch.tensor(0.1)), factor, 0, 15

    def forward(self, x):
        if float(self.step_size) <= 0:
            return x
        y = (x / self.step_size).clamp(self.thd_neg, self.thd_pos)
        return ((y.round() - y).detach() + y) * self.step_size * self.factor


class Quantized(nn.Conv2d):
    def __init__(self, *sizes, weight=None):
        super().__init__(*sizes)
        self.weight_fake_quant, self.act = weight or Learned(4, sizes[1]), Learned(8)

    def forward(self, x):
        return self._conv_forward(self.act(x), self.weight_fake_quant(self.weight), self.bias)


class Net(nn.Module):
    def __init__(self, between=None, **options):
        super().__init__()
        self.a, self.between, self.b = Quantized(3, 8, 3, **options), between or nn.ReLU(), Quantized(8, 8, 3)

    def forward(self, x):
        return self.b(self.between(self.a(x)))


class Eager(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.conv, self.relu, self.dequant = torch.ao.quantization.QuantStub(), nn.Conv2d(3, 8, 3), nn.ReLU(), torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        return self.dequant(self.relu(self.conv(self.quant(x))))


def quantizers(model):
    return {(op.kind, role): [(q.storage, q.bits, q.granularity, q.origin) for q in use.quantizers] for op in model.ops for role, use in op.uses.items() if use.quantizers}


def notes(model):
    return "\n".join(model.notes)


def test_a_module_that_is_neither_traced_nor_exported():
    net = Net(Paper())
    with pytest.raises(Exception, match="calculate_qparams"):
        torch.jit.trace(net, X)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(net, (X,), strict=False)
    report = qlint.check(net, backend="snpe", example_inputs=X)
    (result,) = report.results
    assert (report.errors, result.model, result.format) == ([], "Net", "pt2")
    found = quantizers(result.canonical)
    assert found["conv", "w"] == [("int4", 4, "channel", "fake-quant")]
    assert found["conv", "x"][-1] == ("int8", 8, "tensor", "fake-quant") and ("uint4", 4, "tensor", "fake-quant") in found["conv", "x"]
    scales = [q.scale[0] for use, q in result.canonical.quantizers()]
    assert min(scales) > 0 and pytest.approx(0.02) in scales  # forward takes the absolute value
    assert "5 fake quantizers were frozen" in notes(result.canonical)
    assert ("the module is in training mode", "info") in {(finding.message.partition(";")[0], finding.severity) for finding in result.findings}


@pytest.mark.parametrize(("make", "inputs"), [(lambda: Net(Paper()), X), (lambda: prepare_qat(fused(), inplace=True), X)], ids=["learned", "torch.ao"])
def test_the_module_stays_as_it_was(make, inputs):
    net = make().train()
    net(inputs)
    net.a_list, seen = [1], []
    net.register_forward_hook(lambda *_: seen.append(1))
    net.register_full_backward_hook(lambda *_: None)
    next(iter(net.children())).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fields = {path: {name: (id(value), type(value)) for name, value in module.__dict__.items()} for path, module in net.named_modules()}
    objects = {name: (id(value), value._version, value.requires_grad, value.grad) for name, value in (*net.named_parameters(), *net.named_buffers())}
    modes, tracked = {path: module.training for path, module in net.named_modules()}, {path: sorted(module._modules) for path, module in net.named_modules()}
    random, level, streams = torch.random.get_rng_state(), logging.root.manager.disable, (sys.stderr, torch.is_grad_enabled())
    assert qlint.check(net, backend="snpe", example_inputs=inputs).results
    assert seen == [] and modes == {path: module.training for path, module in net.named_modules()} and tracked == {path: sorted(module._modules) for path, module in net.named_modules()}
    assert fields == {path: {name: (id(value), type(value)) for name, value in module.__dict__.items()} for path, module in net.named_modules()}
    assert objects == {name: (id(value), value._version, value.requires_grad, value.grad) for name, value in (*net.named_parameters(), *net.named_buffers())}
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state()) and level == logging.root.manager.disable and streams == (sys.stderr, torch.is_grad_enabled())


def fused():
    net = Eager()
    net.qconfig = qat("qnnpack")
    return net.train()


def test_frozen_numbers_are_those_of_the_module():
    """Bit for bit, of everything that is frozen."""
    for net in (Net(), Net(Paper()), prepare_qat(fused(), inplace=True)):
        net(X)
        twin = freeze(net).module
        assert torch.equal(copy.deepcopy(net).eval().apply(torch.ao.quantization.disable_observer)(X), twin(X))


@pytest.mark.parametrize("make", [lambda: prepare_qat(fused(), inplace=True), lambda: prepare_qat_fx(Eager().train(), get_default_qat_qconfig_mapping("qnnpack"), (X,))], ids=["eager", "fx"])
def test_torch_ao(make):
    net = make()
    net(X)
    model = qlint.load(net, example_inputs=(X,))
    assert quantizers(model)["conv", "w"] == [("int8", 8, "tensor", "fake-quant")] and quantizers(model)["conv", "x"] == [("uint8", 8, "tensor", "fake-quant")]
    assert not model.observers


def test_observers_quantize_nothing():
    net = Eager().eval()
    net.qconfig = ptq("qnnpack")
    prepare(net, inplace=True)
    net(X)
    model = qlint.load(net, example_inputs=X)
    assert not quantizers(model) and "quant.activation_post_process" in model.observers


def test_quantizers_that_are_switched_off():
    net = prepare_qat(fused(), inplace=True)
    net(X)
    report = qlint.check(net.apply(disable_fake_quant), example_inputs=X)
    assert not quantizers(report.results[0].canonical)
    assert "fake-quant-disabled" in {finding.rule for finding in report.findings}


def test_what_does_more_than_a_quantizer_is_named():
    assert "a.weight_fake_quant: computes something else than a plain quantizer" in notes(qlint.load(Net(weight=Tanh(4, 8)), example_inputs=X))


def test_scales_that_are_rounded_to_powers_of_two_on_the_way():
    """TQT's: the attribute holds 0.3, and what is computed with is the next power of two."""

    class Tqt(Learned):
        def forward(self, x):
            scale = 2.0 ** self.scale.detach().abs().log2().ceil()
            return (x / scale).round().clamp(self.quant_min, self.quant_max) * scale

    net = Net(weight=Tqt(4))
    net.a.weight_fake_quant.scale.data.fill_(0.3)
    q = qlint.load(net, example_inputs=X).by_kind["conv"][0].uses["w"].quantizers[0]
    assert q.scale == (0.5,) and "computes something else" not in notes(qlint.load(net, example_inputs=X))


def test_what_has_no_grid_is_named():
    class Logarithmic(FakeQuantizeBase):
        def forward(self, x):
            return x if self.fake_quant_enabled[0] == 1 and float(x.sum()) > 1e9 else x * 0

        def calculate_qparams(self):
            raise NotImplementedError

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = Logarithmic()

        def forward(self, x):
            return self.log(x) if self.log(x).sum() > 0 else [self.log][1](x)

    (error,) = qlint.check(Wrapped(), example_inputs=X).errors
    assert "log (Logarithmic): on no grid that can be frozen" in error.hint


def test_what_only_looks_like_a_quantizer_is_left_alone():
    """It multiplies by two: frozen to a plain quantizer it would be another network."""
    net = Net(Paper(factor=2.0))
    assert "between" not in freeze(net).quantizers
    assert qlint.check(Net(Paper()), example_inputs=X).results and "between" in freeze(Net(Paper())).quantizers


def test_fixed_and_shared_fake_quantizers():
    shared = FakeQuantize(observer=MinMaxObserver, quant_min=0, quant_max=127)
    net = nn.Sequential(shared, nn.Conv2d(3, 8, 3), shared)
    net(X)
    frozen = freeze(net)
    assert frozen.module[0] is frozen.module[2] and frozen.quantizers == ["0"]
    q = next(q for _, q in qlint.load(net, example_inputs=X).quantizers())
    assert (q.qmin, q.qmax, q.bits) == (0, 127, 7)


def test_hooks_of_pytorch_are_followed_and_others_named():
    net = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 8, 3)), nn.ReLU())
    net[1].register_forward_hook(lambda module, inputs, output: output * 0)
    model = qlint.load(net, example_inputs=X)
    assert "1: has hooks of its own" in notes(model) and {"conv", "relu"} <= {op.kind for op in model.ops}


def test_exported_scripted_and_onnx():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    for thing in (torch.export.export(net, (X,)), torch.jit.trace(net, X), torch.jit.script(net), torch.export.export(net, (X,)).module()):
        model = qlint.load(thing, example_inputs=X)
        assert [op.kind for op in model.ops] == ["conv", "relu"], type(thing)
        assert model.ops[0].uses["w"].tensor.data.array().shape == (8, 3, 3, 3)  # still there, behind the files that were in between
    live, file = (qlint.check(one, backend="ort-cpu") for one in (onnx.load(RESNET), RESNET))
    assert live.results[0].model == "ModelProto" and live.results[0].summary == file.results[0].summary


def test_arguments_by_name_and_several_models():
    class Two(nn.Module):
        def forward(self, x, *, y):
            return x + y

    report = qlint.check([Two(), RESNET], example_inputs={"x": X, "y": X})
    assert [result.model for result in report.results] == ["Two", RESNET] and not report.errors
    assert qlint.compare(nn.Sequential(nn.ReLU()), ["snpe"], example_inputs=X).backends


@pytest.mark.parametrize("thing", [{"a": 1}, 3, None, torch.zeros(2), nn.Module], ids=["dict", "int", "None", "tensor", "class"])
def test_what_is_no_model(thing):
    with pytest.raises(ReadError, match=f"is a {type(thing).__name__}, which is no model") as caught:
        qlint.check(thing)
    assert "torch.nn.Module or GraphModule with example_inputs=" in caught.value.hint
    with pytest.raises(ReadError, match=r"which is no model"):
        qlint.load(thing)


def test_what_cannot_be_done_says_why():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no weights were loaded")

    (missing,) = qlint.check(nn.ReLU()).errors
    assert missing.model == "ReLU" and "example_inputs=(x,)" in missing.hint
    (broken,) = qlint.check(Broken(), example_inputs=X).errors
    assert "neither exported nor traced" in broken.message and "no weights were loaded" in broken.message


def test_nothing_is_printed(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        qlint.check(Net(Paper()), example_inputs=X)
    assert capfd.readouterr() == ("", "")
