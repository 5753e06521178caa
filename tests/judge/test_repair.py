"""The changes that bring operators into integer: each is needed, all together are enough, and the real backend agrees."""

import re
import tomllib
from functools import cache

import pytest

import qlint
from qlint.judge import judge
from qlint.judge.edits import applied
from qlint.judge.repair import Backend, Budget, good, repair, said, together, working
from qlint.lint.testing import Graph, s8, s32, u8
from qlint.profile import Profile, load
from qlint.profile.load import from_data

RESNET = "tests/zoo/tiny_results_v1.3/resnet.onnx"
SPACES = {
    "per-tensor": '{ storage = "int8", granularity = "tensor", zero_point = "zero", constant = true }',
    "per-channel": '{ storage = "int8", granularity = "channel", axis = "out", zero_point = "zero", constant = true }',
}
FORM = """
id = "{id}"
title = "a test"
ingests = ["onnx"]
fallback = "float"
[evidence.e]
kind = "inferred"
ref = "a test"
[[kernels]]
id = "conv"
match = "conv clamp?"
ports = {{ x = {a}, w = {w}, b = ["absent", {{ storage = "int32" }}], y = {a} }}
guards = [{{ absorbed = "range" }}, {{ bias_scale = 0.001 }}, {{ same_storage = ["x", "y"] }}]
runs = "integer"
evidence = "e"
[[kernels]]
id = "add"
match = "add"
ports = {{ lhs = {a}, rhs = {a}, y = {a} }}
runs = "integer"
evidence = "e"
[[kernels]]
id = "move"
match = "max_pool|concat|reshape"
ports = {{ x = "any", "x*" = {a}, y = {a} }}
guards = [{{ same = ["x", "x*", "y"] }}]
runs = "integer"
evidence = "e"
[[kernels]]
id = "softmax"
match = "softmax"
ports = {{ x = {a}, y = {a} }}
runs = "integer"
checks = [{{ ports = {{ y = {{ zero_point = "qmin" }} }}, otherwise = "wrong", evidence = "e" }}]
evidence = "e"
"""


@cache
def backend(ident="npu", a='{ storage = "uint8|int8", granularity = "tensor" }', w="per-tensor") -> Profile:
    return from_data(tomllib.loads(FORM.format(id=ident, a=a, w=SPACES[w])), ident)


def repaired(model, profile):
    return repair(model, Backend(profile, Budget.of(model)))


def told(outcome):
    return sorted((f"{use.op.kind}.{use.role}" if use.op else "output", said(use.quantizers), said(sequence)) for use, sequence in outcome.changes.values())


def residual(*, skip=True, weight=s8):
    g = Graph()
    x = g.input() | u8()
    branch = g.conv(x, w=weight(), name="branch")
    return g.model(g.op("add", x, (branch | u8()) if skip else branch) | u8())


def test_a_model_that_is_integer_needs_no_change():
    outcome = repaired(residual(), backend())
    assert not outcome.changes and not outcome.out_of_reach and outcome.irreducible


def test_a_missing_quantizer_is_inserted_and_nothing_else():
    outcome = repaired(residual(skip=False), backend())
    assert told(outcome) == [("add.rhs", "no quantizer", "uint8 per tensor, zero point 128")]
    assert not outcome.out_of_reach


def test_a_shared_quantizer_is_changed_for_all_its_readers():
    """What one node quantizes is one change."""
    model = residual()
    outcome = repaired(model, backend(a='{ storage = "int8", granularity = "tensor" }'))
    first = [use for use, _ in outcome.changes.values() if use.tensor.is_input]
    assert {use.op.kind for use in first} == {"conv", "add"}
    assert {said(sequence) for _, sequence in outcome.changes.values()} == {"int8 per tensor, zero point -128"}


def test_the_range_of_a_grid_is_kept_in_another_container():
    outcome = repaired(residual(), backend(a='{ storage = "int8", granularity = "tensor" }'))
    for use, (new,) in outcome.changes.values():
        (old,) = use.quantizers
        assert new.range == pytest.approx(old.range) and new.scale == old.scale


