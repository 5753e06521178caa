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
