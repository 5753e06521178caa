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
]


@pytest.mark.parametrize(("backend", "target", "corpus", "agreement", "false_integer", "outcomes"), REACHED)
def test_agreement(backend, target, corpus, agreement, false_integer, outcomes):
    result = scoring.score(corpus, backend, target)
    assert not result.stale, "the ledger does not fit the probes: run `make oracles`"
    report = "\n".join(result.wrong[:40])
    assert 100 * result.right / result.ops >= agreement, report
    assert 100 * result.false_integer / result.ops <= false_integer, report
    assert 100 * result.outcomes / result.models >= outcomes, report
