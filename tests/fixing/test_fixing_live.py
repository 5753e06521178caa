"""`qlint.fix` on live objects: what comes back computes the same, and the object that was handed over stays as it is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from networks import signed
from test_fixing_torchscript import Literals
from test_pt2 import Net
from test_pt2_batch_norm import Residual

import qlint
from qlint.errors import QlintError, ReadError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_an_exported_program():
    program = torch.export.export(Net().eval(), (X,))
    before = program.module()(X)
    fixed = qlint.fix(program, "qnnpack")
    assert fixed.changes and {change.applicability for change in fixed.changes} == {"safe"} and fixed.output == ""
    assert fixed.numbers is not None and fixed.numbers.equal and fixed.numbers.runtime.startswith("torch")
    assert isinstance(fixed.result, torch.export.ExportedProgram)
    assert torch.equal(before, fixed.result.module()(X)) and torch.equal(before, program.module()(X))
    rules = {finding.rule for finding in qlint.check(program, "qnnpack").findings} - {finding.rule for finding in qlint.check(fixed.result, "qnnpack").findings}
    assert rules == {"signed-activation"}


@pytest.mark.parametrize("capture", [False, True])
def test_modules_come_back_as_programs(capture):
    module = torch.export.export(Net().eval(), (X,)).module() if capture else Net().eval()
    fixed = qlint.fix(module, "qnnpack", example_inputs=X)
    assert fixed.changes and torch.equal(module(X), fixed.result.module()(X))


def test_a_script_module():
    traced = torch.jit.trace(Literals().eval(), X)
    fixed = qlint.fix(traced, "vitis-dpu", unsafe=True)
    assert isinstance(fixed.result, torch.jit.ScriptModule)
    assert all(q.power_of_two for _, q in qlint.load(fixed.result).quantizers())


def test_an_onnx_model_in_memory(tmp_path):
    model = onnx.load(signed(tmp_path / "model.onnx"))
    fixed = qlint.fix(model, "ort-cpu")
    assert fixed.changes and isinstance(fixed.result, onnx.ModelProto)
    onnx.checker.check_model(fixed.result)


def test_nothing_to_fix_gives_the_object_back():
    program = torch.export.export(torch.nn.Linear(4, 4), (torch.randn(1, 4),))
    assert qlint.fix(program, "qnnpack").result is program


def test_a_file_for_the_result_is_written_too(tmp_path):
    fixed = qlint.fix(torch.export.export(Net().eval(), (X,)), "qnnpack", output=tmp_path / "fixed.pt2")
    assert fixed.output == str(tmp_path / "fixed.pt2")
    assert np.array_equal(torch.export.load(fixed.output).module()(X).detach(), fixed.result.module()(X).detach())


def test_what_cannot_be_fixed_is_said_so():
    with pytest.raises(ReadError, match="example_inputs"):
        qlint.fix(Net(), "qnnpack")
    with pytest.raises(ReadError, match="no model"):
        qlint.fix(object(), "qnnpack")
    with pytest.raises(QlintError, match="stays as it is"):
        qlint.fix(torch.export.export(Net().eval(), (X,)), "qnnpack", in_place=True)

    class Branching(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ReadError, match="cannot be exported"):
        qlint.fix(Branching(), "qnnpack", example_inputs=X)


def test_calibration_from_an_iterable(tmp_path):
    """Tensors, tuples and dicts by name; what does not fit is said so."""
    program = torch.export.export(Residual().eval(), (torch.randn(1, 4, 6, 6),))
    data = [torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    texts = []
    for given in (data, [(x,) for x in data], ({"x": x.numpy()} for x in data)):
        fixed = qlint.fix(program, "xnnpack", unsafe=True, calibration=given)
        texts.append([change.text for change in fixed.changes])
        assert any("minmax over 4 samples" in text for text in texts[-1]) and fixed.numbers.sqnr > 25
    assert texts[0] == texts[1] == texts[2]
    with pytest.raises(QlintError, match="sample 0 has no 'x'"):
        qlint.fix(program, "xnnpack", unsafe=True, calibration=[{"y": data[0]}])
    with pytest.raises(QlintError, match="no sample"):
        qlint.fix(program, "xnnpack", unsafe=True, calibration=iter(()))
