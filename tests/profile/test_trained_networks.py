"""Networks trained with the papers' algorithms, held against the five libraries of the MQBench paper (arXiv 2111.03759, section 3), then and now.

The network is graph 1 of Figure 4, folded, with 8 bits, scales per tensor and activations from zero on; its classifier is in float
and is left out here. What the paper says of each library: TensorRT wants symmetric activations, scales per channel and one input of
the add quantized; ACL keeps all but convolutions in float; TVM wants powers of two and symmetric activations; SNPE asymmetric
weights; FBGEMM scales per channel; TVM, SNPE and FBGEMM both inputs of the add.
"""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "passes"))
import training  # noqa: E402

import qlint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
FIVE = ("tensorrt", "acl", "tvm", "snpe", "fbgemm")
ADD = "missing-add-quantizer"
# Trained with LSQ by PyTorch's own operator, which is on a grid that everybody understands: rule → the worst that comes of it.
LSQ = {
    "tensorrt@mqbench-2021": {ADD: "wrong", "unsigned-activation": "wrong", "missing-output-quantizer": "wrong"},
    "acl@mqbench-2021": {"unsupported-operator": "float", "per-tensor-weight": "note"},
    "tvm@mqbench-2021": {ADD: "wrong", "unsigned-activation": "wrong", "missing-output-quantizer": "wrong", "learned-scale-drift": "wrong"},
    "snpe@mqbench-2021": {ADD: "wrong", "unsupported-storage": "wrong", "missing-output-quantizer": "wrong"},
    "fbgemm@mqbench-2021": {ADD: "wrong", "missing-output-quantizer": "wrong", "per-tensor-weight": "note"},
    "tensorrt": {ADD: "float", "unsigned-activation": "wrong"}, "acl": {"unsupported-operator": "float", "unsigned-activation": "unknown"},
    "tvm": {"unsupported-operator": "float"}, "snpe": {ADD: "wrong"}, "fbgemm": {ADD: "float", "reduced-range-needed": "wrong"},
}  # fmt: skip
# Trained with arithmetic: what each network is told everywhere.
OWN = {
    "LSQ": {"decomposed-quantizer"}, "LSQ+": {"decomposed-quantizer", "fractional-zero-point"}, "PACT": {"decomposed-quantizer"},
    "DoReFa": {"decomposed-quantizer", "fractional-zero-point", "computed-weight"}, "QIL": {"decomposed-quantizer", "transformed-activation", "computed-weight"},
    "APoT": {"nonuniform-quantizer"},
}  # fmt: skip
ABOUT_ALGORITHMS = set().union(*OWN.values(), {"soft-rounding", "training-quantizer", "learned-scale-drift"})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("trained"), {}

    def save(algorithm):
        if algorithm not in paths:
            paths[algorithm] = folder / f"{algorithm}.pt"
            training.save(training.trained(algorithm, folded=True, bits=8), "eval trace", paths[algorithm])
        return paths[algorithm]

    return save


@pytest.mark.parametrize("backend", LSQ)
def test_lsq(backend, saved):
    found = {}
    for finding in qlint.check(saved("LSQ (operator)"), backend=backend).results[0].findings:
        if finding.sites and not {site.op for site in finding.sites} <= {"fc", "mean"}:
            found.setdefault(finding.rule, finding.consequence)
    assert found == LSQ[backend]


def test_the_header(saved):
    assert qlint.check(saved("LSQ (operator)")).results[0].summary.quantization == "LSQ, W8 per-tensor, A8 per-tensor, insertion scheme 1"


@pytest.mark.parametrize("algorithm", OWN)
def test_arithmetic(algorithm, saved):
    """The same findings about the algorithm at all ten; and no convolution of it runs in integer as it was trained."""
    backends = [f"{name}{revision}" for revision in ("@mqbench-2021", "") for name in FIVE]
    for result in qlint.check(saved(algorithm), backend=backends).results:
        assert {finding.rule for finding in result.findings} & ABOUT_ALGORITHMS == OWN[algorithm], result.backend
        wrong = {op for finding in result.findings if finding.consequence == "wrong" for op in (*finding.drags, *(site.op for site in finding.sites))}
        integer = {op.name for op in result.ops if op.kind == "conv" and op.placement == "integer"}
        assert integer <= wrong, result.backend
        assert algorithm in result.summary.quantization
