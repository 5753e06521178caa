"""PyTorch's engines as judges, and qlint beside them on files that PyTorch's own tools made."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path[:0] = [str(Path(__file__).parents[1] / "conformance"), str(Path(__file__).parents[1] / "readers")]

import torch_models  # noqa: E402
from probes.script.cases import ACTIVATIONS, BINARY  # noqa: E402
from probes.script.corpora import FAKE, WEIGHTS, _probe, _weighted  # noqa: E402

from qlint.api import load  # noqa: E402
from qlint.judge import judge  # noqa: E402
from qlint.oracles import judge as ask  # noqa: E402
from qlint.oracles import judge_many  # noqa: E402
from qlint.profile import load as load_profile  # noqa: E402

SAME = {"absorbed": "integer"}


def wrong(model, backend, folder):
    """The consequences that qlint sees in a file whose numbers depend on the CPU."""
    path = folder / "model.pt"
    path.write_bytes(model)
    return {m.consequence for m in judge(load(path), load_profile(backend)).mismatches}


@pytest.mark.parametrize("key", ["conv2d", "linear"])
@pytest.mark.parametrize("engine", ["onednn", "x86"])
def test_saturation(engine, key, tmp_path):
    """Large weights and 8-bit activations saturate without VNNI (ONEDNN_MAX_CPU_ISA), with one bit less they do not."""
    full, reduced = (_weighted(key, name, FAKE.but(**WEIGHTS[name])).model for name in ("w=full", "w=full-u7"))
    off, exact = judge_many([full, reduced], engine, "avx2")
    assert (off.outcome, exact.outcome) == ("runs", "runs")
    assert list(off.errors) == [key] and off.errors[key] > 50
    assert exact.errors == {}
    assert wrong(full, f"{engine}@avx2", tmp_path) == {"wrong"}
    assert wrong(reduced, f"{engine}@avx2", tmp_path) == set()
    assert wrong(full, f"{engine}@vnni", tmp_path) == set()


@pytest.mark.parametrize("name", ["converted for fbgemm", "reference for fbgemm", "eager for qnnpack", "eager prepared"])
def test_files_of_the_tools(name, tmp_path):
    """Every operator of a converted, of a reference and of a prepared network, the batch norms of its convs folded."""
    path = torch_models.save(name, tmp_path)
    answer, verdict = ask(path, "fbgemm", "avx2"), judge(load(path), load_profile("fbgemm@avx2"))
    assert answer.outcome == verdict.outcome == "runs"
    compared = {op.label: (verdict.where(op), answer.placements[op.label]) for op in verdict.model.ops if answer.placements.get(op.label, "skip") != "skip"}
    assert len(compared) >= 3
    assert {label: pair for label, pair in compared.items() if SAME.get(pair[0], pair[0]) != SAME.get(pair[1], pair[1])} == {}


def test_an_exception_is_a_refusal(tmp_path):
    """A kernel that raises ends the run: the model is refused, and the operator is named."""
    model = _weighted("conv2d", "s8", FAKE.but(x="s8", y="s8")).model
    answer = ask(model, "fbgemm", "avx2")
    assert answer.outcome == "refused" and "QUInt8" in answer.reasons[0]
    assert answer.placements == {"conv2d": "rejected"}
    linear = _weighted("linear", "s8", FAKE.but(x="s8", y="s8")).model
    assert ask(linear, "onednn", "avx2").placements == {"linear": "integer"}  # of signed activations oneDNN takes those of a linear layer


CASES = {case.key: case for case in BINARY}
PAIRS = {  # two things at once: what the file is, and the engine
    "an activation behind a stack": (lambda: _probe(CASES["stack"], "", FAKE, then=ACTIVATIONS["hardswish"]), "fbgemm"),
    "a stack of one type": (lambda: _probe(CASES["stack"], "", FAKE), "fbgemm"),
    "a stack of two types": (lambda: _probe(CASES["stack"], "", FAKE, rhs="s8"), "fbgemm"),
    "a sum of int16 and uint8": (lambda: _probe(CASES["add"], "", FAKE.but(x="s16", y="s16"), rhs="u8"), "fbgemm"),
    "a sum of int16 and int16": (lambda: _probe(CASES["add"], "", FAKE.but(x="s16", y="s16"), rhs="s16"), "fbgemm"),
    "int8 to uint8": (lambda: _weighted("linear", "", FAKE.but(x="s8", y="u8", zero=5)), "onednn"),
    "int8 to uint8 with a zero point that int8 does not have": (lambda: _weighted("linear", "", FAKE.but(x="s8", y="u8", zero=None)), "onednn"),
    "tokens, int8 to int8": (lambda: _weighted("linear-tokens", "", FAKE.but(x="s8", y="s8", zero=5)), "onednn"),
    "weights of 16 bits": (lambda: _weighted("conv2d", "", FAKE.but(weight="s16")), "onednn"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_things_at_once(name, tmp_path):
    make, engine = PAIRS[name]
    path = tmp_path / "model.pt"
    path.write_bytes(make().model)
    answer, verdict = ask(path, engine, "avx2"), judge(load(path), load_profile(f"{engine}@avx2"))
    assert answer.outcome == verdict.outcome
    if answer.outcome == "refused":  # what ran before the exception is no verdict
        return
    compared = {op.label: (verdict.where(op), answer.placements[op.label]) for op in verdict.model.ops if answer.placements.get(op.label, "skip") != "skip"}
    assert compared
    assert {label: pair for label, pair in compared.items() if SAME.get(pair[0], pair[0]) != SAME.get(pair[1], pair[1])} == {}
