"""Fill the generated blocks of README.md: real output of `make demo`, and the table of `make score`.

    python tools/readme.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCKS = {
    "demo": ["-m", "qlint", "check", "tests/zoo/tiny_results_v1.3/resnet.onnx", "--backend", "qnn-htp,ort-cpu", "--exit-zero"],
    "score": ["tests/conformance/score.py"],
}


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, command in BLOCKS.items():
        out = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        body = f"```text\n{out}\n```" if name == "demo" else out
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{body}\n<!-- /{name} -->{after}"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
