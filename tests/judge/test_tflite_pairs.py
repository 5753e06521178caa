"""Pairs of things that are varied about one operator of a TFLite file, where one of them alone does not tell: the answers of the
interpreter (ai-edge-litert 2.3.0) and of Vela (ethos-u-vela 5.2.0). Where they are installed they are asked again.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes.lite.cases import TABLE
from probes.lite.factors import FACTORS, Subject
from probes.lite.style import STYLES

from qlint.judge import judge
from qlint.oracles import judge_many
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

MODULES = {"tflite": "ai_edge_litert", "ethos-u55": "ethosu", "ethos-u85": "ethosu"}
ANSWERS = """
concat         s8            y=float act=relu             tflite@reference  refused
concat         s8            y=float act=relu             tflite@xnnpack    refused
add-relu       s8            x2=float y=float             tflite@reference  refused
greater        s8            x2=u8                        tflite@reference  refused
mul            s8            x2=s16 y-scale=x2            tflite@reference  refused
add            s8            y=per-channel act=relu       tflite@reference  refused
add            s8            y=per-channel x2-scale=x2    tflite@xnnpack    refused
conv           u8            w-zero=40 w=u8-out           tflite@reference  refused
linear         u8            w-zero=40 w=u8-out           tflite@xnnpack    refused
linear         hybrid        w=variable act=relu          tflite@reference  float
conv           hybrid        w=variable act=relu          tflite@xnnpack    float
depthwise      hybrid        w=variable                   tflite@reference  float
deconv         hybrid        w=variable w-zero=40         tflite@xnnpack    float
conv-grouped   hybrid        w=s4-none                    tflite@xnnpack    refused
conv-grouped   hybrid        w=s4-out                     tflite@xnnpack    integer
linear         hybrid        w=s2-none batch=dynamic      tflite@reference  float
linear         hybrid        w=s4-none batch=dynamic      tflite@reference  integer
linear         hybrid-tensor w-zero=40                    tflite@xnnpack    refused
linear         hybrid-tensor w-zero=40                    tflite@reference  integer
reverse        s8            y-zero=+7 y-scale=zero       ethos-u55@128     refused
sin            s8            y-scale=zero                 ethos-u55@128     refused
expand-dims    s8            x=per-channel y-scale=x2     ethos-u55@128     refused
expand-dims    s8            x=per-channel                ethos-u55@128     cpu
conv           s8            y-scale=zero b=s16           ethos-u85@256     refused
hard-swish     s8            y-scale=zero x=per-channel   ethos-u85@256     refused
""".strip().splitlines()


def _model(case: str, style: str, factors: list[str]) -> bytes:
    net = next(c for c in TABLE if c.key == case).net(STYLES[style])
    for name in factors:
        next(f for f in FACTORS if f.id == name).act(Subject(net))
    return net.bytes()


def _row(line: str) -> tuple[bytes, str, str]:
    case, style, *factors, backend, answer = line.split()
    return _model(case, style, factors), backend, answer


@pytest.mark.parametrize("line", ANSWERS)
def test_answers(line, tmp_path):
    model, backend, answer = _row(line)
    (tmp_path / "probe.tflite").write_bytes(model)
    verdict = judge(canonical(read(tmp_path / "probe.tflite")), load(backend))
    first = next(op for op in verdict.model.ops)
    assert (verdict.outcome if verdict.outcome == "refused" else verdict.of(first).where) == answer


@pytest.mark.parametrize("backend", sorted({line.split()[-2] for line in ANSWERS}))
def test_the_backend_says_so(backend):
    name, target = backend.split("@")
    if find_spec(MODULES[name]) is None:
        pytest.skip(f"{MODULES[name]} is not installed")
    rows = [row for row in map(_row, ANSWERS) if row[1] == backend]
    answers = judge_many([model for model, _, _ in rows], name, target)
    told = [answer.outcome if answer.outcome == "refused" else next(iter(answer.placements.values())) for answer in answers]
    assert told == [answer for _, _, answer in rows]


@pytest.mark.parametrize(("shape", "outcome"), [("given", "runs"), ("empty", "refused"), ("absent", "runs")])
def test_a_shape_without_numbers(shape, outcome, tmp_path):
    """Vela: \"Constant tensors must not have empty buffers\"; a RESHAPE that has its shape as an attribute has no such constant."""
    net = next(c for c in TABLE if c.key == "reshape").net(STYLES["s8"])
    op = net.ops[-1]
    if shape == "empty":
        net.tensors[op.inputs[1]].values = np.zeros(0, np.int32)
        net.tensors[op.inputs[1]].shape = (0,)
    elif shape == "absent":
        del op.inputs[1]
    (tmp_path / "probe.tflite").write_bytes(net.bytes())
    assert judge(canonical(read(tmp_path / "probe.tflite")), load("ethos-u55")).outcome == outcome
    if find_spec("ethosu") is not None:
        assert next(iter(judge_many([net.bytes()], "ethos-u55", "128"))).outcome == outcome
