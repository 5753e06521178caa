"""Fill the generated blocks of README.md: real output of `make demo`, and the table of `make score`.

    python tools/readme.py [demo|score]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCKS = {
    "demo": ["-m", "qlint", "check", "tests/zoo/tiny_results_v1.3/resnet.onnx", "--backend", "qnn-htp,ort-cpu", "--exit-zero"],
    "score": ["tests/conformance/score.py"],
}


def filled(text: str, names: Iterable[str]) -> str:
    """The text with these blocks as their commands print them now."""
    for name in names:
        out = subprocess.run([sys.executable, *BLOCKS[name]], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.strip()
        body = f"```text\n{out}\n```" if name == "demo" else out
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"\n<!-- /{name} -->")
        text = f"{before}{opening}{body}{closing}{after}"
    return text


def main() -> None:
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8"), sys.argv[1:] or BLOCKS), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
