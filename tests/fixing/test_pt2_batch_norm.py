"""Batch-norms in torch.export archives fold into what is in front of them, with `torch.export.load` as the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed

import qlint
from qlint.errors import QlintError
from qlint.fixing.arithmetic import real
from qlint.fixing.edits import Requantize
from qlint.fixing.pt2 import edited
from qlint.fixing.pt2_file import Document

quantized = torch.ops.quantized_decomposed


def grid(x, scale, zero=0, low=-128, high=127, dtype=torch.int8):
    return quantized.dequantize_per_tensor(quantized.quantize_per_tensor(x, scale, zero, low, high, dtype), scale, zero, low, high, dtype)


def channels(w, axis):
    others = [i for i in range(w.dim()) if i != axis]
    scale = w.detach().abs().amax(others) / 127
    zero = torch.zeros(scale.numel(), dtype=torch.int64)
    codes = quantized.quantize_per_channel(w, scale, zero, axis, -128, 127, torch.int8)
    return codes, scale, zero


class Stored(torch.nn.Module):
    """An operator whose weight is stored as integers, or quantized in the graph, and a batch-norm behind it."""

    def __init__(self, kind: str, form: str, *, bias: bool = True, group: int = 1, negative: bool = True, residue: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.form, self.group, self.residue = kind, form, group, residue
        shape = {"conv": (8, 4 // group, 3, 3), "transposed": (4, 8 // group, 3, 3), "linear": (8, 4)}[kind]
        self.axis = 1 if kind == "transposed" else 0
        weight = torch.randn(shape) * 0.1
        self.bias = torch.nn.Parameter(torch.randn(8)) if bias else None
        if form == "per-channel":
            codes, scale, zero = channels(weight, self.axis)
            for name, value in (("w", codes), ("scale", scale), ("zero", zero)):
                self.register_buffer(name, value)
        elif form == "per-tensor":
            self.register_buffer("w", quantized.quantize_per_tensor(weight, 0.003, 0, -128, 127, torch.int8))
        else:
            self.w = torch.nn.Parameter(weight)
        self.norm = (torch.nn.BatchNorm1d if kind == "linear" else torch.nn.BatchNorm2d)(8)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.uniform_(0.5, 1.5)
            self.norm.bias.normal_()
            if negative:
                self.norm.weight[1] *= -1
        if residue:
            self.register_buffer("divisor", torch.rand(8) + 0.5)

    def forward(self, x):
        x = grid(x, 0.03)
        w = self.w
        if self.form == "per-channel":
            w = quantized.dequantize_per_channel(w, self.scale, self.zero, self.axis, -128, 127, torch.int8)
        elif self.form == "per-tensor":
            w = quantized.dequantize_per_tensor(w, 0.003, 0, -128, 127, torch.int8)
        elif self.form == "in the graph":
            w = grid(w, 0.003)
        if self.kind == "conv":
            y = torch.nn.functional.conv2d(x, w, self.bias, padding=1, groups=self.group)
        elif self.kind == "transposed":
            y = torch.nn.functional.conv_transpose2d(x, w, self.bias, groups=self.group)
        else:
            y = torch.nn.functional.linear(x, w, self.bias)
        if self.residue:
            y = y / self.divisor.reshape(1, -1, 1, 1)
        return grid(self.norm(y), 0.05)


CASES = {
    "per channel": ("conv", "per-channel", {}), "per tensor": ("conv", "per-tensor", {}), "in the graph": ("conv", "in the graph", {}), "in float": ("conv", "float", {}),
    "without bias": ("conv", "per-channel", {"bias": False}), "grouped": ("conv", "per-channel", {"group": 2}), "depthwise": ("conv", "per-tensor", {"group": 4}),
    "transposed": ("transposed", "per-channel", {}), "transposed per tensor": ("transposed", "per-tensor", {"bias": False}), "transposed groups": ("transposed", "float", {"group": 2}),
    "linear": ("linear", "per-channel", {"bias": False}), "residue": ("conv", "per-channel", {"residue": True}),
}  # fmt: skip


def exported(module, path, shape):
    torch.export.save(torch.export.export(module.eval(), (torch.randn(shape),)), path)
    return path


def outputs(path, shape):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    return torch.export.load(path).module()(x).detach().numpy()


@pytest.mark.parametrize("case", CASES)
def test_batch_norms_fold(tmp_path, case):
    kind, form, more = CASES[case]
    shape = (2, 4) if kind == "linear" else (2, 4, 6, 6)
    path = exported(Stored(kind, form, **more), tmp_path / "model.pt2", shape)
    before = qlint.load(path)
    fixed = qlint.fix(path, "xnnpack")
    assert [change.applicability for change in fixed.changes] == ["safe"], fixed.refused
    after = qlint.load(fixed.output)
    assert not any(op.kind in ("batch_norm", "div") for op in after.ops)
    assert [op.kind for op in after.ops] == [op.kind for op in before.ops if op.kind not in ("batch_norm", "div", "reshape")]
    old, new = outputs(path, shape), outputs(fixed.output, shape)
    # The same numbers but for a step of the output's grid, where float32 rounds the other way now and then.
    assert np.abs(old - new).max() <= 0.05 * 1.001 and np.mean(old != new) < 0.01
    weights = [op.uses["w"] for op in after.ops if "w" in op.uses]
    assert [len(use.quantizers) for use in weights] == [0 if form == "float" else 1]
    if form == "per-channel":  # the integers stay, but for the sign of a channel whose factor is negative
        a, b = (next(op.uses["w"].tensor.data.array().astype(int) for op in model.ops if "w" in op.uses) for model in (before, after))
        assert np.array_equal(np.abs(a), np.abs(b))


def test_a_batch_norm_in_front_of_a_relu(tmp_path):
    """Pre-activation as in DenseNet: nothing in front that it could fold into, so that it becomes a depthwise convolution."""

    class Dense(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.norm, self.conv = torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 8, 1)
            with torch.no_grad():
                self.norm.running_mean.normal_()
                self.norm.weight.normal_()

        def forward(self, x):
            y = grid(torch.relu(grid(self.norm(grid(x, 0.03)), 0.03)), 0.02, -128)
            return grid(torch.nn.functional.conv2d(y, grid(self.conv.weight, 0.004), self.conv.bias), 0.05)

    path = exported(Dense(), tmp_path / "model.pt2", (2, 4, 6, 6))
    fixed = qlint.fix(path, "xnnpack", unsafe=True)
    assert fixed.output, fixed.refused
    kinds = [op.kind for op in qlint.load(fixed.output).ops]
    assert "batch_norm" not in kinds and kinds.count("conv") == 2
    assert np.abs(outputs(path, (2, 4, 6, 6)) - outputs(fixed.output, (2, 4, 6, 6))).max() < 0.5


class Residual(torch.nn.Module):
    """Float weights, and an add that reads a float."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        y = grid(torch.relu(self.one(grid(x, 0.03))), 0.03, -128)
        return grid(self.two(y) + y, 0.06)


