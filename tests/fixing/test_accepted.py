"""What somebody has accepted, or does not want to hear of, is not fixed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from networks import signed
from onnx import numpy_helper
from typer.testing import CliRunner

import qlint
from qlint.cli.app import app

RULE = "shared-readers"
SIDECAR = '[[suppress]]\nrules = ["{rule}"]\nnodes = ["{node}"]\nreason = "measured, and good enough"\n'


def types(path: Path | str) -> dict[str, str]:
    """What each QuantizeLinear writes."""
    graph = onnx.load(path).graph
    stored = {one.name: str(numpy_helper.to_array(one).dtype) for one in graph.initializer}
    return {node.name: stored[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}


def rule_at(path: Path, node: str) -> str:
    """The rule that finds something at a node."""
    return next(finding.rule for finding in qlint.check(path, "ort-cpu").results[0].findings for site in finding.sites if site.op == node)


def test_an_ignored_rule_fixes_nothing(tmp_path):
    path = signed(tmp_path / "model.onnx")
    names = sorted({finding.rule for finding in qlint.check(path, "ort-cpu").results[0].findings})
    assert not qlint.fix(path, "ort-cpu", ignore=names).changes
    assert "nothing to fix" in CliRunner().invoke(app, ["check", str(path), "-b", "ort-cpu", "--fix", *(part for name in names for part in ("--ignore", name))]).stdout
    assert not (tmp_path / "model.fixed.onnx").exists()


@pytest.mark.parametrize("where", ["beside", "within", "configuration"])
def test_an_accepted_finding_keeps_its_operator_as_it_is(tmp_path, where):
    path = signed(tmp_path / "model.onnx")
    rule = rule_at(path, "conv4")
    before = types(path)
    if where == "beside":
        (tmp_path / "model.onnx.qlint.toml").write_text(SIDECAR.format(rule=rule, node="conv4"))
    elif where == "configuration":
        (tmp_path / "qlint.toml").write_text(SIDECAR.format(rule=rule, node="conv4"))
    else:
        model = onnx.load(path)
        node = next(node for node in model.graph.node if node.name == "conv4")
        node.metadata_props.add(key=f"qlint.ignore/{rule}", value="measured, and good enough")
        model.ir_version = 10
        onnx.save(model, path)
    said = CliRunner().invoke(app, ["check", str(path), "-b", "ort-cpu", "--fix", "--exit-zero"]).stdout
    result = tmp_path / "model.fixed.onnx"
    after = types(result)
    assert after["add_out_q"] == before["add_out_q"] == "int8", said  # what conv4 reads, and conv5 with it
    assert "uint8" in after.values(), said  # elsewhere it is mended
    CliRunner().invoke(app, ["check", str(path), "-b", "ort-cpu", "--fix", "--exit-zero", "--no-suppressions"])
    assert types(result)["add_out_q"] == "uint8"
