"""TFLite Micro as a judge: what its kernels accept, and what they compute; see tflite_verdict.py.

Its reference kernels, built for this machine: the same sources that run on a microcontroller without optimized ones.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from qlint.oracles.tflite import interpreter
from qlint.oracles.tflite_graph import Array, Graph
from qlint.oracles.tflite_verdict import verdict

VERSIONS = {"tflite-micro": version("tflite-micro")}


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    return {"backend": f"{backend}@{target}", "versions": VERSIONS, **verdict(path, run, interpreter("reference"))}


def run(model: bytes, inputs: list[Array]) -> list[Array]:
    """Run a model. The interpreter says what is wrong on the process's own stderr."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            return _run(model, inputs)
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{log.read().decode(errors='replace')} {error}") from error
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _run(model: bytes, inputs: list[Array]) -> list[Array]:
    loaded = runtime.Interpreter.from_bytes(model, arena_size=max(1 << 20, 16 * len(model)))
    for number, value in enumerate(inputs):
        loaded.set_input(value, number)
    loaded.invoke()
    return [np.array(loaded.get_output(number)) for number in range(len(Graph(model).main.outputs))]
