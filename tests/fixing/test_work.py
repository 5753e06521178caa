"""What a fix costs, counted: files read and judged, verdicts, and bounds computed, as models grow."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from networks import Network

import qlint
from qlint.fixing.edits import Proposal
from qlint.fixing.ranges import Ranges
from qlint.fixing.run import SINGLY, Options, _Run
from qlint.fixing.state import Question, State
from qlint.judge import cover
from qlint.judge.repair import WORK


def residual_tower(path, blocks):
    """Residual blocks with batch-norms, and adds that read a float: every block needs a fold and quantizers, whose ranges follow from those in front."""
    n = Network(storage=np.int8, shape=(1, 4, 4, 4))
    x = n.grid("x")
    for i in range(blocks):
        a = n.grid(n.op("Relu", n.batch_norm(n.conv(x, f"a{i}", (4, 4)), f"bn{i}", 4, negative=False), name=f"ra{i}"), 0.03, name=f"ra{i}g")
        x = n.grid(n.op("Add", n.conv(a, f"b{i}", (4, 4)), x, name=f"add{i}"), 0.06, name=f"add{i}g")
    return n.save(path, x, [1, 4, 4, 4])


@pytest.fixture
def count(monkeypatch):
    counts: Counter[str] = Counter()

    def counted(owner, name, key):
        inner = getattr(owner, name)

        def call(*args, **kwargs):
            counts[key] += 1
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(Ranges, "_bounded", "bounds")
    counted(_Run, "_attempt", "files")
    counted(cover, "judge", "verdicts")
    return counts


def test_work_grows_with_the_model(tmp_path, count):
    """Four times the blocks: as many files, verdicts on as many operators in all, and bounds as the tensors are more."""
    seen = []
    for blocks in (12, 48):
        count.clear()
        fixed = qlint.fix(residual_tower(tmp_path / f"{blocks}.onnx", blocks), "ort-cpu", unsafe=True, verify=False)
        (progress,) = fixed.progress
        assert progress.before < progress.after
        seen.append(dict(count))
        assert count["verdicts"] <= WORK // 3 // progress.ops + 12
    small, large = seen
    assert large["files"] == small["files"] <= 4
    assert large["bounds"] <= 6 * small["bounds"]


@pytest.mark.parametrize("bad", [set(), {5}, {0, 31}, {7, 8, 20}])
def test_those_that_do_not_hold_cost_little(tmp_path, monkeypatch, bad):
    """Of 32 proposals a few cannot be written: halves of halves find them, and all others are made."""
    proposals = [Proposal("rule", "QL000", (str(i),), "", True) for i in range(32)]
    attempts = []

    def attempt(self, state, tried, folder, temporary):
        attempts.append(len(tried))
        return (None, "it cannot be written") if any(int(one.sites[0]) in bad for one in tried) else (state, "")

    monkeypatch.setattr(_Run, "_attempt", attempt)
    run = _Run(tmp_path, Question((), (), ()), Options(), "model")
    _, kept = run._holding(object(), proposals, tmp_path, [])
    assert [int(one.sites[0]) for one in kept] == [i for i in range(32) if i not in bad]
    assert {int(one.sites[0]) for one in run.refusals.values()} == bad
    assert len(attempts) <= 2 + 2 * 5 * len(bad)


def test_those_that_are_left_out_are_named(tmp_path, monkeypatch):
    proposals = [Proposal("rule", "QL000", (str(i),), "", True) for i in range(SINGLY + 5)]
    monkeypatch.setattr(_Run, "_attempt", lambda self, state, tried, folder, temporary: (state, ""))
    run = _Run(tmp_path, Question((), (), ()), Options(), "model")
    _, kept = run._singly(object(), proposals, tmp_path, [])
    assert kept == proposals[:SINGLY]
    assert [int(one.sites[0]) for one in run.refusals.values()] == list(range(SINGLY, SINGLY + 5))
    assert all(f"only the first {SINGLY} were tried" in one.why for one in run.refusals.values())


def test_a_state_is_read_once_for_each_file(tmp_path, monkeypatch):
    """The original and every file that was written: nothing is read, judged and linted twice."""
    read = []
    inner = State.of.__func__
    monkeypatch.setattr(State, "of", classmethod(lambda cls, path, *args, **kwargs: read.append(path) or inner(cls, path, *args, **kwargs)))
    qlint.fix(residual_tower(tmp_path / "model.onnx", 6), "ort-cpu", unsafe=True, verify=False)
    assert len(read) == len(set(read)) <= 5
