"""torch.compile on x86 as a judge: what TorchInductor's freezing passes make of a torch.export file.

The network is compiled as `torch.compile` does under `torch.no_grad()` with `torch._inductor.config.freezing`, up to the point
where code is written: the passes have chosen every kernel by then (torch/_inductor/fx_passes/quantization.py), and no compiler
is needed. The graph that they leave is then run once, on random inputs. An operator

  is `integer`   if a pass gave it to oneDNN's kernels for integers, or if it moves integers;
     `absorbed`  if a pass made it a part of such a kernel;
     `float`     if it is left to the code that Inductor writes, which computes on floats between a dequantize and a quantize;
     `rejected`  if a pass or a kernel raised an exception: then the model is `refused`, and everything else is `skip`;
     `skip`      if nothing is left of it, or if it computes nothing: quantizers, sizes.

Kernels for integers are asked for their numbers, too (see inductor_numbers.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

PASSES = "torch._inductor.fx_passes.quantization"
PROMOTION = "dequant_promotion"  # gives each reader of a dequantize one of its own; that makes nothing an integer operator
POST_OPS = ("qconv", "qlinear_post_op_fusion")  # passes that make operators part of the kernel in front of them
QUANTIZERS = ("quantize_per", "dequantize_per", "choose_qparams", "quantize_affine", "dequantize_affine", "fake_quant")
TOLERANCE = 1.01  # steps: products of scales are rounded
POOL = "qmaxpool2d"
MARK = "custom"  # a key of `Node.meta` that autograd's tracing carries along


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    if target == "avx2":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    import torch
    import torch.ao.quantization.fx._decomposed  # the operators that PT2E's quantizers are written with

    base: dict[str, Any] = {"backend": f"{backend}@{target}", "versions": {"torch": torch.__version__}, "reasons": []}
    if target == "vnni" and not torch.cpu._is_vnni_supported():
        return {**base, "outcome": "crashed", "reasons": [f"this CPU ({torch.backends.cpu.get_cpu_capability()}) has no VNNI"]}
    if b"torchao" in Path(path).read_bytes():  # registers the operators of its quantizers
        import torchao.quantization  # noqa: F401
    torch.set_num_threads(1)
    torch.manual_seed(0)
    compiled = Compiled(torch.export.load(path))
    refused = bool(compiled.failure)
    labels = _labels(path, compiled)
    placements = {label: compiled.placements[number] for number, label in labels.items() if number in compiled.placements}
    errors = {label: compiled.errors[number] for number, label in labels.items() if number in compiled.errors}
    return {**base, "outcome": "refused" if refused else "runs", "reasons": [compiled.failure] * refused, "placements": placements, "errors": errors}


class _Captured(Exception):
    """The passes are done."""


class Compiled:
    """`placements` by the number of each call of the exported graph; `failure` is why there is no compiled network.

    `errors`: of a call that runs in integer and gives other numbers, how many steps it is off.
    """

    def __init__(self, program: Any) -> None:
        import torch

        from qlint.oracles.inductor_numbers import Numbers

        self.calls = [node for node in program.graph.nodes if node.op == "call_function"]
        self.taken: dict[int, str] = {}  # what the passes gave to a kernel for integers, by the number of the call
        self.left: dict[int, Any] = {}  # the last node that is left of a call
        self.failure = ""
        self.runnable: Any = None
        self.pools: list[Any] = []
        inputs = _inputs(program)
        try:
            self._compile(program.module(), inputs)
            if self.runnable is not None:
                _run(self.runnable, inputs)
            for dtype in self.pools:
                torch.ops.quantized.max_pool2d(torch.zeros((1, 8, 2, 2), dtype=dtype), [2, 2], [2, 2], [0, 0], [1, 1], False)
        except Exception as error:
            self.failure = _first_line(error)
        self.placements = {number: self._where(number) for number, node in enumerate(self.calls) if not any(one in str(node.target) for one in QUANTIZERS)}
        self.errors: dict[int, float] = {}
        if not self.failure:
            numbers = Numbers(program)
            off = {number: numbers.off(self.calls[number]) for number, where in self.taken.items() if where == "integer"}
            self.errors = {number: round(value, 1) for number, value in off.items() if value > TOLERANCE}

    def _compile(self, module: Any, inputs: list[Any]) -> None:
        import torch
        from torch._inductor import config
        from torch._inductor.compile_fx import compile_fx
        from torch._inductor.exc import InductorError

        def backend(traced: Any, given: Any) -> Any:
            calls = [node for node in traced.graph.nodes if node.op == "call_function"]
            blocks = SequenceMatcher(None, [str(node.target) for node in self.calls], [str(node.target) for node in calls], autojunk=False).get_matching_blocks()
            for block in blocks:
                for at in range(block.size):
                    calls[block.b + at].meta[MARK] = {"call": block.a + at}
            return compile_fx(traced, given)

        settings = {
            "freezing": True, "fx_graph_cache": False, "compile_threads": 1,
            "post_grad_custom_pre_pass": self._before_lowering, "post_grad_custom_post_pass": self._after,
        }  # fmt: skip
        torch._dynamo.reset()
        with torch.no_grad(), config.patch(settings), _watched(self._matched):
            try:
                torch.compile(module, backend=backend)(*inputs)  # type: ignore[no-untyped-call]
            except InductorError as error:
                if not isinstance(error.inner_exception, _Captured):
                    raise error.inner_exception from error

    def _matched(self, handler: Callable[..., Any], nodes: list[Any]) -> None:
        """A pass found its pattern in these nodes."""
        if handler.__module__ != PASSES or handler.__name__ == PROMOTION:
            return
        follows = handler.__name__ in POST_OPS
        for node in nodes:
            number = node.meta.get(MARK, {}).get("call")
            if number is not None:
                self.taken.setdefault(number, "absorbed" if follows else "integer")

    def _before_lowering(self, graph: Any) -> None:
        """The last graph in which every node is an operator that can be run: a copy is kept."""
        from torch import fx

        copied = fx.Graph()
        copied.output(copied.graph_copy(graph, {}))
        self.runnable = fx.GraphModule(graph.owning_module, copied)

    def _after(self, graph: Any) -> None:
        for node in graph.nodes:
            number = node.meta.get(MARK, {}).get("call")
            if getattr(node.target, "__name__", "") == POOL:  # chosen with the code; whether oneDNN has it for these integers shows when it runs
                self.pools.append(node.target.args[0].kwargs["x"].meta["val"].dtype)
            if number is not None and node.op == "call_function":
                self.left[number] = node
        raise _Captured

    def _where(self, number: int) -> str:
        import torch

        if number in self.taken:
            return "rejected" if self.failure else self.taken[number]
        if self.failure or number not in self.left:
            return "skip"
        value = self.left[number].meta.get("val")
        return "integer" if isinstance(value, torch.Tensor) and value.dtype in (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32) else "float"


def _run(module: Any, inputs: list[Any]) -> None:
    """Once through the graph, with the layouts that the code generator sees to: oneDNN gets images with their channels last."""
    import torch
    from torch import fx

    class Laid(fx.Interpreter):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if str(target).startswith("onednn."):
                args = tuple(laid(one) if isinstance(one, torch.Tensor) and one.dim() == 4 and not one.is_mkldnn else one for one in args)
            return super().call_function(target, args, kwargs)

    def laid(value: torch.Tensor) -> torch.Tensor:
        return value.clone(memory_format=torch.channels_last)  # a copy: a sum is written over its second operand

    Laid(module).run(*inputs)


def _watched(tell: Callable[[Callable[..., Any], list[Any]], None]) -> Any:
    """A context in which `tell` hears of every pattern that is found, before it is replaced."""
    from contextlib import ExitStack
    from unittest.mock import patch

    from torch._inductor import pattern_matcher

    stack = ExitStack()
    for kind in (pattern_matcher.GraphPatternEntry, pattern_matcher.LoweringPatternEntry):

        def apply(entry: Any, match: Any, graph: Any, node: Any, real: Callable[..., Any] = kind.apply) -> Any:
            tell(entry.handler, match.nodes)
            return real(entry, match, graph, node)

        stack.enter_context(patch.object(kind, "apply", apply))
    return stack


def _labels(path: str, compiled: Compiled) -> dict[int, str]:
    """The reader's name for each call, by its number in the exported graph."""
    from qlint.readers import read

    nodes = [op for op in read(path).nodes if op.kind != "constant"]
    blocks = SequenceMatcher(None, [_name(node.target) for node in compiled.calls], [op.native for op in nodes], autojunk=False).get_matching_blocks()
    return {block.a + at: nodes[block.b + at].label for block in blocks for at in range(block.size)}


def _name(target: Any) -> str:
    """`aten::conv2d`, as the reader has it."""
    return str(getattr(getattr(target, "_schema", None), "name", target))


def _inputs(program: Any) -> list[Any]:
    """Random tensors of the shapes and types that the network was exported with."""
    import torch

    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    given = [values[spec.arg.name] for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    return [_random(value) if isinstance(value, torch.Tensor) else value for value in given]


def _random(value: Any) -> Any:
    import torch

    size = [n if isinstance(n, int) else n.node.hint for n in value.shape]
    return torch.randn(size, dtype=value.dtype) if value.is_floating_point() else torch.randint(0, 4, size, dtype=value.dtype)


def _first_line(error: BaseException) -> str:
    """What went wrong; of an assertion, where."""
    from traceback import extract_tb

    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    if text := str(error).strip():
        return text.splitlines()[0][:200]
    frames = extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {frames[-1].name}" if frames else "")
