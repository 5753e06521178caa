"""Budgets as ratios, growth, peak memory and imported modules; never as milliseconds."""

import statistics
import sys
import time
from itertools import pairwise

import networks
import onnx
import pytest
from watch import IMPORTS, QLINT, ROOT, watch

from qlint.passes import canonical
from qlint.readers import read

RESNET = ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx"
DETECTOR = ROOT / "tests/zoo/Ultra-Light-Fast-Generic-Face-Detector-1MB/version-RFB-320.onnx"
HEAVY = {"numpy", "networkx", "pydantic", "torch", "onnx", "onnxruntime", "ml_dtypes", "flatbuffers", "ai_edge_litert"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    found = watch(QLINT, *arguments)
    assert found.code == 0 and not found.modules & HEAVY


@pytest.mark.parametrize("arguments", [["-b", "qnn-htp"], ["-b", "ort-cpu,snpe", "-f", "json"], ["-f", "concise"]], ids=" ".join)
def test_a_check_imports_no_framework(arguments):
    """Neither a framework, nor numpy while no weight is looked at, nor networkx while nobody asks for `model.nx`."""
    found = watch(QLINT, "check", RESNET, *arguments)
    assert found.code in (0, 1) and not found.modules & (HEAVY - {"pydantic"})


@pytest.mark.parametrize("model", [RESNET, ROOT / "tests/zoo/tiny/pretrainedResnet_quant.tflite"], ids=lambda path: path.suffix)
def test_reading_imports_nothing_at_all(model):
    found = watch("from qlint.readers import read; from qlint.passes import canonical; canonical(read(sys.argv[1]))", model)
    assert not found.modules & HEAVY


@linux
def test_weights_inside_the_file_are_not_touched(tmp_path):
    """Half a gigabyte of weights takes the memory of none."""
    heavy, light = networks.inline(tmp_path / "heavy.onnx", 512), networks.inline(tmp_path / "light.onnx", 1)
    assert heavy.stat().st_size > 512 << 20
    assert onnx.shape_inference.infer_shapes(onnx.load(light)).graph.node[0].op_type == "MatMul"  # the file is what it should be
    found = watch(QLINT, "check", heavy, "-b", "qnn-htp,ort-cpu")
    assert found.code in (0, 1)
    assert found.kilobytes < watch(IMPORTS).kilobytes + 60 * 1024
    assert found.kilobytes < watch(QLINT, "check", light, "-b", "qnn-htp,ort-cpu").kilobytes + 4 * 1024


@linux
def test_a_real_model_takes_no_more_than_the_imports_and_60_megabytes():
    found = watch(QLINT, "check", DETECTOR, "-b", "qnn-htp,ort-cpu,snpe")
    assert found.code in (0, 1) and found.kilobytes < watch(IMPORTS).kilobytes + 60 * 1024


@linux
def test_seven_billion_weights_are_looked_into_and_not_read(tmp_path):
    """A few places of each of 224 weights, and one of them whole at a time: all are zeros here, which is as suspicious as can be."""
    path = networks.decoder(tmp_path / "decoder.onnx", 32)
    found = watch(QLINT, "check", path, "-b", "ort-cpu")
    assert found.code in (0, 1)
    assert found.kilobytes < watch(IMPORTS).kilobytes + (60 + 64) * 1024


def spent(path, backend="qnn-htp"):
    """Processor seconds of reading, of making canonical, and of judging and linting, with the collector off as in `qlint.check`."""
    from qlint.graph.building import building
    from qlint.judge import judge
    from qlint.lint import registry
    from qlint.lint.run import lint
    from qlint.profile import load

    rules, profile = registry.load().rules, load(backend)
    marks = [time.process_time()]
    with building():
        raw = read(path)
        marks.append(time.process_time())
        model = canonical(raw)
        marks.append(time.process_time())
        lint(judge(model, profile), rules, known=rules)
        marks.append(time.process_time())
    return [b - a for a, b in pairwise(marks)]


@pytest.mark.parametrize("shared", [False, True], ids=["own constants", "shared constants"])
def test_four_times_the_nodes_take_about_four_times_as_long(tmp_path, shared):
    small, large = networks.residual(tmp_path / "small.onnx", 4_000, shared), networks.residual(tmp_path / "large.onnx", 16_000, shared)
    spent(small)
    runs = [(sum(spent(small)), sum(spent(large))) for _ in range(3)]
    assert statistics.median(large / small for small, large in runs) < 5.5


def test_so_it_is_with_large_weights(tmp_path):
    small, large = networks.decoder(tmp_path / "small.onnx", 8), networks.decoder(tmp_path / "large.onnx", 32)
    spent(small, "ort-cpu")
    runs = [(sum(spent(small, "ort-cpu")), sum(spent(large, "ort-cpu"))) for _ in range(3)]
    assert statistics.median(large / small for small, large in runs) < 5.5


def test_so_it_is_with_tflite_and_an_operator_costs_no_more_than_in_onnx(tmp_path):
    """The graph of a TFLite file has no quantizers among its operators: what is compared is the time for each op that computes."""
    small, large = networks.residual_lite(tmp_path / "small.tflite", 1_000), networks.residual_lite(tmp_path / "large.tflite", 4_000)
    other = networks.residual(tmp_path / "large.onnx", 8_000)
    lite, onnx_ops = len(canonical(read(large)).ops), len(canonical(read(other)).ops)
    assert lite > 4_000  # fused activations are ops of their own
    spent(small, "tflite")
    runs = [(sum(spent(small, "tflite")), sum(spent(large, "tflite")), sum(spent(other))) for _ in range(3)]
    assert statistics.median(large / small for small, large, _ in runs) < 5.5
    assert statistics.median((large / lite) / (other / onnx_ops) for _, large, other in runs) < 1.5


def calls(path, backend):
    """How many functions are called by judging and linting: the same on each machine."""
    import cProfile
    import pstats

    from qlint.judge import judge
    from qlint.lint import registry
    from qlint.lint.run import lint
    from qlint.profile import load

    rules, profile, model = registry.load().rules, load(backend), canonical(read(path))
    counted = cProfile.Profile()
    counted.runcall(lambda: lint(judge(model, profile), rules, known=rules))
    return pstats.Stats(counted).total_calls


@pytest.mark.parametrize(("kind", "quantized", "backend"), [
    ("attention", True, "fbgemm"), ("attention", False, "qnn-htp"), ("dense", False, "fbgemm"), ("moved", False, "fbgemm"), ("added", True, "qnn-htp"),
    ("starred", True, "fbgemm"), ("starred", False, "qnn-htp"),
])  # fmt: skip
def test_nothing_is_looked_for_again_and_again(tmp_path, kind, quantized, backend):
    """What is said of an op may depend on what is far away, and a tensor may have many readers: neither is walked through for every op."""
    few, more, most = (calls(networks.growing(tmp_path / f"{times}.onnx", kind, times, quantized), backend) for times in (20, 40, 100))
    assert most - more < 3.1 * (more - few)  # 60 more, 20 more
