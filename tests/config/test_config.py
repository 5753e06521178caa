"""Configuration: which file governs a model, what goes over what, and what is said about mistakes."""

import json
import shutil

import jsonschema
import pytest
from projects import AUTOENCODER, RESNET, SOFTMAX, checked, codes, command

import qlint
from qlint.config import find
from qlint.config.config import matches
from qlint.config.schema import json_schema
from qlint.errors import QlintError


@pytest.fixture
def project(tmp_path):
    (tmp_path / "exports").mkdir()
    shutil.copy(RESNET, tmp_path / "exports/resnet.onnx")
    shutil.copy(AUTOENCODER, tmp_path / "exports/autoencoder.onnx")
    (tmp_path / "qlint.toml").write_text('backend = "qnn-htp"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("", [("QL304", "warning")]),
        ('ignore = ["QL304"]', []),
        ('ignore = "insertion"', []),
        ('select = ["QL1"]', []),
        ('ignore = ["QL3"]\nextend-select = ["missing-output-quantizer"]', [("QL304", "warning")]),
        ('severity = { missing-output-quantizer = "error" }', [("QL304", "error")]),
        ('severity = { QL3 = "error", QL304 = "info" }', [("QL304", "info")]),
        ('[[overrides]]\nmodels = "exports/*.onnx"\nignore = "QL304"', []),
        ('[[overrides]]\nmodels = "other/*.onnx"\nignore = "QL304"', [("QL304", "warning")]),
        ('[[overrides]]\nmodels = "resnet.onnx"\nseverity = { insertion = "error" }', [("QL304", "error")]),
        ('[[overrides]]\nnodes = "model/dense/*"\nignore = "QL3*"', []),
        ('[[overrides]]\nnodes = "model/conv*"\nignore = "QL3*"', [("QL304", "warning")]),
        ('[[overrides]]\nops = "softmax"\nseverity = { ALL = "info" }', [("QL304", "info")]),
        ('[[overrides]]\nops = "Softmax"\nignore = "ALL"', []),
        ('[[overrides]]\nops = "softmax"\nignore = "ALL"\n[[overrides]]\nmodels = "resnet.onnx"\nextend-select = "QL304"', [("QL304", "warning")]),
        ('ignore = ["ALL"]\n[[overrides]]\nnodes = "model/dense/Softmax"\nselect = "QL304"', [("QL304", "warning")]),
        ('[[overrides]]\nmodels = "resnet.onnx"\nbackend = "snpe"\nignore = "ALL"', []),
    ],
)
def test_what_a_configuration_says_is_done(project, settings, found):
    (project / "qlint.toml").write_text(f'backend = "qnn-htp"\n{settings}\n')
    model = project / "exports/resnet.onnx"
    (result,) = qlint.check(model, config=find(model)).results
    assert [(finding.code, finding.severity) for finding in result.findings if finding.code != "QL309"] == found  # which speaks where QL304 does not
    assert result.summary.findings.warning + result.summary.findings.error == len([severity for _, severity in found if severity != "info"])
    placed = {op.name: op.placement for op in result.ops}
    assert placed[SOFTMAX] == "float" or result.backend == "snpe"  # no setting moves an operator


def test_backends_are_chosen_by_model(project):
    (project / "qlint.toml").write_text('backend = "qnn-htp"\n[[overrides]]\nmodels = "auto*"\nbackend = ["ort-cpu@arm", "snpe"]\n')
    assert [(result["model"], result["backend"]) for result in checked(project, "exports")] == [
        ("exports/autoencoder.onnx", "ort-cpu"), ("exports/autoencoder.onnx", "snpe"), ("exports/resnet.onnx", "qnn-htp"),
    ]  # fmt: skip
    assert {result["backend"] for result in checked(project, "exports", "-b", "openvino")} == {"openvino"}


def test_the_nearest_configuration_governs(project):
    (project / "pyproject.toml").write_text("[tool.black]\n")
    (project / "exports/pyproject.toml").write_text('[tool.qlint]\nbackend = "qnn-htp"\nignore = ["QL304"]\n')
    assert "QL304" not in codes(checked(project, "exports/resnet.onnx")[0])
    assert codes(checked(project, "exports/resnet.onnx", "--isolated", "-b", "qnn-htp")[0]) == ["QL304"]
    assert codes(checked(project, "exports/resnet.onnx", "--config", "qlint.toml")[0]) == ["QL304"]
    (project / "exports/pyproject.toml").write_text("[tool.other]\n")  # says nothing of qlint
    assert codes(checked(project, "exports/resnet.onnx")[0]) == ["QL304"]
    (project / "exports/deep").mkdir()
    shutil.copy(RESNET, project / "exports/deep/resnet.onnx")
    (project / "exports/deep/qlint.toml").write_text('backend = "qnn-htp"\nfail-on = "error"\n')
    assert command(project, "check", "exports/deep").returncode == 0
    assert command(project, "check", "exports").returncode == 1  # each model by the threshold of its own configuration
    assert [result["model"] for result in checked(project, "exports/deep/resnet.onnx", "exports")] == [
        "exports/deep/resnet.onnx", "exports/autoencoder.onnx", "exports/resnet.onnx",
    ]  # fmt: skip


