"""`qlint.fix` on torch.export archives, with `torch.export.load` as the judge."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed

import qlint

quantized = torch.ops.quantized_decomposed


class Net(torch.nn.Module):
    """Two convolutions on signed activations, the first with a scale that has drifted from a power of two."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)

    @staticmethod
    def grid(x, scale, zero, low=-128, high=127, dtype=torch.int8):
        return quantized.dequantize_per_tensor(quantized.quantize_per_tensor(x, scale, zero, low, high, dtype), scale, zero, low, high, dtype)

    def forward(self, x):
        x = self.grid(x, 0.03, 5)
        w = self.grid(self.one.weight, 0.002, 0)
        y = self.grid(torch.nn.functional.conv2d(x, w, self.one.bias, padding=1), 0.02, 3)
        return self.grid(torch.nn.functional.conv2d(y, self.grid(self.two.weight, 0.002, 0), self.two.bias, padding=1), 0.02, -7)


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Net().eval(), (torch.randn(1, 3, 8, 8),)), made)
    return made


def run(path):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32))
    return torch.export.load(path).module()(x).detach().numpy()


def test_signed_activations_become_unsigned_bit_by_bit(path):
    fixed = qlint.fix(path, "qnnpack")
    assert {change.applicability for change in fixed.changes} == {"safe"}
    assert [(one.before, one.after, one.outcome_after) for one in fixed.progress] == [(0, 2, "runs")]
    assert np.array_equal(run(path), run(fixed.output))


def test_scales_become_powers_of_two(path):
    fixed = qlint.fix(path, "vitis-dpu", unsafe=True)
    assert all(q.power_of_two for _, q in qlint.load(fixed.output).quantizers())
    assert np.abs(run(path) - run(fixed.output)).max() <= 3 * 2**-5


def test_the_rest_of_the_archive_stays(path):
    """Members in their order, uncompressed, aligned to 64 bytes, all but the program byte by byte."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(qlint.fix(path, "qnnpack").output) as new:
        assert old.namelist() == new.namelist() and new.testzip() is None
        changed = [name for name in old.namelist() if old.read(name) != new.read(name)]
        assert [name.rpartition("/")[2] for name in changed] == ["model.json"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in new.infolist())
        raw = Path(new.filename).read_bytes()
        for info in new.infolist():
            name, extra = struct.unpack_from("<HH", raw, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % 64 == 0


class Partly(torch.nn.Module):
    """Fake quantizers as operators of aten, weights in float, and a split whose parts are added."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(4, 4, 1)

    def forward(self, x):
        fake = torch.fake_quantize_per_tensor_affine
        left, right = fake(torch.relu(self.one(fake(x, 0.03, 0, -128, 127))), 0.02, 0, 0, 255).chunk(2, 1)
        return fake(self.two(fake(left + right, 0.04, 0, 0, 255)), 0.02, -3, -128, 127)


def test_calls_of_fake_quantizers_and_parts_of_a_split(tmp_path):
    made = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Partly().eval(), (torch.randn(1, 3, 8, 8),)), made)
    fixed = qlint.fix(made, "xnnpack", unsafe=True)
    (progress,) = fixed.progress
    assert progress.before < progress.after, fixed.refused
    written = qlint.load(fixed.output)
    assert all(use.quantizers for op in written.ops if op.kind in ("conv", "add") for use in op.uses.values() if use.role != "b")
    assert {q.storage for _, q in written.quantizers()} == {"int8"}
    assert np.abs(run(made) - run(fixed.output)).max() <= 3 * 0.02


def test_weights_get_a_scale_for_each_channel(tmp_path):
    """Scales per channel are stored in float32, those of a tensor as Python numbers."""
    made = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Partly().eval(), (torch.randn(1, 3, 8, 8),)), made)
    fixed = qlint.fix(made, "x86-inductor", unsafe=True)
    assert not any("as planned" in one.why for one in fixed.refused), fixed.refused


def test_a_fixed_file_needs_no_further_fix(tmp_path):
    made = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Partly().eval(), (torch.randn(1, 3, 8, 8),)), made)
    assert not qlint.fix(qlint.fix(made, "xnnpack", unsafe=True).output, "xnnpack", unsafe=True).changes
