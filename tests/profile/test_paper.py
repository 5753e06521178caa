"""Table 2 and Figure 4 of the MQBench paper (arXiv 2111.03759), cell by cell, and what is true today beside them.

One network (`paper.py`) is quantized in the way that Table 2 gives for a library; then one column at a time is changed.
A cell says what the worst thing is that happens to the numbers or to the placement of an operator:

    ok       nothing
    note     not what the table says, and a special case of it
    slow     integer, with extra work
    float    an operator runs in floating point
    unknown  nobody has established what happens
    wrong    other numbers than were trained
    refused  the model does not load
"""

from functools import cache
from itertools import product

import pytest
from paper import Setting, model

from qlint.api import load
from qlint.judge import judge
from qlint.lint import registry
from qlint.lint.rule import Claims
from qlint.profile import load as load_profile
from qlint.profile import names

# Table 2: the form of scales, the granularity and symmetry of weights, the graph of Figure 4, batch norms.
TABLE_2 = {
    "tensorrt": Setting("any", "channel", "symmetric", 2, "folded"),
    "acl": Setting("any", "channel", "asymmetric", 1, "folded"),
    "tvm": Setting("pot", "tensor", "symmetric", 3, "folded"),
    "snpe": Setting("any", "tensor", "asymmetric", 3, "folded"),
    "fbgemm": Setting("any", "channel", "asymmetric", 3, "folded"),
}
COLUMNS = [
    ("graph", 1), ("graph", 2), ("graph", 3), ("weights", "tensor"), ("weights", "channel"), ("symmetry", "symmetric"),
    ("symmetry", "asymmetric"), ("scale", "any"), ("scale", "pot"), ("batch_norm", "folded"), ("batch_norm", "unfolded"),
]  # fmt: skip


def table(text):
    return {name: dict(zip(COLUMNS, cells, strict=True)) for name, *cells in (line.split() for line in text.strip().splitlines()[1:])}


# At `mqbench-2021`. ACL adds in floating point whatever the model says (Figure 4, graph 1; appendix E).
PAPER = table("""
          graph-1 graph-2 graph-3 tensor  channel symmetric asymmetric any     pot     folded  unfolded
tensorrt  wrong   ok      wrong   wrong   ok      ok        wrong      ok      ok      ok      wrong
acl       float   wrong   wrong   note    float   float     float      float   float   float   wrong
tvm       wrong   wrong   ok      ok      wrong   ok        wrong      wrong   ok      ok      wrong
snpe      wrong   wrong   ok      ok      wrong   wrong     ok         ok      ok      ok      wrong
fbgemm    wrong   wrong   ok      note    ok      note      ok         ok      ok      ok      wrong
""")
TODAY = table("""
          graph-1 graph-2 graph-3 tensor  channel symmetric asymmetric any     pot     folded  unfolded
tensorrt  float   ok      slow    ok      ok      ok        refused    ok      ok      ok      ok
acl       unknown unknown unknown unknown unknown unknown   unknown    unknown unknown unknown unknown
tvm       float   float   float   float   float   float     float      float   float   float   float
snpe      wrong   wrong   ok      ok      unknown wrong     ok         ok      ok      ok      wrong
fbgemm    refused refused refused refused refused refused   refused    refused refused refused float
""")
WHY = {
    ("tensorrt", "graph", 1): "an add whose skip has no quantizer stays in floating point; no range is invented",
    ("tensorrt", "graph", 3): "the quantizer between convolution and add is obeyed, and costs the fusion",
    ("tensorrt", "weights", "tensor"): "scales of weights stand in the model; in 2021 they were found anew for each channel",
    ("tensorrt", "symmetry", "asymmetric"): "the importer refuses zero points; in 2021 only ranges were handed over",
    ("tensorrt", "batch_norm", "unfolded"): "a batch norm behind quantized weights is fused and keeps its meaning",
    ("acl", "*", "*"): "weights may have no zero point (which Table 2 gives them), and matrix products no scale per channel",
    ("tvm", "*", "*"): "Relay and its integer path are gone; Relax computes in floating point between the quantizers",
    ("fbgemm", "*", "*"): "PyTorch's convolutions ask for quint8 activations and qint8 weights; the paper's are of one type, and a batch norm in between stays in floating point",
    ("snpe", "weights", "channel"): "taken today, for convolutions from HTP v68 on, but only symmetric",
}  # fmt: skip

WORST = ("refused", "wrong", "cpu", "unknown", "slow", "note")
RULES = registry.load().rules


@cache
def canonical(setting, folder):
    path = folder / "network.onnx"
    path.write_bytes(model(setting))
    return load(path)


def cell(backend, setting, folder):
    """The worst consequence. An operator for which a backend has no integer kernel is floating point there, by design: that
    is said only where nothing else is."""
    verdict = judge(canonical(setting, folder), load_profile(backend))
    claims = Claims(RULES)
    seen = {m.consequence for m in verdict.mismatches if (m.dimension, m.consequence) != ("kernel", "float")}
    assert all(claims.claim(m, verdict.model) is not None for m in verdict.mismatches)
    if "float" in seen:
        return "refused" if verdict.refusals else "float"
    by_design = "float" if any(verdict.where(op) == "float" for op in verdict.model.ops if op.role == "data") else "ok"
    return next((c for c in WORST if c in seen), by_design)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


LIBRARIES = [pytest.param(name, marks=pytest.mark.skipif(name not in names(), reason=f"profiles/{name}.toml is not here")) for name in TABLE_2]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c[0]}-{c[1]}")
@pytest.mark.parametrize("backend", LIBRARIES)
def test_the_paper(backend, column, folder):
    setting = TABLE_2[backend].but(**dict([column]))
    assert cell(f"{backend}@mqbench-2021", setting, folder) == PAPER[backend][column]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c[0]}-{c[1]}")
@pytest.mark.parametrize("backend", TODAY)
def test_today(backend, column, folder):
    setting = TABLE_2[backend].but(**dict([column]))
    assert cell(backend, setting, folder) == TODAY[backend][column]


def explained(backend, column):
    return (backend, *column) in WHY or (backend, "*", "*") in WHY


def test_every_difference_is_explained():
    differ = {(backend, *column) for backend, cells in TODAY.items() for column in COLUMNS if cells[column] != PAPER[backend][column]}
    assert {place for place in differ if not explained(place[0], place[1:])} == set()
    assert {place for place in WHY if "*" not in place} <= differ
    assert {place[0] for place in WHY} <= {place[0] for place in differ}


@pytest.mark.parametrize("backend", LIBRARIES)
def test_every_combination(backend, folder):
    """A network is as the library computes it if each column is: no pair of columns makes up for another."""
    good = {(name, value) for (name, value), worst in PAPER[backend].items() if worst not in ("wrong", "unknown")}
    for scale, weights, symmetry, graph, norm in product(("any", "pot"), ("tensor", "channel"), ("symmetric", "asymmetric"), (1, 2, 3), ("folded", "unfolded")):
        setting = Setting(scale, weights, symmetry, graph, norm)
        fits = {("scale", scale), ("weights", weights), ("symmetry", symmetry), ("graph", graph), ("batch_norm", norm)} <= good
        assert (cell(f"{backend}@mqbench-2021", setting, folder) not in ("wrong", "unknown", "refused")) == fits, setting
