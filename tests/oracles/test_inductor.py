"""torch.compile on x86 as a judge, and qlint beside it on networks that PT2E's own spelling was given."""

import sys
from pathlib import Path
from unittest.mock import patch

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes.exported import corpora  # noqa: E402

from qlint.api import load  # noqa: E402
from qlint.judge import judge  # noqa: E402
from qlint.oracles import judge as ask  # noqa: E402
from qlint.profile import load as load_profile  # noqa: E402

ONEDNN = torch.ops.onednn
SAME = {"absorbed": "integer"}


def linear(x, w, zero=0):
    """Sums of products by the kernel that Inductor calls, and exactly."""
    rows = len(w)
    packed = ONEDNN.qlinear_prepack(w, list(x.shape))
    made = ONEDNN.qlinear_pointwise(x, 1.0, 0, packed, torch.ones(rows), torch.full((rows,), zero), None, 1.0, 0, torch.float32, "none", [], "")
    return made[0, 0].item(), (x[0].long() * (w[0].long() - zero)).sum().item()


def conv(x, w, zero=0):
    packed = ONEDNN.qconv_prepack(w, torch.ones(len(w)), 1.0, 0, [1, 1], [0, 0], [1, 1], 1, list(x.shape))
    made = ONEDNN.qconv_pointwise(
        x, 1.0, 0, packed, torch.ones(len(w)), torch.full((len(w),), zero), None, [1, 1], [0, 0], [1, 1], 1, 1.0, 0, torch.float32, "none", [], ""
    )  # fmt: skip
    return made[0, 0, 0, 0].item(), (x[0, :, 0, 0].long() * (w[0, :, 0, 0].long() - zero)).sum().item()


@pytest.mark.skipif(torch.cpu._is_vnni_supported(), reason="a CPU without VNNI saturates")
@pytest.mark.parametrize(("layer", "shape"), [(linear, ()), (conv, (1, 1))])
def test_saturation(layer, shape):
    """127 times 255 in pairs does not fit into 16 bits; half of it does."""
    x = torch.full((2, 64, *shape), 255, dtype=torch.uint8)
    off, exact = layer(x, torch.full((8, 64, *shape), 127, dtype=torch.int8))
    assert abs(off - exact) > exact / 4
    half, exact = layer(x, torch.full((8, 64, *shape), 63, dtype=torch.int8))
    assert half == exact


@pytest.mark.parametrize(("layer", "shape"), [(linear, ()), (conv, (1, 1))])
def test_zero_points_of_weights_are_ignored(layer, shape):
    x, w = torch.full((2, 64, *shape), 100, dtype=torch.uint8), torch.full((8, 64, *shape), 10, dtype=torch.int8)
    assert len(set(layer(x, w))) == 1
    given, exact = layer(x, w, 5)
    assert given == 2 * exact


def test_types_of_activations():
    """A conv and max pooling take unsigned integers alone, a linear layer both, and nothing takes 16 bits."""
    w = torch.ones((8, 64), dtype=torch.int8)
    assert len(set(linear(torch.full((2, 64), -3, dtype=torch.int8), w))) == 1
    with pytest.raises(RuntimeError, match="uint8"):
        linear(torch.ones((2, 64), dtype=torch.int16), w)
    for dtype in (torch.int8, torch.int16):
        with pytest.raises(RuntimeError, match="uint8"):
            conv(torch.ones((1, 64, 2, 2), dtype=dtype), w[:, :, None, None])
        with pytest.raises(NotImplementedError):
            torch.ops.quantized.max_pool2d(torch.zeros((1, 8, 2, 2), dtype=dtype), [2, 2], [2, 2], [0, 0], [1, 1], False)
    torch.ops.quantized.max_pool2d(torch.zeros((1, 8, 2, 2), dtype=torch.uint8), [2, 2], [2, 2], [0, 0], [1, 1], False)


