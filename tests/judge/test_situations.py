"""What is settled once for all ops in a situation is what each of them would have settled for itself."""

import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

import probes

from qlint.judge.kernels import Kernels
from qlint.judge.prepare import prepare
from qlint.judge.situations import Settled, Situations
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read


@pytest.mark.parametrize("backend", ["qnn-htp", "ort-cpu", "snpe"])
def test_ops_that_are_alike_have_the_same_kernels_before_them(tmp_path, backend):
    """Over models whose scales, zero points, shapes, attributes and readers differ, and which share what is settled."""
    kernels = Kernels(load(backend))
    shared, met = Settled(kernels), 0
    for probe in (*islice(probes.probes("defect"), 0, 160, 20), *islice(probes.probes("single"), 0, 400, 40), *islice(probes.probes("random"), 5)):
        path = tmp_path / "probe.onnx"
        path.write_bytes(probe.model)
        model = canonical(read(path))
        prepared = prepare(model, kernels.profile)
        before = Situations(shared, prepared)
        for op in model.ops:
            run, alone = before.run(op), Situations(Settled(kernels), prepared)
            met += run.situation in shared.candidates
            assert before.candidates(run) == alone.candidates(alone.run(op)), (probe.id, op)
            assert before.advisers(run) == alone.advisers(alone.run(op)), (probe.id, op)
    assert met > 50
