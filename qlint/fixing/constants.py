"""What a graph computes from constants alone, computed: in float32, as a runtime would when it loads the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qlint.fixing.edits import Store
from qlint.graph import Op, Tensor, Use

MAX_STEPS = 256  # operators that compute one constant


class Unfolded(Exception):
    """Why a constant cannot be computed."""


def frozen(use: Use) -> Store:
    """The edit that stores a computed constant as it is in front of a reader's quantizers.

    Raises:
        Unfolded: an operator on the way is none that qlint computes.
    """
    values: dict[int, Any] = {}
    array = _value(use.tensor, values, [MAX_STEPS])
    import numpy as np

    if not np.all(np.isfinite(array)):
        raise Unfolded("what it computes is not a number")
    return Store(use, tuple(array.shape), array)


def _value(tensor: Tensor, values: dict[int, Any], left: list[int]) -> Any:
    import numpy as np

    if id(tensor) in values:
        return values[id(tensor)]
    op = tensor.producer
    left[0] -= 1
    if tensor.data is not None:
        found = tensor.data.array()
    elif op is None or left[0] < 0:
        raise Unfolded("it depends on an input" if op is None else f"more than {MAX_STEPS} operators compute it")
    else:
        rule = _RULES.get(op.kind)
        if rule is None or tensor is not op.outputs[0]:
            raise Unfolded(f"qlint does not compute {op.native} ({op.label})")
        if any(use.quantizers for use in op.uses.values()):
            raise Unfolded(f"{op.label} reads what is quantized")
        with np.errstate(all="ignore"):
            found = rule(op, {role: _value(use.tensor, values, left) for role, use in op.uses.items()})
        if found.dtype == np.float64:
            found = found.astype(np.float32)
    values[id(tensor)] = found
    return found


Inputs = dict[str, Any]
Rule = Callable[[Op, Inputs], Any]


def _numpy(name: str, *roles: str) -> Rule:
    """A function of numpy on some inputs."""

    def run(op: Op, x: Inputs) -> Any:
        import numpy as np

        return np.asarray(getattr(np, name)(*(x[role] for role in roles)))

    return run


def _sigmoid(op: Op, x: Inputs) -> Any:
    import numpy as np

    return (1 / (1 + np.exp(-x["x"].astype(np.float64)))).astype(x["x"].dtype)


def _reduced(name: str) -> Rule:
    def run(op: Op, x: Inputs) -> Any:
        import numpy as np

        axes = x.get("axes", op.attrs.get("axes"))
        if axes is None or len(axes) == 0:
            if op.attrs.get("noop_with_empty_axes"):
                return x["x"]
            axes = range(x["x"].ndim)
        return np.asarray(getattr(np, name)(x["x"], axis=tuple(int(a) for a in axes), keepdims=bool(op.attrs.get("keepdims", 1))))

    return run


def _norm(op: Op, x: Inputs) -> Any:
    import numpy as np

    return np.sqrt(_reduced("sum")(op, {**x, "x": x["x"].astype(np.float64) ** 2})).astype(x["x"].dtype)


def _clip(op: Op, x: Inputs) -> Any:
    import numpy as np

    low, high = (x.get(name, op.attrs.get(name)) for name in ("min", "max"))
    return np.clip(x["x"], -np.inf if low is None else low, np.inf if high is None else high).astype(x["x"].dtype)


def _reshape(op: Op, x: Inputs) -> Any:
    shape = [int(d) for d in x["shape"]]
    return x["x"].reshape([x["x"].shape[i] if d == 0 and not op.attrs.get("allowzero") else d for i, d in enumerate(shape)])


def _transpose(op: Op, x: Inputs) -> Any:
    return x["x"].transpose(op.attrs.get("perm"))


def _squeezed(op: Op, x: Inputs) -> Any:
    import numpy as np

    axes = x.get("axes", op.attrs.get("axes"))
    if op.kind == "squeeze":
        return np.squeeze(x["x"], None if axes is None else tuple(int(a) for a in axes))
    return np.expand_dims(x["x"], tuple(int(a) for a in axes or ()))


def _same(op: Op, x: Inputs) -> Any:
    return x["x"]


_RULES: dict[str, Rule] = {
    **{kind: _numpy(name, "lhs", "rhs") for kind, name in {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}.items()},
    **{kind: _numpy(name, "x") for kind, name in {"tanh": "tanh", "abs": "abs", "neg": "negative", "sqrt": "sqrt", "exp": "exp", "log": "log", "sign": "sign", "round": "rint", "floor": "floor", "ceil": "ceil"}.items()},
    **{f"reduce_{kind}": _reduced(kind) for kind in ("max", "min", "mean", "sum")}, "max": _numpy("maximum", "x0", "x1"), "min": _numpy("minimum", "x0", "x1"),
    "reduce_l2": _norm, "sigmoid": _sigmoid, "clip": _clip, "reshape": _reshape, "transpose": _transpose, "squeeze": _squeezed, "unsqueeze": _squeezed, "identity": _same,
}  # fmt: skip
