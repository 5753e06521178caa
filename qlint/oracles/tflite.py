"""LiteRT as a judge: what its kernels accept, and what they compute; see tflite_verdict.py.

Two targets: `reference` (the reference kernels, no delegate) and `xnnpack` (what a program gets by default: the XNNPACK
delegate takes the nodes that it can, optimized kernels the rest).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from qlint.oracles.tflite_graph import Array
from qlint.oracles.tflite_verdict import Run, verdict

VERSIONS = {"ai-edge-litert": version("ai-edge-litert")}
RESOLVERS = {"reference": OpResolverType.BUILTIN_REF, "xnnpack": OpResolverType.BUILTIN}


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    return {"backend": f"{backend}@{target}", "versions": VERSIONS, **verdict(path, interpreter(target), interpreter("reference"))}


def interpreter(target: str) -> Run:
    """Runs models with the kernels of a target."""

    def run(model: bytes, inputs: list[Array]) -> list[Array]:
        loaded = Interpreter(model_content=model, experimental_op_resolver_type=RESOLVERS[target], num_threads=1)
        loaded.allocate_tensors()
        for each, value in zip(loaded.get_input_details(), inputs, strict=True):
            loaded.set_tensor(each["index"], value)
        loaded.invoke()
        return [loaded.get_tensor(each["index"]) for each in loaded.get_output_details()]

    return run
