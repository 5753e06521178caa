"""qlint against the stored answers of the real backends: what it has reached, it must keep."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import score as scoring

# backend, target, corpus, least agreement, most false integers, least share of right outcomes (percent).
# Raise them when a profile gets better; never lower one without saying why in the commit.
REACHED = [
    ("ort-cpu", "x86", "single", 99.3, 0.05, 99.4),
    ("ort-cpu", "arm", "single", 99.1, 0.4, 99.4),
    ("qnn-htp", "v73", "single", 96.3, 0.4, 97.7),
    ("ort-cpu", "x86", "defect", 97.0, 1.3, 97.5),
    ("ort-cpu", "x86", "random", 97.5, 1.0, 98.0),
    ("ort-cpu", "x86", "mutated", 93.5, 1.1, 96.0),
    ("ort-cpu", "x86", "tools", 94.0, 0.5, 99.0),
    ("ort-cpu", "arm", "defect", 99.0, 0.3, 99.0),
    ("ort-cpu", "arm", "random", 97.5, 1.0, 98.0),
    ("ort-cpu", "arm", "mutated", 94.5, 0.8, 96.0),
    ("ort-cpu", "arm", "tools", 94.5, 0.5, 99.0),
    ("qnn-htp", "v73", "defect", 93.0, 4.5, 94.0),
    ("qnn-htp", "v73", "random", 79.0, 5.0, 88.0),
    ("qnn-htp", "v73", "mutated", 74.0, 13.5, 90.0),
    ("qnn-htp", "v73", "tools", 62.0, 22.5, 81.0),
]


@pytest.mark.parametrize(("backend", "target", "corpus", "agreement", "false_integer", "outcomes"), REACHED)
def test_agreement(backend, target, corpus, agreement, false_integer, outcomes):
    result = scoring.score(corpus, backend, target)
    assert not result.stale, "the ledger does not fit the probes: run `make oracles`"
    report = "\n".join(result.wrong[:40])
    assert 100 * result.right / result.ops >= agreement, report
    assert 100 * result.false_integer / result.ops <= false_integer, report
    assert 100 * result.outcomes / result.models >= outcomes, report
