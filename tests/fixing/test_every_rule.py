"""Every rule that says `--fix` cures what it finds: it does, in a file, brings nothing new, and does with the numbers what it promises.

The bad cases of the rules are written as ONNX files and held against the toy backend of the rules' own tests. Where these
graphs are too small to be cured, or say what no graph in memory can (two nodes of one name), a file is made here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Network, signed
from onnx import helper
from test_explicit import float_network, save
from test_onnx import behind_a_conv, dangling, spoiled, twins, unsorted
from written import Unwritable, write

import qlint
from qlint.lint import registry
from qlint.lint.finding import SEVERITIES
from qlint.lint.rule import Rule
from qlint.lint.toy import toy

CURED = [rule for rule in registry.load(plugins=False).rules if rule.cure]
STRUCTURE = ("fold", "explicit")  # cures that are exact in real arithmetic


def fake_quantizer(path: Path) -> Path:
    node = helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], name="q", domain="onnx.brevitas", signed=1, narrow=0, rounding_mode="ROUND")
    return save(path, [node], {"s": np.float32(0.1), "z": np.float32(0), "b": np.float32(8)}, domains=["onnx.brevitas"])


def learned_offset(path: Path) -> Path:
    node = helper.make_node("LearnablePerTensorAffine", ["x", "s", "z"], ["y"], name="q", quant_min=0, quant_max=255)
    return save(path, [node], {"s": np.float32(0.1), "z": np.float32(3.7)})


def saturating(path: Path) -> Path:
    """Neighbouring weights of one sign that are large, in front of a bias on the accumulator's grid."""
    n = Network(opset=13)
    x = n.grid("x", 0.02, 0)
    w = n.store("w", np.full((8, 3, 3, 3), 120, np.int8))
    weight = n.op("DequantizeLinear", w, n.store("ws", np.float32(0.01)), n.store("wz", np.int8(0)), name="w_dq")
    bias = n.op("DequantizeLinear", n.store("b", np.arange(8, dtype=np.int32) * 1001), n.store("bs", np.float32(0.02) * np.float32(0.01)), name="b_dq")
    y = n.op("Conv", x, weight, bias, name="conv", kernel_shape=[3, 3], pads=[1] * 4)
    return n.save(path, n.grid(y, 0.2), [1, 8, 16, 16])


def integer_operator(path: Path) -> Path:
    quantization = pytest.importorskip("onnxruntime.quantization")
    from test_explicit import Reader

    float_network(path)
    types = quantization.QuantType
    quantization.quantize_static(path, path, Reader(), quant_format=quantization.QuantFormat.QOperator, activation_type=types.QInt8, weight_type=types.QInt8)
    return path


def alone(path: Path) -> Path:
    n = Network(storage=np.int8)
    x = n.grid("x")
    joined = n.grid(n.op("Concat", x, x, name="concat", axis=1), name="joined")
    y = n.op("Relu", n.batch_norm(joined, "bn", 6, negative=False), name="relu")
    return n.save(path, n.grid(n.conv(n.grid(y, 0.03, -128), "conv", (6, 8)), 0.05), [1, 8, 16, 16])


def unsigned(path: Path) -> Path:
    n = Network(storage=np.int8)
    x = n.op("Relu", n.conv(n.grid("x"), "first", (3, 8)), name="relu")
    n.storage = np.uint8
    y = n.grid(x, 0.02, 0)
    n.storage = np.int8
    return n.save(path, n.grid(n.conv(y, "conv", (8, 8)), 0.05), [1, 8, 16, 16])


# By rule: a file that it finds something in, and the backend.
FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "dangling-quantizer": (lambda path: spoiled(path, dangling), ""), "duplicate-node-name": (lambda path: spoiled(path, twins), ""),
    "unsorted-nodes": (lambda path: spoiled(path, unsorted), ""), "legacy-quantizer-op": (fake_quantizer, ""), "qoperator-format": (integer_operator, ""),
    "unfolded-batchnorm": (lambda path: behind_a_conv(path, axis=0), "ort-cpu"), "standalone-batchnorm": (alone, "ort-cpu"), "shared-readers": (signed, "ort-cpu"),
    "fractional-zero-point": (learned_offset, ""), "reduced-range-needed": (saturating, "fbgemm@avx2"), "unsigned-activation": (unsigned, "tensorrt"),
}  # fmt: skip


def found(path: Path | str, backend: object) -> dict[str, int]:
    """How severe what each rule finds is."""
    return {finding.rule: SEVERITIES.index(finding.severity) for finding in qlint.check(path, backend).results[0].findings}


def cured(rule: Rule, path: Path, backend: object, folder: Path) -> bool:
    """Whether the rule finds something in a file and a fix takes it away; what is promised is held against the result."""
    before = found(path, backend)
    if rule.name not in before:
        return False
    fixed = qlint.fix(path, backend, unsafe=True, output=folder / "fixed.onnx")
    if not fixed.output:
        return False
    onnx.checker.check_model(onnx.load(fixed.output))
    after = found(fixed.output, backend)
    assert not [name for name, severity in after.items() if severity < 2 and name not in before], (rule.name, path.name, after)
    assert all(change.applicability == "unsafe" for change in fixed.changes) or rule.applicability in ("safe", "unsafe")
    if all(change.applicability == "safe" for change in fixed.changes):
        promised(path, fixed.output, exact=rule.cure not in STRUCTURE)
    elif rule.applicability == "safe":
        assert any(change.applicability == "safe" for change in fixed.changes)
    return rule.name not in after


def promised(before: Path, after: str, *, exact: bool) -> None:
    """The outputs are equal, bit by bit or up to float32, wherever ONNX Runtime runs both files."""
    runtime = pytest.importorskip("onnxruntime")
    results = []
    for path in (str(before), after):
        options = runtime.SessionOptions()
        options.graph_optimization_level, options.log_severity_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL, 4
        try:
            session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            random = np.random.default_rng(1)
            results.append(session.run(None, {one.name: random.normal(size=one.shape).astype(np.float32) for one in session.get_inputs()}))
        except Exception:  # whatever a runtime raises about a model
            assert path == str(before), "what came out of the fix does not run"
            return
    for old, new in zip(*results, strict=True):
        assert np.array_equal(old, new) if exact else np.mean(old != new) < 1e-2


@pytest.mark.parametrize("rule", CURED, ids=lambda rule: rule.name)
def test_what_a_rule_finds_is_cured(rule, tmp_path):
    tried = []
    if rule.name in FILES:
        build, backend = FILES[rule.name]
        assert cured(rule, build(tmp_path / "model.onnx"), backend or (), tmp_path)
        return
    for case in rule.cases:
        if case.bad:
            try:
                path = write(case.build(), tmp_path / f"{case.name}.onnx")
            except (Unwritable, ValueError):  # the case is one of a grid that no file has
                continue
            tried.append(cured(rule, path, () if rule.unasked and not rule.selectors else toy(), tmp_path))
    assert any(tried), f"{rule.name} cures none of its {len(tried)} cases that can be written as files"


def test_what_is_safe_is_done_without_leave(tmp_path):
    """A rule whose cure is always safe needs no --unsafe-fixes."""
    for rule in CURED:
        if rule.applicability == "safe" and rule.name in FILES:
            build, backend = FILES[rule.name]
            fixed = qlint.fix(build(tmp_path / "model.onnx"), backend or (), output=tmp_path / "fixed.onnx")
            assert fixed.changes and {change.applicability for change in fixed.changes} == {"safe"}, rule.name
