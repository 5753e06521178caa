"""What a check costs, beside the imports that it is measured against. `make bench` prints the table.

    python benchmarks/check.py      (some minutes; numbers are of this machine, ratios are what counts)
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/budgets"))

import networks
from watch import IMPORTS, QLINT, ROOT, watch

RUNS = 7
# Installed modules are compiled; those of a checkout may not be. Here all are, in a folder of their own.
COMPILED = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "qlint-bench")}
OPTIONS = ("--no-cache", "--backend", "qnn-htp", "--exit-zero")


def seconds(program: str, *arguments: object) -> float:
    """Median wall time of a line of Python in an interpreter of its own, once files are cached and modules compiled."""
    spent = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import sys; {program}", *map(str, arguments)], capture_output=True, check=True, cwd=ROOT, env=COMPILED)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])


def faster(path: Path) -> float:
    """How many times as long PyTorch's own loader takes, its import included; of processor time, so that neighbours matter less."""
    loader = "torch.jit" if path.suffix == ".pt" else "torch.export"
    read = "from pathlib import Path; from qlint.readers import read; read(Path(sys.argv[1]))"
    pairs = [(processor(f"import torch; {loader}.load(sys.argv[1])", path), processor(read, path)) for _ in range(RUNS + 1)][1:]
    return statistics.median(theirs / ours for theirs, ours in pairs)


def processor(program: str, *arguments: object) -> float:
    """Processor seconds of a line of Python in an interpreter of its own."""
    told = "; import time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", f"import sys; {program}{told}", *map(str, arguments)], capture_output=True, text=True, check=True, cwd=ROOT, env=COMPILED)
    return float(done.stdout.splitlines()[-1])


def stages(path: Path) -> dict[str, float]:
    """Processor seconds of what a check does, one after the other."""
    from qlint.judge import judge
    from qlint.lint import registry
    from qlint.lint.run import lint
    from qlint.passes import canonical
    from qlint.profile import load
    from qlint.readers import read

    rules, profile = registry.load().rules, load("qnn-htp")
    marks = [time.process_time()]
    raw = read(path)
    marks.append(time.process_time())
    model = canonical(raw)
    marks.append(time.process_time())
    verdict = judge(model, profile)
    marks.append(time.process_time())
    lint(verdict, rules, known=rules)
    marks.append(time.process_time())
    return dict(zip(("read", "canonical", "judge", "rules"), (b - a for a, b in pairwise(marks)), strict=True))


def main() -> None:
    def row(what: str, found: float, budget: str = "") -> None:
        print(f"| {what} | {found:.2f} | {budget} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        empty, middle, heavy = (networks.inline(Path(folder) / f"{size}.onnx", size) for size in (0, 25, 512))
        large = networks.residual(Path(folder) / "large.onnx", 50_000)
        print("| what | found | budget |\n|---|---|---|")
        imports, base = seconds(IMPORTS), watch(IMPORTS).kilobytes / 1024
        row("imports that it is measured against, seconds", imports)
        row("check of 25 MB, cold ÷ imports", seconds(QLINT, "check", middle, *OPTIONS) / imports, "1.5")
        row("--version ÷ imports", seconds(QLINT, "--version") / imports)
        row("--help ÷ imports", seconds(QLINT, "--help") / imports)
        row("check of 512 MB ÷ of the same graph without weights", seconds(QLINT, "check", heavy, *OPTIONS) / seconds(QLINT, "check", empty, *OPTIONS), "1")
        row("check of 50,000 nodes, seconds", seconds(QLINT, "check", large, *OPTIONS), "2.5")
        for stage, spent in stages(large).items():
            row(f"… {stage}, processor seconds", spent)
        networks_of_pytorch = Path(folder) / "torch"
        networks_of_pytorch.mkdir()
        subprocess.run([sys.executable, Path(__file__).with_name("mobilenet.py"), networks_of_pytorch], check=True, capture_output=True)
        for path in sorted(networks_of_pytorch.iterdir()):
            row(f"{'torch.jit.load' if path.suffix == '.pt' else 'torch.export.load'} ÷ reading, MobileNetV2 {path.stem}", faster(path), "≥ 10")
        row("peak memory of the imports, MB", base)
        row("peak memory of a check of 512 MB, MB", watch(QLINT, "check", heavy, *OPTIONS).kilobytes / 1024, f"{base + 60:.0f}")
        row("peak memory of a check of 50,000 nodes, MB", watch(QLINT, "check", large, *OPTIONS).kilobytes / 1024)


if __name__ == "__main__":
    main()
