"""The command as a stranger uses it: output, exit codes, what it imports."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"


def qlint(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "qlint", *arguments], capture_output=True, text=True, cwd=ROOT, check=False, **options)


def test_findings_and_exit_codes():
    run = qlint("check", RESNET, "--backend", "qnn-htp,ort-cpu")
    assert run.returncode == 1
    assert "100 % of MACs in integer" in run.stdout
    assert "model/dense/Softmax" in run.stdout
    assert run.stderr == ""
    assert qlint("check", RESNET, "-b", "qnn-htp", "--exit-zero").returncode == 0
    assert qlint("check", RESNET, "-b", "qnn-htp", "--fail-on", "error").returncode == 0


def test_json_contract():
    run = qlint("check", RESNET, "-b", "qnn-htp@v68", "-f", "json")
    report = json.loads(run.stdout)
    assert report["schema_version"] == 1
    (result,) = report["results"]
    assert result["backend"] == "qnn-htp" and result["revision"] == "v68" and result["outcome"] == "runs"
    assert len(result["ops"]) == 67  # every node of the file
    assert {"name", "outputs", "kind", "native", "placement", "kernel", "basis"} == set(result["ops"][0])
    assert {"rule", "code", "severity", "consequence", "message", "sites", "drags", "evidence", "fix", "fingerprint"} == set(result["findings"][0])


def test_one_broken_file_hides_no_other(tmp_path):
    run = qlint("check", "nothing.onnx", RESNET, "-b", "qnn-htp")
    assert run.returncode == 2
    assert "there is no such file" in run.stdout and "100 % of MACs" in run.stdout


def test_typos_get_suggestions():
    for arguments, says in [(("-b", "qnn-ht"), "qnn-htp"), (("-b", "qnn-htp@v67"), "v75"), (("-b", "ort-cpu", "--select", "QL9X9"), "unknown rule")]:
        run = qlint("check", RESNET, *arguments)
        assert run.returncode == 2, arguments
        assert says in run.stderr
        assert "Traceback" not in run.stderr


def imported(*arguments):
    code = f"import sys; sys.argv = ['qlint', *{list(arguments)!r}]\ntry:\n    from qlint.cli import main; main()\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(run.stdout.split("MODULES")[1].split())


def test_start_up_is_not_paid_for_nothing():
    assert not imported("--version") & {"numpy", "networkx", "pydantic", "torch", "typer", "rich"}
    assert not imported("--help") & {"numpy", "networkx", "pydantic", "torch", "onnx", "onnxruntime"}
    assert not imported("check", RESNET, "-b", "qnn-htp") & {"torch", "onnx", "onnxruntime", "numpy", "networkx"}


def test_rule_and_backend_pages():
    assert "missing-add-quantizer" in qlint("rule").stdout
    assert "What it does" in qlint("rule", "QL301").stdout
    assert "qnn-htp" in qlint("backend").stdout
    assert "conv" in qlint("backend", "qnn-htp").stdout
    assert "quantizer" in qlint("graph", RESNET).stdout or "uint8" in qlint("graph", RESNET).stdout or "int8" in qlint("graph", RESNET).stdout
