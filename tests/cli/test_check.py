"""The command as a stranger uses it: output, exit codes, failures, what it imports."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import AUTOENCODER, QUIET, RESNET, ROOT, qlint


def test_findings_go_to_stdout_and_nothing_else_does():
    run = qlint("check", RESNET, "--backend", "qnn-htp,ort-cpu")
    assert run.returncode == 1
    assert "100 % of MACs in integer" in run.stdout
    assert "model/dense/Softmax" in run.stdout
    assert run.stderr == ""
    assert "\x1b" not in run.stdout
    assert all(len(line) <= 100 for line in run.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((AUTOENCODER, "-b", "qnn-htp"), 0),
        ((RESNET, "-b", "qnn-htp"), 1),
        ((RESNET, "-b", "qnn-htp", "--exit-zero"), 0),
        ((RESNET, "-b", "qnn-htp", "--fail-on", "error"), 0),
        ((RESNET, "-b", "qnn-htp", "--ignore", "QL304"), 0),
        ((RESNET, "-b", "qnn-htp", "--select", "QL304"), 1),
        ((RESNET, "-b", "qnn-htp", "--select", "fusion", "--extend-select", "missing-output-quantizer"), 1),
        ((RESNET, "-b", "qnn-htp", "--no-fallback"), 1),
        ((AUTOENCODER, RESNET, "-b", "qnn-htp"), 1),
        ((AUTOENCODER, RESNET, "nothing.onnx", "-b", "qnn-htp"), 2),
        ((AUTOENCODER, "README.md", "-b", "qnn-htp", "--exit-zero"), 2),
    ],
)
def test_exit_codes(arguments, code):
    """2 could not do it, 1 findings, 0 clean; the larger one wins over many files."""
    assert qlint("check", *arguments).returncode == code


def test_unknown_placements_fail_on_demand():
    model = AUTOENCODER
    assert qlint("check", model, "-b", "snpe", "--fail-on", "error").returncode == 0
    run = qlint("check", model, "-b", "snpe", "--fail-on", "error", "--fail-on-unknown", "-f", "json")
    assert run.returncode == 1
    assert json.loads(run.stdout)["results"][0]["summary"]["unknown"] > 0


def test_one_broken_file_hides_no_other():
    run = qlint("check", "nothing.onnx", RESNET, "-b", "qnn-htp")
    assert "100 % of MACs" in run.stdout
    assert "nothing.onnx: there is no such file" in run.stderr
    assert "hint: " in run.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-b", "qnn-ht"), "qnn-htp"),
        (("-b", "qnn-htp@v67"), "v6"),
        (("-b", "ort-cpu", "--select", "missing-ad-quantizer"), "missing-add-quantizer"),
        (("-b", "ort-cpu", "--input-shape", "1,2,3"), "NAME:1,3,224,224"),
        (("-b", "ort-cpu", "--input-shape", "x:1,two"), "NAME:1,3,224,224"),
        (("-b", "ort-cpu", "-o", "no/such/folder/report.txt"), "cannot be written"),
        (("--beckend", "ort-cpu"), "--help"),
        (("-f", "yaml"), "concise"),
    ],
)
def test_a_mistake_is_a_sentence_with_what_to_do(arguments, says):
    run = qlint("check", RESNET, *arguments)
    assert run.returncode == 2
    assert run.stderr.startswith("qlint: ")
    assert says in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [("-b", "qnn-ht"), ("-b", "ort-cpu", "--select", "QL999")])
def test_mistakes_are_in_the_json_too(arguments):
    run = qlint("check", RESNET, *arguments, "-f", "json")
    report = json.loads(run.stdout)
    assert run.returncode == 2
    assert report["results"] == []
    assert report["errors"][0]["message"] and report["errors"][0]["hint"]
    assert report["errors"][0]["message"] in run.stderr


def test_folders_and_patterns_are_the_models_in_them(tmp_path):
    (tmp_path / "deep").mkdir()
    shutil.copy(ROOT / RESNET, tmp_path / "deep" / "b.onnx")
    shutil.copy(ROOT / AUTOENCODER, tmp_path / "a.onnx")
    (tmp_path / "notes.txt").write_text("not a model")
    for name in (tmp_path, f"{tmp_path}/**/*.onnx"):
        report = json.loads(qlint("check", name, "-b", "qnn-htp", "-f", "json").stdout)
        assert [Path(result["model"]).name for result in report["results"]] == ["a.onnx", "b.onnx"]
    shutil.copy(ROOT / "tests/zoo/silero-vad/silero_vad.jit", tmp_path / "c.pt")
    (tmp_path / "pom.xml").write_text("<?xml version='1.0'?><project/>")
    (tmp_path / "weights.pt").write_bytes(b"\x80\x02}q\x00.")  # a pickle
    report = json.loads(qlint("check", tmp_path, "-f", "json").stdout)
    assert [Path(result["model"]).name for result in report["results"]] == ["a.onnx", "c.pt", "b.onnx"] and not report["errors"]
    (tmp_path / "empty").mkdir()
    run = qlint("check", tmp_path / "empty", "-b", "qnn-htp")
    assert run.returncode == 2 and "no model files" in run.stderr


def test_a_file_is_written_without_colour(tmp_path):
    run = qlint("check", RESNET, "-b", "qnn-htp", "-o", tmp_path / "report.txt", FORCE_COLOR="1")
    written = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert run.stdout == "" and run.returncode == 1
    assert written == qlint("check", RESNET, "-b", "qnn-htp").stdout


def test_colour_is_a_choice():
    assert "\x1b[" in qlint("check", RESNET, "-b", "qnn-htp", FORCE_COLOR="1").stdout
    assert "\x1b[" not in qlint("check", RESNET, "-b", "qnn-htp", FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_any_encoding_can_show_the_report(encoding):
    for arguments in (("check", RESNET, "-b", "qnn-htp"), ("backend", "qnn-htp"), ("graph", RESNET), ("rule", "QL301")):
        run = qlint(*arguments, encoding=encoding)
        assert run.returncode in (0, 1), run.stderr
        assert "\\u" not in run.stdout
    assert "####" in qlint("check", RESNET, "-b", "qnn-htp", encoding=encoding).stdout


def test_a_reader_that_has_seen_enough_is_no_error():
    run = subprocess.run(
        f'"{sys.executable}" -m qlint graph {AUTOENCODER} | head -n 1', shell=True, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert run.stderr == ""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [80, 160])
def test_on_a_terminal_there_is_colour_progress_and_its_width(columns):
    output, wide = on_terminal(columns, "check", RESNET, "-b", "qnn-htp,ort-cpu"), min(columns, 140)
    assert "checking " in output and "\x1b[1m" in output
    report = plain(output.rpartition("\x1b[K")[2])
    assert max(map(len, report.splitlines())) <= wide
    assert max(map(len, report.splitlines())) > wide - 20


def on_terminal(columns, *arguments):
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    run = subprocess.Popen([sys.executable, "-m", "qlint", *arguments], stdout=theirs, stderr=theirs, cwd=ROOT, env={**QUIET, "TERM": "xterm"})
    os.close(theirs)
    chunks = []
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other side has closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(ours)
    run.wait()
    return b"".join(chunks).decode().replace("\r\n", "\n")


def plain(text):
    import re

    return re.sub(r"\x1b\[[0-9;]*[mK]", "", text)


def imported(*arguments):
    code = f"import sys; sys.argv = ['qlint', *{list(arguments)!r}]\ntry:\n    from qlint.cli import main; main()\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(run.stdout.split("MODULES")[1].split())


def test_start_up_is_not_paid_for_nothing():
    assert not imported("--version") & {"numpy", "networkx", "pydantic", "torch", "typer", "rich"}
    assert not imported("--help") & {"numpy", "networkx", "pydantic", "torch", "onnx", "onnxruntime"}
    assert not imported("check", RESNET, "-b", "qnn-htp") & {"torch", "onnx", "onnxruntime", "networkx"}


def test_a_defect_of_qlint_hides_no_other_model(monkeypatch):
    import qlint as library
    from qlint import runner

    def broken(name, *rest):
        if name.endswith("resnet.onnx"):
            raise KeyError("kernel_shape")
        return judge(name, *rest)

    judge = runner._judge
    monkeypatch.setattr(runner, "_judge", broken)
    report = library.check([ROOT / RESNET, ROOT / AUTOENCODER], backend="qnn-htp")
    assert len(report.results) == 1 and report.exit_code() == 2
    assert "KeyError" in report.errors[0].message and "test_check.py, line" in report.errors[0].message


def test_input_shapes_are_of_inputs_that_exist():
    run = qlint("check", RESNET, "-b", "qnn-htp", "--input-shape", "nope:1,2")
    assert run.returncode == 2 and "no input 'nope'" in run.stderr and "input_1" in run.stderr
    assert qlint("check", RESNET, "-b", "qnn-htp", "--input-shape", "input_1:2,32,32,3", "--exit-zero").returncode == 0


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_a_name_of_any_bytes_can_be_reported(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.onnx"
    shutil.copy(ROOT / RESNET, name)
    for extra in ((), ("-f", "json"), ("-f", "concise")):
        run = qlint("check", os.fsdecode(name), "-b", "qnn-htp", "--exit-zero", *extra)
        assert run.returncode == 0 and "xff.onnx" in run.stdout, run.stderr
    missing = qlint("check", os.fsdecode(name.replace(b"\xff", b"\xfe")))
    assert missing.returncode == 2 and missing.stderr.count("xfe.onnx") == 1


# -- several reports of one run -----------------------------------------------------------------------------------


def test_one_run_writes_several_reports(tmp_path):
    (log, page) = (tmp_path / "out.sarif", tmp_path / "out.md")
    run = qlint("check", RESNET, "-b", "qnn-htp", "-f", f"sarif={log}", "-f", f"markdown={page}")
    assert run.returncode == 1
    assert "100 % of MACs in integer" in run.stdout  # the text is still there
    assert json.loads(log.read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert page.read_text(encoding="utf-8").startswith("## qlint")


def test_formats_without_a_file_take_those_of_output_file_in_order(tmp_path):
    (first, second) = (tmp_path / "1.sarif", tmp_path / "2.json")
    run = qlint("check", RESNET, "-b", "qnn-htp", "-f", "sarif", "-o", first, "-f", "json", "-o", second)
    assert run.stdout == "" and run.returncode == 1
    assert "runs" in json.loads(first.read_text(encoding="utf-8")) and "results" in json.loads(second.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-f", "sarif", "-f", "json"), "both go to stdout"),
        (("-f", "sarif", "-o", "a", "-o", "b"), "has no format"),
        (("-f", "sarif=same", "-f", "json=./same"), "two reports"),
        (("-f", "sarif="), "names no file"),
        (("-f", "sarif=no/such/folder/a.sarif"), "cannot be written"),
    ],
)
def test_a_mix_up_of_reports_is_told(arguments, says):
    run = qlint("check", RESNET, "-b", "qnn-htp", *arguments)
    assert run.returncode == 2 and says in run.stderr and "Traceback" not in run.stderr


def test_github_gets_annotations_and_a_job_summary(tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    run = qlint("check", RESNET, "-b", "qnn-htp", "-f", "github", GITHUB_STEP_SUMMARY=str(summary))
    assert run.stdout.startswith(f"::warning file={RESNET},line=1,title=missing-output-quantizer QL304")
    assert summary.read_text(encoding="utf-8").startswith("before\n## qlint")


def test_every_format_is_in_the_help():
    from qlint.report.formats import FORMATS

    told = " ".join(qlint("check", "--help", COLUMNS="200").stdout.split())
    assert all(name in told for name in FORMATS)
