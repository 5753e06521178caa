"""Algorithms by artefact: each cell is recognised, or not visible, and never under a wrong name."""

from collections import defaultdict

import pytest

torch = pytest.importorskip("torch")
import training  # noqa: E402

from qlint.api import load  # noqa: E402
from qlint.passes.algorithms import ALGORITHMS  # noqa: E402
from qlint.passes.trained import trained  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
NEUTRAL = "Quantizer"

# What arithmetic and operators alone show, of weights / inputs; `-` is not visible, `none` cannot be exported.
VISIBLE = """
                train-trace           eval-trace            pt2                   onnx
LSQ             LSQ/LSQ               LSQ/LSQ               LSQ/LSQ               -/-
LSQ-operator    LSQ/LSQ               LSQ/LSQ               LSQ/LSQ               none
LSQ+            LSQ/LSQ+              LSQ/LSQ+              LSQ/LSQ+              -/-
PACT            -/PACT                -/PACT                -/PACT                -/PACT
DoReFa          DoReFa/DoReFa         DoReFa/DoReFa         DoReFa/DoReFa         DoReFa/DoReFa
QIL             QIL/QIL               QIL/QIL               QIL/QIL               QIL/QIL
APoT            APoT/APoT             APoT/APoT             APoT/APoT             APoT/APoT
logarithmic     logarithmic/logarithmic  logarithmic/logarithmic  logarithmic/logarithmic  logarithmic/logarithmic
DSQ             DSQ/DSQ               DSQ/DSQ               DSQ/DSQ               DSQ/DSQ
TQT             TQT/TQT               TQT/TQT               TQT/TQT               TQT/TQT
QDrop           -/QDrop               -/-                   -/-                   -/-
AdaRound        AdaRound/-            AdaRound/-            AdaRound/-            AdaRound/-
uniform         -/-                   -/-                   -/-                   -/-
"""
CELLS = {
    (algorithm.replace("-", " "), artefact.replace("-", " ")): cell
    for algorithm, *cells in (line.split() for line in VISIBLE.strip().splitlines()[1:])
    for artefact, cell in zip(VISIBLE.split()[:4], cells, strict=True)
}
# Names of classes in MQBench (fake_quantize/), torch.ao, and repositories of papers.
LIBRARIES = {
    "LSQ": ["LearnableFakeQuantize", "_LearnableFakeQuantize", "LsqQuan", "ActLSQ", "Conv2dLSQ", "LSQFakeQuantize"],
    "LSQ+": ["LSQPlusActivationQuantizer", "LsqPlus", "lsq_plus"], "PACT": ["PACTFakeQuantize", "PactActivation"], "DoReFa": ["DoReFaFakeQuantize", "DorefaWeight"],
    "DSQ": ["DSQFakeQuantize", "DSQConv"], "TQT": ["TqtFakeQuantize", "TQTQuantizer"], "QDrop": ["QDropFakeQuantize"], "AdaRound": ["AdaRoundFakeQuantize"],
    "QIL": ["QILQuantizer"], "APoT": ["APoTQuantizer", "APOTFakeQuantize"], "logarithmic": ["NNIEFakeQuantize", "LogQuantizer"],
}  # fmt: skip
OTHERS = ["FixedFakeQuantize", "FusedMovingAvgObsFakeQuantize", "QDropout", "LoadSqueeze", "CompactNet", "Spotlight", "ELSQuant", "IntQuant", "RescalingIntQuant", "APOTHEOSIS", "LoggedQuant"]


@pytest.fixture(scope="session")
def networks():
    made = {}

    def network(algorithm):
        name = "LSQ (operator)" if algorithm == "LSQ operator" else algorithm
        if name not in made:
            made[name] = training.trained(name)
        return made[name]

    return network


def seen(path):
    """The algorithms of weights and inputs of the convolutions: one each, in all three."""
    model, found = load(path), defaultdict(list)
    for one in trained(model):
        if one.use.op.kind == "conv":
            found[one.use.role].append(one.algorithm)
    for role, algorithms in found.items():
        assert len(algorithms) == 3 and len(set(algorithms)) == 1, (role, algorithms)
    return "/".join(found.get(role, "-")[0] for role in ("w", "x"))


@pytest.mark.parametrize(("algorithm", "artefact"), CELLS, ids=" · ".join)
def test_by_what_is_computed(algorithm, artefact, networks, tmp_path):
    cell, path = CELLS[algorithm, artefact], tmp_path / f"network{training.ARTEFACTS[artefact]}"
    network = training.renamed(networks(algorithm), NEUTRAL)
    if cell == "none":
        with pytest.raises(torch.onnx.errors.OnnxExporterError):
            training.save(network, artefact, path)
        return
    training.save(network, artefact, path)
    assert seen(path) == cell


@pytest.mark.parametrize(("algorithm", "artefact"), [("LSQ", "pt2"), *((algorithm, "eval trace") for algorithm in LIBRARIES)], ids=" · ".join)
def test_by_what_modules_are_called(algorithm, artefact, networks, tmp_path):
    """In a network that shows nothing else."""
    path = tmp_path / f"network{training.ARTEFACTS[artefact]}"
    training.save(training.renamed(networks("uniform"), LIBRARIES[algorithm][0]), artefact, path)
    assert seen(path) == f"{algorithm}/{algorithm}"


@pytest.mark.parametrize("name", [name for names in LIBRARIES.values() for name in names] + OTHERS)
def test_names_of_classes(name):
    from qlint.graph import Module
    from qlint.passes.trained import _called

    found = _called(Module(f"library.{name}"))
    assert (found.name if found else "") == next((algorithm for algorithm, names in LIBRARIES.items() if name in names), "")


def test_each_algorithm_has_a_page():
    for algorithm in ALGORITHMS:
        assert "Deployable:" in algorithm.__doc__ and "arXiv" in algorithm.__doc__, algorithm.name
        assert {algorithm.name} & {cell for cells in CELLS.values() for cell in cells.split("/")}, algorithm.name


@pytest.mark.parametrize("zero", [0.3, 0.5, -0.5, -0.51, 111.7, -7.6, 300.0])
@pytest.mark.parametrize("axis", [None, 0])
def test_learned_zero_points_are_rounded_as_the_operator_does(zero, axis, tmp_path):
    class Learned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.zero = torch.nn.Parameter(torch.tensor([0.05])), torch.nn.Parameter(torch.tensor([zero]))

        def forward(self, x):
            if axis is None:
                x = torch._fake_quantize_learnable_per_tensor_affine(x, self.scale, self.zero, -128, 127, 1.0)
            else:
                x = torch._fake_quantize_learnable_per_channel_affine(x, self.scale, self.zero, axis, -128, 127, 1.0)
            return torch.relu(x)

    x, network = torch.linspace(-8, 8, 500)[None], Learned()
    torch.jit.trace(network, x, check_trace=False).save(str(tmp_path / "learned.pt"))
    ((use, q),) = load(tmp_path / "learned.pt").quantizers()
    assert use.op.kind == "relu" and q.algorithm == "LSQ"
    expected = torch.relu(torch.fake_quantize_per_tensor_affine(x, 0.05, q.zero_point[0], -128, 127))
    assert torch.equal(network(x), expected)
