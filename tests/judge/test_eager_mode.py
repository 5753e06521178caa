"""Eager mode: what `torch.ao.quantization.prepare` measures nothing behind takes integers once the network is converted.

Each network is converted by torch and run on its engine, which says whether the operator leaves integers on the grid of its input;
qlint sees the trace of the prepared one.
"""

from __future__ import annotations

import warnings

import pytest

from qlint.judge import judge
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

OPERATORS = {
    "relu": torch.relu, "relu6": nn.functional.relu6, "clip": lambda x: torch.clamp(x, -0.5, 0.5), "max_pool": lambda x: nn.functional.max_pool2d(x, 2),
    "avg_pool": lambda x: nn.functional.avg_pool2d(x, 2), "global_avg_pool": lambda x: nn.functional.adaptive_avg_pool2d(x, 1),
    "reduce_mean": lambda x: x.mean([2, 3], keepdim=True), "transpose": lambda x: x.permute(0, 1, 3, 2), "slice": lambda x: x[:, :, 1:3],
    "resize": lambda x: nn.functional.interpolate(x, scale_factor=2, mode="nearest"), "dropout": lambda x: nn.functional.dropout(x, training=False),
}  # fmt: skip
# Convolutions leave channels last, and the mean of those is computed in float; a slice by index is none of the operators that are held against the engines.
IN_FLOAT = {("fbgemm", "reduce_mean"), ("fbgemm", "slice"), ("qnnpack", "slice")}
NOT_THERE = {"softplus": nn.functional.softplus, "mish": nn.functional.mish}


class _Net(nn.Module):
    def __init__(self, operator):
        super().__init__()
        self.first, self.second, self.operator = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), operator
        self.enter = torch.ao.quantization.QuantStub()
        self.leave = torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        return self.leave(self.second(self.operator(self.first(self.enter(x)))))


def _prepared(operator, path):
    """The network prepared and calibrated; `path` is its trace."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    net, x = _Net(operator).eval(), torch.randn(1, 3, 8, 8)
    net.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    prepared = torch.ao.quantization.prepare_qat(net.train())
    prepared(x)
    prepared.eval().apply(torch.ao.quantization.disable_observer)
    torch.jit.trace(prepared, x, check_trace=False).save(str(path))
    return prepared, x


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_what_leaves_integers_where_they_are(tmp_path, name, engine):
    prepared, x = _prepared(OPERATORS[name], tmp_path / "prepared.pt")
    verdict = judge(canonical(read(tmp_path / "prepared.pt")), load(engine))
    assert {verdict.where(op) for op in verdict.model.flow if op.kind == "conv"} == {"integer"}
    assert {verdict.where(op) for op in verdict.model.flow if op.kind == name} <= {"float" if (engine, name) in IN_FLOAT else "integer"}

    converted = torch.ao.quantization.convert(prepared)
    entered = converted.first(converted.enter(x))
    left = OPERATORS[name](entered)
    assert left.is_quantized and (left.q_scale(), left.q_zero_point()) == (entered.q_scale(), entered.q_zero_point())
    converted(x)


@pytest.mark.parametrize("name", NOT_THERE)
def test_what_has_no_kernel_for_integers(tmp_path, name):
    prepared, x = _prepared(NOT_THERE[name], tmp_path / "prepared.pt")
    verdict = judge(canonical(read(tmp_path / "prepared.pt")), load("fbgemm"))
    assert "integer" not in {verdict.where(op) for op in verdict.model.flow if op.kind == name}
    with pytest.raises(NotImplementedError):
        torch.ao.quantization.convert(prepared)(x)
