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
# Trained with arithmetic: what each network is told everywhere. What is spelled out is float operators to today's compilers, and
# quantized once more, or not a network that the paper's settings know, to SNPE and in 2021: other numbers.
OWN = {
    "LSQ": {"decomposed-quantizer": ""}, "LSQ+": {"decomposed-quantizer": "", "fractional-zero-point": "wrong"}, "PACT": {"decomposed-quantizer": ""},
    "DoReFa": {"decomposed-quantizer": "", "fractional-zero-point": "wrong", "computed-weight": "note"},
    "QIL": {"decomposed-quantizer": "", "transformed-activation": "note", "computed-weight": "note"}, "APoT": {"nonuniform-quantizer": ""},
}  # fmt: skip
# And of the network around, which is graph 1: graph 3 of Figure 4 wants both inputs of the add quantized, and here none is; all but ACL
# want a quantizer behind the last block. ACL and TVM's own compiler have no integer add.
AROUND = {
    "tensorrt@mqbench-2021": {"missing-output-quantizer": "wrong"}, "acl@mqbench-2021": {"unsupported-operator": "float"},
    **{f"{name}@mqbench-2021": {ADD: "wrong", "missing-output-quantizer": "wrong"} for name in ("tvm", "snpe", "fbgemm")},
    "tensorrt": {}, "acl": {"unsupported-operator": "float"}, "tvm": {"unsupported-operator": "float"}, "snpe": {ADD: "wrong"}, "fbgemm": {ADD: "float"},
}  # fmt: skip
# The multiplication and the addition of QIL's interval stay in the network, where they read an input that was not quantized.
READ = {"unquantized-input": "note"}
INTERVAL = {
    "tensorrt@mqbench-2021": {ADD: "wrong", "unsupported-operator": "unknown", **READ}, "acl@mqbench-2021": READ,
    **{f"{name}@mqbench-2021": {"unsupported-operator": "unknown", **READ} for name in ("tvm", "snpe", "fbgemm")},
    "tensorrt": {ADD: "float", "unsupported-operator": "float", **READ}, "acl": READ, "tvm": READ, "snpe": {}, "fbgemm": {},
}  # fmt: skip


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
        found = {}
        for finding in result.findings:
            if finding.sites and not {site.op for site in finding.sites} <= {"fc", "mean"}:
                found.setdefault(finding.rule, finding.consequence)
        backend = result.backend if result.revision != "mqbench-2021" else result.target
        spelled = "wrong" if "2021" in backend or backend == "snpe" else "float"
        expected = AROUND[backend] | {rule: consequence or spelled for rule, consequence in OWN[algorithm].items()}
        if algorithm == "QIL":
            expected |= INTERVAL[backend]
        assert found == expected, result.target
        wrong = {op for finding in result.findings if finding.consequence == "wrong" for op in (*finding.drags, *(site.op for site in finding.sites))}
        integer = {op.name for op in result.ops if op.kind == "conv" and op.placement == "integer"}
        assert integer <= wrong, result.backend
        assert algorithm in result.summary.quantization
