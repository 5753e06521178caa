"""`qlint.fix` on TFLite files, with LiteRT as the judge: what changes stands in front, the old file follows as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qlint
from qlint.fixing.arithmetic import WriteError
from qlint.fixing.edits import Requantize
from qlint.fixing.tflite import _Writer, edited
from qlint.fixing.tflite_file import Document, Vector

ZOO = Path(__file__).parent.parent / "zoo"
MODEL = ZOO / "tflite-micro/micro_speech_quantized.tflite"
PARTLY = ZOO / "ai-edge-quantizer/partly_quantized_mnist.tflite"


def outputs(path: Path) -> np.ndarray:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    one = interpreter.get_input_details()[0]
    interpreter.set_tensor(one["index"], np.random.default_rng(0).integers(-128, 127, one["shape"], np.int8))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def changed(source: Path, path: Path, change) -> Path:
    """A file with other quantizers: `change` says which for each use of the model's operators, None for those that stay."""
    document, model = Document(source), qlint.load(source)
    wanted = {id(use): (use, new) for op in model.ops for use in op.uses.values() if (new := change(op, use)) is not None}
    edited(document, model, [Requantize(wanted)])
    with path.open("wb") as out:
        document.write(out)
    return path


def broken(path: Path) -> Path:
    """A bias on a scale that is twice the product of the scales of input and weight, with the same integers."""

    def twice(op, use):
        q = use.quantizers[0] if use.quantizers else None
        return (replace(q, scale=tuple(2 * s for s in q.scale)),) if op.kind == "linear" and use.role == "b" else None

    document, model = Document(changed(MODEL, path.with_suffix(".twice"), twice)), qlint.load(MODEL)
    data = next(op for op in model.ops if op.kind == "linear").uses["b"]
    number = next(i for i, table in enumerate(document.graph.tables("tensors")) if table.text("name") == data.name)
    raw = data.tensor.data.array().tobytes()
    document.root.tables("buffers")[document.graph.tables("tensors")[number].number("buffer")].changes["data"] = Vector(raw, len(raw), 16)
    with path.open("wb") as out:
        document.write(out)
    return path


def test_a_bias_gets_the_scale_of_the_accumulator(tmp_path):
    path = broken(tmp_path / "model.tflite")
    assert any(f.code == "QL501" for f in qlint.check(path, "tflm").findings)
    fixed = qlint.fix(path, "tflm", unsafe=True)
    result = tmp_path / "model.fixed.tflite"
    assert fixed.output == str(result)
    assert not any(f.code == "QL501" for f in qlint.check(result, "tflm").findings)
    old, new = (next(op for op in qlint.load(one).ops if op.kind == "linear") for one in (path, result))
    x, w, b = (new.uses[role].quantizers[0].scale[0] for role in "xwb")
    assert b == pytest.approx(x * w, rel=1e-6)
    before, after = (op.uses["b"].tensor.data.array() for op in (old, new))
    assert np.array_equal(after, 2 * before)  # the same real numbers
    assert outputs(result).shape == outputs(MODEL).shape  # the interpreter takes the file


def test_the_old_file_is_in_the_new_one(tmp_path):
    """What is new stands in front; the rest, understood or not, follows byte by byte."""
    old, new = MODEL.read_bytes(), broken(tmp_path / "model.tflite").read_bytes()
    assert new.endswith(old) and len(new) > len(old)


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "inputs.npy"
    np.save(path, np.random.default_rng(0).random((8, 28, 28, 1), np.float32))
    return path