def test_a_model_elsewhere_is_governed_from_here(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(RESNET, elsewhere / "resnet.onnx")
    assert codes(checked(project, elsewhere / "resnet.onnx")[0]) == ["QL304"]


def test_the_command_line_goes_over_the_configuration(project):
    (project / "qlint.toml").write_text('backend = "qnn-htp"\nignore = ["QL304"]\nfail-on = "error"\n')
    assert codes(checked(project, "exports/resnet.onnx", "--select", "QL304")[0]) == ["QL304"]
    assert codes(checked(project, "exports/resnet.onnx", "--extend-select", "QL304")[0]) == ["QL304"]
    assert codes(checked(project, "exports/resnet.onnx", "--config", "ignore=[]")[0]) == ["QL304"]
    assert codes(checked(project, "exports/resnet.onnx", "--config", "ignore=QL1")[0]) == ["QL304"]
    shown = command(project, "check", "exports/resnet.onnx", "--config", "ignore=[]")
    assert shown.returncode == 0
    assert command(project, "check", "exports/resnet.onnx", "--config", "ignore=[]", "--fail-on", "warning").returncode == 1


@pytest.mark.parametrize(
    ("settings", "says", "hint"),
    [
        ('bakend = "snpe"', "unknown key 'bakend'", "did you mean backend"),
        ("fail_on = 'error'", "unknown key 'fail_on'", "did you mean fail-on"),
        ('fail-on = "sometimes"', "fail-on: input should be 'error', 'warning' or 'info', found 'sometimes'", "--schema"),
        ("select = 3", "select", "--schema"),
        ('select = ["missing-ad-quantizer"]', "unknown rule selector 'missing-ad-quantizer'", "missing-add-quantizer"),
        ('severity = { QL999 = "error" }', "unknown rule selector 'QL999'", "did you mean"),
        ('[[overrides]]\nmodles = "a"', "unknown key 'overrides[1].modles'", "did you mean models"),
        ('[[overrides]]\nops = "conv"\nbackend = "snpe"', "a backend is chosen for whole models", "models"),
        ('[[overrides]]\nmodels = "a"\nignore = "float-islnd"', "unknown rule selector 'float-islnd'", "float-island"),
        ('[[suppress]]\nreason = "x"', "suppress[1].rules is missing", "--schema"),
        ('[[suppress]]\nrules = "QL304"\nreasons = "x"', "unknown key 'suppress[1].reasons'", "did you mean reason?"),
        ('[[suppress]]\nrules = "fusio"\nreason = "x"', "unknown rule selector 'fusio'", "fusion"),
        ('backend = "qnn-ht"', "unknown backend 'qnn-ht'", "qnn-htp"),
        ("backend = ", "is not valid TOML", ""),
        ('baseline = "nothing.json"', "there is no such baseline", "qlint baseline write"),
        ('rules = "nothing.py"', "there is no such file or folder with rules", ""),
    ],
)
def test_a_mistake_is_a_sentence_with_what_to_do(project, monkeypatch, settings, says, hint):
    monkeypatch.chdir(project)
    (project / "qlint.toml").write_text(f"{settings}\n")
    model = project / "exports/autoencoder.onnx"
    try:
        report = qlint.check(model, config=find(model))
    except QlintError as error:
        told = str(error)
    else:
        told = f"{report.errors[0].message}\n{report.errors[0].hint}"
    assert says in told and hint in told


@pytest.mark.parametrize("given", ["nothing.toml", "seect=QL3", "select=[QL3", "=3", "fail-on=never"])
def test_so_it_is_on_the_command_line(given):
    with pytest.raises(QlintError) as raised:
        find(None, [given])
    assert given.split("=")[0] in str(raised.value) and "hint: " in str(raised.value)


def test_a_mistake_is_exit_code_2(project):
    (project / "qlint.toml").write_text("bakend = 1\n")
    for arguments in (("check", "exports"), ("config",), ("baseline", "write", "exports")):
        run = command(project, *arguments)
        assert run.returncode == 2 and run.stderr.startswith("qlint: qlint.toml: unknown key 'bakend'")


def test_rules_of_the_project(project):
    (project / "rules").mkdir()
    source = 'from qlint.lint.rule import Issue, Rule\nrule = Rule("no-softmax", "OUR001", "1", what="there is {{native}}", severity="error")\n{}\n'
    check = "@rule.check\ndef softmaxes(model):\n    return [Issue(op) for op in model.walk() if op.kind == 'softmax']"
    (project / "rules/no_softmax.py").write_text(source.format(check))
    (project / "qlint.toml").write_text('rules = "rules"\n')
    assert "OUR001" in codes(checked(project, "exports/resnet.onnx")[0])
    run = command(project.parent, "check", project / "exports/resnet.onnx")  # code beside a model that lies anywhere is not run
    assert run.returncode == 2 and "code" in run.stderr and "--config" in run.stderr
    trusted = checked(project.parent, project / "exports/resnet.onnx", "--config", project / "qlint.toml")
    assert "OUR001" in codes(trusted[0])


def test_excluded_models_are_left_out_of_folders_only(project):
    (project / "qlint.toml").write_text('backend = "qnn-htp"\nexclude = ["exports/res*"]\n')
    assert [result["model"] for result in checked(project, "exports")] == ["exports/autoencoder.onnx"]
    assert [result["model"] for result in checked(project, "exports/resnet.onnx")] == ["exports/resnet.onnx"]


def test_config_shows_what_holds_and_where_it_comes_from(project):
    (project / "qlint.toml").write_text('backend = "qnn-htp"\nseverity = { QL304 = "error" }\n[[overrides]]\nmodels = "*.onnx"\nignore = "QL1"\n')
    shown = command(project, "config", "exports/resnet.onnx", "--config", "fail-on=info")
    lines = [line.split("#") for line in shown.stdout.splitlines()]
    origins = {before.strip(): after.strip() for before, after in (line for line in lines if len(line) == 2)}
    assert origins['backend = ["qnn-htp"]'] == "qlint.toml"
    assert origins['severity.QL304 = "error"'] == "qlint.toml"
    assert origins['fail-on = "info"'] == "--config fail-on=info"
    assert origins["fallback = true"] == "default"
    assert "[[overrides]]" in shown.stdout
    data = json.loads(command(project, "config", "exports/resnet.onnx", "-f", "json").stdout)
    assert data["file"] == "qlint.toml" and data["settings"]["backend"] == {"value": ["qnn-htp"], "from": "qlint.toml"}
    assert "missing-output-quantizer" in data["model"]["rules"] and "no-quantization" not in data["model"]["rules"]


def test_init_writes_what_it_reads(tmp_path):
    assert command(tmp_path, "init", "--backend", "qnn-htp,snpe").returncode == 0
    assert find(tmp_path / "a.onnx").options.backend == ("qnn-htp", "snpe")
    before = (tmp_path / "qlint.toml").read_text()
    again = command(tmp_path, "init")
    assert again.returncode == 2 and (tmp_path / "qlint.toml").read_text() == before
    uncommented = "\n".join(line.removeprefix("# ") if " = " in line or line.startswith("# [[") else line for line in before.splitlines())
    (tmp_path / "examples.toml").write_text(uncommented)
    assert command(tmp_path, "config", "--config", "examples.toml", "--config", "baseline=''").returncode == 0  # its examples are valid


def test_init_leaves_a_pyproject_as_it_is(tmp_path):
    (tmp_path / "pyproject.toml").write_text('# mine\n[project]\nname = "x"\n')
    assert command(tmp_path, "init", "--pyproject", "-b", "snpe").returncode == 0
    text = (tmp_path / "pyproject.toml").read_text()
    assert text.startswith('# mine\n[project]\nname = "x"\n')
    assert find(tmp_path / "a.onnx").options.backend == ("snpe",)


def test_the_schema_takes_what_qlint_takes():
    import tomllib

    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = tomllib.loads('backend = "snpe"\nseverity = { QL3 = "error" }\n[[overrides]]\nmodels = ["a"]\n[[suppress]]\nrules = "QL3"\nreason = "x"\n')
    jsonschema.validate(valid, schema)
    for wrong in ({"bakend": "snpe"}, {"fail-on": "never"}, {"suppress": [{"reason": "x"}]}, {"fail_on": "error"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.parametrize(
    ("glob", "path", "meant"),
    [
        ("exports/**/*.onnx", "exports/a.onnx", True),
        ("exports/**/*.onnx", "exports/x/y/a.onnx", True),
        ("exports/*.onnx", "exports/x/a.onnx", False),
        ("*.onnx", "x/y/a.onnx", True),
        ("exports", "exports/x/a.onnx", True),
        ("exports/", "x/exports/a.onnx", True),
        ("exports/**", "exports/x/a.tflite", True),
        ("./a.onnx", "a.onnx", True),
        ("a[0-9].onnx", "a3.onnx", True),
        ("a[!0-9].onnx", "a3.onnx", False),
        ("x/a?.onnx", "y/x/a1.onnx", False),
    ],
)
def test_globs(glob, path, meant):
    assert matches(glob, path) is meant
