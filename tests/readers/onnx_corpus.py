"""Models that come with the package `onnx`: one per node test, and its small stored networks."""

import warnings
from functools import lru_cache
from pathlib import Path

import onnx
from onnx.backend.test.loader import DATA_DIR, load_node_model_tests

ZOO = sorted((Path(__file__).parents[1] / "zoo").rglob("*.onnx"))


@lru_cache(maxsize=1)
def node_tests() -> dict[str, onnx.ModelProto]:
    """About 1,900 models of one operator, or of the function that defines it, over all opsets of that operator's newest version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case.model for case in load_node_model_tests()}


def stored() -> list[Path]:
    """Networks of a few nodes, opset 6 to 9, with weights."""
    return sorted(Path(DATA_DIR).rglob("model.onnx")) + sorted((Path(DATA_DIR) / "light").glob("*.onnx"))
