"""`qlint backend`: list, page, diff, validate, schema, new, import."""

import json
import tomllib

import jsonschema
import pytest
from command import RESNET, ROOT, qlint

from qlint.profile import load, names


def test_the_list_says_what_is_known_and_how_well():
    run = qlint("backend")
    assert run.returncode == 0
    head, *rows = run.stdout.splitlines()
    assert head.split()[:6] == ["backend", "vendor", "measured", "source", "documented", "inferred"]
    first = {row.split()[0]: row for row in rows if not row.startswith(" ")}
    assert set(first) == set(names())
    counts = {one["id"]: one for one in json.loads(qlint("backend", "-f", "json").stdout)}
    assert counts["qnn-htp"]["claims"]["measured"] > 100 and str(counts["qnn-htp"]["claims"]["measured"]) in first["qnn-htp"]
    assert counts["qnn-htp"]["vendor"] == "Qualcomm" and "v73" in counts["qnn-htp"]["targets"] and counts["qnn-htp"]["default_target"] == "v73"
    assert "v73*" in run.stdout


def test_a_page_can_be_reviewed():
    """Every claim, with its kind of evidence; and at the end each piece of evidence with reference, version, date and note."""
    page = qlint("backend", "ort-cpu").stdout
    profile = load("ort-cpu")
    assert all(f"\n  {kernel.id}: {kernel.match} → {kernel.runs}" in page for kernel in profile.kernels)
    assert all(refusal.because in page for refusal in profile.refuses)
    behind = page[page.index("\nevidence\n") :]
    for name, one in profile.evidence.items():
        assert f"  {name}: {one.kind}" in behind and one.ref in behind and one.version in behind
    assert page == qlint("backend", "show", "ort-cpu").stdout == qlint("backend", "ort-cpu@x86").stdout
    assert json.loads(qlint("backend", "ort-cpu", "-f", "json").stdout)["id"] == "ort-cpu"


@pytest.mark.parametrize(("arguments", "says"), [
    (["qnn-htpp"], "did you mean qnn-htp"), (["qnn-htp@v37"], "v73?"), (["diff", "qnn-htp"], "Missing argument"), (["diff", "qnn-htp", "ort-cpuu"], "ort-cpu"),
    (["valdate", "x.toml"], "validate"), (["validate", "nowhere.toml"], "cannot be read"), (["import", "aimet"], "Missing argument"), (["import", "nobody", "x"], "aimet"),
    (["import", "nncf", "nowhere.json"], "cannot be read"), (["new", "My NPU"], "small letters"),
])  # fmt: skip
def test_mistakes_get_a_sentence_and_code_2(arguments, says):
    run = qlint("backend", *arguments)
    assert run.returncode == 2 and says in run.stderr and not run.stdout


def test_aliases_work_wherever_a_name_does():
    assert qlint("backend", "htp").stdout == qlint("backend", "qnn-htp").stdout
    assert qlint("backend", "diff", "htp", "qnn-htp").returncode == 0


def test_a_difference_is_told_claim_by_claim():
    run = qlint("backend", "diff", "ort-cpu", "ort-cpu@arm")
    assert run.returncode == 1
    assert run.stdout.startswith("- ort-cpu@x86\n+ ort-cpu@arm\n")
    assert "- prepare int8-to-uint8" in run.stdout  # the rewrite that ARM does not need
    assert "    - x  storage uint8, granularity tensor, writers 1\n    + x  storage uint8|int8, granularity tensor, writers 1" in run.stdout
    found = json.loads(qlint("backend", "diff", "ort-cpu", "ort-cpu@arm", "-f", "json").stdout)
    changed = {one["claim"]: one for one in found["changes"]}
    assert changed["prepare int8-to-uint8"]["only"] == "before"
    assert changed["kernel conv"]["fields"]["x"] == ["storage uint8, granularity tensor, writers 1", "storage uint8|int8, granularity tensor, writers 1"]
    back = json.loads(qlint("backend", "diff", "ort-cpu@arm", "ort-cpu", "-f", "json").stdout)
    assert (back["same"], len(back["changes"])) == (found["same"], len(found["changes"]))


def test_two_unrelated_backends_are_paired_by_what_they_run():
    found = json.loads(qlint("backend", "diff", "openvino", "ort-cpu", "-f", "json").stdout)
    pairs = [one["claim"] for one in found["changes"] if not one["only"] and "kernel" in one["claim"]]
    assert any("conv" in pair for pair in pairs) and any("matmul" in pair for pair in pairs)


