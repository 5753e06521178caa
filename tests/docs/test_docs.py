"""The documentation is true: its examples run, its generated parts are current."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qlint.config.schema import Options
from qlint.lint import registry, select
from qlint.lint.testing import run_cases

ROOT = Path(__file__).parents[2]
EXTENDING = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


sys.path.insert(0, str(ROOT / "tools"))  # where tools find each other


def tool(name):
    spec = importlib.util.spec_from_file_location(f"qlint_tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


docs, readme = tool("docs"), tool("readme")
PAGES = docs.pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_pages_are_current(path):
    assert path.read_text(encoding="utf-8") == PAGES[path], "`make docs` writes it"


def test_the_readme_shows_what_make_demo_prints():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.filled(text, ["demo"]) == text, "`make readme` writes it"
    recipe = re.search(r"^demo:.*\n\t\$\(BIN\)/qlint (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert recipe.split() == readme.BLOCKS["demo"][2:]


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def shown(number):
    """The output that docs/extending.md shows for its n-th command."""
    outputs = re.split(r"^\$ .*\n", "\n".join(re.findall(r"^```console\n(.*?)^```$", EXTENDING, re.MULTILINE | re.DOTALL)), flags=re.MULTILINE)
    return outputs[number]


def test_the_kernel_of_the_example_makes_the_softmax_integer():
    assert "1 float" in shown(1) and "missing-output-quantizer" in shown(1)
    assert "valid" in shown(2)
    assert "17 integer" in shown(3) and "missing-output-quantizer" not in shown(3)


def test_the_rule_of_the_example_speaks_instead_of_the_general_one(tmp_path):
    assert shown(4).startswith("float-softmax QL399 · insertion")
    assert "float-softmax QL399 · model/dense/Softmax" in shown(5)
    assert "missing-output-quantizer" not in shown(5)
    (name, body) = re.search(r"^```python (\S+)\n(.*?)^```$", EXTENDING, re.MULTILINE | re.DOTALL).groups()
    path = tmp_path / Path(name).name
    path.write_text(body, encoding="utf-8")
    known = registry.load([path])
    assert known.problems == []
    run_cases(known.get("float-softmax"), known.rules)


def test_code_in_the_readme_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "model.onnx").write_bytes((ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize(("page", "least"), [("library", 15), ("configuration", 4)])
def test_pages_with_python_are_sessions(monkeypatch, page, least):
    pytest.importorskip("pandas")
    monkeypatch.chdir(ROOT)
    done = doctest.testfile(str(ROOT / f"docs/{page}.md"), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert done.attempted > least and not done.failed


def test_the_configuration_page_shows_valid_settings_and_every_key():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    options = Options.model_validate(tomllib.loads(shown))
    known = registry.load().rules
    for table in (options, *options.overrides):
        select.known((*table.select, *table.ignore, *table.extend_select, *table.severity), known)
    assert all(f"`{field.alias}`" in page or f"[[{field.alias}]]" in page for field in Options.model_fields.values())


def test_the_example_audits_the_zoo():
    command = [sys.executable, str(ROOT / "examples/audit.py"), "tests/zoo", "qnn-htp@v73", "ort-cpu@arm"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout
    table = [line.split("\t") for line in out.splitlines()]
    assert len({len(row) for row in table}) == 1
    assert len(table) == 1 + 2 * len(list((ROOT / "tests/zoo").rglob("*.onnx")))
    assert ["tests/zoo/tiny_results_v1.3/resnet.onnx", "qnn-htp@v73", "runs", "17", "16", "1.00", "missing-output-quantizer"] in table
