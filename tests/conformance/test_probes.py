"""The probes themselves: the same bytes every time, one defect beside a clean twin, and answers about these bytes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import ledger
import probes
from regenerate import BACKENDS, form
from score import generated


@pytest.mark.parametrize("corpus", [*probes.corpora(), *probes.corpora(form="tflite"), *probes.corpora(form="pt")])
def test_the_ledger_is_about_these_probes(corpus):
    wanted = {probe.id: ledger.digest(probe.model) for probe in generated(corpus, 0)}
    assert len(wanted) == len(generated(corpus, 0)), "two probes have the same id"
    for name in [name for name in BACKENDS if corpus in probes.corpora(form=form(name))]:
        stored = {row.id: row.sha for row in ledger.read(corpus, *name.split("@")).values()}
        assert stored == wanted, f"the ledger of {name} does not fit: run `make oracles`"


@pytest.mark.parametrize("corpus", [*probes.corpora(seeded=True), *probes.corpora(seeded=True, form="tflite"), *probes.corpora(seeded=True, form="pt")])
def test_seeds(corpus):
    first = [probe.model for probe in generated(corpus, 0)]
    assert [probe.model for probe in probes.probes(corpus, 0)] == first
    assert not {probe.model for probe in probes.probes(corpus, 1)} & set(first)


@pytest.mark.parametrize("corpus", ["defect", "tflite-defect"])
def test_defects_have_a_clean_twin(corpus):
    seen = {}
    for probe in generated(corpus, 0):
        if probe.clean is not None:
            assert seen[probe.clean] != probe.model, f"{probe.id} has no defect"
        seen[probe.id] = probe.model