@pytest.mark.parametrize("backend", ["tflite", "ethos-u55"])
def test_operators_in_float_become_integer(tmp_path, calibration, backend):
    """Of six operators two were in integer; quantizers in front of the others, and LiteRT runs what comes out."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    fixed = qlint.fix(PARTLY, backend, unsafe=True, output=tmp_path / "fixed.tflite", calibration=calibration)
    (progress,) = fixed.progress
    assert progress.before <= 2 and progress.after >= 5
    assert fixed.numbers is not None and fixed.numbers.sqnr > 25
    model = qlint.load(fixed.output)
    assert all(use.quantizers for op in model.ops for role, use in op.uses.items() if use.tensor.dtype == "float32" and not op.fused)
    for op in model.ops:  # the grids of biases are those of what is accumulated
        if "b" in op.uses:
            x, w, b = (op.uses[role].quantizers[-1] for role in "xwb")
            assert b.scale == pytest.approx(tuple(x.scale[0] * s for s in w.scale), rel=1e-6)
    before, after = (litert.Interpreter(str(path)) for path in (PARTLY, fixed.output))
    assert before.get_signature_list() == after.get_signature_list()
    for details in ("get_input_details", "get_output_details"):  # what callers hand over and get back
        assert [(one["name"], one["dtype"], tuple(one["shape"])) for one in getattr(before, details)()] == [
            (one["name"], one["dtype"], tuple(one["shape"])) for one in getattr(after, details)()
        ]


def test_without_calibration_nothing_is_known_of_inputs():
    fixed = qlint.fix(PARTLY, "ethos-u55", unsafe=True, dry=True)
    assert any(one.sites == ["CONV_2D:0.x"] and "--calibration" in one.why for one in fixed.refused)
    assert not any(site.startswith("CONV_2D") for one in fixed.changes for site in one.sites)


def test_a_second_quantizer_is_an_operator_and_goes_again(tmp_path):
    """Twice the scale in front of one reader: a QUANTIZE; without it the file computes what it did."""
    grids = {}

    def further(op, use):
        if op.kind != "linear" or use.role != "x":
            return None
        grids[op.label] = (*use.quantizers, replace(use.quantizers[0], scale=tuple(2 * s for s in use.quantizers[0].scale)))
        return grids[op.label]

    more = changed(MODEL, tmp_path / "more.tflite", further)
    op = next(op for op in qlint.load(more).ops if op.kind == "linear")
    assert op.uses["x"].quantizers == next(iter(grids.values()))
    assert [node.native for node in qlint.load(more).nodes].count("QUANTIZE") == 1
    assert outputs(more).shape == outputs(MODEL).shape
    less = changed(more, tmp_path / "less.tflite", lambda op, use: use.quantizers[:1] if op.kind == "linear" and use.role == "x" else None)
    assert [node.native for node in qlint.load(less).nodes] == [node.native for node in qlint.load(MODEL).nodes]
    assert np.array_equal(outputs(less), outputs(MODEL))


def test_callers_keep_their_types():
    def other(op, use):
        return (replace(use.quantizers[0], storage="uint8", qmin=0, qmax=255, zero_point=(128,)),) if use.tensor.is_input else None

    with pytest.raises(WriteError, match="callers"):
        changed(MODEL, Path("/dev/null"), other)


def test_quantizers_that_lead_nowhere_or_repeat_go(tmp_path):
    document, model = Document(MODEL), qlint.load(MODEL)
    writer = _Writer(document, model)
    op = next(op for op in model.ops if op.kind == "linear")
    q = op.uses["x"].quantizers[0]
    writer.quantize(writer.number(op.uses["x"].name), replace(q, scale=(q.scale[0] * 3,)))  # nobody reads it
    writer.rewire(op.uses["x"], writer.quantize(writer.number(op.uses["x"].name), q))  # the same grid again
    path = tmp_path / "model.tflite"
    with path.open("wb") as out:
        document.write(out)
    found = {finding.rule for finding in qlint.check(path).findings}
    assert {"dangling-quantizer", "double-quantization"} <= found
    fixed = qlint.fix(path, unsafe=True)
    assert not {"dangling-quantizer", "double-quantization"} & {finding.rule for finding in qlint.check(fixed.output).findings}
    assert [node.native for node in qlint.load(fixed.output).nodes] == [node.native for node in qlint.load(MODEL).nodes]
    assert np.array_equal(outputs(Path(fixed.output)), outputs(MODEL))


def outside(path: Path) -> Path:
    """The model with the weights of its linear layer behind the flatbuffer, where files above 2 GB have them: at a byte of the file that is written down."""
    model = qlint.load(MODEL)
    use = next(op for op in model.ops if op.kind == "linear").uses["w"]
    raw = use.tensor.data.array().tobytes()
    document = Document(MODEL)
    table = next(table for table in document.graph.tables("tensors") if table.text("name") == use.name)
    end = MODEL.stat().st_size
    document.root.tables("buffers")[table.number("buffer")].changes = {"data": None, "offset": end + -end % 16, "size": len(raw)}
    with path.open("wb") as out:
        document.write(out)
        out.write(b"\0" * (-out.tell() % 16) + raw)
    return path


def test_data_behind_the_flatbuffer_are_found_after_they_moved(tmp_path):
    path = outside(tmp_path / "outside.tflite")
    assert np.array_equal(outputs(path), outputs(MODEL))

    def further(op, use):
        return (*use.quantizers, replace(use.quantizers[0], scale=(use.quantizers[0].scale[0],))) if op.kind == "linear" and use.role == "x" else None

    more = changed(path, tmp_path / "more.tflite", further)
    assert np.array_equal(outputs(more), outputs(MODEL))
    weights = (next(op for op in qlint.load(one).ops if op.kind == "linear").uses["w"].tensor.data.array() for one in (MODEL, more))
    assert np.array_equal(*weights)
