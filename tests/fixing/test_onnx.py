"""`qlint.fix` on ONNX files: what backends make of the result, and what becomes of the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Network, residual, signed
from onnx import helper, numpy_helper

import qlint
from qlint.oracles import OracleMissing, judge


def integer(path: Path, backend: str, target: str, kinds: tuple[str, ...] = ("Conv",)) -> int:
    """How many nodes of some operators the real backend runs in integer."""
    try:
        answer = judge(str(path), backend, target)
    except OracleMissing as missing:
        pytest.skip(str(missing))
    assert answer.outcome == "runs", answer.reasons
    ops = {node.name: node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    return sum(place == "integer" for name, place in answer.placements.items() if ops.get(name) in kinds)


def outputs(path: Path, seed: int = 1) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    one = session.get_inputs()[0]
    return session.run(None, {one.name: np.random.default_rng(seed).normal(size=one.shape).astype(np.float32)})[0]


def test_signed_activations_become_unsigned_bit_by_bit(tmp_path):
    path = signed(tmp_path / "model.onnx")
    fixed = qlint.fix(path, "ort-cpu")
    assert [change.applicability for change in fixed.changes] == ["safe"]
    assert np.array_equal(outputs(path), outputs(tmp_path / "model.fixed.onnx"))
    onnx.checker.check_model(str(tmp_path / "model.fixed.onnx"), full_check=True)
    assert (integer(path, "ort-cpu", "x86"), integer(tmp_path / "model.fixed.onnx", "ort-cpu", "x86")) == (2, 5)


def test_what_another_backend_cannot_use_is_refused_and_both_are_named(tmp_path):
    fixed = qlint.fix(signed(tmp_path / "model.onnx"), ["ort-cpu", "tensorrt"])
    assert not fixed.changes and not fixed.output and not (tmp_path / "model.fixed.onnx").exists()
    assert any("ort-cpu" in refused.why and "tensorrt" in refused.why for refused in fixed.refused)


@pytest.mark.parametrize("source", ["interval bounds", "minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize(("backend", "target"), [("ort-cpu", "x86"), ("qnn-htp", "v73")])
def test_a_residual_network_without_add_quantizers(backend, target, source, tmp_path):
    path, result = residual(tmp_path / "model.onnx"), tmp_path / "model.fixed.onnx"
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(3).normal(size=(8, 3, 16, 16)).astype(np.float32))
    how = {} if source == "interval bounds" else {"calibration": data, "method": source}
    fixed = qlint.fix(path, backend, unsafe=True, **how)
    assert any(source in change.text for change in fixed.changes)
    assert all(change.applicability == "unsafe" for change in fixed.changes)
    assert integer(path, backend, target, ("Conv", "Add")) == 2
    assert integer(result, backend, target, ("Conv", "Add")) == 5
    assert fixed.numbers is None or fixed.numbers.sqnr > 20


def test_signed_residual_networks_get_one_container_for_all_readers(tmp_path):
    fixed = qlint.fix(residual(tmp_path / "model.onnx", np.int8), "ort-cpu", unsafe=True)
    assert integer(tmp_path / "model.fixed.onnx", "ort-cpu", "x86", ("Conv", "Add")) == 5
    assert {change.applicability for change in fixed.changes} == {"safe", "unsafe"}


def test_without_leave_to_change_numbers_nothing_is_inserted(tmp_path):
    fixed = qlint.fix(residual(tmp_path / "model.onnx"), "ort-cpu")
    assert not fixed.output
    assert all("--unsafe-fixes" in refused.why for refused in fixed.refused) and fixed.refused


# -- batch-norms ---------------------------------------------------------------------------------------

FORMS = [
    {}, {"axis": 0}, {"axis": 0, "float_form": True}, {"axis": 0, "bias": False}, {"axis": 0, "group": 8}, {"axis": 0, "group": 2},
    {"kind": "ConvTranspose", "axis": 1}, {"kind": "ConvTranspose", "float_form": True}, {"float_form": True, "bias": False},
]  # fmt: skip


def behind_a_conv(path: Path, *, residue: bool = False, **form) -> Path:
    n = Network()
    c = n.conv(n.grid(n.op("Relu", n.conv(n.grid("x"), "first", (3, 8), axis=0), name="relu")), "conv", (8, 8), **form)
    if residue:
        n.batch_norm("none", "bn", 8)
        n.nodes.pop()
        n.store("undo", (n.stored["bn_gamma"] / np.sqrt(n.stored["bn_var"] + np.float32(1e-5))).reshape(1, 8, 1, 1))
        c = n.op("Div", c, "undo", name="div")
        y = n.op("BatchNormalization", c, "bn_gamma", "bn_beta", "bn_mean", "bn_var", name="bn")
    else:
        y = n.batch_norm(c, "bn", 8)
    return n.save(path, n.grid(n.op("Relu", y, name="relu2"), 0.03, 0), [1, 8, 16, 16])


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_norm_folds_under_quantized_weights(form, tmp_path):
    path, result = behind_a_conv(tmp_path / "model.onnx", **form), tmp_path / "model.fixed.onnx"
    fixed = qlint.fix(path, "ort-cpu")
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(result).graph.node}
    assert [change.code for change in fixed.changes] == ["QL401"]
    onnx.checker.check_model(str(result), full_check=True)
    step = 0.03
    assert np.abs(outputs(path) - outputs(result)).max() <= step * 1.001
    assert np.mean(outputs(path) != outputs(result)) < 1e-3  # a rounding that went the other way


def test_what_mqbench_leaves_of_a_fold_goes_without_a_trace(tmp_path):
    """Strategy 4: the weight is folded already, a division undoes it in front of the batch-norm."""
    path, result = behind_a_conv(tmp_path / "model.onnx", residue=True, axis=0), tmp_path / "model.fixed.onnx"
    fixed = qlint.fix(path, "ort-cpu")
    kinds = {node.op_type for node in onnx.load(result).graph.node}
    assert not kinds & {"BatchNormalization", "Div"} and fixed.changes
    old, new = ({t.name: numpy_helper.to_array(t) for t in onnx.load(one).graph.initializer} for one in (path, result))
    assert np.array_equal(old["conv_w"], new["conv_w"])
    assert np.array_equal(outputs(path), outputs(result))


def test_a_batch_norm_behind_a_quantizer_stays(tmp_path):
    n = Network()
    y = n.batch_norm(n.grid(n.conv(n.grid("x"), "conv", (3, 8))), "bn", 8)
    fixed = qlint.fix(n.save(tmp_path / "model.onnx", n.grid(y, 0.03, name="out")), "tensorrt")
    assert not any(change.code == "QL401" for change in fixed.changes)


# -- the file ------------------------------------------------------------------------------------------


def test_what_is_not_touched_survives(tmp_path):
    """Documentation, metadata, functions of other domains' imports and unknown fields."""
    path = signed(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.doc_string, model.producer_name = "written by hand", "somebody"
    helper.set_model_props(model, {"key": "value"})
    model.graph.node[0].doc_string = "the first"
    unknown = b"\xfa\x3f\x03abc"  # field 1023, three bytes
    path.write_bytes(model.SerializeToString() + unknown)
    assert qlint.fix(path, "ort-cpu").output
    raw = (tmp_path / "model.fixed.onnx").read_bytes()
    written = onnx.load_from_string(raw)
    assert raw.endswith(unknown)
    assert (written.doc_string, written.producer_name, written.metadata_props[0].value) == ("written by hand", "somebody", "value")
    assert written.graph.node[0].doc_string == "the first"


def test_a_shared_constant_is_cloned(tmp_path):
    """One scale and one zero point for every quantizer of the file: only those at issue change."""
    path = signed(tmp_path / "model.onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not any("_w" in name for name in node.input):
            node.input[1:] = ["x_scale", "x_zero_point"]
    onnx.save(model, path)
    fixed = qlint.fix(path, "ort-cpu")
    written = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "model.fixed.onnx").graph.initializer}
    assert fixed.numbers is None or fixed.numbers.equal
    assert written["x_zero_point"].dtype == np.int8


