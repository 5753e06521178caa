"""Operators on indices and counts, and a Gather of floats, on Qualcomm's HTP where no SoC is known (onnxruntime-qnn 2.7.0, htp_arch 73).

The compiler has no kernel for some operators on floats then, and the model does not load; on integers the same operators do no harm.
Where the provider is installed it is asked again.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.judge import judge
from qlint.oracles import judge_many
from qlint.passes import canonical
from qlint.profile import load
from qlint.readers import read

CASES = {  # operator, type, shape, index → outcome
    ("Gather", "FLOAT", (4, 8), (0, 1)): "refused",
    ("Gather", "FLOAT", (4, 8), (0,)): "runs",
    ("Gather", "FLOAT", (1, 8, 6, 6), (0,)): "runs",
    ("Gather", "FLOAT", (4, 8), ()): "runs",
    ("Gather", "INT64", (3,), (0,)): "runs",
    ("Gather", "INT64", (4, 8), (0, 1)): "runs",
    ("Gather", "INT32", (4, 8), (0, 1)): "runs",
    ("CumSum", "FLOAT", (4, 8), ()): "refused",
    ("CumSum", "INT64", (4, 8), ()): "runs",
    ("CumSum", "INT32", (4, 8), ()): "runs",
}


def _save(path: Path, kind: str, dtype: str, shape: tuple[int, ...], index: tuple[int, ...]) -> Path:
    element = getattr(TensorProto, dtype)
    constant = numpy_helper.from_array(np.array(index if index else 0, np.int64), "i")
    node = helper.make_node(kind, ["x", "i"], ["y"], "op")
    ends = [helper.make_tensor_value_info("x", element, shape)], [helper.make_tensor_value_info("y", element, None)]
    onnx.save(helper.make_model(helper.make_graph([node], "g", *ends, [constant]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("case", CASES)
def test_answers(case, tmp_path):
    assert judge(canonical(read(_save(tmp_path / "m.onnx", *case))), load("qnn-htp@v73")).outcome == CASES[case]


def test_the_provider_says_so(tmp_path):
    if find_spec("onnxruntime_qnn") is None:
        pytest.skip("onnxruntime-qnn is not installed")
    models = [_save(tmp_path / "m.onnx", *case).read_bytes() for case in CASES]
    assert [answer.outcome for answer in judge_many(models, "qnn-htp", "v73")] == list(CASES.values())
