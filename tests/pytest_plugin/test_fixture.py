"""The fixture `qlint_check`, in a pytest of its own."""

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESNET = ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx"

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run tests in a folder that has the model, and nothing else of this project."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # whether and which qlint is installed here does not matter
    (pytester.path / "model.onnx").write_bytes(RESNET.read_bytes())

    def runs(source, *options):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "qlint.pytest_plugin", *options)

    return runs


def test_pytest_finds_it_where_qlint_is_installed():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"] == {"qlint": "qlint.pytest_plugin"}


def test_a_model_that_must_pass(run):
    result = run(
        """
        def test_bad(qlint_check):
            qlint_check("model.onnx", backend="qnn-htp")

        def test_no_error(qlint_check):
            report = qlint_check("model.onnx", backend="qnn-htp", fail_on="error")
            assert report.results[0].summary.integer == 16

        def test_without_the_rule(qlint_check):
            assert qlint_check("model.onnx", backend=["qnn-htp", "ort-cpu@arm"], ignore=["QL304", "QL309"]).findings == []
        """
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*missing-output-quantizer QL304 · model/dense/Softmax*", "*qlint rule QL304 tells more*"])
    assert "Traceback" not in result.stdout.str() and "pytest_plugin.py" not in result.stdout.str()


def test_the_configuration_and_the_file_beside_the_model_count(run, pytester):
    (pytester.path / "qlint.toml").write_text('backend = "qnn-htp"\nfail-on = "error"\n')
    result = run(
        """
        def test_it(qlint_check):
            assert [finding.code for finding in qlint_check("model.onnx").findings] == ["QL304"]

        def test_accepted(qlint_check):
            from pathlib import Path
            Path("model.onnx.qlint.toml").write_text('[[suppress]]\\nrules = "QL304"\\nreason = "the host does it"\\n')
            assert qlint_check("model.onnx", fail_on="info").findings == []
        """
    )
    result.assert_outcomes(passed=2)


def test_what_cannot_be_checked_fails_in_a_sentence(run):
    result = run(
        """
        def test_backend(qlint_check):
            qlint_check("model.onnx", backend="qnn-htb")

        def test_file(qlint_check):
            qlint_check("nowhere.onnx", backend="qnn-htp")

        def test_unknown(qlint_check):
            qlint_check("model.onnx", backend="snpe", ignore=["ALL"], fail_on_unknown=True)
        """
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*unknown backend 'qnn-htb'*", "*nowhere.onnx*"])
    assert "Traceback" not in result.stdout.str()


def test_nothing_is_imported_until_it_is_used(run):
    result = run(
        """
        import sys

        HEAVY = ("qlint.api", "pydantic", "numpy", "networkx", "rich.console", "torch", "onnx")

        def test_asked_for(qlint_check):
            assert [name for name in HEAVY if name in sys.modules] == []
        """
    )
    result.assert_outcomes(passed=1)


def test_the_fixture_is_listed_with_its_use(run):
    run("", "--fixtures").stdout.fnmatch_lines(["*qlint_check*session scope*", "*fails the test if there is such a finding*"])


@pytest.mark.skipif(find_spec("onnx") is None, reason="needs onnx")
def test_a_model_in_memory(run):
    result = run(
        """
        import onnx

        def test_it(qlint_check):
            assert qlint_check(onnx.load("model.onnx"), backend="qnn-htp", fail_on="error").ops
        """
    )
    result.assert_outcomes(passed=1)