def compared(path):
    """(qlint, Inductor) where they differ, and how many operators were compared."""
    answer, verdict = ask(path, "x86-inductor", "avx2"), judge(load(path), load_profile("x86-inductor@avx2"))
    assert answer.outcome == verdict.outcome == "runs", answer.reasons
    both = {op.label: (verdict.where(op), answer.placements[op.label]) for op in verdict.model.ops if answer.placements.get(op.label, "skip") != "skip"}
    return {label: pair for label, pair in both.items() if SAME.get(pair[0], pair[0]) != SAME.get(pair[1], pair[1])}, len(both)


def test_a_network_of_the_quantizer(tmp_path):
    """What X86InductorQuantizer places, Inductor finds."""
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer, get_default_x86_inductor_quantization_config

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.one, self.two, self.end = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Linear(8, 32)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            x = torch.relu(self.two(torch.nn.functional.hardtanh(self.one(x))) + x)
            return self.end(torch.flatten(torch.nn.functional.adaptive_avg_pool2d(x, 1), 1))

    images = (torch.randn(2, 3, 10, 10),)
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(Block().eval(), images).module(), quantizer)
    prepared(*images)
    torch.export.save(torch.export.export(convert_pt2e(prepared), images), tmp_path / "block.pt2")
    differ, count = compared(tmp_path / "block.pt2")
    assert count >= 8 and differ == {}


@pytest.mark.parametrize("vnni", [True, False], ids=["exported with VNNI", "exported without"])
def test_products_of_integers(tmp_path, vnni):
    """torchao multiplies integers itself, and shifts them to uint8 where the CPU of the export has VNNI."""
    pytest.importorskip("torchao")
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import unwrap_tensor_subclass

    network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32)).eval()
    quantize_(network, Int8DynamicActivationInt8WeightConfig())
    with patch("torchao.kernel.intmm._cpu_is_vnni_supported", lambda: vnni), patch("torchao.kernel.intmm._cpu_is_amx_tile_supported", lambda: False):
        torch.export.save(torch.export.export(unwrap_tensor_subclass(network), (torch.randn(2, 64),)), tmp_path / "network.pt2")
    differ, count = compared(tmp_path / "network.pt2")
    assert count >= 10 and differ == {}


@pytest.mark.parametrize("weights", [("first", "second"), ("first", "first")], ids=["two weights", "one weight"])
@pytest.mark.parametrize("act", ["relu", "hardswish"])
def test_a_result_that_one_reader_quantizes_and_another_takes_in_float(tmp_path, act, weights):
    """Two convs with one weight are left in float."""
    import torch.ao.quantization.fx._decomposed

    pair = torch.ops.quantized_decomposed

    def on_grid(x):
        grid = (0.02, 100, 0, 255, torch.uint8)
        return pair.dequantize_per_tensor(pair.quantize_per_tensor(x, *grid), *grid)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("first", "second"):
                self.register_buffer(name, torch.randint(-60, 60, (8, 8, 3, 3), dtype=torch.int8))
            self.register_buffer("scales", torch.full((8,), 0.01))
            self.register_buffer("zeros", torch.zeros(8, dtype=torch.int64))

        def conv(self, x, codes):
            w = pair.dequantize_per_channel(codes, self.scales, self.zeros, 0, -128, 127, torch.int8)
            return torch.nn.functional.conv2d(on_grid(x), w)

        def forward(self, x):
            one, two = (getattr(self, name) for name in weights)
            y = getattr(torch.nn.functional, act)(self.conv(x, one))
            return self.conv(y, two), torch.sigmoid(y)

    torch.export.save(torch.export.export(Network().eval(), (torch.randn(1, 8, 10, 10),)), tmp_path / "network.pt2")
    differ, count = compared(tmp_path / "network.pt2")
    assert count >= 4 and differ == {}


def test_an_exception_is_a_refusal(tmp_path):
    """Inductor hands signed activations to a kernel that does not take them."""
    path = tmp_path / "model.pt2"
    path.write_bytes(corpora._weighted("conv2d", "s8", corpora.PLAIN.but(x="s8", y="s8")).model)
    answer, verdict = ask(path, "x86-inductor", "avx2"), judge(load(path), load_profile("x86-inductor"))
    assert answer.outcome == verdict.outcome == "refused" and "uint8" in answer.reasons[0]
    assert answer.placements == {"conv2d": "rejected"}