# -- powers of two ---------------------------------------------------------------------------------------


def test_scales_that_drifted_become_powers_of_two_again(tmp_path):
    """For a backend that requantizes by shifting: scales that training has moved, biases with them."""
    n = Network(storage=np.int8)
    x = n.op("Relu", n.conv(n.grid("x", 2**-5 * 1.03), "conv1", (3, 8)), name="relu")
    y = n.conv(n.grid(x, 2**-5 * 0.96), "conv2", (8, 8))
    path = n.save(tmp_path / "model.onnx", n.grid(y, 2**-4 * 1.05), [1, 8, 16, 16])
    before = qlint.check(path, "vitis-dpu").results[0].summary
    fixed = qlint.fix(path, "vitis-dpu", unsafe=True)
    after = qlint.check(fixed.output, "vitis-dpu").results[0].summary
    assert (before.integer, after.integer + after.absorbed) == (0, 3)
    model = qlint.load(fixed.output)
    assert all(q.power_of_two for use, q in model.quantizers())
    assert fixed.numbers is None or fixed.numbers.sqnr > 20


# -- further structure -----------------------------------------------------------------------------------


def test_a_batch_norm_that_stands_alone_becomes_a_depthwise_convolution(tmp_path):
    """Pre-activation, as in DenseNet: concat, batch-norm, relu, conv."""
    n = Network(storage=np.int8)
    x = n.grid("x")
    joined = n.grid(n.op("Concat", x, x, name="concat", axis=1), name="joined")
    y = n.op("Relu", n.batch_norm(joined, "bn", 6, negative=False), name="relu")
    path = n.save(tmp_path / "model.onnx", n.grid(n.conv(n.grid(y, 0.03, -128), "conv", (6, 8)), 0.05), [1, 8, 16, 16])
    fixed = qlint.fix(path, "ort-cpu", unsafe=True)
    assert [(one.before, one.after) for one in fixed.progress] == [(1, 2)]
    assert fixed.numbers is None or fixed.numbers.equal or fixed.numbers.sqnr > 40
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(fixed.output).graph.node}


