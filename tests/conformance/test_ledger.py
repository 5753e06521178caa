"""qlint against the stored answers of the real backends: what it has reached, it must keep."""

import re
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import ledger
import probes
import score as scoring

from qlint.profile import load, names

ROOT = Path(__file__).parents[2]

# backend, target, corpus, least agreement, most false integers, least share of right outcomes (percent).
# Raise them when a profile gets better; never lower one without saying why in the commit.
REACHED = [
    ("ort-cpu", "x86", "single", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "defect", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "random", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "mutated", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "tools", 99.8, 0.1, 99.6),
    ("ort-cpu", "x86", "zoo", 99.3, 0.1, 99.6),
    ("ort-cpu", "arm", "single", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "defect", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "random", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "mutated", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "tools", 99.8, 0.1, 99.6),
    ("ort-cpu", "arm", "zoo", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "single", 99.8, 0.1, 99.8),
    ("qnn-htp", "v73", "defect", 99.8, 0.1, 99.8),
    ("qnn-htp", "v73", "random", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "mutated", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "tools", 99.8, 0.1, 99.6),
    ("qnn-htp", "v73", "zoo", 17.3, 0.1, 90.5),
    ("qnn-htp", "sm8550", "single", 99.8, 0.1, 99.8),
    ("qnn-htp", "sm8550", "defect", 99.8, 0.1, 99.6),
    ("qnn-htp", "sm8550", "random", 99.8, 0.1, 99.6),
    ("qnn-htp", "sm8550", "mutated", 99.8, 0.1, 99.6),
    ("qnn-htp", "sm8550", "tools", 99.6, 0.2, 99.6),
    ("qnn-htp", "sm8550", "zoo", 99.8, 0.1, 99.6),
    ("openvino", "avx2", "single", 99.5, 0.2, 99.8),
    ("openvino", "avx2", "defect", 99.5, 0.1, 99.8),
    ("openvino", "avx2", "random", 99.0, 0.2, 98.9),
    ("openvino", "avx2", "mutated", 99.4, 0.1, 99.6),
    ("openvino", "avx2", "tools", 99.1, 0.1, 99.6),
    ("openvino", "avx2", "zoo", 99.8, 0.1, 90.5),
    ("openvino", "avx512-vnni", "single", 99.5, 0.2, 99.8),
    ("openvino", "avx512-vnni", "random", 99.0, 0.2, 98.9),
    ("openvino", "avx512-vnni", "mutated", 99.4, 0.1, 99.6),
    ("tflite", "reference", "tflite-single", 99.2, 0.2, 99.2),
    ("tflite", "reference", "tflite-random", 99.5, 0.1, 98.2),
    ("tflite", "xnnpack", "tflite-single", 99.1, 0.2, 99.1),
    ("tflite", "xnnpack", "tflite-random", 99.9, 0.1, 99.6),
    ("tflite", "reference", "tflite-defect", 99.9, 0.1, 99.3),
    ("tflite", "reference", "tflite-shapes", 99.9, 0.1, 99.9),
    ("tflite", "xnnpack", "tflite-defect", 99.9, 0.1, 99.3),
    ("tflite", "xnnpack", "tflite-shapes", 99.9, 0.1, 99.9),
    ("tflm", "reference", "tflite-single", 99.5, 0.1, 99.7),
    ("tflm", "reference", "tflite-defect", 99.9, 0.1, 99.4),  # one model of those that are sampled
    ("tflm", "reference", "tflite-shapes", 99.9, 0.1, 99.9),
    ("tflm", "reference", "tflite-random", 99.9, 0.1, 99.6),
    ("ethos-u55", "128", "tflite-single", 99.4, 0.1, 99.5),
    ("ethos-u55", "128", "tflite-defect", 99.3, 0.6, 99.4),
    ("ethos-u55", "128", "tflite-shapes", 99.4, 0.6, 99.9),
    ("ethos-u55", "128", "tflite-random", 99.8, 0.1, 99.6),
    ("ethos-u65", "256", "tflite-defect", 99.3, 0.6, 99.4),
    ("ethos-u85", "256", "tflite-single", 99.4, 0.2, 99.5),
    ("ethos-u85", "256", "tflite-defect", 99.1, 0.6, 99.3),
    ("ethos-u85", "256", "tflite-shapes", 99.4, 0.6, 99.9),
    ("ethos-u85", "256", "tflite-random", 99.7, 0.2, 99.6),
    ("fbgemm", "avx2", "torch-single", 99.8, 0.1, 99.8),
    ("x86", "avx2", "torch-single", 99.8, 0.1, 99.8),
    ("onednn", "avx2", "torch-single", 99.5, 0.1, 99.5),
    ("qnnpack", "x86", "torch-single", 99.5, 0.5, 99.5),
    ("fbgemm", "avx2", "torch-random", 99.5, 0.2, 99.5),
    ("x86", "avx2", "torch-random", 99.9, 0.1, 99.9),
    ("onednn", "avx2", "torch-random", 99.9, 0.1, 99.9),
    ("qnnpack", "x86", "torch-random", 99.9, 0.1, 99.9),
    ("x86-inductor", "avx2", "export-random", 99.9, 0.1, 99.9),
    ("xnnpack", "arm", "delegated-random", 99.9, 0.1, 99.9),  # and some of delegated-single in tests/judge/test_xnnpack_executorch.py
]


