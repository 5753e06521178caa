"""A TorchScript graph as an FX graph in the reference form that `convert_fx` lowers.

Fake quantizers become a `quantize_per_tensor` and a `dequantize`, operators the functions or modules that networks are written
with; the lowering (torch/ao/quantization/fx/_lower_to_native_backend.py) goes by these. Operators that are already on
quantized tensors stay as they are. `operator_of` tells of a node which operator of the file it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import fx, nn

STRUCTURE = frozenset({"prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::TupleConstruct", "prim::ListUnpack", "prim::TupleUnpack"})
# TorchScript knows the operator and not how the network spelled it: these are the spellings that the lowering knows.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "linear": F.linear, "conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d, "conv_transpose1d": F.conv_transpose1d,
    "conv_transpose2d": F.conv_transpose2d, "conv_transpose3d": F.conv_transpose3d, "matmul": torch.matmul, "relu": F.relu, "relu_": F.relu,
    "hardtanh": F.hardtanh, "hardtanh_": F.hardtanh, "relu6": F.relu6, "clamp": torch.clamp,
    "hardswish": F.hardswish, "hardswish_": F.hardswish, "sigmoid": torch.sigmoid, "hardsigmoid": F.hardsigmoid, "tanh": torch.tanh,
    "adaptive_avg_pool1d": torch.adaptive_avg_pool1d, "adaptive_avg_pool2d": F.adaptive_avg_pool2d, "adaptive_avg_pool3d": F.adaptive_avg_pool3d,
    "avg_pool1d": torch.avg_pool1d, "avg_pool2d": F.avg_pool2d, "avg_pool3d": F.avg_pool3d, "max_pool1d": F.max_pool1d, "max_pool2d": F.max_pool2d,
    "max_pool3d": F.max_pool3d, "mean": torch.mean, "flatten": torch.flatten, "channel_shuffle": torch.channel_shuffle, "cat": torch.cat,
    "layer_norm": F.layer_norm, "narrow": torch.narrow, "transpose": torch.transpose, "squeeze": torch.squeeze,
    "unsqueeze": torch.unsqueeze, "stack": torch.stack, "pixel_shuffle": F.pixel_shuffle, "pixel_unshuffle": F.pixel_unshuffle,
    "repeat_interleave": torch.repeat_interleave,
}  # fmt: skip
_METHODS = frozenset({"permute", "reshape", "view", "repeat", "contiguous", "detach"})
_ARGUMENTS = {"layer_norm": 5, "hardswish": 1, "hardswish_": 1, "mean": 3, "repeat_interleave": 3}  # how many the function has in place
# What networks write as modules: the lowering looks for these, or takes other arguments from the functions.
_MODULES: dict[str, Callable[..., nn.Module]] = {
    "prelu": lambda *_: nn.PReLU(), "softmax": lambda axis, *_: nn.Softmax(axis), "leaky_relu": lambda slope=0.01: nn.LeakyReLU(slope),
    "leaky_relu_": lambda slope=0.01: nn.LeakyReLU(slope), "elu": lambda alpha=1.0, *_: nn.ELU(alpha),
    "batch_norm": lambda w, b, mean, var, training, momentum, eps, *_: nn.BatchNorm2d(1, eps),
    "instance_norm": lambda w, b, mean, var, use_input, momentum, eps, *_: nn.InstanceNorm2d(1, eps, affine=True),
}  # fmt: skip
_FAKE = ("fake_quantize_", "_fake_quantize_", "fused_moving_avg_obs_fake_quant")


def operator_of(node: fx.Node) -> int | None:
    """The number of the operator that a node stands for."""
    text = node.stack_trace
    return int(text) if text is not None and text.isdigit() else None


class Rebuilt:
    """`module` is the FX module, `ops` the operators of the file in order. Without `lowering` they stay what they are."""

    def __init__(self, script: torch.jit.ScriptModule, lowering: bool = True) -> None:
        self.graph, self.root, self.lowering = fx.Graph(), nn.Module(), lowering
        self.values: dict[str, Any] = {}
        self.ops: list[str] = []
        inputs = list(script.inlined_graph.inputs())
        self.values[inputs[0].debugName()] = script._c
        for value in inputs[1:]:
            self.values[value.debugName()] = self.graph.placeholder(value.debugName().replace(".", "_"))
        for node in script.inlined_graph.nodes():
            self._node(node)
        results = [self.values[value.debugName()] for value in script.inlined_graph.outputs()]
        self.graph.output(results[0] if len(results) == 1 else tuple(results))
        self.module = fx.GraphModule(self.root, self.graph)

    def _attribute(self, value: Any) -> fx.Node:
        name = f"a{len(self.graph.nodes)}"
        if isinstance(value, torch.Tensor):
            self.root.register_buffer(name, value.detach())
        else:
            setattr(self.root, name, value)
        return self.graph.create_node("get_attr", name)

    def _node(self, node: Any) -> None:
        kind, outputs = node.kind(), [value.debugName() for value in node.outputs()]
        given = [self.values[value.debugName()] for value in node.inputs()]
        if kind == "prim::Constant":
            value = node.output().toIValue()
            self.values[outputs[0]] = self._attribute(value) if isinstance(value, (torch.Tensor, torch._C.ScriptObject)) else value
        elif kind == "prim::GetAttr":
            value = given[0].getattr(node.s("name"))
            self.values[outputs[0]] = self._attribute(value) if isinstance(value, torch.Tensor) or type(value) is torch._C.ScriptObject else value
        elif kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            self.values[outputs[0]] = given if kind == "prim::ListConstruct" else tuple(given)
        elif kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            for at, name in enumerate(outputs):
                self.values[name] = given[0][at] if isinstance(given[0], (list, tuple)) else self.graph.call_function(operator.getitem, (given[0], at))
        elif kind.startswith("prim::"):
            raise NotImplementedError(f"{kind}: only a network without branches can be followed")
        else:
            self.ops.append(kind)
            made = self._reference(kind, given) if self.lowering else None
            if made is None:
                made = self._exactly(kind, given, node.schema())
            made.stack_trace = made.stack_trace or str(len(self.ops) - 1)  # the one thing that the lowering hands on to the node that it makes
            self.values[outputs[0]] = made
            for at, name in enumerate(outputs if len(outputs) > 1 else ()):
                self.values[name] = self.graph.call_function(operator.getitem, (made, at))

    def _exactly(self, kind: str, args: list[Any], schema: str) -> fx.Node:
        namespace, _, name = kind.partition("::")
        if name == "__getitem__":
            return self.graph.call_function(operator.getitem, tuple(args))
        named = torch._C.parse_schema(schema).arguments
        keywords = {one.name: value for one, value in zip(named, args, strict=False) if one.kwarg_only}
        positional = tuple(value for one, value in zip(named, args, strict=False) if not one.kwarg_only)
        return self.graph.call_function(getattr(getattr(torch.ops, namespace), name), positional, keywords)

    def _reference(self, kind: str, args: list[Any]) -> fx.Node | None:
        """The operator as networks are written; None if the lowering does not look for it."""
        namespace, _, name = kind.partition("::")
        if namespace != "aten":
            return None
        call = self.graph.call_function
        if name.startswith(_FAKE):
            return self._fake(name, args)
        if name == "dequantize":
            return self.graph.call_method("dequantize", (args[0],))
        if name in ("add", "add_", "mul", "mul_") and (len(args) < 3 or args[2] == 1):
            return call(getattr(operator, name.rstrip("_")), tuple(args[:2]))
        if name == "_convolution":
            return self._convolution(*args[:9])
        if name == "batch_norm" and (folded := self._folded(args)) is not None:
            return folded
        if name in _MODULES:
            return self._module(_MODULES[name](*args[1:]), args)
        if name.startswith("upsample_"):
            return self._interpolate(name.removeprefix("upsample_"), args)
        if name in _FUNCTIONS:
            return call(_FUNCTIONS[name], tuple(args[: _ARGUMENTS.get(name)]))
        return self.graph.call_method(name, tuple(args)) if name in _METHODS else None

    def _fake(self, name: str, args: list[Any]) -> fx.Node:
        """A pair of quantize and dequantize; the container is the one that holds the range."""
        if name.startswith("fused"):  # self, observer_on, fake_quant_on, running_min, running_max, scale, zero_point, averaging, qmin, qmax, axis, per row
            x, scale, zero_point, low, high, axis = args[0], args[5], args[6], args[8], args[9], args[10] if args[11] else None
        elif "channel" in name:
            x, scale, zero_point, axis, low, high = args[:6]
        else:
            (x, scale, zero_point, low, high), axis = args[:5], None
        dtype = torch.qint8 if low < 0 else torch.quint8
        if low < -128 or high > (127 if low < 0 else 255):
            dtype = torch.qint32
        scale, zero_point = (self._parameter(value, axis is None) for value in (scale, zero_point))
        if axis is None:
            pair = self.graph.call_function(torch.quantize_per_tensor, (x, scale, zero_point, dtype))
        else:
            pair = self.graph.call_function(torch.quantize_per_channel, (x, scale, zero_point, axis, dtype))
        pair.meta["grid"] = (low, high)
        return self.graph.call_method("dequantize", (pair,))

    def _parameter(self, value: Any, scalar: bool) -> fx.Node:
        """A scale or zero point as an attribute of the module, where `convert_fx` keeps it."""
        held = getattr(self.root, str(value.target)).detach() if isinstance(value, fx.Node) else torch.tensor(value)
        if not held.is_floating_point():
            held = held.to(torch.int64)
        return self._attribute(held.reshape(()) if scalar else held)

    def _convolution(self, x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any, groups: int) -> fx.Node:
        dims = len(stride)
        if transposed:
            return self.graph.call_function(getattr(F, f"conv_transpose{dims}d"), (x, w, b, stride, padding, extra, groups, dilation))
        return self.graph.call_function(getattr(F, f"conv{dims}d"), (x, w, b, stride, padding, dilation, groups))

    def _folded(self, args: list[Any]) -> fx.Node | None:
        """A conv that was prepared together with its batch normalization (torch/ao/nn/intrinsic/qat/modules/conv_fused.py): its weights
        are scaled, its result is divided by the scales again, and `convert_fx` folds what is left into the bias."""
        x, gamma, beta, mean, var, _, _, epsilon, *_ = args
        divided: Any
        extra: Any
        divided, extra = (x.args[0], x.args[1]) if x.target is operator.add else (x, None)
        conv = divided.args[0] if isinstance(divided, fx.Node) and divided.target is torch.ops.aten.div else None
        if not isinstance(conv, fx.Node) or conv.target not in (F.conv1d, F.conv2d, F.conv3d):
            return None
        held = {name: getattr(self.root, str(node.target)).detach() for name, node in (("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var))}
        own: Any = 0.0
        if extra is not None:  # the bias, reshaped
            reshaped: Any = extra.args[0]
            own = getattr(self.root, str(reshaped.target)).detach()
        bias = held["beta"] + (own - held["mean"]) * held["gamma"] / torch.sqrt(held["var"] + epsilon)
        made = self.graph.call_function(conv.target, (*conv.args[:2], self._attribute(bias), *conv.args[3:]))
        made.stack_trace = conv.stack_trace
        return made

    def _interpolate(self, mode: str, args: list[Any]) -> fx.Node:
        given: dict[str, Any] = {"mode": mode[:-2], "size": args[1] if isinstance(args[1], list) else None}
        if given["size"] is None:
            given["scale_factor"] = tuple(next(one for one in args[2:] if isinstance(one, list)))
        if not mode.startswith("nearest"):
            given["align_corners"] = args[2]
        return self.graph.call_function(F.interpolate, (args[0],), given)

    def _module(self, module: Any, args: list[Any]) -> fx.Node:
        """A module with the parameters that the operator was given."""
        given = [getattr(self.root, str(one.target)).detach().clone() for one in args[1:5] if isinstance(one, fx.Node) and one.op == "get_attr"]
        for name, value in zip(("weight", "bias", "running_mean", "running_var"), given, strict=False):
            if isinstance(getattr(module, name, None), nn.Parameter):
                value = nn.Parameter(value, requires_grad=False)
            setattr(module, name, value)
        if hasattr(module, "num_features"):
            module.num_features = len(given[0])
        module.qconfig = torch.ao.quantization.default_qconfig  # with which it would have been prepared
        return self._child(module.eval(), args[0])

    def _child(self, module: nn.Module, x: Any) -> fx.Node:
        name = f"m{len(self.graph.nodes)}"
        self.root.add_module(name, module)
        return self.graph.call_module(name, (x,))


def lowered(rebuilt: Rebuilt) -> fx.GraphModule:
    """What `convert_fx` makes of it."""
    from collections import defaultdict

    from torch.ao.quantization.fx._lower_to_native_backend import _lower_to_native_backend

    scopes: Any = defaultdict(lambda: ("", nn.Module))
    module: fx.GraphModule = _lower_to_native_backend(rebuilt.module, {}, scopes)
    return module