def test_a_relu_that_only_its_quantizer_stands_for_is_put_into_the_file(tmp_path):
    """Converters from TFLite leave it out. A symmetric grid without it would let negative numbers through."""
    n = Network(storage=np.int8)
    x = n.grid(n.conv(n.grid("x"), "conv1", (3, 8)), 0.02, -128)
    path = n.save(tmp_path / "model.onnx", n.grid(n.conv(x, "conv2", (8, 8)), 0.05), [1, 8, 16, 16])
    fixed = qlint.fix(path, "tensorrt", unsafe=True)
    assert "Relu" in {node.op_type for node in onnx.load(fixed.output).graph.node}
    assert outputs(Path(fixed.output)) == pytest.approx(outputs(path), abs=3 * 0.05)
    assert fixed.progress[0].outcome_after == "runs"


# -- what no backend is needed for -----------------------------------------------------------------------


def spoiled(path: Path, how) -> Path:
    model = onnx.load(signed(path))
    how(model.graph)
    onnx.save(model, path)
    return path


def node(graph, name: str):
    return next(one for one in graph.node if one.name == name)


def dangling(graph) -> None:
    q = node(graph, "relu1_out_q")
    graph.node.append(helper.make_node("DequantizeLinear", [q.output[0], *q.input[1:]], ["nowhere"], name="dead"))


def twins(graph) -> None:
    node(graph, "conv2").name = "conv1"


def unsorted(graph) -> None:
    first = node(graph, "relu1_out_q")
    graph.node.remove(first)
    graph.node.append(first)


def doubled(graph) -> None:
    dq, conv = node(graph, "relu2_out_dq"), node(graph, "conv3")
    at = list(graph.node).index(conv)
    graph.node.insert(at, helper.make_node("QuantizeLinear", [dq.output[0], *dq.input[1:]], ["again_q"], name="again_q"))
    graph.node.insert(at + 1, helper.make_node("DequantizeLinear", ["again_q", *dq.input[1:]], ["again"], name="again_dq"))
    node(graph, "conv3").input[0] = "again"


