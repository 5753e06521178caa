"""What ExecuTorch's XNNPACK delegate does with one operator between quantizers, and what qlint says: exported networks that the delegate answered.

Answers of executorch 1.5.1 (lowered, and run by its runtime); with ExecuTorch installed a few of them are asked again.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes.delegated import recipes

from qlint.judge import judge
from qlint.oracles import judge as ask
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

ANSWERS = {
    "conv2d/s8": "integer", "conv2d/y=none": "float", "conv2d/x=none": "float", "conv2d/w=float": "float", "conv2d/w=tensor": "integer", "conv2d/bias=none": "integer",
    "conv2d/u8": "wrong", "conv2d/w=zero-channel": "wrong", "conv2d/w=zero": "refused", "conv2d/w=u8": "refused", "conv2d/w=in": "refused", "conv2d/multiplier": "refused",
    "conv2d/then-relu": "integer", "conv2d/then-hardswish": "float", "conv2d/twice": "float", "conv2d/dynamic-tensor": "float", "conv2d-depthwise/dynamic": "float", "conv3d/s8": "refused",
    "deconv2d/s8": "float", "deconv2d/w=in": "integer", "linear/s8": "integer", "linear/then-relu6": "integer", "linear-tokens/s8": "integer",
    "relu/s8": "integer", "relu/y=none": "float", "elu/s8": "float", "sigmoid/s8": "float", "mul/then-relu": "float", "add/then-relu": "integer", "slice/s8": "float", "squeeze/same": "float",
}  # fmt: skip
AGAIN = ("conv2d/s8", "conv2d/u8", "conv2d/w=zero", "mul/then-relu")


def archive(name: str, folder: Path) -> Path:
    path = folder / "probe.pt2"
    path.write_bytes(recipes()[f"single/{name}"]().model)
    return path


@pytest.mark.parametrize("name", ANSWERS)
def test_verdict(name: str, tmp_path: Path) -> None:
    verdict = judge(canonical(read(archive(name, tmp_path))), load("xnnpack"))
    where = {verdict.of(op).where for op in verdict.model.ops if op.role == "data"} - {"absorbed"}
    wrong = any(m.consequence == "wrong" for m in verdict.mismatches)
    said = "refused" if verdict.outcome == "refused" else "wrong" if wrong else "integer" if where == {"integer"} else "float"
    assert said == ANSWERS[name]


@pytest.mark.skipif(find_spec("executorch") is None, reason="needs executorch")
@pytest.mark.parametrize("name", AGAIN)
def test_the_delegate_still_says_so(name: str, tmp_path: Path) -> None:
    answer = ask(archive(name, tmp_path), "xnnpack", "x86")
    said = "refused" if answer.outcome == "refused" else "wrong" if answer.errors else next(iter(answer.placements.values()))
    assert said == ANSWERS[name]
