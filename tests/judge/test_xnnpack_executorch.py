"""What ExecuTorch's XNNPACK delegate does with exported networks, and what qlint says: some of the ledger's smallest.

Its answers are those of executorch 1.5.1 (lowered, and run by its runtime); with ExecuTorch installed a few of them are asked again.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

import ledger
from ledger import digest
from probes.delegated import recipes
from probes.delegated.pieces import PIECES

from qlint.judge import judge
from qlint.oracles import judge as ask
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

NAMES = [
    *(f"conv2d/{name}" for name in "s8 y=none x=none w=float w=tensor bias=none u8 w=zero-channel w=zero w=u8 w=in w=s4 multiplier then-relu then-hardswish twice dynamic-tensor".split()),
    "conv2d-depthwise/dynamic", "conv3d/s8", "deconv2d/s8", "deconv2d/w=in", "linear/s8", "linear/then-relu6", "linear-tokens/s8",
    "relu/s8", "relu/y=none", "elu/s8", "sigmoid/s8", "mul/then-relu", "add/then-relu", "slice/s8", "squeeze/same", "sort/s8", "nearest/s8", "max/s8",
    *(f"piece/{name}" for name in PIECES),
]  # fmt: skip
LEDGER = {row.id: row for row in ledger.read("delegated-single", "xnnpack", "arm").values()}
AGAIN = ("conv2d/s8", "conv2d/u8", "conv2d/w=zero", "piece/gated")
CLASS = {"integer": "i", "absorbed": "i", "float": "f"}


def archive(name: str, folder: Path) -> Path:
    path = folder / "probe.pt2"
    path.write_bytes(recipes()[f"single/{name}"]().model)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_verdict(name: str, tmp_path: Path) -> None:
    row = LEDGER[f"single/{name}"]
    model = canonical(read(archive(name, tmp_path)))
    assert digest((tmp_path / "probe.pt2").read_bytes()) == row.sha
    verdict = judge(model, load("xnnpack"))
    assert verdict.outcome == row.outcome
    if row.outcome == "refused":
        return
    places = {op.index: CLASS[verdict.of(op).where] for op in model.ops}
    nodes = [op for op in model.nodes if op.kind not in ("quantize", "dequantize", "constant")]
    said = {op.label: (places[op.index], letter) for op, letter in zip(nodes, row.placements, strict=True) if letter != "s"}
    assert all(ours == theirs.replace("w", "i").replace("a", "i") for ours, theirs in said.values()), said
    assert any(m.consequence == "wrong" for m in verdict.mismatches) == ("w" in row.placements)


@pytest.mark.skipif(find_spec("executorch") is None, reason="needs executorch")
@pytest.mark.parametrize("name", AGAIN)
def test_the_delegate_still_says_so(name: str, tmp_path: Path) -> None:
    answer, row = ask(archive(name, tmp_path), "xnnpack", "x86"), LEDGER[f"single/{name}"]
    assert answer.outcome == row.outcome
    assert bool(answer.errors) == ("w" in row.placements)
