"""The TorchScript reader against PyTorch itself: operators, arguments, constants by value."""

from collections import Counter

import pytest

torch = pytest.importorskip("torch")
import torch_models as models  # noqa: E402
from torch_against import SIZES, STRUCTURE, Ours, Theirs, same  # noqa: E402

from qlint.readers.torch_archive import Archive  # noqa: E402
from qlint.readers.torch_graph import live  # noqa: E402
from qlint.readers.torchscript import evaluate  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
STRAIGHT = [name for name in models.MODELS if "scripted" not in name and "in place" not in name]


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("torch"), {}

    def path(name):
        if name not in paths:
            paths[name] = models.save(name, folder)
        return paths[name]

    return path


@pytest.mark.parametrize("name", STRAIGHT)
def test_operators_and_arguments(saved, name):
    """The same operators in the same order, fed by the same results, with the same constants."""
    archive = Archive(saved(name))
    _, _, block = evaluate(archive)
    ours, theirs = Ours(archive, block), Theirs(torch.jit.load(str(saved(name))))
    assert [kind for kind, _ in ours.ops] == [kind for kind, _ in theirs.ops]
    for number, ((kind, mine), (_, others)) in enumerate(zip(ours.ops, theirs.ops, strict=True)):
        assert len(mine) == len(others), kind
        assert all(same(b, a) for a, b in zip(mine, others, strict=True)), (number, kind, mine, others)
    assert ours.ops


QUESTIONS = SIZES | STRUCTURE | {"prim::If", "prim::Loop"} | {f"aten::{name}" for name in ("eq", "ne", "gt", "lt", "ge", "le")}


def flat(nodes):
    """Operators in order, those of branches and bodies included."""
    for node in nodes:
        if node.native not in QUESTIONS:
            yield node.native
        for block in node.blocks:
            yield from flat(block.nodes)


def flat_theirs(block):
    for node in block.nodes():
        inner = [b for b in node.blocks() if not any(n.kind() == "prim::RaiseException" for n in b.nodes())]
        if node.kind() not in QUESTIONS:
            yield node.kind()
        for one in inner:
            yield from flat_theirs(one)


@pytest.mark.parametrize("name", [name for name in models.MODELS if "scripted" in name])
def test_scripted(saved, name):
    """The operators that are left when PyTorch freezes the module, which does away with attributes, known branches and dead ends."""
    module = torch.jit.freeze(torch.jit.load(str(saved(name))), optimize_numerics=False)
    _, _, block = evaluate(Archive(saved(name)))
    ours = sorted(flat(live(block, block.outputs)))
    theirs = sorted(flat_theirs(module.graph))
    assert Counter(ours) == Counter(theirs)
