"""Every mismatch that the judge can produce is explained by a rule that was written for it."""

import sys
from itertools import islice
from pathlib import Path

import pytest

from qlint.api import load
from qlint.judge import guards, judge
from qlint.judge import ports as judged
from qlint.lint import registry
from qlint.lint.rule import Claims
from qlint.profile import load as load_profile
from qlint.profile import names

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import bites
from probes import corpora, probes

RULES = registry.load().rules
CATCH_ALL = "unexplained-mismatch"
OVERLAYS = {name: (*profile.targets, *profile.revision) for name in names() for profile in [load_profile(name)]}
BACKENDS = [f"{name}@{overlay}" for name, overlays in OVERLAYS.items() for overlay in overlays] + [name for name in names() if not load_profile(name).targets]

def named(mismatch, claims, model=None):
    rule = claims.claim(mismatch, model)
    return rule is not None and rule.rule.name != CATCH_ALL


def requirements(profile):
    """(kind, role, port, requirement) of every kernel and check."""
    for kernel in profile.kernels:
        for ports in (kernel.ports, *(check.ports for check in kernel.checks)):
            yield from ((kind, *port) for port in bites.ports_of(ports) for kind in bites.kinds_of(kernel, profile, RULES))


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
        for m in bites.ways_to_miss(kind, role, name, requirement, spaces):
            if not named(m, claims):
                nobody.add((kind, m.port, m.dimension, str(m.found), str(m.wanted)))
    assert nobody == set()


@pytest.mark.parametrize("name", [name for name, _ in guards._TABLE])
def test_every_guard(name):
    dimensions = bites.said_by(name)
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
    for probe in islice(probes(corpus), 0, None, 60):
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
