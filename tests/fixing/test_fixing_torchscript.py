"""`qlint.fix` on TorchScript archives, with `torch.jit.load` as the judge: numbers where they stand, nothing executed before."""

from __future__ import annotations

import struct
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import qlint
from qlint.fixing.arithmetic import WriteError
from qlint.fixing.edits import Requantize
from qlint.fixing.pickle_numbers import spans, with_numbers
from qlint.fixing.torchscript import Document, edited

warnings.filterwarnings("ignore", category=DeprecationWarning)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


grid, conv = torch.fake_quantize_per_tensor_affine, torch.nn.functional.conv2d


class Literals(torch.nn.Module):
    """Two convolutions whose quantizers have their numbers in the code."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = torch.relu(conv(grid(x, 0.03, 0, -128, 127), grid(self.one.weight, 0.002, 0, -128, 127), self.one.bias, padding=1))
        y = torch.relu(conv(grid(y, 0.02, 0, 0, 255), grid(self.two.weight, 0.0021, 0, -128, 127), self.two.bias, padding=1))
        return grid(y, 0.024, -3, -128, 127)


class Buffers(torch.nn.Module):
    """A fake quantizer of PyTorch's own, trained a little, in front of a linear."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        from torch.ao.quantization import FusedMovingAvgObsFakeQuantize, MovingAverageMinMaxObserver

        self.fq = FusedMovingAvgObsFakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
        self.wq = FusedMovingAvgObsFakeQuantize(
            MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=torch.qint8, qscheme=torch.per_tensor_symmetric
        )  # fmt: skip
        self.linear = torch.nn.Linear(8, 4)
        self.out = FusedMovingAvgObsFakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)

    def forward(self, x):
        return self.out(torch.nn.functional.linear(self.fq(x), self.wq(self.linear.weight), self.linear.bias))


def saved(module, path: Path, x=X, *, script: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module) if script else torch.jit.trace(module, x), path)
    return path


def run(path, x=X):
    return torch.jit.load(path)(x).detach()


@pytest.mark.parametrize("script", [False, True])
def test_literals_in_the_code(tmp_path, script):
    """What comes out computes as the module would with the new numbers in its source."""
    path = saved(Literals().eval(), tmp_path / "model.pt", script=script)
    fixed = qlint.fix(path, "vitis-dpu", unsafe=True)
    assert all(q.power_of_two and q.storage == "int8" for _, q in qlint.load(fixed.output).quantizers())
    assert fixed.progress[0].after > fixed.progress[0].before

    class Expected(Literals):
        def forward(self, x):
            scales = iter([use.quantizers[0].scale[0] for op in qlint.load(fixed.output).ops if op.kind == "conv" for use in (op.uses["x"], op.uses["w"])])
            y = torch.relu(conv(grid(x, next(scales), 0, -128, 127), grid(self.one.weight, next(scales), 0, -128, 127), self.one.bias, padding=1))
            y = torch.relu(conv(grid(y, next(scales), 0, -128, 127), grid(self.two.weight, next(scales), 0, -128, 127), self.two.bias, padding=1))
            return grid(y, qlint.load(fixed.output).outputs[0].quantizers[0].scale[0], 0, -128, 127)

    assert torch.equal(run(fixed.output), Expected().eval()(X))


@pytest.fixture
def trained(tmp_path):
    module = Buffers().train()
    for seed in range(3):
        module(torch.randn(5, 8, generator=torch.Generator().manual_seed(seed)))
    return module.eval()