@pytest.mark.parametrize(("wanted", "weight"), [("per-tensor", lambda: s8([0.1] * 8, axis=0)), ("per-channel", s8), ("per-tensor", lambda: s8(zp=3)), ("per-tensor", u8)])
def test_weights_are_written_as_the_backend_wants_them(wanted, weight):
    model = residual(weight=weight)
    outcome = repaired(model, backend(w=wanted))
    assert {use.role for use, _ in outcome.changes.values()} == {"w"} and not outcome.out_of_reach


def test_a_bias_gets_the_product_of_the_scales():
    g = Graph()
    x = g.input() | u8()
    model = g.model(g.conv(x, w=s8(), b=g.constant(8) | s32(0.5)) | u8())
    outcome = repaired(model, backend())
    ((use, (bias,)),) = outcome.changes.values()
    assert use.role == "b" and bias.scale == (pytest.approx(0.05 * 0.05),)


def test_equal_quantizers_around_data_movement():
    g = Graph()
    x = g.input() | u8(0.1)
    model = g.model(g.op("max_pool", x) | u8(0.2))
    outcome = repaired(model, backend())
    assert len(outcome.changes) == 1 and not outcome.out_of_reach


def test_wrong_numbers_are_put_right_too():
    g = Graph()
    model = g.model(g.op("softmax", g.input() | s8()) | s8(zp=10))
    outcome = repaired(model, backend())
    assert {id(op) for op in working(model)} <= outcome.reached and not {id(op) for op in working(model)} <= good(outcome.before)


def test_what_no_quantizer_can_mend_is_out_of_reach():
    g = Graph()
    model = g.model(g.op("gelu", g.conv(g.input() | u8(), w=s8())) | u8())
    outcome = repaired(model, backend())
    assert [op.kind for op in outcome.out_of_reach] == ["gelu"]
    assert told(outcome) == [("gelu.x", "no quantizer", "uint8 per tensor, zero point 128")]


def test_the_model_is_left_as_it_was():
    model = residual(skip=False)
    before = [(use, use.quantizers, use.tensor.dtype) for tensor in model.tensors.values() for use in tensor.uses]
    outcome = repaired(model, backend(a='{ storage = "int8", granularity = "tensor" }'))
    assert outcome.changes
    with pytest.raises(ValueError), applied(outcome.changes):
        raise ValueError
    assert [(use, use.quantizers, use.tensor.dtype) for tensor in model.tensors.values() for use in tensor.uses] == before


@pytest.mark.parametrize("name", ["qnn-htp", "ort-cpu", "ort-cpu@arm", "snpe"])
def test_every_change_is_needed_and_all_are_enough(name):
    """On a real model: judging the changed model shows every op; without any one change some op is lost."""
    model = qlint.load(RESNET)
    outcome = repaired(model, load(name))
    with applied(outcome.changes):
        assert good(judge(model, outcome.backend.profile)) == outcome.reached
    assert outcome.irreducible and outcome.reached > good(outcome.before) and outcome.changes
    places = {}
    for key, (use, _) in outcome.changes.items():
        places.setdefault(id(use.tensor), []).append(key)
    for keys in places.values():
        with applied({key: change for key, change in outcome.changes.items() if key not in keys}):
            assert not outcome.reached <= good(judge(model, outcome.backend.profile))


# -- several backends ------------------------------------------------------------------------------------


def common(model, *profiles):
    outcomes = [repair(model, Backend(profile, Budget.of(model))) for profile in profiles]
    return outcomes, together(model, outcomes)


def test_one_set_of_changes_for_backends_with_other_wishes():
    """One takes both containers if they are the same throughout, the other int8 alone."""
    model = residual(skip=False)
    outcomes, found = common(model, backend("either"), backend("signed", a='{ storage = "int8", granularity = "tensor" }'))
    assert found.satisfied == ["either", "signed"] and not found.conflicts
    for outcome in outcomes:
        with applied(found.changes):
            assert outcome.reached <= good(judge(model, outcome.backend.profile))


