"""Ask the real backends about the probes again and store their answers in the ledger.

    python tests/conformance/regenerate.py [--corpus C] [--backend B@T] [--fresh SEED] [--force]
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ledger
import onnx
import probes

from qlint.oracles import ORACLES, Answer, judge_many
from qlint.oracles.onnx_graph import node_keys
from qlint.readers import read

NOT_SCORED = ("QuantizeLinear", "DequantizeLinear", "Constant", "QUANTIZE", "DEQUANTIZE")
BACKENDS = [
    "ort-cpu@x86", "ort-cpu@arm", "qnn-htp@v73", "qnn-htp@sm8550", "openvino@avx2", "openvino@avx512-vnni",
    "tflite@reference", "tflite@xnnpack", "tflm@reference", "ethos-u55@128", "ethos-u65@256", "ethos-u85@256",
    "fbgemm@avx2", "x86@avx2", "onednn@avx2", "qnnpack@x86", "x86-inductor@avx2", "xnnpack@arm",
]  # fmt: skip
CORPORA = {"xnnpack": "delegated"}  # backends with corpora of their own, beside those of their file format


def form(backend: str) -> str:
    """The corpora that a backend is asked about: those of a file format (`onnx`, `tflite`, `torchscript`, `pt2`), or its own."""
    name = backend.split("@")[0]
    return CORPORA.get(name, ORACLES[name].format)


def regenerate(corpus: str, backend: str, target: str, seed: int, force: bool) -> tuple[int, int]:
    """Returns how many probes there are, and how many were asked."""
    stored_as = f"{corpus}-{seed}" if seed else corpus
    known = {} if force else ledger.read(stored_as, backend, target)
    rows: list[ledger.Row] = []
    ask: list[probes.Probe] = []
    for probe in probes.probes(corpus, seed):
        row = known.get(probe.id)
        if row is not None and row.sha == ledger.digest(probe.model):
            rows.append(row)
        else:
            ask.append(probe)
    versions = ""
    for probe, answer in zip(ask, judge_many((p.model for p in ask), backend, target), strict=True):
        if elsewhere := next((reason for reason in answer.reasons if "this machine's instruction set" in reason), ""):
            raise OSError(elsewhere)
        rows.append(_row(probe, answer))
        versions = ", ".join(f"{k} {v}" for k, v in answer.versions.items()) or versions
    if ask or len(rows) != len(known):
        before = ledger.header(stored_as, backend, target)
        date = datetime.date.today().isoformat() if ask else before[1]
        ledger.write(stored_as, backend, target, rows, versions or before[0], date)
    return len(rows), len(ask)


def _row(probe: probes.Probe, answer: Answer) -> ledger.Row:
    letters = "".join(
        "w" if key in answer.errors else ledger.LETTERS[answer.placements.get(key, "skip")]
        for key, kind in nodes(probe.model)
        if kind not in NOT_SCORED
    )
    return ledger.Row(probe.id, ledger.digest(probe.model), answer.outcome, letters, "; ".join(answer.reasons))


def nodes(model: bytes) -> list[tuple[str, str]]:
    """(key, operator) of each node, in file order."""
    if model[4:8] == b"TFL3":
        from qlint.oracles.tflite_graph import Graph

        return [(op.key, op.kind) for op in Graph(model).ops]
    if model[:2] == b"PK":
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            file.write(model)
            file.flush()
            return [(op.label, op.native) for op in read(file.name).nodes if op.kind not in ("quantize", "dequantize", "constant")]
    graph = onnx.load_from_string(model).graph
    return [(key, node.op_type) for key, node in zip(node_keys(graph), graph.node, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", action="append")
    parser.add_argument("--backend", action="append", help="NAME@TARGET")
    parser.add_argument("--fresh", type=int, default=0, metavar="SEED", help="the seeded corpora, of another seed")
    parser.add_argument("--force", action="store_true", help="ask again even if the probe did not change")
    options = parser.parse_args()
    seeds = [options.fresh] if options.fresh or options.corpus else [0, *probes.FRESH]
    for seed, name in product(seeds, options.backend or BACKENDS):
        backend, target = name.split("@")
        for corpus in options.corpus or probes.corpora(seed > 0, form(backend)):
            try:
                total, asked = regenerate(corpus, backend, target, seed, options.force)
            except OSError as error:
                print(f"{name} {corpus}: not asked, the stored answers stay: {error}", file=sys.stderr, flush=True)
            else:
                print(f"{name} {corpus}: {total} probes, {asked} asked", flush=True)


if __name__ == "__main__":
    main()