# Of the largest corpora, every so many probes: `make score` looks at all.
EVERY = {"single": 7, "defect": 7, "random": 4, "mutated": 4, "tools": 3, "tflite-single": 8, "tflite-defect": 3, "tflite-shapes": 2, "torch-single": 5}
EVERY_FRESH = 8
SEEDED = [(backend, target, corpus) for backend, target, corpus, *_ in REACHED if corpus in probes.SEEDED and not corpus.startswith(("torch", "export"))]


CONTRADICTED = "claims of the profile that the ledger contradicts (agreeing, differing answers)"


@pytest.mark.parametrize(("backend", "target", "corpus", "agreement", "false_integer", "outcomes"), REACHED)
def test_agreement(backend, target, corpus, agreement, false_integer, outcomes):
    result = scoring.score(corpus, backend, target, every=EVERY.get(corpus, 1))
    assert not result.stale, "the ledger does not fit the probes: run `make oracles`"
    report = "\n".join(result.wrong[:40])
    assert not result.contradicted, CONTRADICTED
    assert 100 * result.right / result.ops >= agreement, report
    assert 100 * result.false_integer / result.ops <= false_integer, report
    assert 100 * result.outcomes / result.models >= outcomes, report


@pytest.mark.parametrize(("backend", "target", "corpus"), SEEDED)
def test_no_claim_is_contradicted_by_networks_of_another_seed(backend, target, corpus):
    seeds = [seed for seed in probes.FRESH if ledger.path(f"{corpus}-{seed}", backend, target).exists()]
    assert seeds, "no answers are stored for another seed"
    for seed in seeds:
        assert not scoring.score(corpus, backend, target, seed, EVERY_FRESH).contradicted, CONTRADICTED


def test_a_claim_that_the_ledger_contradicts_is_found(monkeypatch):
    """A profile that says of convolutions that they run in float."""

    def lying(name):
        profile = load(name)
        kernels = tuple(kernel.model_copy(update={"runs": "float"}) if kernel.id == "conv" else kernel for kernel in profile.kernels)
        return profile.model_copy(update={"kernels": kernels})

    assert not scoring.score("zoo", "ort-cpu", "x86").contradicted
    monkeypatch.setattr(scoring, "load", lying)
    assert set(scoring.score("zoo", "ort-cpu", "x86").contradicted) == {"kernel conv"}


MEASURED = [(name, ref, one) for name in names() for ref, one in load(name).evidence.items() if one.kind == "measured"]


@cache
def stored(name):
    """(corpus, versions, probes) of each file of the ledger about a backend."""
    files = {path.stem.partition(".")[0]: path for path in ledger.FOLDER.glob("*.tsv") if path.stem.partition(".")[2].startswith(f"{name}-")}
    lines = {corpus: path.read_text(encoding="utf-8").splitlines() for corpus, path in files.items()}
    return [(corpus, text[1], [line.split("\t")[0] for line in text[3:]]) for corpus, text in lines.items()]


@pytest.mark.parametrize(("name", "ref", "evidence"), MEASURED, ids=[f"{name}-{ref}" for name, ref, _ in MEASURED])
def test_measured_evidence_can_be_looked_up(name, ref, evidence):
    """A measured claim names probes whose answers are stored, a test, or says what was run."""
    if " " not in evidence.ref and "*" in evidence.ref:
        asked = [(corpus, header, probe) for corpus, header, probes in stored(name) for probe in probes]
        versions = {header for corpus, header, probe in asked if any(fnmatchcase(one, evidence.ref) for one in (probe, f"{corpus}/{probe.partition('/')[2]}"))}
        assert versions, f"no probe of the ledger matches {evidence.ref}"
        assert any(" ".join(evidence.version.split()[:2]) in header for header in versions), f"the ledger was written with {versions}"
    for path in re.findall(r"tests/[\w/.-]+\w", evidence.ref):
        assert (ROOT / path).exists(), f"{path} does not exist"
    assert evidence.version and evidence.date, "when, and on which version?"