def test_wishes_that_exclude_each_other_are_named():
    model = residual(weight=lambda: s8([0.1] * 8, axis=0))
    _, found = common(model, backend("tensors", w="per-tensor"), backend("channels", w="per-channel"))
    assert len(found.satisfied) == 1
    (conflict,) = found.conflicts
    assert [use.role for use in conflict.uses] == ["w"] and {conflict.backend, *conflict.against} == {"tensors", "channels"}
    assert {re.sub(r" \(.*", "", text) for text in (conflict.wants.partition(",")[0], conflict.instead.partition(",")[0])} == {"int8 per tensor", "int8 per channel"}


def test_five_backends_agree_on_a_real_model():
    model = qlint.load(RESNET)
    profiles = [load(name) for name in ("qnn-htp", "ort-cpu", "ort-cpu@arm", "openvino", "snpe")]
    outcomes, found = common(model, *profiles)
    assert found.satisfied == [profile.name for profile in profiles]
    for outcome in outcomes:
        assert outcome.reached <= good(found.after[outcome.backend.profile.name])


def test_the_real_backend_runs_what_the_changes_promise(tmp_path):
    """The changes for ONNX Runtime, written into the file: it then runs everything in integer."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import numpy

    from qlint.oracles import judge as ask

    model = qlint.load(RESNET)
    outcome = repaired(model, load("ort-cpu@x86"))
    before = ask(RESNET, "ort-cpu", "x86")
    assert "float" in before.placements.values()
    file = onnx.load(RESNET)
    initializers = {one.name: one for one in file.graph.initializer}
    made = {name: node for node in file.graph.node for name in node.output}
    for use, (new,) in outcome.changes.values():
        if use.quantizers:  # int8 becomes uint8 on the same grid: both zero points move
            (old,) = use.quantizers
            assert (old.storage, new.storage, old.scale) == ("int8", "uint8", new.scale)
            for node in (old.quantize, old.dequantize):
                mine = made[node.outputs[0].name]
                name = f"{mine.name or mine.output[0]}_zero_point_u8"
                if mine.input[2] not in initializers or initializers[mine.input[2]].data_type != onnx.TensorProto.UINT8:
                    file.graph.initializer.append(onnx.numpy_helper.from_array(numpy.array(int(new.zero_point[0]), numpy.uint8), name))
                    initializers[name] = file.graph.initializer[-1]
                    mine.input[2] = name
        else:
            assert use.kind == "output"
            value = numpy.array(int(new.zero_point[0]), numpy.uint8 if new.storage == "uint8" else numpy.int8)
            file.graph.initializer.append(onnx.numpy_helper.from_array(numpy.array(1 / 256, numpy.float32), "end_scale"))
            file.graph.initializer.append(onnx.numpy_helper.from_array(value, "end_zero_point"))
            last = made[use.name]
            last.output[0] = "end_float"
            file.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["end_float", "end_scale", "end_zero_point"], ["end_integers"], "end_q"))
            file.graph.node.append(onnx.helper.make_node("DequantizeLinear", ["end_integers", "end_scale", "end_zero_point"], [use.name], "end_dq"))
    del file.graph.value_info[:]  # which says the old types
    path = tmp_path / "changed.onnx"
    onnx.save(file, path)
    after = ask(str(path), "ort-cpu", "x86")
    assert after.outcome == "runs", after.reasons
    assert {where for where in after.placements.values() if where != "skip"} <= {"integer", "absorbed"}


def test_large_models_come_to_an_end():
    """Where judging often would take too long, what was found is said, and that the search was cut short."""
    g = Graph()
    x = g.input() | u8()
    for block in range(150):
        branch = g.conv(x, w=s8(), name=f"conv{block}")
        x = g.op("add", x, branch if block % 2 else branch | u8(0.1 + block / 1000), name=f"add{block}") | u8(0.2 + block / 1000)
    model = g.model(x)
    backend_ = Backend(load("ort-cpu@arm"), Budget(12 * len(model.ops)))
    outcome = repair(model, backend_)
    assert not outcome.out_of_reach and len(outcome.changes) >= 75 and not outcome.irreducible
    assert backend_.budget.left > -10 * len(model.ops)