def mismatched(graph) -> None:
    graph.initializer.append(numpy_helper.from_array(np.float32(0.06), "other_scale"))
    node(graph, "relu2_out_dq").input[1] = "other_scale"


@pytest.mark.parametrize(
    ("how", "code", "applicability"),
    [(dangling, "QL102", "safe"), (twins, "QL805", "safe"), (unsorted, "QL806", "safe"), (doubled, "QL307", "safe"), (mismatched, "QL103", "unsafe")],
)
def test_defects_of_the_file(how, code, applicability, tmp_path):
    path, result = spoiled(tmp_path / "model.onnx", how), tmp_path / "model.fixed.onnx"
    before = [finding.code for finding in qlint.check(path).findings]
    assert code in before
    fixed = qlint.fix(path, unsafe=applicability == "unsafe")
    assert [(change.code, change.applicability) for change in fixed.changes] == [(code, applicability)]
    after = [finding.code for finding in qlint.check(result).findings]
    assert code not in after and set(after) <= set(before)
    onnx.checker.check_model(str(result), full_check=True)
    if applicability == "safe" and how is not twins:
        assert np.array_equal(outputs(path), outputs(result))


def test_nothing_to_fix(tmp_path):
    path = qlint.fix(signed(tmp_path / "model.onnx"), "ort-cpu").output
    again = qlint.fix(path, "ort-cpu")
    assert not again.changes and not again.output


def test_the_opset_is_raised_where_nothing_changes_by_it(tmp_path):
    """int4 weights in a file of opset 19, which no runtime loads."""
    n = Network(storage=np.int8)
    n.conv(n.grid("x"), "conv", (3, 8))
    path = n.save(tmp_path / "model.onnx", n.grid("conv_out", 0.05), [1, 8, 16, 16])
    model = onnx.load(path)
    for one in model.graph.initializer:
        if one.name in ("conv_w", "conv_w_zero_point"):
            values = numpy_helper.to_array(one) // 16
            one.CopyFrom(helper.make_tensor(one.name, onnx.TensorProto.INT4, values.shape, values.reshape(-1)))
    onnx.save(model, path)
    fixed = qlint.fix(path)
    written = onnx.load(fixed.output)
    assert [change.code for change in fixed.changes] == ["QL804"]
    assert (written.opset_import[0].version, written.ir_version) == (21, 10)
    onnx.checker.check_model(written, full_check=True)
    assert outputs(Path(fixed.output)).shape == (1, 8, 16, 16)


def test_a_constant_node_that_lost_its_reader_goes(tmp_path):
    """Scales in Constant nodes, as torch exports them, become initializers where they change."""
    path = signed(tmp_path / "model.onnx")
    model = onnx.load(path)
    for one in [one for one in model.graph.initializer if one.name.startswith("relu1_out_")]:
        model.graph.initializer.remove(one)
        model.graph.node.insert(0, helper.make_node("Constant", [], [one.name], value=one))
    onnx.save(model, path)
    fixed = qlint.fix(path, "ort-cpu")
    kinds = [one.op_type for one in onnx.load(fixed.output).graph.node]
    assert "Constant" not in kinds and (fixed.numbers is None or fixed.numbers.equal)


def test_an_old_file_lists_new_constants_as_inputs(tmp_path):
    """Before version 4 of the format initializers have to be inputs of the graph."""
    path = signed(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.ir_version = 3
    for one in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(one.name, one.data_type, one.dims))
    onnx.save(model, path)
    fixed = qlint.fix(path, "ort-cpu")
    assert fixed.output
    onnx.checker.check_model(fixed.output)


