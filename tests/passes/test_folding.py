"""Batch-norms by strategy and artefact, the exact fold of what is left of strategy 4, and statistics that differ between ranks."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
import folding  # noqa: E402
import training  # noqa: E402
from onnx import numpy_helper  # noqa: E402

import qlint  # noqa: E402
from qlint.api import load  # noqa: E402
from qlint.passes.folding import batch_norms, fold  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

# State and strategies; `-` is a convolution with a bias, which nothing tells from one that never had a batch-norm.
TABLE = """
            train-trace                   eval-trace            pt2                   onnx
-1          unfolded:-1:training          unfolded:-1           unfolded:-1           unfolded:-1
0           -                             -                     -                     -
1           in_the_graph:1:frozen         in_the_graph:1,2,3    in_the_graph:1,2,3    -
2           batch_statistics:2:training   in_the_graph:1,2,3    in_the_graph:1,2,3    -
3           corrected:3:training          in_the_graph:1,2,3    in_the_graph:1,2,3    -
4           divided:4:training            divided:4             divided:4             divided:4
frozen      unfolded:-1:frozen            unfolded:-1           unfolded:-1           unfolded:-1
standalone  standalone::training          standalone:           standalone:           standalone:
"""
CELLS = {
    (strategy, artefact.replace("-", " ")): cell
    for strategy, *cells in (line.split() for line in TABLE.strip().splitlines()[1:])
    for artefact, cell in zip(TABLE.split()[:4], cells, strict=True)
}


def said(norm):
    words = [norm.state.replace(" ", "_"), ",".join(map(str, norm.strategies)), "training" * norm.training, "frozen" * norm.frozen]
    return ":".join([*words[:2], *filter(None, words[2:])])


@pytest.mark.parametrize(("strategy", "artefact"), CELLS, ids=" · ".join)
def test_strategies(strategy, artefact, tmp_path):
    path = tmp_path / f"network{training.ARTEFACTS[artefact]}"
    training.save(folding.Network(strategy), artefact, path)
    assert (" ".join(map(said, batch_norms(load(path)))) or "-") == CELLS[strategy, artefact]


@pytest.mark.parametrize("artefact", ["eval trace", "pt2", "onnx"])
def test_the_fold_of_what_is_left(artefact, tmp_path):
    """Folded by hand in PyTorch: the same bias, and nothing changes in the numbers behind the output's quantizer."""
    network, path = folding.Network("4").eval(), tmp_path / f"network{training.ARTEFACTS[artefact]}"
    training.save(network, artefact, path)
    (norm,) = batch_norms(load(path))
    predicted = fold(norm)
    assert predicted.exact
    factor, bias = network.layer.running()
    np.testing.assert_allclose(predicted.bias, bias.detach().numpy(), rtol=1e-5, atol=1e-6)
    x = torch.rand(8, 3, 16, 16)
    with torch.no_grad():
        before = network(x)
        layer = network.layer
        layer.forward = lambda x: layer.conv(x, folding.quantized(layer.weight * factor.view(-1, 1, 1, 1)), torch.tensor(predicted.bias, dtype=torch.float32))
        assert (network(x) - before).abs().max() == 0.0


def test_the_fold_in_the_file(tmp_path):
    """Div and BatchNormalization out of an ONNX file, the predicted bias in: ONNX Runtime computes the same."""
    path = tmp_path / "network.onnx"
    training.save(folding.Network("4"), "onnx", path)
    (norm,) = batch_norms(load(path))
    model = onnx.load(path)
    graph = model.graph
    named = {node.name: node for node in graph.node}
    named[norm.front.name].input.append("bias")
    named[norm.front.name].output[0] = norm.op.outputs[0].name
    graph.initializer.append(numpy_helper.from_array(np.array(fold(norm).bias, np.float32), "bias"))
    for op in (norm.divide, norm.op):
        graph.node.remove(named[op.name])
    x = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    before, after = (onnxruntime.InferenceSession(one).run(None, {graph.input[0].name: x})[0] for one in (path.read_bytes(), model.SerializeToString()))
    assert np.abs(before - after).max() == 0.0 and np.ptp(before) > 0


