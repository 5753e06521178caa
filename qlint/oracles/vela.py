"""Arm's compiler for the Ethos-U as a judge: which operators it leaves to the CPU, and which files it does not compile.

The compiler lists what it leaves to the CPU (`CPU: Passthrough = TENSOR`, by the operator's first output); everything else
is on the NPU, and the NPU has integer arithmetic only: `integer`. Operators that are computed from constants are `skip`,
and so are QUANTIZE and DEQUANTIZE. It looks at quantization parameters in a few places only, so this is placement, not numbers.

A target is the number of multipliers of the accelerator (`ethos-u55@128`).
"""

from __future__ import annotations

import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ethosu.vela import vela

from qlint.oracles.tflite_graph import QUANTIZERS, Graph
from qlint.oracles.tflite_verdict import apart

VERSIONS = {"ethos-u-vela": version("ethos-u-vela")}
_ON_CPU = re.compile(r"^ +CPU: .*? = (.*?)(?: \(outputs .*)?$", re.MULTILINE)
_REASON = re.compile(r"operator: (\w+), ofm: '(.*)'\nReason: (.*)\n")


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    graph = Graph.read(path)
    first = apart(map(compiled, [path], [f"{backend}-{target}"]))[0]  # it crashes on some files
    said, error = first if isinstance(first, list) else ("", first)
    on_cpu = {name.strip() for name in _ON_CPU.findall(said)} | {name for _, name, _ in _REASON.findall(said)}
    placements = {}
    for op in graph.ops:
        name = graph.tensors[op.outputs[0]].name if op.outputs else ""
        made = [graph.tensors[i] for i in op.outputs if graph.tensors[i].type != "resource"]
        scored = bool(made) and op.kind not in QUANTIZERS and not (op.inputs and graph.folded.issuperset(i for i in op.inputs if i >= 0))
        placements[op.key] = "skip" if not scored else "cpu" if name in on_cpu else "integer"
    reasons = [error] if error else list(dict.fromkeys(f"{kind}: {why}" for kind, _, why in _REASON.findall(said)))
    return {"backend": f"{backend}@{target}", "versions": VERSIONS, "outcome": "refused" if error else "runs", "reasons": reasons, "placements": placements}


def compiled(path: str, accelerator: str) -> tuple[str, str]:
    """What the compiler prints, and its error if there is one."""
    error = ""
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as folder:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            vela.main([path, "--accelerator-config", accelerator, "--show-cpu-operations", "--output-dir", str(Path(folder))])
        except SystemExit as failure:
            error = f"exit code {failure.code}" if failure.code else ""
        except KeyError:
            pass  # the network is compiled, and its statistics cannot be printed; what is left to the CPU was said before
        except Exception as failure:
            error = " ".join(str(failure).split())
        finally:
            for number, copy in enumerate(saved, 1):
                os.dup2(copy, number)
                os.close(copy)
        log.seek(0)
        return log.read().decode(errors="replace"), error
