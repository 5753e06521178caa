"""Networks that torchao quantized, as torch.export saves them: against `torch.export.load`, and what their quantizers are."""

import logging
import warnings
from unittest.mock import patch

import pytest

torch = pytest.importorskip("torch")
logging.disable(logging.WARNING)  # torchao complains about kernels for GPUs
torchao = pytest.importorskip("torchao", reason="PT2E and affine quantization live in torchao")
logging.disable(logging.NOTSET)
from export_against import same_program  # noqa: E402
from torch import nn  # noqa: E402
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig, PerGroup, quantize_  # noqa: E402
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer, get_default_x86_inductor_quantization_config  # noqa: E402
from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig  # noqa: E402
from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config  # noqa: E402
from torchao.utils import unwrap_tensor_subclass  # noqa: E402

import qlint  # noqa: E402
from qlint.readers.live_freeze import freeze  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
torch.manual_seed(0)
INTEGER = "torchao.kernel.intmm"  # writes products of integers as the exporter's CPU likes them
IMAGES, ROWS = torch.randn(2, 3, 8, 8), torch.randn(2, 64)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two, self.three = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.one(x)))
        return self.head(torch.relu(self.three(self.two(x)) + x).mean((2, 3)))


def pt2e(quantizer):
    prepared = prepare_pt2e(torch.export.export(Residual().eval(), (IMAGES,)).module(check_guards=False), quantizer)
    prepared(IMAGES)
    return convert_pt2e(prepared)


def qat():
    """Prepared for training and not converted, with fake quantizers."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).train()
    prepared = prepare_qat_pt2e(torch.export.export(module, (IMAGES,)).module(check_guards=False), xnnpack(is_qat=True))
    prepared(IMAGES)
    return prepared


def xnnpack(**options):
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(**options))


def affine(config):
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32)).eval()
    quantize_(module, config)
    return unwrap_tensor_subclass(module)


MODELS = {
    "x86": (lambda: pt2e(X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())), IMAGES),
    "xnnpack": (lambda: pt2e(xnnpack(is_per_channel=True)), IMAGES),
    "xnnpack dynamic": (lambda: pt2e(xnnpack(is_per_channel=True, is_dynamic=True)), IMAGES),
    "qat": (qat, IMAGES),
    "int8 dynamic": (lambda: affine(Int8DynamicActivationInt8WeightConfig()), ROWS),
    "int8 dynamic, vnni": (lambda: affine(Int8DynamicActivationInt8WeightConfig()), ROWS),
    "int4 weights": (lambda: affine(IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32))), ROWS),
    "int4 dynamic": (lambda: affine(Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32))), ROWS),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchao")

    def save(name):
        path = folder / f"{name}.pt2"
        if not path.exists():
            make, inputs = MODELS[name]
            with warnings.catch_warnings(), patch(f"{INTEGER}._cpu_is_vnni_supported", lambda: "vnni" in name), patch(f"{INTEGER}._cpu_is_amx_tile_supported", lambda: False):
                warnings.simplefilter("ignore")
                torch.export.save(torch.export.export(make(), (inputs,)), path)
        return path

    return save


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_and_argument(name, saved):
    same_program(saved(name))


def grids(model, kind):
    """(role, storage, granularity, axis, block, levels) of the quantizers at ops of a kind."""
    return {(role, q.storage, q.granularity, q.axis, q.block_size, q.levels) for op in model.ops if op.kind == kind for role, use in op.uses.items() for q in use.quantizers}


def test_what_two_quantizers_say_of_one_network(saved):
    """Inductor on x86 has uint8 activations, XNNPACK int8 ones, and both int8 weights per channel; XNNPACK quantizes both inputs of the addition."""
    x86, other = qlint.load(saved("x86")), qlint.load(saved("xnnpack"))
    assert grids(x86, "conv") == {("x", "uint8", "tensor", None, 0, 256), ("w", "int8", "channel", 0, 0, 256)}
    assert grids(other, "conv") == {("x", "int8", "tensor", None, 0, 256), ("w", "int8", "channel", 0, 0, 255)}
    assert [op.kind for op in x86.ops] == [op.kind for op in other.ops]
    assert len(grids(other, "add")) == 2 and not any(use.tensor.producer.kind == "conv" and use.quantizers for op in x86.ops if op.kind == "add" for use in op.uses.values())


def test_prepared_for_training(saved):
    model = qlint.load(saved("qat"))
    found = [q for _, q in model.quantizers()]
    assert found and all(q.origin == "fake-quant" and q.observing and not q.uncalibrated for q in found)
    assert "observer-enabled" in {finding.rule for finding in qlint.check(saved("qat")).findings}


@pytest.mark.parametrize(("name", "x", "w"), [
    ("int4 weights", None, ("block", 1, 32, 16)), ("int4 dynamic", ("int8", True), ("block", 1, 32, 16)), ("xnnpack dynamic", ("int8", True), ("channel", 0, 0, 255)),
])  # fmt: skip
def test_weights_in_groups_and_activations_that_are_measured(name, x, w, saved):
    linear = next(op for op in qlint.load(saved(name)).ops if op.kind == "linear")
    (weight,) = linear.uses["w"].quantizers
    assert (weight.granularity, weight.axis, weight.block_size, weight.levels) == w and weight.constant
    assert [(q.storage, q.dynamic) for q in linear.uses["x"].quantizers] == ([] if x is None else [x])


@pytest.mark.parametrize("name", ["int8 dynamic", "int8 dynamic, vnni"])
def test_integers_from_end_to_end(name, saved):
    """int8 activations, measured for each row, times int8 weights; scales are multiplied afterwards. Where the exporter's CPU has VNNI the codes are shifted to uint8."""
    product = next(op for op in qlint.load(saved(name)).ops if op.kind == "matmul")
    (x,) = product.uses["x"].quantizers
    codes = ("uint8", 0, 255) if "vnni" in name else ("int8", -128, 127)
    assert product.native == "aten::_int_mm" and (x.storage, x.qmin, x.qmax) == codes and (x.granularity, x.axis, x.dynamic) == ("channel", 0, True)
    assert product.uses["w"].tensor.dtype == "int8" and product.y.dtype == "int32"