@pytest.mark.parametrize("bias", [False, True])
def test_modules_of_pytorch(bias, tmp_path):
    """nniqat.ConvBn2d, which adds the bias that the convolution had behind the division: folded by PyTorch's own convert."""
    from torch.ao import quantization
    from torch.ao.nn.intrinsic import qat

    torch.manual_seed(5)
    module = qat.ConvBn2d(3, 6, 3, bias=bias, qconfig=quantization.get_default_qat_qconfig("fbgemm"))
    torch.nn.init.normal_(module.bn.bias)
    for _ in range(3):
        module(torch.randn(4, 3, 8, 8))
    module.eval()
    module.weight_fake_quant.apply(quantization.disable_observer)
    for artefact in ("eval trace", "pt2"):
        path = tmp_path / f"module{training.ARTEFACTS[artefact]}"
        training.save(module, artefact, path)
        (norm,) = batch_norms(load(path))
        predicted = fold(norm)
        assert norm.state == "divided" and predicted.exact
        folded = torch.ao.nn.intrinsic.ConvBn2d(torch.nn.Conv2d(3, 6, 3, bias=bias), module.bn)
        folded[0].load_state_dict({name: value for name, value in module.state_dict().items() if name in ("weight", "bias")})
        merged = torch.nn.utils.fuse_conv_bn_eval(folded.eval()[0], folded[1])
        np.testing.assert_allclose(predicted.bias, merged.bias.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_factor_that_is_not_the_batch_norms_own(tmp_path):
    """Statistics that went on after the factor was computed: the fold is no longer exact."""
    network, path = folding.Network("4"), tmp_path / "network.onnx"
    training.save(network, "onnx", path)
    model = onnx.load(path)
    divisor = next(node for node in model.graph.node if node.op_type == "Div" and "Conv" in node.input[0]).input[1]
    for tensor in model.graph.initializer:
        if tensor.name == divisor:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.1), divisor))
    onnx.save(model, path)
    (norm,) = batch_norms(load(path))
    assert not fold(norm).exact


def test_a_batch_norm_that_is_spelled_out(tmp_path):
    class Spelled(folding.Unfolded):
        def forward(self, x):
            y, per_channel = self.conv(x, folding.quantized(self.weight)), (1, -1, 1, 1)
            y = (y - self.bn.running_mean.view(per_channel)) / torch.sqrt(self.bn.running_var + self.bn.eps).view(per_channel)
            return y * self.bn.weight.view(per_channel) + self.bn.bias.view(per_channel)

    network = folding.Network("-1")
    network.layer.__class__ = Spelled
    for artefact, extension in training.ARTEFACTS.items():
        training.save(network, artefact, tmp_path / f"network{extension}")
        (norm,) = batch_norms(load(tmp_path / f"network{extension}"))
        assert (norm.state, norm.front.kind) == ("unfolded", "conv")


def test_ranks_that_went_their_own_way(tmp_path):
    """Two ranks with batch-norms that did not talk to each other: the same weights, other statistics."""
    one = folding.Network("-1").train()
    other = copy.deepcopy(one)
    models = []
    for rank, network in enumerate((one, other)):
        torch.manual_seed(rank)
        with torch.no_grad():
            network(torch.rand(4, 3, 8, 8) * (1 + rank))
        training.save(network, "eval trace", tmp_path / f"{rank}.pt")
        models.append(load(tmp_path / f"{rank}.pt"))
    assert qlint.differing_statistics([models[0], models[0]]) == []
    (found,) = qlint.differing_statistics([tmp_path / "0.pt", models[1]])
    a, b = (network.layer.bn for network in (one, other))
    quotient = torch.sqrt((a.running_var + a.eps) / (b.running_var + b.eps))
    assert found.name == "layer.bn" and found.factor == pytest.approx(max(quotient.max().item(), 1 / quotient.min().item()), rel=1e-5) and found.mean > 0


def ranks(strategy, apart=1.0):
    """Two ranks of one network after a batch of their own."""
    one = folding.Network(strategy).train()
    both = one, copy.deepcopy(one)
    for rank, network in enumerate(both):
        torch.manual_seed(0)
        with torch.no_grad():
            network.layer.bn.running_var.mul_(apart if rank else 1.0)
            network.layer.bn.running_mean.add_(apart - 1.0 if rank else 0.0)
    return both


def told(subjects, **how):
    report = qlint.check(subjects, **how)
    assert not report.errors
    return [finding for finding in report.findings if finding.rule == "inconsistent-batchnorm-statistics"]


@pytest.mark.parametrize("artefact", ["live", "eval trace", "pt2", "onnx"])
@pytest.mark.parametrize("strategy", ["-1", "1", "4"])
def test_ranks_in_one_run(strategy, artefact, tmp_path):
    """Told without being asked where two files of a run have the same weights; what exporters have folded shows nothing any more."""
    subjects = {}
    for apart in (1.0, 1.44):
        networks = [network.eval() for network in ranks(strategy, apart)]
        subjects[apart] = networks
        if artefact != "live":
            subjects[apart] = [tmp_path / f"rank{number}_{apart}{training.ARTEFACTS[artefact]}" for number in range(2)]
            for network, path in zip(networks, subjects[apart], strict=True):
                training.save(network, artefact, path)
    inputs = torch.rand(1, 3, 8, 8)
    assert told(subjects[1.0], example_inputs=inputs) == []
    found = told(subjects[1.44], example_inputs=inputs)
    if (strategy, artefact) in {("1", "onnx"), ("4", "onnx")}:  # the weights are folded, and others in each rank
        assert found == []
        return
    (finding,) = found
    assert finding.severity == "warning" and "make a difference of up to 20%" in finding.message, finding.message
    assert (f"another {type(networks[0]).__name__}" if artefact == "live" else "rank1") in finding.message
    if artefact == "eval trace":
        (apart,) = told(subjects[1.44], jobs=2)
        assert apart == finding
        assert told(subjects[1.44], ignore=["inconsistent-batchnorm-statistics"]) == []