@pytest.mark.parametrize("calibrated", [False, True])
def test_quantizers_are_added(tmp_path, calibrated):
    """Ranges from bounds, or from data that run through torch: those are nearer to the original."""
    shape = (2, 4, 6, 6)
    path = exported(Residual(), tmp_path / "model.pt2", shape)
    np.save(tmp_path / "data.npy", np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32))
    given = {"calibration": tmp_path / "data.npy"} if calibrated else {}
    if calibrated:
        with pytest.raises(QlintError, match="executes") as refused:
            qlint.fix(path, "xnnpack", unsafe=True, **given)
        assert "--trust" in refused.value.hint
    fixed = qlint.fix(path, "xnnpack", unsafe=True, trust=True, **given)
    (progress,) = fixed.progress
    assert (progress.before, progress.after) == (0, progress.ops)
    assert any(("minmax" if calibrated else "interval bounds") in change.text for change in fixed.changes)
    assert fixed.numbers is not None and fixed.numbers.runtime.startswith("torch") and fixed.numbers.sqnr > (25 if calibrated else 15)
    assert all(use.quantizers for op in qlint.load(fixed.output).ops if op.kind in ("conv", "add") for role, use in op.uses.items() if role != "b")
    assert np.abs(outputs(path, shape) - outputs(fixed.output, shape)).max() < 1


@pytest.mark.parametrize("form", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("regrain", [False, True])
def test_stored_weights_are_written_on_other_scales(tmp_path, form, regrain):
    """Powers of two: the integers of the weights and their scales, which are tensors per channel; and one grid in place of several, or several in place of one."""
    module = Stored("conv", form)
    module.norm = torch.nn.Identity()
    path = exported(module, tmp_path / "model.pt2", (2, 4, 6, 6))
    document, model = Document(path), qlint.load(path)
    use = next(op for op in model.ops if op.kind == "conv").uses["w"]
    q = use.quantizers[0]
    new = replace(q, scale=tuple(2.0 ** np.ceil(np.log2(s)) for s in q.scale))
    if regrain and form == "per-channel":
        new = replace(new, scale=(max(new.scale),), zero_point=(0,), granularity="tensor", axis=None, scale_shape=(), zero_point_shape=())
    elif regrain:
        new = replace(new, scale=new.scale * 8, zero_point=(0,) * 8, granularity="channel", axis=0, scale_shape=(8,), zero_point_shape=(8,))
    edited(document, model, [Requantize({id(use): (use, (new,))})])
    with (tmp_path / "fixed.pt2").open("wb") as out:
        document.write(out)
    after = next(op for op in qlint.load(tmp_path / "fixed.pt2").ops if op.kind == "conv").uses["w"]
    assert after.quantizers[0].scale == new.scale and after.quantizers[0].power_of_two
    old, fresh = (real(one.tensor.data, one.quantizers) for one in (use, after))
    assert np.abs(old - fresh).max() <= max(new.scale) / 2 * 1.001
    assert np.abs(outputs(path, (2, 4, 6, 6)) - outputs(tmp_path / "fixed.pt2", (2, 4, 6, 6))).max() < 0.2