def test_a_new_profile_is_valid_and_says_what_to_fill_in(tmp_path):
    path = tmp_path / "my-npu.toml"
    assert qlint("backend", "new", "my-npu", "-o", path).returncode == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#:schema ") and "<what it is, as people know it>" in text
    assert "valid" in qlint("backend", "validate", path).stdout
    again = qlint("backend", "new", "my-npu", "-o", path)
    assert again.returncode == 2 and "exists" in again.stderr and path.read_text(encoding="utf-8") == text
    assert qlint("backend", "new", "my-npu", "-o", "-").stdout == text


def test_a_path_works_wherever_a_name_does(tmp_path):
    path = tmp_path / "my-npu.toml"
    path.write_text(qlint("backend", "new", "my-npu", "-o", "-").stdout, encoding="utf-8")
    checked = qlint("check", RESNET, "--backend", path, "--exit-zero")
    assert "my-npu" in checked.stdout and "13 integer" in checked.stdout
    assert "my-npu" in qlint("backend", path).stdout
    assert qlint("backend", "diff", path, "ort-cpu").returncode == 1
    assert "my-npu" in qlint("compare", RESNET, "--backend", f"{path},ort-cpu").stdout


def test_a_kind_that_nobody_makes_is_doubted(tmp_path):
    path = tmp_path / "typo.toml"
    path.write_text(qlint("backend", "new", "typo", "-o", "-").stdout.replace('"view|transpose', '"view|transpoze'), encoding="utf-8")
    run = qlint("backend", "validate", path)
    assert run.returncode == 0 and "transpoze" in run.stderr and "did you mean transpose?" in run.stderr


@pytest.mark.parametrize("tool", ["aimet", "nncf", "tpc", "torch"])
def test_what_is_imported_can_be_used_at_once(tool, tmp_path):
    path = tmp_path / "imported.toml"
    run = qlint("backend", "import", tool, f"tests/profile/imports/{tool}.json", "-o", path, "--id", "mine")
    assert run.returncode == 0 and "not carried over:" in run.stderr and not run.stdout
    assert tomllib.loads(path.read_text(encoding="utf-8"))["id"] == "mine"
    assert "valid" in qlint("backend", "validate", path).stdout
    assert qlint("check", RESNET, "-b", path, "--exit-zero").returncode == 0
    assert qlint("backend", "import", tool, f"tests/profile/imports/{tool}.json", "--id", "mine").stdout == path.read_text(encoding="utf-8")


def test_editors_can_check_profiles_with_the_schema():
    """The published schema takes every profile as it is written, and no misspelt field."""
    schema = json.loads(qlint("backend", "schema").stdout)
    assert schema == json.loads((ROOT / "docs/profile.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    profiles = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "profiles").glob("*.toml")}
    for profile in profiles.values():
        validator.validate(profile)
    assert schema["$defs"]["Kernel"]["properties"]["advise"]["description"].startswith("may explain")
    for path, value in [(("kernels", 0, "mach"), "conv"), (("kernels", 0, "runs"), "fast"), (("fallback",), "gpu"), (("kernals",), [])]:
        damaged = json.loads(json.dumps(profiles["ort-cpu"]))
        *way, last = path
        at = damaged
        for step in way:
            at = at[step]
        at[last] = value
        assert not validator.is_valid(damaged), path


def test_loading_one_profile_does_not_load_the_others():
    """Neither reads nor parses another file than those that it extends."""
    code = (
        "import builtins, pathlib, sys\n"
        "seen = []\n"
        "read = pathlib.Path.read_text\n"
        "pathlib.Path.read_text = lambda self, *a, **k: (seen.append(self.name), read(self, *a, **k))[1]\n"
        "from qlint.profile import load\n"
        "load(sys.argv[1])\n"
        "print(*sorted({name for name in seen if name.endswith('.toml')}))\n"
    )
    import subprocess
    import sys

    for name, files in [("qnn-htp@v68", ["qnn-htp.toml"]), ("ethos-u65", ["ethos-u55.toml", "ethos-u65.toml"]), ("ort-cpu", ["ort-cpu.toml"])]:
        run = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, cwd=ROOT, check=True)
        assert run.stdout.split() == files