def test_buffers_with_the_ranges_that_they_come_from(tmp_path, trained):
    """PyTorch's fused operator computes its scale from the observed range at every run: that has to be as planned, too."""
    trained.apply(torch.ao.quantization.disable_observer)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(9))
    path = saved(trained, tmp_path / "model.pt", x)
    fixed = qlint.fix(path, "vitis-dpu", unsafe=True)
    assert fixed.changes and all(q.power_of_two for _, q in qlint.load(fixed.output).quantizers())
    module = torch.jit.load(fixed.output)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert not torch.equal(module(x), run(path, x))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_observers_are_switched_off(tmp_path, trained):
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(9)) * 4
    path = saved(trained, tmp_path / "model.pt", x)
    assert any(finding.rule == "observer-enabled" for finding in qlint.check(path).findings)
    fixed = qlint.fix(path, unsafe=True)
    assert [change.rule for change in fixed.changes] == ["observer-enabled"]
    assert not any(finding.rule == "observer-enabled" for finding in qlint.check(fixed.output).findings)
    module = torch.jit.load(fixed.output)
    first = module(x)
    module(x * 10)  # would have moved the ranges
    assert torch.equal(first, module(x))


def test_attributes_in_the_pickle(tmp_path):
    """Scripted quantized modules have scale and zero point as attributes."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.zero = 0.1, 3
            self.linear = torch.nn.Linear(8, 4)

        def forward(self, x):
            return self.linear(torch.dequantize(torch.quantize_per_tensor(x, self.scale, self.zero, torch.quint8)))

    x = torch.randn(5, 8)
    path = saved(Net().eval(), tmp_path / "model.pt", x, script=True)
    document, model = Document(path), qlint.load(path)
    use = next(op for op in model.ops if op.kind == "linear").uses["x"]
    edited(document, model, [Requantize({id(use): (use, (replace(use.quantizers[0], scale=(0.25,), zero_point=(200,)),))})])
    with (tmp_path / "fixed.pt").open("wb") as out:
        document.write(out)
    changed = torch.jit.load(tmp_path / "fixed.pt")
    assert (changed.scale, changed.zero) == (0.25, 200)
    net = torch.jit.load(path)
    net.scale, net.zero = 0.25, 200
    assert torch.equal(changed(x), net(x))


def test_the_rest_of_the_archive_stays(tmp_path):
    """Members in their order, compressed as before, data aligned to 64 bytes, all but the code byte by byte."""
    path = saved(Literals().eval(), tmp_path / "model.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(qlint.fix(path, "vitis-dpu", unsafe=True).output) as new:
        assert old.namelist() == new.namelist() and new.testzip() is None
        assert [info.compress_type for info in old.infolist()] == [info.compress_type for info in new.infolist()]
        changed = [name.partition("/")[2] for name in old.namelist() if old.read(name) != new.read(name)]
        assert changed and all(name.startswith("code/") and name.endswith(".py") for name in changed)
        raw = Path(new.filename).read_bytes()
        for info in new.infolist():
            name, extra = struct.unpack_from("<HH", raw, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_a_number_that_two_quantizers_share_is_refused_to_one(tmp_path):
    class Grid(torch.nn.Module):
        def forward(self, x):
            return grid(x, 0.1, 0, -128, 127)

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = Grid(), Grid()

        def forward(self, x):
            return self.one(x) + self.two(x * 2)

    path = saved(Twice(), tmp_path / "model.pt", script=True)
    document, model = Document(path), qlint.load(path)
    use = next(op for op in model.ops if op.kind == "add").uses["lhs"]
    with pytest.raises(WriteError, match="shares its number"):
        edited(document, model, [Requantize({id(use): (use, (replace(use.quantizers[0], scale=(0.2,)),))})])


def test_operators_are_not_added_without_trust(tmp_path):
    path = saved(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval(), tmp_path / "model.pt")
    assert path.read_bytes() == path.read_bytes()
    document, model = Document(path), qlint.load(path)
    use = next(op for op in model.ops if op.kind == "conv").uses["x"]
    q = next(q for _, q in qlint.load(saved(Literals().eval(), tmp_path / "other.pt")).quantizers())
    with pytest.raises(WriteError, match="--trust"):
        edited(document, model, [Requantize({id(use): (use, (q,))})])


def test_numbers_of_a_pickle(tmp_path):
    """The opcodes that PyTorch writes, longer and shorter numbers, and what is not there."""

    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.count, self.scale, self.name = 3, 0.5, "x"

        def forward(self, x):
            return x * self.scale + self.count

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.big, self.list = Inner(), 70000, [1, 2]

        def forward(self, x):
            return self.inner(x) + self.big + self.list[0]

    path = saved(Outer(), tmp_path / "model.pt", script=True)
    with zipfile.ZipFile(path) as archive:
        raw = archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    assert {"inner.count", "inner.scale", "big"} <= set(spans(raw))
    other = with_numbers(raw, {"inner.count": 100000, "inner.scale": 2.0, "big": -1})
    from qlint.readers.unpickle import loads

    module = loads(other, "data.pkl")
    assert (module.attrs["inner"].attrs["count"], module.attrs["inner"].attrs["scale"], module.attrs["big"], module.attrs["list"]) == (100000, 2.0, -1, [1, 2])
    with pytest.raises(WriteError, match="no number"):
        with_numbers(raw, {"inner.name": 1})


# -- operators, in files that are trusted ----------------------------------------------------------------


class Block(torch.nn.Module):
    """A convolution with a batch-norm in front of a relu, and an add that reads a float."""

    def __init__(self, *, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.norm, self.two = torch.nn.Conv2d(3, 8, 3, padding=1, bias=bias), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 8, 3, padding=1)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.weight.uniform_(0.5, 1.5)

    def forward(self, x):
        y = grid(torch.relu(self.norm(self.one(grid(x, 0.03, 0, -128, 127)))), 0.03, -128, -128, 127)
        return grid(conv(y, grid(self.two.weight, 0.003, 0, -128, 127), self.two.bias, padding=1) + y, 0.06, 0, -128, 127)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("script", [False, True])
def test_with_trust_batch_norms_fold_and_quantizers_are_added(tmp_path, bias, script):
    path = saved(Block(bias=bias).eval(), tmp_path / "model.pt", script=script)
    refused = qlint.fix(path, "xnnpack", unsafe=True)
    assert not refused.output and all("--trust" in one.why or "beside it is refused" in one.why for one in refused.refused)
    folded = qlint.fix(path, "xnnpack", trust=True, select=["unfolded-batchnorm"], output=tmp_path / "folded.pt")
    assert [change.applicability for change in folded.changes] == ["safe"]
    assert not any(op.kind == "batch_norm" for op in qlint.load(folded.output).ops)
    assert (run(path) - run(folded.output)).abs().max() <= 0.06 * 1.001
    assert (run(path) != run(folded.output)).float().mean() < 0.01
    fixed = qlint.fix(path, "xnnpack", unsafe=True, trust=True, input_shapes={"x": (2, 3, 8, 8)})
    (progress,) = fixed.progress
    assert progress.after == progress.ops > progress.before
    assert fixed.numbers is not None and fixed.numbers.runtime.startswith("torch") and fixed.numbers.sqnr > 20


def test_code_of_several_modules_is_left_alone(tmp_path):
    """Scripted twins share their code: what only one of them needs is not written into it."""

    class Layer(torch.nn.Module):
        def forward(self, x, y):
            return x + y

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = Layer(), Layer()

        def forward(self, x):
            y = grid(x, 0.1, 0, -128, 127)
            return self.two(self.one(y, x), y)

    path = saved(Net(), tmp_path / "model.pt", script=True)
    document, model = Document(path), qlint.load(path)
    document.trust = True
    add = [op for op in model.ops if op.kind == "add"]
    q = add[0].uses["lhs"].quantizers[0]
    with pytest.raises(WriteError, match="several modules"):
        edited(document, model, [Requantize({id(add[0].uses["rhs"]): (add[0].uses["rhs"], (q,))})])


class Weights(torch.nn.Module):
    """Activations are quantized, but for the output; weights are not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.two(grid(torch.relu(self.one(grid(x, 0.03, 0, -128, 127))), 0.02, -128, -128, 127))


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize("channels", [False, True])
def test_quantizers_per_channel_and_behind_outputs(tmp_path, channels, script):
    path = saved(Weights().eval(), tmp_path / "model.pt", script=script)
    document, model = Document(path), qlint.load(path)
    document.trust = True
    one, two = (op for op in model.ops if op.kind == "conv")
    q = replace(one.uses["x"].quantizers[0], scale=(0.05,), zero_point=(3,))
    weight = replace(q, scale=tuple(0.001 * (i + 1) for i in range(8)), zero_point=(0,) * 8, granularity="channel", axis=0, scale_shape=(8,), zero_point_shape=(8,))
    weight = weight if channels else replace(q, scale=(0.002,), zero_point=(0,))
    changes = [(one.uses["w"], weight), (two.uses["w"], weight), (model.outputs[0], q)]
    edited(document, model, [Requantize({id(use): (use, (new,)) for use, new in changes})])
    with (tmp_path / "fixed.pt").open("wb") as out:
        document.write(out)

    def fake(values, grid_of):
        if grid_of.granularity == "tensor":
            return grid(values, grid_of.scale[0], int(grid_of.zero_point[0]), -128, 127)
        return torch.fake_quantize_per_channel_affine(values, torch.tensor(grid_of.scale), torch.zeros(8, dtype=torch.int32), 0, -128, 127)

    net = Weights().eval()
    y = torch.relu(conv(grid(X, 0.03, 0, -128, 127), fake(net.one.weight, weight), net.one.bias, padding=1))
    wanted = fake(conv(grid(y, 0.02, -128, -128, 127), fake(net.two.weight, weight), net.two.bias, padding=1), q)
    assert torch.allclose(run(tmp_path / "fixed.pt"), wanted.detach(), atol=1e-6)
    written = qlint.load(tmp_path / "fixed.pt")
    assert [use.quantizers[0].granularity for use in (op.uses["w"] for op in written.ops if op.kind == "conv")] == ["channel" if channels else "tensor"] * 2
    assert written.outputs[0].quantizers[0].scale == (0.05,)


