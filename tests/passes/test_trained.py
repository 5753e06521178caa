"""Algorithms by artefact: each cell is recognised, or not visible, and never under a wrong name."""

import sys
from collections import defaultdict
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
import training  # noqa: E402
from command import qlint  # noqa: E402

from qlint.api import load  # noqa: E402
from qlint.passes.algorithms import ALGORITHMS  # noqa: E402
from qlint.passes.trained import trained  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
NEUTRAL = "Quantizer"

# What arithmetic and operators alone show, of weights / inputs; `-` is not visible, `none` cannot be exported. Weights that dynamo
# computes ahead are floats on the levels of a grid, of which nothing says how they came there.
VISIBLE = """
                train-trace    eval-trace     pt2            onnx           dynamo         live
LSQ             LSQ/LSQ        LSQ/LSQ        LSQ/LSQ        -/-            -/-            LSQ/LSQ
LSQ-operator    LSQ/LSQ        LSQ/LSQ        LSQ/LSQ        none           none           LSQ/LSQ
LSQ+            LSQ/LSQ+       LSQ/LSQ+       LSQ/LSQ+       -/-            -/-            LSQ/LSQ+
PACT            -/PACT         -/PACT         -/PACT         -/PACT         -/PACT         -/PACT
DoReFa          DoReFa/DoReFa  DoReFa/DoReFa  DoReFa/DoReFa  DoReFa/DoReFa  -/-            DoReFa/DoReFa
QIL             QIL/QIL        QIL/QIL        QIL/QIL        QIL/QIL        none           QIL/QIL
APoT            APoT/APoT      APoT/APoT      APoT/APoT      APoT/APoT      -/APoT         APoT/APoT
logarithmic     log/log        log/log        log/log        log/log        -/log          log/log
DSQ             DSQ/DSQ        DSQ/DSQ        DSQ/DSQ        DSQ/DSQ        -/DSQ          DSQ/DSQ
TQT             TQT/TQT        TQT/TQT        TQT/TQT        TQT/TQT        -/-            TQT/TQT
QDrop           -/QDrop        -/-            -/-            -/-            -/-            -/-
AdaRound        AdaRound/-     AdaRound/-     AdaRound/-     AdaRound/-     -/-            AdaRound/-
uniform         -/-            -/-            -/-            -/-            -/-            -/-
"""
CELLS = {
    (algorithm.replace("-", " "), artefact.replace("-", " ")): cell.replace("log", "logarithmic")
    for algorithm, *cells in (line.split() for line in VISIBLE.strip().splitlines()[1:])
    for artefact, cell in zip(VISIBLE.split()[:6], cells, strict=True)
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


def seen(subject):
    """The algorithms of weights and inputs of the convolutions: one each, in all three."""
    model, found = load(subject, example_inputs=torch.rand(1, *training.IMAGE)), defaultdict(list)
    for one in trained(model):
        if one.use.op.kind == "conv":
            found[one.use.role].append(one.algorithm)
    for role, algorithms in found.items():
        assert len(algorithms) == 3 and len(set(algorithms)) == 1, (role, algorithms)
    return "/".join(found.get(role, "-")[0] for role in ("w", "x"))


@pytest.mark.parametrize(("algorithm", "artefact"), CELLS, ids=" · ".join)
def test_by_what_is_computed(algorithm, artefact, networks, tmp_path):
    cell, path = CELLS[algorithm, artefact], tmp_path / f"network{training.ARTEFACTS.get(artefact, '.onnx')}"
    network = training.renamed(networks(algorithm), NEUTRAL)
    if artefact == training.DYNAMO:
        pytest.importorskip("onnxscript")
    if artefact == "live":
        assert seen(network) == cell
    elif cell == "none":
        with pytest.raises((torch.onnx.errors.OnnxExporterError, RuntimeError)):
            training.save(network, artefact, path)
    else:
        training.save(network, artefact, path)
        assert seen(path) == cell


NAMING = ("live", "eval trace", "pt2", training.DYNAMO)  # artefacts that say what modules are called


@pytest.mark.parametrize(("algorithm", "artefact"), [(algorithm, artefact) for algorithm in LIBRARIES for artefact in NAMING], ids=" · ".join)
def test_by_what_modules_are_called(algorithm, artefact, networks, tmp_path):
    """In a network that shows nothing else."""
    network, path = training.renamed(networks("uniform"), LIBRARIES[algorithm][0]), tmp_path / f"network{training.ARTEFACTS.get(artefact, '.onnx')}"
    if artefact == training.DYNAMO:
        pytest.importorskip("onnxscript")
    if artefact != "live":
        training.save(network, artefact, path)
    assert seen(network if artefact == "live" else path) == f"{algorithm}/{algorithm}"


def test_modules_that_dynamo_writes_into_nodes(tmp_path):
    """`torch.onnx.export(dynamo=True)` has paths and classes of modules in the properties of each node."""
    import onnx

    network, path = training.Network(training.Uniform).eval(), tmp_path / "network.onnx"
    training.save(network, "onnx", path)
    proto = onnx.load(path)
    for node in proto.graph.node:
        layer = next((name for name in ("stem", "one", "two") if name in node.name), "")
        scopes, classes = ["", layer, f"{layer}.x", "fake"], ["library.Network", "library.Layer", "library.LsqQuan", "aten.fake_quantize_per_tensor_affine.default"]
        for key, value in (("name_scopes", scopes), ("class_hierarchy", classes)):
            node.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=str(value))
        node.name = ""
    onnx.save(proto, path)
    assert seen(path) == "LSQ/LSQ"
    assert load(path).modules["stem.x"].cls == "library.LsqQuan"
    proto.graph.node[0].metadata_props[-1].value = "['one', ["  # of another length than the paths: nothing is told of this node
    onnx.save(proto, path)
    assert load(path).modules["one.x"].cls == "library.LsqQuan"


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


