"""Wheel, editable install and bare checkout: each one finds rules and profiles, from wherever it is called."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from qlint.version import __version__

ROOT = Path(__file__).parents[2]
SOURCES = ("qlint", "rules", "profiles", "pyproject.toml", "README.md", "LICENSE")
MODEL = ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx"


def run(python, *arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(python), *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def must(python, *arguments, cwd):
    done = run(python, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing behind in the real ones."""
    root = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    return root


@pytest.fixture
def python(tmp_path):
    """A fresh environment that sees the dependencies of this one, and not its qlint."""
    venv = tmp_path / "venv"
    must(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    inner = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = must(inner, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert run(inner, "-c", "import qlint", cwd=tmp_path).returncode != 0
    return inner


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    must(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, checkout, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


def install(python, *what, cwd):
    must(sys.executable, "-m", "pip", f"--python={python}", "install", "-q", "--no-deps", "--no-build-isolation", *what, cwd=cwd)


def works(python, cwd):
    """Version, rules, profiles and a verdict, called from `cwd`."""
    assert must(python, "-m", "qlint", "--version", cwd=cwd) == f"qlint {__version__}\n"
    assert "missing-add-quantizer" in must(python, "-m", "qlint", "rule", cwd=cwd)
    assert "qnn-htp" in must(python, "-m", "qlint", "backend", cwd=cwd)
    out = must(python, "-m", "qlint", "check", MODEL, "-b", "qnn-htp", "--exit-zero", cwd=cwd)
    assert "missing-output-quantizer" in out
    return must(python, "-c", "import qlint, qlint.lint; print(qlint.__file__)", cwd=cwd).strip()


def test_wheel(wheel, python, tmp_path):
    install(python, wheel, cwd=tmp_path)
    assert "site-packages" in works(python, tmp_path)
    script = python.with_name("qlint.exe" if os.name == "nt" else "qlint")
    assert must(script, "--version", cwd=tmp_path) == f"qlint {__version__}\n"


def test_editable(checkout, python, tmp_path):
    install(python, "-e", checkout, cwd=tmp_path)
    assert works(python, tmp_path) == str(checkout / "qlint" / "__init__.py")
    works(python, checkout)
    added = checkout / "rules" / "added_later.py"
    added.write_text((checkout / "rules" / "missing_add_quantizer.py").read_text().replace("missing-add-quantizer", "added-later").replace("QL301", "QL399"))
    try:
        assert "added-later" in must(python, "-m", "qlint", "rule", cwd=tmp_path)  # without installing again
    finally:
        added.unlink()


def test_checkout_that_nobody_installed(checkout, python):
    assert works(python, checkout) == str(checkout / "qlint" / "__init__.py")


def test_wheel_holds_everything_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {name for name in names if not name.startswith("qlint_nn-")}
    on_disk = {path.relative_to(ROOT).as_posix() for path in (ROOT / "qlint").rglob("*") if path.suffix in (".py", ".json", ".typed", ".css", ".html", ".js")}
    on_disk |= {f"qlint/rules/{path.name}" for path in (ROOT / "rules").glob("*.py")}
    on_disk |= {f"qlint/profiles/{path.name}" for path in (ROOT / "profiles").glob("*.toml")}
    assert "qlint/py.typed" in packaged
    assert packaged == on_disk


def test_sdist_builds_the_same_wheel(checkout, wheel, tmp_path):
    must(sys.executable, "-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})", cwd=checkout)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    must(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, unpacked, cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())