def test_another_container_of_the_same_grid_is_safe(tmp_path):
    """Scales in the code are Python numbers, which stay what they are."""
    fixed = qlint.fix(saved(Literals().eval(), tmp_path / "model.pt"), "xnnpack", trust=True)
    assert {change.applicability for change in fixed.changes} == {"safe"} and {q.storage for _, q in qlint.load(fixed.output).quantizers()} == {"int8"}
    assert fixed.numbers is not None and fixed.numbers.equal


def test_xnnpack_gets_weights_per_channel_and_an_output(tmp_path):
    """What the search proposes for a network whose weights and output are in float is written, and torch runs it."""
    fixed = qlint.fix(saved(Weights().eval(), tmp_path / "model.pt"), "xnnpack", unsafe=True, trust=True, input_shapes={"x": (2, 3, 8, 8)})
    (progress,) = fixed.progress
    assert progress.before < progress.after == progress.ops, fixed.refused
    assert fixed.numbers is not None and fixed.numbers.sqnr > 20


@pytest.mark.parametrize("engine", ["qnnpack", "x86"])  # weights per tensor, whose scale is a number in the pickle; per channel, whose scales are a storage
def test_stored_weights_use_half_of_their_codes(tmp_path, engine):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(512, 4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = prepare_fx(net, get_default_qconfig_mapping(engine), (X,))
        prepared(X)
        path = saved(convert_fx(prepared), tmp_path / "model.pt")
    fixed = qlint.fix(path, "x86@avx2", unsafe=True)
    assert [(change.rule, change.applicability) for change in fixed.changes] == [("reduced-range-needed", "unsafe")]
    assert "QL507" not in {finding.code for finding in qlint.check(fixed.output, "x86@avx2").results[0].findings}
    old, new = ([op.uses["w"] for op in qlint.load(one).ops if "w" in op.uses] for one in (path, fixed.output))
    for before, after in zip(old, new, strict=True):
        assert [2 * s for s in before.quantizers[0].scale] == pytest.approx(list(after.quantizers[0].scale), rel=1e-7)
        assert abs(after.tensor.data.array()).max() == 64 and abs(before.tensor.data.array()).max() == 127
        assert abs(before.tensor.data.array() / 2 - after.tensor.data.array()).max() <= 0.5
    assert torch.jit.load(fixed.output)(X).shape == (2, 4)  # PyTorch reads what was written