def test_what_two_backends_want_is_made_once(tmp_path):
    path = tmp_path / "resnet.onnx"
    path.write_bytes((Path(__file__).parent.parent / "zoo/tiny_results_v1.3/resnet.onnx").read_bytes())
    fixed = qlint.fix(path, ["ort-cpu", "qnn-htp"], unsafe=True)
    assert [(change.rule, change.sites) for change in fixed.changes] == [("missing-output-quantizer", ["dense"])]
    assert all(one.after > one.before for one in fixed.progress)


def test_the_type_of_an_output_stays(tmp_path):
    n = Network(storage=np.int8)
    first = n.conv(n.grid("x"), "conv", (3, 8))
    s, z = n.store("y_scale", np.float32(0.05)), n.store("y_zero_point", np.int8(0))
    y = n.op("QuantizeLinear", first, s, z, name="y")
    path = n.save(tmp_path / "model.onnx", y, [1, 8, 16, 16])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    onnx.save(model, path)
    qlint.fix(path, "ort-cpu", unsafe=True)
    result = tmp_path / "model.fixed.onnx"
    if result.exists():
        onnx.checker.check_model(str(result), full_check=True)
        assert onnx.load(result).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT8


def test_a_fold_that_is_refused_hides_no_other_fix(tmp_path):
    """A transposed convolution whose groups would need scales of their own: the batch-norm stays, the signed activations do not."""
    n = Network(storage=np.int8)
    x = n.grid("x")
    left, right = (n.grid(n.conv(x, name, (3, 8)), 0.03) for name in ("conv1", "conv2"))
    c = n.conv(n.grid(n.op("Add", left, right, name="add"), 0.05), "up", (8, 8), kind="ConvTranspose", group=2, axis=1)
    path = n.save(tmp_path / "model.onnx", n.grid(n.op("Relu", n.batch_norm(c, "bn", 8), name="relu"), 0.03), [1, 8, 16, 16])
    fixed = qlint.fix(path, "ort-cpu")
    assert [change.code for change in fixed.changes] == ["QL403"]
    assert any(refused.code == "QL401" for refused in fixed.refused)
    assert integer(Path(fixed.output), "ort-cpu", "x86") == 2


@pytest.mark.parametrize("clamps", [False, True])
def test_of_two_grids_in_a_row_the_last_one_stays(tmp_path, clamps):
    """Unless the first one begins at zero, and may be all that is left of a relu."""
    n = Network()
    first = n.conv(n.grid("x"), "conv1", (3, 8))
    first = first if clamps else n.op("Relu", first, name="relu")
    y = n.grid(n.grid(first, 0.02, 0, name="one"), 0.05, 128 if clamps else 0, name="two")
    path = n.save(tmp_path / "model.onnx", n.grid(n.conv(y, "conv2", (8, 8)), 0.1), [1, 8, 16, 16])
    fixed = qlint.fix(path, "ort-cpu", unsafe=True, select=["double-quantization"])
    if clamps:
        assert not fixed.changes and "may stand for a relu" in fixed.refused[0].why
        return
    assert [(change.code, change.applicability) for change in fixed.changes] == [("QL307", "unsafe")]
    (use,) = [op.uses["x"] for op in qlint.load(fixed.output).ops if op.name == "conv2"]
    assert [q.scale for q in use.quantizers] == [(float(np.float32(0.05)),)]


def test_a_fix_that_nothing_comes_of_is_not_passed_over_in_silence(tmp_path):
    """What a finding calls fixable is fixed, or refused with a reason."""
    path = residual(tmp_path / "model.onnx")
    n = Network()
    n.save(path, n.op("Conv", n.grid("x"), n.store("w", np.ones((4, 3, 3, 3), np.float32)), n.op("Mul", n.store("b", np.ones(4, np.float32)), n.op("ReduceMax", "x", name="m", keepdims=0), name="b"), name="conv"), [1, 4, 14, 14])
    can = {finding.rule for finding in qlint.check(path, "qnn-htp").results[0].findings if finding.fix is not None and finding.fix.applicability != "display"}
    fixed = qlint.fix(path, "qnn-htp", unsafe=True)
    assert can and can <= {one.rule for one in (*fixed.changes, *fixed.refused)}
