"""What happens to files: external data, interrupted runs, and what the command line says and leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Network, signed
from onnx import TensorProto, external_data_helper

import qlint
from qlint.errors import QlintError
from qlint.lint.finding import WRITABLE

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments: str | Path, code: int) -> str:
    found = subprocess.run([sys.executable, "-m", "qlint", "check", *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT)
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout


def test_external_data_are_left_alone(tmp_path):
    """A sparse gigabyte beside the model: the fix takes no longer than without, and the file is the same one afterwards."""
    n = Network(storage=np.int8)
    x = n.grid("x")
    left, right = (n.grid(n.conv(x, name, (3, 8)), 0.03) for name in ("conv1", "conv2"))
    path = n.save(tmp_path / "model.onnx", n.grid(n.op("Add", left, right, name="add"), 0.05), [1, 8, 16, 16])
    start = time.perf_counter()
    qlint.fix(path, "ort-cpu", verify=False)
    small = time.perf_counter() - start
    model = onnx.load(path)
    data = tmp_path / "model.data"
    size = 1 << 30
    weight = TensorProto(name="spare", data_type=TensorProto.INT8, dims=[size])
    weight.raw_data = b"\0"
    external_data_helper.set_external_data(weight, "model.data", 0, size)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(weight)
    path.write_bytes(model.SerializeToString())
    with data.open("wb") as file:
        file.truncate(size)
        file.write(b"weights")
    before = data.stat()
    start = time.perf_counter()
    fixed = qlint.fix(path, "ort-cpu", verify=False)
    assert fixed.output and time.perf_counter() - start < 3 * small + 0.5
    after = data.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert (tmp_path / "model.fixed.onnx").stat().st_size < 100_000
    with data.open("rb") as file:
        assert file.read(7) == b"weights"


def test_killed_at_any_time_a_readable_model_is_left(tmp_path):
    """`--fix --in-place`, killed at random moments: the file is the original or the result."""
    original = signed(tmp_path / "original.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(original)
    script = f"import qlint; print(qlint.fix({str(path)!r}, 'ort-cpu', in_place=True, verify=False).output, flush=True)"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True, env=ENVIRONMENT, capture_output=True)
    whole = time.perf_counter() - start
    result = path.read_bytes()
    assert result != original
    allowed = {hashlib.sha256(each).digest() for each in (original, result)}
    moments = random.Random(0)
    for _ in range(12):
        path.write_bytes(original)
        process = subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.3, 1.0) * whole)
        process.kill()
        process.wait()
        assert hashlib.sha256(path.read_bytes()).digest() in allowed


@pytest.mark.parametrize("call", ["mkstemp", "fsync", "replace", "copymode"])
def test_stopped_at_each_step_the_original_stays(call, tmp_path, monkeypatch):
    path = signed(tmp_path / "model.onnx")
    original = path.read_bytes()

    class Stop(BaseException):
        pass

    def stop(*arguments: object, **named: object) -> None:
        raise Stop

    owner = {"mkstemp": "tempfile.mkstemp", "fsync": "os.fsync", "replace": "os.replace", "copymode": "shutil.copymode"}[call]
    monkeypatch.setattr(owner, stop)
    with pytest.raises(Stop):
        qlint.fix(path, "ort-cpu", in_place=True, verify=False)
    assert path.read_bytes() == original
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_the_command_line(tmp_path):
    path = signed(tmp_path / "model.onnx")
    original = path.read_bytes()
    shown = run(path, "-b", "ort-cpu", "--diff", code=1)
    assert "\n-relu1_out_q: QuantizeLinear" in shown
    assert path.read_bytes() == original and len(list(tmp_path.iterdir())) == 1
    said = run(path, "-b", "ort-cpu", "--fix", code=1)  # relus without an integer kernel remain
    assert "shared-readers QL403" in said and "model.fixed.onnx" in said
    assert "would fix" in run(path, "-b", "ort-cpu", "--diff", "-f", "concise", code=1)
    run(tmp_path / "model.fixed.onnx", "-b", "ort-cpu", "--diff", code=0)
    run(path, "-b", "ort-cpu", "--fix", "--in-place", code=1)
    assert path.read_bytes() == (tmp_path / "model.fixed.onnx").read_bytes() != original
    run(path, "--in-place", code=2)
    report = json.loads(run(path, "-b", "ort-cpu", "--fix", "-f", "json", "--exit-zero", code=0))
    assert report["fixes"][0]["changes"] == [] and report["fixes"][0]["output"] == ""


def test_what_belongs_elsewhere_is_said_so(tmp_path):
    """Trust is about fixing; quantizers that stand in a file beside the model are not fixed."""
    path, encodings = signed(tmp_path / "model.onnx"), tmp_path / "model.encodings"
    encodings.write_text('{"version": "0.6.1", "activation_encodings": {}, "param_encodings": {}}')
    command = [sys.executable, "-m", "qlint", "check", str(path), "-b", "ort-cpu"]
    for more, says in ((["--trust"], "belong to --fix"), (["--fix", "--encodings", str(encodings)], "model.encodings")):
        refused = subprocess.run([*command, *more], capture_output=True, text=True, env=ENVIRONMENT)
        assert refused.returncode == 2 and says in refused.stderr
    assert not (tmp_path / "model.fixed.onnx").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    path = signed(tmp_path / "model.onnx")
    with pytest.raises(QlintError, match="no file can be written there"):
        qlint.fix(path, "ort-cpu", output=tmp_path / "nowhere" / "model.onnx")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_format_that_cannot_be_written_is_said_so(monkeypatch):
    monkeypatch.delitem(WRITABLE, "torchscript")
    path = next(Path(__file__).parent.parent.glob("zoo/silero-vad/*.jit"))
    fixed = qlint.fix(path, "ort-cpu")
    assert not fixed.output and "torchscript" in fixed.refused[0].why


def test_a_calibration_method_that_does_not_exist_is_no_other_one(tmp_path):
    with pytest.raises(QlintError, match="no calibration method 'kl'"):
        qlint.fix(signed(tmp_path / "model.onnx"), "ort-cpu", method="kl")
