"""Execute the notebooks of docs/ again, and keep what they show.

    python tools/notebooks.py
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def executed(path: Path) -> Any:
    """A notebook as it looks after it has run from top to bottom, from the folder of the checkout."""
    from nbclient import NotebookClient

    nbformat = import_module("nbformat")
    os.environ["PYTHONPATH"] = str(ROOT)
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}, record_timing=False).execute()
    book.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    return book


def shown(book: Any) -> list[str]:
    """What a notebook shows as text, output by output; a picture is only that there is one."""
    return [_text(output) for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def _text(output: Any) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return "a picture"
    return str(data.get("text/html") or data.get("text/plain") or output.get("text", ""))


def main() -> None:
    nbformat = import_module("nbformat")
    for path in NOTEBOOKS:
        book = executed(path)
        if shown(book) != shown(nbformat.read(path, as_version=4)):  # a picture is drawn a bit otherwise each time
            nbformat.write(book, path)


if __name__ == "__main__":
    main()
