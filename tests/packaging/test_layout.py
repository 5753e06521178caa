"""What is on disk is what is packaged."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "qlint").rglob("__init__.py")}
    assert listed == found | {"qlint.rules", "qlint.profiles"}


def test_rules_and_profiles_are_flat():
    for folder in ("rules", "profiles"):
        assert not [p for p in (ROOT / folder).iterdir() if p.is_dir() and p.name != "__pycache__"]


def test_every_model_of_the_zoo_has_a_source_and_a_licence():
    zoo = ROOT / "tests/zoo"
    rows = [line.split("\t") for line in (zoo / "LICENSES.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert all(len(row) == 3 and all(row) for row in rows)
    beside = {line.removeprefix("tests/zoo/").strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("tests/zoo/")}
    files = {path.relative_to(zoo).as_posix() for path in zoo.rglob("*") if path.is_file() and path.parent.name not in beside} - {"LICENSES.tsv"}
    assert {row[0] for row in rows} == files
