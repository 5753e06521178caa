"""qlint against the stored answers of the real backends: what it has reached, it must keep."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import score as scoring

# backend, target, corpus, least agreement, most false integers, least share of right outcomes (percent).
# Raise them when a profile gets better; never lower one without saying why in the commit.
REACHED = [
    ("ort-cpu", "x86", "single", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "defect", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "random", 99.0, 0.1, 99.3),
    ("ort-cpu", "x86", "mutated", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "tools", 99.6, 0.2, 99.6),
    ("ort-cpu", "x86", "zoo", 99.3, 0.1, 99.6),
    ("ort-cpu", "arm", "single", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "defect", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "random", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "mutated", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "tools", 99.6, 0.2, 99.6),
    ("ort-cpu", "arm", "zoo", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "single", 99.8, 0.1, 99.8),
    ("qnn-htp", "v73", "defect", 99.8, 0.1, 99.8),
    ("qnn-htp", "v73", "random", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "mutated", 99.5, 0.2, 99.6),
    ("qnn-htp", "v73", "tools", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "zoo", 17.3, 0.1, 90.5),
    ("qnn-htp", "sm8550", "single", 99.8, 0.1, 99.8),
    ("qnn-htp", "sm8550", "defect", 99.8, 0.1, 99.6),
    ("qnn-htp", "sm8550", "random", 99.8, 0.1, 99.6),
    ("qnn-htp", "sm8550", "mutated", 99.8, 0.1, 99.6),
    ("qnn-htp", "sm8550", "tools", 99.7, 0.1, 99.6),
    ("qnn-htp", "sm8550", "zoo", 99.8, 0.1, 99.6),
    ("openvino", "avx2", "single", 99.5, 0.2, 99.8),
    ("openvino", "avx2", "defect", 99.5, 0.1, 99.8),
    ("openvino", "avx2", "random", 99.0, 0.2, 98.9),
    ("openvino", "avx2", "mutated", 99.4, 0.1, 99.6),
    ("openvino", "avx2", "tools", 99.5, 0.1, 99.6),
    ("openvino", "avx2", "zoo", 99.8, 0.1, 90.5),
    ("tflite", "reference", "tflite-single", 99.2, 0.2, 99.2),
    ("tflite", "reference", "tflite-random", 99.5, 0.1, 98.2),
    ("tflite", "xnnpack", "tflite-single", 99.1, 0.2, 99.1),
    ("tflite", "xnnpack", "tflite-random", 99.9, 0.1, 99.6),
    ("tflm", "reference", "tflite-random", 98.0, 0.2, 98.0),
    ("ethos-u55", "128", "tflite-single", 99.4, 0.1, 99.5),
    ("ethos-u55", "128", "tflite-random", 99.8, 0.1, 99.6),
    ("ethos-u85", "256", "tflite-single", 99.4, 0.2, 99.5),
    ("fbgemm", "avx2", "torch-random", 99.0, 0.2, 99.0),
    ("qnnpack", "x86", "torch-random", 99.0, 0.2, 99.0),
]


@pytest.mark.parametrize(("backend", "target", "corpus", "agreement", "false_integer", "outcomes"), REACHED)
def test_agreement(backend, target, corpus, agreement, false_integer, outcomes):
    result = scoring.score(corpus, backend, target)
    assert not result.stale, "the ledger does not fit the probes: run `make oracles`"
    report = "\n".join(result.wrong[:40])
    assert 100 * result.right / result.ops >= agreement, report
    assert 100 * result.false_integer / result.ops <= false_integer, report
    assert 100 * result.outcomes / result.models >= outcomes, report
