"""Real backends as judges: for every op of a model file, where the backend itself runs it.

The backends are optional (`pip install "qlint-nn[oracles]"`) and run in child processes, because they
print to the process's own streams and may crash. A verdict maps a node's key (ONNX: its name or else its first
output; TFLite: `OPNAME:index`) to `integer`, `float`, `cpu`, `rejected`, `absorbed` or `skip` (cannot be told, or no arithmetic
on data); `cpu|rejected` means that either is right.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qlint.errors import QlintError


@dataclass(frozen=True)
class Oracle:
    """How to ask one backend: the module that does, for which targets, with which packages, about which files."""

    module: str
    targets: tuple[str, ...]
    packages: tuple[str, ...]
    format: str = "onnx"
    extra: str = "oracles"  # of the distribution, with the packages


_LITE = ("ai_edge_litert", "flatbuffers")
ORACLES: dict[str, Oracle] = {
    "ort-cpu": Oracle("qlint.oracles.ort_cpu", ("x86", "arm"), ("onnx", "onnxruntime")),
    "qnn-htp": Oracle(
        "qlint.oracles.qnn_htp",
        ("v68", "v69", "v73", "v75", "v79", "v81", "sm8350", "sm8450", "sm8550", "sm8650", "sm8750", "sm8850"),
        ("onnx", "onnxruntime", "onnxruntime_qnn"),
    ),
    "openvino": Oracle("qlint.oracles.openvino_cpu", ("avx2", "avx512-vnni", "amx"), ("onnx", "openvino")),
    "tflite": Oracle("qlint.oracles.tflite", ("reference", "xnnpack"), _LITE, "tflite"),
    "tflm": Oracle("qlint.oracles.tflm", ("reference",), (*_LITE, "tflite_micro"), "tflite"),
    "ethos-u55": Oracle("qlint.oracles.vela", ("32", "64", "128", "256"), (*_LITE, "ethosu"), "tflite"),
    "ethos-u65": Oracle("qlint.oracles.vela", ("256", "512"), (*_LITE, "ethosu"), "tflite"),
    "ethos-u85": Oracle("qlint.oracles.vela", ("128", "256", "512", "1024", "2048"), (*_LITE, "ethosu"), "tflite"),
    **{engine: Oracle("qlint.oracles.torch_engines", ("avx2", "vnni"), ("torch",), "torchscript", "torch") for engine in ("fbgemm", "x86", "onednn")},
    "qnnpack": Oracle("qlint.oracles.torch_engines", ("x86",), ("torch",), "torchscript", "torch"),
    "x86-inductor": Oracle("qlint.oracles.inductor", ("avx2", "vnni"), ("torch",), "pt2", "torch"),
    "xnnpack": Oracle("qlint.oracles.executorch_xnnpack", ("arm", "x86"), ("torch", "executorch"), "pt2", "executorch"),  # what is delegated does not depend on the processor
}
TIMEOUT = 120.0  # seconds for one model
MODELS_PER_WORKER = 150  # a fresh process now and then keeps memory bounded

Outcome = Literal["runs", "refused", "crashed"]


class OracleMissing(QlintError):
    """There is no oracle for this backend, or its packages are not installed."""


@dataclass(frozen=True)
class Answer:
    """What one backend does with one model."""

    backend: str
    outcome: Outcome
    versions: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    placements: dict[str, str] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)  # ops that run in integer and give other numbers: how many output steps off


def judge(model: bytes | str | Path, backend: str, target: str) -> Answer:
    """Ask one backend about one model, in a child process."""
    return next(judge_many([model], backend, target))


def judge_many(models: Iterable[bytes | str | Path], backend: str, target: str, patience: float = TIMEOUT) -> Iterator[Answer]:
    """Ask about many models, one answer each, in order. A model that kills two children in a row, or takes them longer than `patience` seconds, is `crashed`."""
    _require(backend, target)
    worker: _Worker | None = None
    asked = 0
    try:
        for model in models:
            answer = None
            for _attempt in range(2):  # the second child is a fresh one: what was judged before cannot be to blame
                if worker is None or asked >= MODELS_PER_WORKER:
                    if worker is not None:
                        worker.close()
                    worker, asked = _Worker(backend, target), 0
                asked += 1
                answer = worker.ask(model, patience)
                if answer is not None:
                    break
                worker.close()
                worker = None
            name = f"{backend}@{target}"
            yield answer or Answer(name, "crashed", reasons=["the backend crashed or did not answer in time"])
    finally:
        if worker is not None:
            worker.close()


def _require(backend: str, target: str) -> None:
    from importlib.util import find_spec

    if backend not in ORACLES:
        raise OracleMissing(f"no real backend can be run here for {backend!r}", hint=f"there are {', '.join(ORACLES)}")
    oracle = ORACLES[backend]
    if target not in oracle.targets:
        raise OracleMissing(f"{backend} has no target {target!r}", hint=f"there are {', '.join(oracle.targets)}")
    if missing := [name for name in oracle.packages if find_spec(name) is None]:
        raise OracleMissing(f"{backend} needs {', '.join(missing)}", hint=f'pip install "qlint-nn[{oracle.extra}]"')


class _Worker:
    """A child process that answers one line of JSON for each path it is given."""

    def __init__(self, backend: str, target: str) -> None:
        import tempfile

        self.format = ORACLES[backend].format
        self.folder = tempfile.TemporaryDirectory(prefix="qlint-oracle-")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        root = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qlint.oracles.worker", backend, target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=self.folder.name, env=environment,
        )  # fmt: skip

    def ask(self, model: bytes | str | Path, patience: float) -> Answer | None:
        if isinstance(model, bytes):
            path = Path(self.folder.name) / f"model.{self.format}"
            path.write_bytes(model)
        else:
            path = Path(model).resolve()
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(patience):
                return None
        line = self.process.stdout.readline()
        if not line:
            return None
        fields: dict[str, Any] = json.loads(line)
        return Answer(**fields)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.folder.cleanup()
