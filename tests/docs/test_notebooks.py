"""The notebooks run from top to bottom, and show what they are kept with."""

import importlib.util
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
for _name in ("nbclient", "ipykernel", "matplotlib", "pandas", "jinja2"):
    pytest.importorskip(_name)

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("qlint_tools_notebooks", ROOT / "tools/notebooks.py")
notebooks = importlib.util.module_from_spec(_SPEC)
sys.modules["qlint_tools_notebooks"] = notebooks
_SPEC.loader.exec_module(notebooks)


def test_there_are_three():
    assert len(notebooks.NOTEBOOKS) >= 3


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_is_kept_with(path):
    kept, again = nbformat.read(path, as_version=4), notebooks.executed(path)
    assert notebooks.shown(kept) == notebooks.shown(again), "`make docs` runs them again"
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert sum(bool(cell.outputs) for cell in code) >= len(code) - 1
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert "torch" not in {line.split()[1] for cell in code for line in cell.source.splitlines() if line.startswith(("import ", "from "))}
