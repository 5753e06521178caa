"""The TorchScript reader against PyTorch itself: operators, arguments, constants by value."""

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch_models as models  # noqa: E402
from torch_against import SIZES, STRUCTURE, Ours, Theirs, same  # noqa: E402

from qlint import load  # noqa: E402
from qlint.readers.torch_archive import Archive  # noqa: E402
from qlint.readers.torch_graph import live  # noqa: E402
from qlint.readers.torchscript import evaluate  # noqa: E402
from qlint.readers.torchscript_packed import view  # noqa: E402
from qlint.readers.unpickle import TensorRecord  # noqa: E402

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


@pytest.mark.parametrize("name", ["residual", "mobile", "lstm", "vision transformer", "bert", "prepared for fbgemm", "eager prepared", "scripted residual"])
def test_parameters_are_those_of_the_state_dict(saved, name):
    """By their names in the module tree, with the same values."""
    archive = Archive(saved(name))
    _, _, block = evaluate(archive)
    state = torch.jit.load(str(saved(name))).state_dict()
    found = (value for node in walk(block) for argument in node.args.values() for value in (argument if isinstance(argument, list) else [argument]))
    records = {value.path: value for value in found if isinstance(value, TensorRecord) and not value.path.startswith("CONSTANTS.")}
    assert len(records) >= 6 and set(records) <= set(state)
    for path, record in records.items():
        assert torch.equal(torch.from_numpy(np.array(view(archive, record).array())), state[path]), path


def walk(block):
    for node in block.nodes:
        yield node
        for inner in node.blocks:
            yield from walk(inner)


def test_there_are_many_archives():
    from test_against_export import MODELS

    assert len(models.MODELS) + len(MODELS) >= 40


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


def test_scripted_and_traced_networks_have_the_same_quantizers(saved):
    """Freezing folds the arithmetic on weights of a prepared network, so that it is held against its traced twin."""
    scripted, traced = ([(op.kind, role, str(q)) for op in load(saved(name)).ops for role, use in op.uses.items() for q in use.quantizers]
                        for name in ("scripted prepared", "prepared for qnnpack"))  # fmt: skip
    assert len(scripted) == len(traced) == 16 and [one[:2] for one in scripted] == [one[:2] for one in traced]


@pytest.mark.parametrize("name", [name for name in models.MODELS if "scripted" in name and "prepared" not in name])
def test_scripted(saved, name):
    """The operators that are left when PyTorch freezes the module, which does away with attributes, known branches and dead ends."""
    module = torch.jit.freeze(torch.jit.load(str(saved(name))), optimize_numerics=False)
    _, _, block = evaluate(Archive(saved(name)))
    ours = sorted(flat(live(block, block.outputs)))
    theirs = sorted(flat_theirs(module.graph))
    assert Counter(ours) == Counter(theirs)
