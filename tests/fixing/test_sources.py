"""Where the range of a new quantizer comes from: with each source the real backends go from float to integer, and the numbers stay near those of the network in float.

`pytest -s` prints the accuracy against the float original: one line for each source and backend.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from networks import Network
from test_onnx import integer, outputs

import qlint


class Plain(Network):
    """The same network in float: no quantizers, and weights are the numbers that the integers stand for."""

    def grid(self, x, scale=0.05, zero_point=None, name=""):
        return x

    def weight(self, name, shape, *, axis=None, float_form=False, size=0.08):
        super().weight(name, shape, axis=axis, float_form=float_form, size=size)
        self.nodes.pop()
        return self.store(name, self.stored[name].astype(np.float32) * self.stored[f"{name}_scale"])


def network(path: Path, source: str, kind: type[Network] = Network) -> Path:
    """A residual block in which one quantizer is missing, and only one thing says what its range is."""
    n = kind(storage=np.uint8)
    x = n.op("Neg", "x", name="neg") if source == "batch-norm statistics" else "x"  # HTP refuses a graph input that is read in float, too
    first = n.op("Relu", n.conv(n.grid(x, 0.03), "conv1", (3, 8)), name="relu1")
    skip = n.grid(first, 0.02, 0)
    second = n.conv(skip, "conv2", (8, 8))
    rhs = first if source == "another reader's quantizer" else skip
    if source == "the operator's own range":
        lhs = n.op("Sigmoid", n.grid(second, 0.02), name="sigmoid")
    elif source == "the quantizer in front":
        lhs = n.op("Tile", n.grid(second, 0.02), n.store("times", np.ones(4, np.int64)), name="tile")
    elif source in ("interval bounds", "minmax", "percentile", "mse", "entropy"):
        lhs = second
    else:
        lhs = n.grid(second, 0.02)
    if source == "batch-norm statistics":
        rhs = n.batch_norm(n.op("Concat", x, x, x, name="concat", axis=1), "bn", 9, negative=False)
        lhs = n.grid(n.conv(skip, "conv3", (8, 9)), 0.02)
    added = n.op("Add", lhs, rhs, name="add")
    channels, size = {"batch-norm statistics": (9, 16), "the quantizer behind": (2, 32)}.get(source, (8, 16))
    if source == "the quantizer behind":
        added = n.op("DepthToSpace", added, name="depth", blocksize=2)
    last = n.conv(n.grid(added, 0.04, name="added"), "conv4", (channels, 8))
    return n.save(path, n.grid(last, 0.03), [1, 8, size, size])


def sqnr(wanted: np.ndarray, found: np.ndarray) -> float:
    return 10 * math.log10(float(np.sum(wanted**2)) / float(np.sum((wanted - found) ** 2)))


SOURCES = [
    "another reader's quantizer", "the quantizer in front", "the quantizer behind", "the operator's own range", "interval bounds", "batch-norm statistics",
    "minmax", "percentile", "mse", "entropy",
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("backend", "target"), [("ort-cpu", "x86"), ("qnn-htp", "v73")])
def test_operators_get_to_run_in_integer(backend, target, source, tmp_path):
    path, real = network(tmp_path / "model.onnx", source), network(tmp_path / "float.onnx", source, Plain)
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(3).normal(size=(8, 3, 16, 16)).astype(np.float32))
    how = {"calibration": data, "method": source} if source in ("minmax", "percentile", "mse", "entropy") else {}
    fixed = qlint.fix(path, backend, unsafe=True, **how)
    assert any(source in change.text for change in fixed.changes), (fixed.changes, fixed.refused)
    kinds = ("Conv", "Add")
    before, after = integer(path, backend, target, kinds), integer(Path(fixed.output), backend, target, kinds)
    wanted = outputs(real)
    was, now = sqnr(wanted, outputs(path)), sqnr(wanted, outputs(Path(fixed.output)))
    print(f"\n{backend:8} {source:28} integer {before} → {after}, SQNR against float {was:.1f} → {now:.1f} dB", end="")
    assert after > before
    assert now > was - (12 if source == "interval bounds" else 6)  # one bit is 6 dB; bounds hold for every input, and are wide
