"""Every mismatch that the judge can produce is explained by a rule that was written for it."""

import ast
import inspect
import sys
from itertools import islice
from pathlib import Path

import pytest

from qlint.api import load
from qlint.graph import Op, Tensor, Use
from qlint.judge import guards, judge
from qlint.judge import ports as judged
from qlint.judge.pattern import parse
from qlint.judge.verdict import Mismatch
from qlint.lint import registry
from qlint.lint.rule import Claims
from qlint.lint.testing import Constant, quantizer
from qlint.profile import load as load_profile
from qlint.profile import names

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from probes import corpora, probes

RULES = registry.load().rules
CATCH_ALL = "unexplained-mismatch"
OVERLAYS = {name: (*profile.targets, *profile.revision) for name in names() for profile in [load_profile(name)]}
BACKENDS = [f"{name}@{overlay}" for name, overlays in OVERLAYS.items() for overlay in overlays] + [name for name in names() if not load_profile(name).targets]

# Quantizers that differ from each other in every dimension that a port can ask for.
QUANTIZERS = [
    quantizer(storage, scale, zero_point, **fields)
    for storage in ("uint8", "int8", "uint4", "int4", "uint16", "int16", "int32", "float8e4m3fn")
    for scale, fields in (
        (0.05, {}), (0.25, {}), (0.0, {}), (-0.05, {}), ([0.05], {}), (None, {}), (None, {"dynamic": True}), ([0.05] * 8, {"axis": 0}),
        ([0.05] * 8, {"axis": 1}), ([0.05] * 8, {"granularity": "block", "block_size": 20, "axis": 1}), (0.05, {"zero_point_shape": None}),
    )
    for zero_point in ((0, 5) if storage.startswith("float") else (0, 5, 128 if storage == "uint8" else -128))
]  # fmt: skip


def named(mismatch, claims, model=None):
    rule = claims.claim(mismatch, model)
    return rule is not None and rule.rule.name != CATCH_ALL


def ways_to_miss(kind, role, name, requirement, spaces):
    """Everything that a port may look like and that a requirement does not take."""
    op = Op(0, kind, kind, kind)
    for constant in (False, True):
        for dtype in ("float32", "float16"):
            tensor = Tensor("t", dtype, (8, 8), Constant(dtype, (8, 8)) if constant else None)
            op.uses[role] = Use(tensor, op, role, 0)
            looks = [("absent", None, 1), ("none", None, 1), ("partial", QUANTIZERS[0], 1), ("mixed", QUANTIZERS[0], 2)]
            looks += [("one", q, 1 + number % 2) for number, q in enumerate(QUANTIZERS)]
            for state, q, writers in looks:
                port = judged.Port(name, role, op, None if state == "absent" else tensor, q, state, (), None, writers)
                for miss in spaces.misses(spaces.resolve(requirement), port):
                    where = miss.role or miss.port
                    yield Mismatch("k", op, op, where, miss.tensor, miss.dimension, miss.found, miss.wanted, "float", chain=(op,))


def kinds_that_differ(kinds):
    """One kind of each sort that some rule tells from the others."""
    selectors = [selector.kinds for rule in RULES for selector in rule.selectors if selector.kinds]
    return {tuple(kind in one for one in selectors): kind for kind in sorted(kinds)}.values()


def requirements(profile):
    """(kind, role, port, requirement) of every kernel and check."""
    for kernel in profile.kernels:
        kinds = kinds_that_differ(parse(kernel.match, profile.classes)[0].kinds or {"add", "conv", "softmax"})
        for ports in (kernel.ports, *(check.ports for check in kernel.checks)):
            for name, requirement in ports.items():
                role = {"x*": "x0", "skip": "rhs", "y*": "y"}.get(name, name.rpartition(".")[2])
                yield from ((kind, role, name, requirement) for kind in kinds)


@pytest.fixture(scope="module")
def seen():
    """What was looked at: targets of a backend share most of their kernels."""
    return set()


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_requirement_of_a_port(backend, seen):
    profile, claims = load_profile(backend), Claims(RULES)
    spaces, nobody = judged.Spaces(profile), set()
    for kind, role, name, requirement in requirements(profile):
        if (key := (kind, role, spaces.resolve(requirement))) in seen:
            continue
        seen.add(key)
        for m in ways_to_miss(kind, role, name, requirement, spaces):
            if not named(m, claims):
                nobody.add((kind, m.port, m.dimension, str(m.found), str(m.wanted)))
    assert nobody == set()


SAY = ("miss", "_about", "Miss")  # what the judge writes a miss with


def said_by(function):
    """Dimensions that a function of the judge writes into its misses."""
    for call in ast.walk(ast.parse(inspect.getsource(function))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in SAY:
            text = call.args[1]
            yield text.values[0].value.strip() if isinstance(text, ast.JoinedStr) else text.value


@pytest.mark.parametrize("name", [name for name, _ in guards._TABLE])
def test_every_guard(name):
    check = dict(guards._TABLE)[name]
    called = [one for name in check.__code__.co_names if inspect.isfunction(one := check.__globals__.get(name)) and one.__module__ == check.__module__]
    dimensions = {d for function in (check, *called) if function.__name__ not in SAY for d in said_by(function)}
    claimed = {d for rule in RULES if rule.name != CATCH_ALL for selector in rule.selectors for d in selector.dimensions}
    assert dimensions, "a guard says what it did not find"
    assert dimensions <= claimed


def test_every_dimension_of_a_port():
    claimed = {d for rule in RULES if rule.name != CATCH_ALL for selector in rule.selectors for d in selector.dimensions}
    assert {dimension for dimension, *_ in judged._DIMENSIONS} <= claimed


def explained(model, profile):
    """Nobody is left without a reason, and no reason without a rule."""
    verdict, claims = judge(model, profile), Claims(RULES)
    for m in verdict.mismatches:
        assert named(m, claims, verdict.model), (m.op, m.port, m.dimension, m.found, m.wanted)
    if verdict.refusals or (profile.conversion == "unknown" and model.format not in profile.ingests):
        return  # a sentence about the whole model
    reasons = {id(m.op) for m in verdict.mismatches}
    for op in model.ops:
        if op.role == "data" and verdict.where(op) in ("float", "cpu", "rejected", "unknown"):
            assert id(op) in reasons, op
    assert not claims.crashes


@pytest.mark.parametrize("corpus", corpora())
def test_probes(tmp_path, corpus):
    profiles = [load_profile(backend) for backend in names()]
    for probe in islice(probes(corpus), 0, None, 30):
        path = tmp_path / "probe.onnx"
        path.write_bytes(probe.model)
        model = load(path)
        for profile in profiles:
            explained(model, profile)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "zoo").rglob("*.onnx")), ids=lambda p: p.stem)
def test_real_models(path):
    model = load(path)
    for backend in names():
        explained(model, load_profile(backend))
