"""One run of a TorchScript file on an engine of PyTorch, operator by operator (see torch_engines.py)."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import torch
from torch import fx
from torch.autograd.profiler import profile

from qlint.oracles.torch_rebuild import Rebuilt, lowered, operator_of
from qlint.oracles.torch_saturation import saturation
from qlint.readers import read

TOLERANCE = 1.01  # steps: kernels round products of scales differently
_QUANTIZERS = ("aten::quantize_per_tensor", "aten::quantize_per_channel", "aten::dequantize", "aten::quantize_per_tensor_dynamic")
_FLOAT_WEIGHTS = ("embedding",)  # take integers, and compute on what they stand for


class Run:
    """`placements` and `errors` by the name that the reader gives an operator; `failure` is why the run ended early."""

    def __init__(self, path: str) -> None:
        script: Any = torch.jit.load(path)  # type: ignore[no-untyped-call]
        script.eval()
        faked = any("fake_quant" in node.kind() for node in script.inlined_graph.nodes())
        reference = Rebuilt(script, lowering=faked)
        self.failure = ""
        self.where: dict[int, str] = {}
        self.values: dict[int, Any] = {}  # results by operator
        self.off: dict[int, float] = {}
        self.bounds = _bounds(reference.module)
        model = read(path)
        try:
            module = lowered(Rebuilt(script)) if faked else reference.module
        except Exception as error:  # prepacking of weights happens there
            self.failure = _first_line(error)
        else:
            inputs = [_random(tensor.shape, tensor.dtype) for tensor in model.inputs]
            self._follow(module, inputs)
            if faked and not self.failure:
                _Compared(self, reference.module).run(*inputs)
        computing = [number for number, op in enumerate(reference.ops) if op not in _QUANTIZERS and "fake_quant" not in op]
        if self.failure and not self.where:  # it was refused before anything ran
            self.where = dict.fromkeys(computing, "rejected")
        self.where = {number: self.where.get(number, "skip" if self.failure else "absorbed") for number in computing}
        labels = _labels(model, reference.ops)
        self.placements = {labels[number]: where for number, where in self.where.items() if number in labels}
        self.errors = {labels[number]: error for number, error in self.off.items() if self.where.get(number) == "integer" and number in labels}

    def _follow(self, module: fx.GraphModule, inputs: list[Any]) -> None:
        walk = _Walk(self, module)
        try:
            walk.run(*inputs)
        except _StoppedError as stopped:
            self.failure = str(stopped)


class _StoppedError(Exception):
    pass


class _Walk(fx.Interpreter):
    """Runs a module node by node, and notes what each kernel does."""

    def __init__(self, run: Run, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.owner = run
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        number = operator_of(n)
        if number is None or n.target in (torch.quantize_per_tensor, torch.quantize_per_channel, "dequantize"):
            try:
                result = super().run_node(n)
            except Exception as error:
                raise _StoppedError(_first_line(error)) from error
            if n.target is torch.quantize_per_tensor and "grid" in n.meta:
                result.__dict__["grid"] = n.meta["grid"]
            return result
        given = [value for value in _flat(self.fetch_args_kwargs_from_env(n)) if isinstance(value, torch.Tensor)]
        taken = any(value.is_quantized for value in given)
        try:
            with profile(enabled=taken) as events:
                result = super().run_node(n)
        except Exception as error:
            self.owner.where[number] = "rejected"
            raise _StoppedError(f"{_name(n.target)}: {_first_line(error)}") from error
        inside = {event.name for event in events.function_events} if taken and events.function_events else set()
        dynamic = "_dynamic" in _name(n.target)
        on_integers = (taken and "aten::dequantize" not in inside) or dynamic
        self.owner.where[number] = "integer" if on_integers and not any(w in _name(n.target) for w in _FLOAT_WEIGHTS) else "float"
        self.owner.values[number] = result
        if number in self.owner.bounds and isinstance(result, torch.Tensor):
            result.__dict__["grid"] = self.owner.bounds[number]
        args, _ = self.fetch_args_kwargs_from_env(n)
        saturated = saturation(_name(n.target), args) if on_integers else 0.0
        if saturated > TOLERANCE:
            self.owner.off[number] = round(saturated, 1)
        return result


class _Compared(fx.Interpreter):
    """The network in reference form, on the tensors of the real run: what each quantizer gives, and what the kernel gave."""

    def __init__(self, run: Run, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.owner = run

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        source = n.args[0] if n.target is torch.quantize_per_tensor else None
        if not isinstance(source, fx.Node):
            return result
        number = self._taken_by(source)
        actual = None if number is None else self.owner.values.get(number)
        if not isinstance(actual, torch.Tensor) or not actual.is_quantized or actual.shape != result.shape:
            return result
        low, high = n.meta.get("grid", (None, None))
        codes = result.int_repr()
        inside = torch.ones_like(codes, dtype=torch.bool) if low is None else (codes > low) & (codes < high)
        off = ((actual.dequantize() - result.dequantize()).abs() / float(result.q_scale()))[inside]
        if number is not None and off.numel() and float(off.max()) > TOLERANCE:
            self.owner.off.setdefault(number, round(float(off.max()), 1))
        return actual

    def _taken_by(self, node: fx.Node) -> int | None:
        """The operator whose kernel took this one: itself, or the one before it."""
        number = operator_of(node)
        if number in self.owner.values or number is None or not node.args:
            return number
        return operator_of(node.args[0]) if isinstance(node.args[0], fx.Node) else None


def _bounds(module: fx.GraphModule) -> dict[int | None, tuple[int, int]]:
    """The codes that the fake quantizer behind each operator leaves. Its container may have room for more."""
    found: dict[int | None, tuple[int, int]] = {}
    for node in module.graph.nodes:
        source = node.args[0] if "grid" in node.meta else None
        if isinstance(source, fx.Node):
            found[operator_of(source)] = node.meta["grid"]
            if source.args and isinstance(source.args[0], fx.Node):  # a ReLU that may be taken in by the operator in front of it
                found.setdefault(operator_of(source.args[0]), node.meta["grid"])
    return found


def _labels(model: Any, ops: list[str]) -> dict[int, str]:
    """The reader's name for each operator, by its number in PyTorch's graph."""
    nodes = [op for op in model.nodes if op.kind != "constant"]
    matches = SequenceMatcher(None, ops, [op.native for op in nodes], autojunk=False).get_matching_blocks()
    return {block.a + at: nodes[block.b + at].label for block in matches for at in range(block.size)}


def _random(shape: Any, dtype: str) -> torch.Tensor:
    size = [n if isinstance(n, int) else 1 for n in shape or (1,)]
    if dtype.startswith("int"):
        return torch.randint(0, 4, size)
    return torch.randn(size)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in _flat(part)] if isinstance(value, (list, tuple)) else [value]


def _name(target: Any) -> str:
    return str(getattr(target, "_qualified_op_name", "") or getattr(target, "__name__", "") or target)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
