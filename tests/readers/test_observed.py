"""What observers saw and do, by artefact: zero points that were left behind, ranges that still move, quantizers that were never run.

The module is calibrated by PyTorch's own observer; then its scale is rounded to a power of two and the zero point kept, as MQBench's
`pot_scale` does.
"""

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "passes"))
import training  # noqa: E402
from torch import nn  # noqa: E402
from torch.ao.quantization import FakeQuantize, FusedMovingAvgObsFakeQuantize, MinMaxObserver, PerChannelMinMaxObserver, disable_observer, enable_observer  # noqa: E402

import qlint  # noqa: E402
from qlint.lint.testing import Graph  # noqa: E402
from qlint.passes.encodings import merge  # noqa: E402
from qlint.readers.encodings import read_encodings  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
X = torch.rand(1, 3, 8, 8) * 1.687 - 0.297
X.view(-1)[:2] = torch.tensor([-0.297, 1.39])
ARTEFACTS = ("live", *training.ARTEFACTS)


class Net(nn.Module):
    """An activation per tensor and a weight per channel, both asymmetric."""

    def __init__(self):
        super().__init__()
        self.act = FakeQuantize(observer=MinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8, qscheme=torch.per_tensor_affine)
        self.w = FakeQuantize(observer=PerChannelMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8, qscheme=torch.per_channel_affine, ch_axis=0)
        self.weight = nn.Parameter(torch.rand(4, 3, 3, 3) * 2 - 0.6)

    def forward(self, x):
        return torch.relu(nn.functional.conv2d(self.act(x), self.w(self.weight)))


def calibrated(rounded=True, again=False):
    torch.manual_seed(3)
    net = Net()
    net(X)
    net.apply(disable_observer)
    for fake in (net.act, net.w) if rounded else ():
        fake.scale.copy_(2.0 ** fake.scale.log2().round())
        if again:
            low = fake.activation_post_process.min_val
            fake.zero_point.copy_((-low / fake.scale).round().int())
    return net.eval()


def stale(subject, **how):
    return {site.port: (site.found, site.wanted) for finding in qlint.check(subject, **how).findings if finding.rule == "stale-zero-point" for site in finding.sites}


def plain(fake):
    """What a fake quantizer computes, with its present numbers."""
    scale, zero_point = fake.scale.clone(), fake.zero_point.clone()
    if scale.numel() > 1:
        return lambda x: torch.fake_quantize_per_channel_affine(x, scale, zero_point, 0, 0, 255)
    scale, zero_point = float(scale), int(zero_point)
    return lambda x: torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def kept(net, artefact, tmp_path):
    """What to check: the module itself, or a file of it."""
    if artefact == "live":
        return net, {"example_inputs": X}
    path = tmp_path / f"net{training.ARTEFACTS[artefact]}"
    if artefact == "pt2":  # FakeQuantize itself does not export: frozen, the observers stay beside it
        for fake in (net.act, net.w):
            fake.forward = plain(fake)
    training.save(net, artefact, path)
    return path, {}


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_zero_points_that_were_left_behind(artefact, tmp_path):
    net = calibrated()
    subject, how = kept(net, artefact, tmp_path)
    found = stale(subject, **how)
    belongs = [round(-float(low) / float(scale)) for low, scale in zip(net.w.activation_post_process.min_val, net.w.scale, strict=True)]
    assert found["w"][1] in belongs and abs(found["w"][0] - found["w"][1]) > 1
    if artefact == "onnx":  # nothing of the observers is in it; the weight itself is
        assert "x" not in found
    else:
        assert found["x"] == (45, 38)


@pytest.mark.parametrize("artefact", ARTEFACTS)
@pytest.mark.parametrize("how", [{"rounded": False}, {"again": True}], ids=["calibrated", "computed again"])
def test_zero_points_of_their_own_scale(artefact, how, tmp_path):
    subject, given = kept(calibrated(**how), artefact, tmp_path)
    assert stale(subject, **given) == {}


def test_in_an_encodings_file(tmp_path):
    """AIMET's form, with the range that was calibrated: stale, and not inconsistent as well."""
    g = Graph()
    model = g.model(g.op("relu", g.conv(g.input())))
    entry = {"bitwidth": 8, "is_symmetric": "False", "scale": 2**-7, "offset": -45, "min": -0.297, "max": 1.39}
    (tmp_path / "net.encodings").write_text(json.dumps({"version": "0.6.1", "activation_encodings": {"x": [entry]}, "param_encodings": {}}))
    report = qlint.check(merge(model, read_encodings(tmp_path / "net.encodings")))
    rules = {finding.rule for finding in report.findings}
    assert "stale-zero-point" in rules and "inconsistent-encoding" not in rules


def test_observers_of_live_modules():
    """On or off, and whether they saw anything: as PyTorch has it."""

    def rules(net):
        return {finding.rule for finding in qlint.check(net, example_inputs=X).findings} & {"observer-enabled", "fake-quant-disabled", "training-mode", "uncalibrated-quantizer"}

    net = calibrated(rounded=False)
    assert rules(net) == set()
    assert rules(net.train()) == {"training-mode"}
    net.eval().apply(enable_observer)
    assert rules(net) == {"observer-enabled"}
    net.act.disable_fake_quant()
    net.act.disable_observer()
    net.w.disable_observer()
    assert rules(net) == {"fake-quant-disabled"}
    assert "uncalibrated-quantizer" in rules(Net().eval())


def test_fused_observers_of_live_modules():
    net = nn.Sequential(FusedMovingAvgObsFakeQuantize(observer=torch.ao.quantization.MovingAverageMinMaxObserver, quant_min=0, quant_max=255), nn.Conv2d(3, 4, 3)).eval()
    net(X)
    quantizer = next(q for _, q in qlint.load(net, example_inputs=X).quantizers())
    ((low, high),) = quantizer.observed
    assert quantizer.observing and (low, high) == (pytest.approx(-0.297), pytest.approx(1.39))
    net.apply(disable_observer)
    assert not next(q for _, q in qlint.load(net, example_inputs=X).quantizers()).observing
