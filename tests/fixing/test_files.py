"""What happens to files: external data, interrupted runs, and what the command line says and leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Network, signed
from onnx import TensorProto

import qlint
from qlint.errors import QlintError
from qlint.lint.finding import WRITABLE

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments: str | Path, code: int) -> str:
    found = subprocess.run([sys.executable, "-m", "qlint", "check", *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT)
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout


def _identity(path: Path) -> tuple[object, ...]:
    about = path.stat()
    with path.open("rb") as file:
        return about.st_ino, about.st_mtime_ns, about.st_size, hashlib.file_digest(file, "sha1").hexdigest()


def test_external_data_are_left_alone(tmp_path):
    """A weight of a sparse gigabyte beside the model: other grids around it take the time of the graph, and its file is the same one afterwards."""
    side = 1 << 15

    def network(path: Path, size: int) -> Path:
        n = Network(shape=(1, side), storage=np.int8)
        x = n.grid("x")
        weight = n.op("DequantizeLinear", "w", n.store("ws", np.float32(0.01)), n.store("wz", np.int8(0)), name="weight")
        product = n.grid(n.op("MatMul", x, weight, name="matmul"), 0.05)
        n.save(path, n.grid(n.op("Add", x, x, name="add"), 0.05), [1, side])
        model = onnx.load(path)
        model.graph.output.append(onnx.helper.make_tensor_value_info(product, 1, [1, size]))
        data = path.with_suffix(".data")
        tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=[side, size], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", data.name), ("offset", "0"), ("length", str(side * size))):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)
        path.write_bytes(model.SerializeToString())
        with data.open("wb") as file:
            file.truncate(side * size)
            file.write(b"weights")
        return path

    path, small = network(tmp_path / "large.onnx", side), network(tmp_path / "small.onnx", 8)
    data = path.with_suffix(".data")
    before = _identity(data)
    qlint.fix(small, "ort-cpu")  # what is imported and compiled once
    seconds = []
    for each in (small, path):
        start = time.perf_counter()
        fixed = qlint.fix(each, "ort-cpu")
        seconds.append(time.perf_counter() - start)
        assert fixed.changes and fixed.output
    assert seconds[1] < 3 * seconds[0] + 0.5
    assert _identity(data) == before
    written = onnx.load(path.with_name("large.fixed.onnx"), load_external_data=False)
    assert next(one for one in written.graph.initializer if one.name == "w").external_data[0].value == data.name
    assert path.with_name("large.fixed.onnx").stat().st_size < 100_000


KILLS = 40


def test_killed_at_any_time_a_readable_model_is_left(tmp_path):
    """`--fix --in-place`, killed at many moments from the first to the last: the file is the original or the result."""
    original = signed(tmp_path / "original.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(original)
    qlint.fix(path, "ort-cpu", in_place=True, verify=False)
    result = path.read_bytes()
    assert result != original
    path.write_bytes(original)
    start = time.perf_counter()
    qlint.fix(path, "ort-cpu", in_place=True, verify=False)
    whole = time.perf_counter() - start
    seen = set()
    for number in range(KILLS):
        path.write_bytes(original)
        child = os.fork()
        if not child:  # the copy of this process that is killed
            qlint.fix(path, "ort-cpu", in_place=True, verify=False)
            os._exit(0)
        if number < KILLS - 1:  # on a busy machine all may die before the end, so the last one lives
            time.sleep(1.3 * whole * number / KILLS)
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left = path.read_bytes()
        assert left in (original, result), f"killed after {number} of {KILLS}"
        seen.add(left == result)
        qlint.load(path)
    assert seen == {False, True}


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
