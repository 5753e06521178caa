"""`qlint.fix` on TFLite files: grids and constants are patched, everything else stays where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qlint
from qlint.fixing.tflite import Document

ZOO = Path(__file__).parent.parent / "zoo"
MODEL = ZOO / "tflite-micro/micro_speech_quantized.tflite"


def outputs(path: Path) -> np.ndarray:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    one = interpreter.get_input_details()[0]
    interpreter.set_tensor(one["index"], np.random.default_rng(0).integers(-128, 127, one["shape"], np.int8))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def broken(path: Path) -> Path:
    """A bias on a scale that is twice the product of the scales of input and weight."""
    document, model = Document(MODEL), qlint.load(MODEL)
    use = next(op for op in model.ops if op.kind == "linear").uses["b"]
    q = use.quantizers[0]
    tensor = next(t for t in document.tensors if document.name(t) == use.name)
    document.grid(tensor, replace(q, scale=tuple(2 * s for s in q.scale)))
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


def test_what_is_not_touched_stays_where_it_is(tmp_path):
    path = broken(tmp_path / "model.tflite")
    old, new = MODEL.read_bytes(), path.read_bytes()
    assert len(new) > len(old)
    assert sum(a != b for a, b in zip(old, new, strict=False)) <= 8  # two offsets


def test_quantizers_are_not_inserted():
    fixed = qlint.fix(ZOO / "ai-edge-quantizer/partly_quantized_mnist.tflite", "ethos-u55", unsafe=True, dry=True)
    assert not fixed.changes and fixed.refused