PER_TOKEN = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)


@pytest.mark.parametrize(("activation", "weight", "w"), [
    (PER_TOKEN, IntxFakeQuantizeConfig(torch.int4, group_size=32), ("block", 1, 32, 16)),
    (PER_TOKEN, IntxFakeQuantizeConfig(torch.int4, group_size=32, is_symmetric=False), ("block", 1, 32, 16)),
    (None, IntxFakeQuantizeConfig(torch.int8, "per_channel"), ("channel", 0, 0, 256)),
], ids=["symmetric", "asymmetric", "weights"])  # fmt: skip
def test_live_modules_in_training(activation, weight, w):
    """What torchao prepares for training is frozen to what it converts to: the numbers are the module's own."""
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32))
    quantize_(module, QATConfig(activation_config=activation, weight_config=weight, step="prepare"))
    module(ROWS)
    module[0].weight.data *= 1.5  # as an optimizer does: the scales of the last run are no longer those
    assert torch.equal(freeze(module).module(ROWS), module.eval()(ROWS))
    report = qlint.check(module, example_inputs=ROWS)
    linear = next(op for op in report.results[0].canonical.ops if op.kind == "linear")
    (q,) = linear.uses["w"].quantizers
    assert (q.granularity, q.axis, q.block_size, q.levels) == w and q.constant
    assert [(q.storage, q.dynamic) for q in linear.uses["x"].quantizers] == ([("int8", True)] if activation else [])
    assert not {"quantizer-shape-mismatch", "quantize-dequantize-mismatch"} & {finding.rule for finding in report.findings}
