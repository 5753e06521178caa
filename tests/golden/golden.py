"""The reports on the real models of the zoo, as people read them. `make golden` writes them again; the diff is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import qlint
from qlint.report import text

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "tests/zoo"
GOLDEN = ROOT / "tests/golden"
# By format.
_PYTORCH = ("snpe", "qnn-htp", "tensorrt", "tvm", "ort-cpu", "fbgemm", "x86", "onednn", "qnnpack", "xnnpack")
BACKENDS: dict[str, tuple[str, ...]] = {
    ".onnx": ("qnn-htp", "ort-cpu", "ort-cpu@arm", "snpe", "openvino", "tensorrt", "tvm", "acl", "vitis-dpu", "rknn"),
    ".tflite": ("tflite", "tflm", "ethos-u55", "ethos-u85", "openvino", "snpe", "edgetpu", "tidl", "cmsis-nn", "hailo"),
    ".jit": _PYTORCH, ".pt": _PYTORCH, ".ptl": _PYTORCH,
}  # fmt: skip
# Whose licence does not let them be copied: the reports are kept, the models are read where somebody has put them (.gitignore knows).
BESIDE = ("tests/zoo/ios-demo-app/mobilenet_quantized.pt", "tests/zoo/ios-demo-app/vit4mnist.ptl")

# And those that are shown on a model or two, of which each shows the most.
ALSO: dict[str, tuple[str, ...]] = {
    "tests/zoo/tiny_results_v1.3/resnet.onnx": ("esp-dl",),
    "tests/zoo/qonnx/quant_model.onnx": ("academic", "ryzen-ai", "coreml"),
    "tests/zoo/onnx/test_qlinearconv.onnx": ("hailo", "nnie"),
}


def models() -> list[str]:
    """Paths of the zoo's files below the repository, with slashes."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ZOO.rglob("*") if path.suffix in BACKENDS)


def backends(model: str) -> tuple[str, ...]:
    """Those that the report on a model names."""
    return (*BACKENDS[Path(model).suffix], *ALSO.get(model, ()))


def file_of(model: str) -> Path:
    """Where the report on a model is kept."""
    return (GOLDEN / Path(model).relative_to("tests/zoo")).with_suffix(".txt")


def report(model: str) -> str:
    """What `qlint check MODEL --backend …` prints when it goes to no terminal."""
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        checked = qlint.check(model, backend=backends(model))
    finally:
        os.chdir(here)
    failures = "".join(f"{error.model}: {error.message} ({error.hint})\n" for error in checked.errors)
    return failures + text.render(checked)


def stale() -> Iterator[Path]:
    """Reports on models that are gone."""
    kept = {file_of(model) for model in (*models(), *BESIDE)}
    yield from (path for path in GOLDEN.rglob("*.txt") if path not in kept)


def main() -> int:
    for path in stale():
        path.unlink()
    for model in models():
        path = file_of(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(model), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
