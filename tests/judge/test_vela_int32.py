"""Operators on wide integers, and on integers that are on no grid, as Vela places them (ethos-u-vela 5.2.0): i on the NPU, c on the CPU, x refused.

Where it is installed, it is asked again.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes.lite.cases import TABLE
from probes.lite.net import Grid
from probes.lite.style import STYLES

from qlint.judge import judge
from qlint.oracles import judge_many
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

TYPES = ("int32", "int32 on a grid", "int64", "int8", "int16")
TARGETS = {"ethos-u55": "128", "ethos-u85": "256"}
# Of each type in turn, on the Ethos-U55 and on the Ethos-U85.
ANSWERS = """
add            iiccc iixcc
sub            iiccc iixcc
mul            iiccc iixcc
add-scalar     iiccc iixcc
div            ccccc iixcc
maximum        ccccc iixcc
neg            iiccc iixcc
abs            ccccc iixcc
sum            iiccc iixcc
reduce-max     ccccc iixcc
equal          xxxxx iixcc
select         xxxxx iix??
reshape        iiccc iiicc
squeeze        iiccc iiicc
expand-dims    iicii iiiii
concat         ccccc iiicc
pack           ccccc iiicc
unpack         ccccc iiicc
split          ccccc iiicc
transpose      cccii iiiii
slice          ccccc iiicc
strided-slice  ccccc iiicc
tile           ccccc iiicc
pad            cccii iiiii
mirror-pad     iicii iiiii
reverse        ccccc iiicc
gather         ccccc ccccc
cast           ccccc ccccc
""".strip().splitlines()


def _model(key: str, kind: str) -> bytes:
    net = next(case for case in TABLE if case.key == key).net(STYLES["s8"])
    for tensor in net.tensors.values():
        if tensor.grid is not None:
            tensor.grid = Grid(kind.split()[0], 0.02 if "grid" in kind else None, 0)
    return net.bytes()


def _cases(line: str) -> list[tuple[str, str, str, str]]:
    key, *rows = line.split()
    return [(key, kind, name, answer) for name, row in zip(TARGETS, rows, strict=True) for kind, answer in zip(TYPES, row, strict=True) if answer != "?"]


@pytest.mark.parametrize("line", ANSWERS)
def test_answers(line, tmp_path):
    for key, kind, name, answer in _cases(line):
        (tmp_path / "probe.tflite").write_bytes(_model(key, kind))
        verdict = judge(canonical(read(tmp_path / "probe.tflite")), load(name))
        told = "x" if verdict.outcome == "refused" else verdict.of(verdict.model.ops[0]).where[0].replace("a", "i")
        assert (kind, name, told) == (kind, name, answer)


@pytest.mark.parametrize("name", TARGETS)
def test_vela_says_so(name):
    if find_spec("ethosu") is None:
        pytest.skip("ethos-u-vela is not installed")
    cases = [case for line in ANSWERS for case in _cases(line) if case[2] == name]
    answers = judge_many([_model(key, kind) for key, kind, *_ in cases], name, TARGETS[name])
    told = [(*case[:2], "x" if answer.outcome == "refused" else next(iter(answer.placements.values()))[0]) for case, answer in zip(cases, answers, strict=True)]
    assert [t for t, case in zip(told, cases, strict=True) if t[2] not in (case[3], "s")] == []