def test_the_graph_says_by_which_sign(networks, tmp_path):
    training.save(training.renamed(networks("PACT"), NEUTRAL), "onnx", tmp_path / "network.onnx")
    printed = qlint("graph", tmp_path / "network.onnx").stdout
    assert "trained with PACT: 3 operands, told by what is computed\n" in printed
    assert "batch-norm unfolded, strategy -1: /stem/bn/BatchNormalization, /one/bn/BatchNormalization and /two/bn/BatchNormalization\n" in printed


class Where(training.Quantizer):
    """PACT, as it is written too: the smaller one of two is chosen."""

    def start(self):
        self.p = torch.nn.Parameter(torch.tensor(0.31 if self.of == "weight" else 0.7))

    def forward(self, x):
        y = torch.where(x < self.p, x, self.p).clamp(min=0)
        step = self.p / (2**self.bits - 1)
        return training.straight((y / step).round() * step, y)


class Channels(training.Lsq):
    """LSQ with a step for each output channel."""

    def start(self):
        self.p = torch.nn.Parameter(torch.rand(8, 1, 1, 1) * 0.05 + 0.02 if self.of == "weight" else torch.tensor(0.2))


GRIDS = {**{name: training.QUANTIZERS[name] for name in ("LSQ", "LSQ+", "PACT", "DoReFa", "QIL", "TQT", "QDrop")}, "where": Where, "per channel": Channels}


@pytest.mark.parametrize("artefact", ["eval trace", "onnx"])
@pytest.mark.parametrize("name", GRIDS)
def test_values_lie_on_the_grid_that_is_read(name, artefact, tmp_path):
    """What each module computes, on weights and on inputs, is a level of the quantizer that the file is found to hold; the outermost levels too."""
    torch.manual_seed(1)
    network, path = training.Network(GRIDS[name]).eval(), tmp_path / f"network{training.ARTEFACTS[artefact]}"
    layer = network.stem
    layer.weight.data *= 20
    training.save(network, artefact, path)
    conv = next(op for op in load(path).ops if op.kind == "conv")
    with torch.no_grad():
        values = {"w": layer.w(layer.weight), "x": layer.x(torch.rand(4, 3, 8, 8) * 40 - 20)}
    for role, value in values.items():
        if (name, artefact, role) == ("where", "onnx", "w"):  # the exporter computes the comparison, and its bound is gone
            assert conv.uses[role].quantizers == ()
            continue
        (q,) = conv.uses[role].quantizers
        scale, zero = torch.tensor(list(q.scale)), torch.tensor(list(q.zero_point), dtype=torch.float32)
        codes = value / (scale.view(-1, 1, 1, 1) if len(scale) > 1 else scale) + (zero.view(-1, 1, 1, 1) if len(zero) > 1 else zero)
        assert (codes - codes.round()).abs().max() < 1e-3, role
        assert codes.round().max() <= q.qmax and codes.round().min() >= q.qmin, role
        if (name, role) != ("PACT", "w"):  # whose scale is that of the largest weight: the other side may end earlier
            assert {codes.round().max().item(), codes.round().min().item()} == {q.qmin, q.qmax}, role
