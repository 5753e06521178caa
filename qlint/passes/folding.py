"""What became of the batch-norms: left behind the convolution, folded in one of several ways, or computing statistics of the batch.

Numbers of strategies are those of the MQBench paper (arXiv 2111.03759, section 3.2 and Figure 3): -1 not folded, 0 folded once before
training, 1 running statistics in the weights, 2 statistics of the batch by a second convolution, 3 the same with running statistics in
the weights and a correction behind, 4 the factor divided out again and the batch-norm kept. What was folded into a constant looks like
a convolution with a bias: 0 is never seen, and neither are 1 to 3 in an export of the evaluation that folds constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qlint.graph import Model, Op, Tensor, once
from qlint.graph.kinds import CLASSES
from qlint.passes.constants import small

State = Literal["unfolded", "standalone", "divided", "in the graph", "batch statistics", "corrected"]
STRATEGIES: dict[State, tuple[int, ...]] = {
    "unfolded": (-1,), "standalone": (), "divided": (4,), "in the graph": (1, 2, 3), "batch statistics": (2,), "corrected": (3,),
}  # fmt: skip
EPSILON = 1e-5  # of PyTorch's batch-norms
TOLERANCE = 1e-4  # relative, between factors that were computed in float32
MAX_OPS = 64  # between a convolution and what is computed from its output
_SCALES = ("mul", "div")


@dataclass(frozen=True, slots=True, eq=False)
class BatchNorm:
    """A batch-norm, or what is left of it. `op` stands for it in reports: the batch-norm, or the operator that it is folded into."""

    op: Op
    state: State
    front: Op | None = None  # the weighted operator that it belongs to
    training: bool = False  # computes the statistics of the batch
    frozen: bool = False  # keeps its statistics while the network around it is in training
    divide: Op | None = None  # of a divided one: the op that takes the factor out again
    shift: Op | None = None  # of a divided one: the op behind that, which adds the bias that the operator in front had
    blocked: str = ""  # why it cannot be folded into what stands in front

    @property
    def strategies(self) -> tuple[int, ...]:
        return (1,) if self.state == "in the graph" and self.frozen else STRATEGIES[self.state]


@once
def batch_norms(model: Model) -> Iterator[BatchNorm]:
    """Every batch-norm of a graph (bodies of control flow aside) that can be seen, in the order of the ops."""
    in_training = model.metadata.get("training") == "true"
    first: dict[int, Op] = {}  # of the weighted operators that read a tensor, the first one
    for op in model.ops:
        if op.kind == "batch_norm":
            yield batch_norm(op, in_training)
        elif op.kind in CLASSES["weighted"] and op.outputs and "x" in op.uses and op.uses.get("w") is not None:
            twin = first.setdefault(id(op.uses["x"].tensor), op)
            state = _second(twin, op) if twin is not op else None
            if state is not None:
                yield BatchNorm(op, state, op, training=True)
            elif _folds(op) and not any(use.op is not None and (use.op.kind == "batch_norm" or _divides(use.op)) for use in op.outputs[0].uses):
                yield BatchNorm(op, "in the graph", op, frozen=in_training)
        group = next((group for group in op.groups if group.startswith("batch_norm:")), "")
        if group and not _continues(op, group) and not any(use.op is not None and use.op.kind == "batch_norm" for use in op.outputs[0].uses):
            yield BatchNorm(op, "unfolded", _front(op, group))


def batch_norm(op: Op, in_training: bool = False) -> BatchNorm:
    """The state of one batch-norm of its own; `in_training` says that the network around it is."""
    switch = op.uses.get("training_mode")
    training = bool(op.attrs.get("training_mode", 0)) if switch is None else bool(switch.tensor.data is not None and any(switch.tensor.data.values()))
    frozen = in_training and not training
    x = op.uses["x"].tensor
    made = x.producer
    if (divide := divided(op)) is not None:
        return BatchNorm(op, "divided", divide.uses[_data(divide)].tensor.producer, training, frozen, divide, made if made is not divide else None)
    if made is None or made.kind not in CLASSES["weighted"] or made.outputs[0] is not x:
        return BatchNorm(op, "standalone", None, training, frozen)
    blocked = "others read what it normalizes" if len(x.uses) > 1 else "a quantizer stands in between" if op.uses["x"].quantizers else ""
    return BatchNorm(op, "unfolded", made, training, frozen, blocked=blocked)


def _continues(op: Op, group: str) -> bool:
    """Whether a batch-norm that is spelled out goes on behind an op of it."""
    return any(use.op is not None and group in use.op.groups for tensor in op.outputs for use in tensor.uses)


def _front(op: Op, group: str) -> Op | None:
    """The operator in front of a batch-norm that is spelled out."""
    made: Op | None = op
    while made is not None and group in made.groups:
        made = next((use.tensor.producer for use in made.uses.values() if not use.tensor.constant), None)
    return made


# -- a factor for each channel ----------------------------------------------------------------------------


def divided(norm: Op) -> Op | None:
    """The op in front of a batch-norm that takes its factor out of what a weighted operator computes; a bias may be added in between."""
    made = norm.uses["x"].tensor.producer if "x" in norm.uses else None
    if made is not None and made.kind == "add" and _per_channel(made) is not None and len(norm.uses["x"].tensor.uses) == 1:
        made = made.uses[_data(made)].tensor.producer
    return made if made is not None and _divides(made) else None


def _data(op: Op) -> str:
    """The operand of a Mul, Div or Add that is no constant."""
    return "rhs" if op.kind != "div" and op.uses["lhs"].tensor.constant else "lhs"


def _divides(op: Op) -> bool:
    """Whether it scales the output of a weighted operator by a constant for each channel."""
    if op.kind not in _SCALES or set(op.uses) != {"lhs", "rhs"} or not op.outputs:
        return False
    data = op.uses[_data(op)].tensor
    made, factor = data.producer, factors(op)
    return made is not None and made.kind in CLASSES["weighted"] and len(data.uses) == 1 and factor is not None


def factors(op: Op) -> tuple[float, ...] | None:
    """What a Mul or Div by a constant multiplies each channel with."""
    values = _per_channel(op)
    if values is None or not all(values):
        return None
    return tuple(1 / v for v in values) if op.kind == "div" else values


def _per_channel(op: Op) -> tuple[float, ...] | None:
    """The constant operand of a Mul, Div or Add: one value, or one for each channel."""
    if set(op.uses) != {"lhs", "rhs"}:
        return None
    constant = op.uses["rhs" if _data(op) == "lhs" else "lhs"].tensor
    values, shape = small(constant), constant.data.shape if constant.data is not None else ()
    if not values or sum(size != 1 for size in shape) > 1 or not all(isinstance(v, (int, float)) for v in values):
        return None
    return tuple(map(float, values))


def _folds(op: Op) -> bool:
    """Whether the graph computes the weight as `w * γ / √(σ² + ε)` from constants."""
    made = op.uses["w"].tensor.producer
    if made is None or made.kind not in _SCALES or set(made.uses) != {"lhs", "rhs"}:
        return False
    return any(_is_root(use.tensor.producer) for use in made.uses.values())


def _is_root(op: Op | None) -> bool:
    """Whether a factor is made with a root of constants."""
    for _ in range(4):
        if op is None or not op.uses or op.role == "data":
            return False
        if op.kind in ("sqrt", "rsqrt"):
            return True
        inner = [use.tensor.producer for use in op.uses.values() if use.tensor.producer is not None]
        if any(one.kind in ("sqrt", "rsqrt") for one in inner):
            return True
        op = inner[0] if inner else None
    return False


def _second(first: Op, second: Op) -> State | None:
    """Of two convolutions with the same input: how statistics of what the first one computes reach the second one."""
    if first.kind != second.kind or _weight(first) is not _weight(second):
        return None
    reached = {id(first)}
    waiting, seen = [first], 0
    while waiting and seen < MAX_OPS:
        for use in (use for tensor in waiting.pop(0).outputs for use in tensor.uses):
            if use.op is second:
                return "batch statistics" if use.role in ("w", "b") else None
            if use.op is not None and id(use.op) not in reached and use.op.kind not in CLASSES["weighted"] and use.op.kind != "batch_norm":
                reached.add(id(use.op))
                waiting.append(use.op)
                seen += 1
    behind = [use.op for use in second.outputs[0].uses]
    return "corrected" if any(op is not None and op.kind in _SCALES and id(op) in reached for op in behind) else None


def _weight(op: Op) -> Tensor | None:
    """The constant that the weight of an operator is computed from."""
    tensor, depth = op.uses["w"].tensor, 0
    while tensor.producer is not None and depth < MAX_OPS:
        large = [use.tensor for use in tensor.producer.uses.values() if use.tensor.rank == tensor.rank and use.tensor.size == tensor.size]
        if not large:
            return tensor
        tensor, depth = large[0], depth + 1
    return tensor


# -- the fold ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fold:
    """What takes the place of a batch-norm whose factor was divided out: the bias of the operator in front, whose weight stays as it is."""

    bias: tuple[float, ...]
    exact: bool  # whether the factor that is divided out is the batch-norm's own


def fold(norm: BatchNorm) -> Fold | None:
    """The fold of a divided batch-norm: `b = β + (b - μ)·γ/σ`; None if a value is not in the file, or it is in training.

    Exact in real arithmetic: the quantized weight holds γ/σ already, and dividing by it cancels the batch-norm's own factor.
    """
    parameters = _parameters(norm.op)
    factor = factors(norm.divide) if norm.divide is not None else None
    if norm.training or norm.front is None or parameters is None or factor is None:
        return None
    gamma, beta, mean, deviation = parameters
    own = [g / s for g, s in zip(gamma, deviation, strict=True)]
    factor = factor * len(own) if len(factor) == 1 else factor
    if len(factor) != len(own):
        return None
    before = _bias(norm.front, len(own))
    if before is None or len(before) != len(own):
        return None
    behind = _per_channel(norm.shift) if norm.shift is not None else (0.0,)
    if behind is None or len(behind) not in (1, len(own)):
        return None
    behind = behind * len(own) if len(behind) == 1 else behind
    bias = tuple(b + (a - m) * o + c * f * o for b, a, m, o, c, f in zip(beta, behind, mean, own, before, factor, strict=True))
    return Fold(bias, all(math.isclose(f * o, 1.0, rel_tol=TOLERANCE) for f, o in zip(factor, own, strict=True)))


def _bias(op: Op, channels: int) -> Sequence[float] | None:
    """The bias of a weighted operator; zeros where it has none, or where PyTorch makes zeros of the shape of another one."""
    tensor = op.uses["b"].tensor if "b" in op.uses else None
    zeros = tensor is None or (tensor.producer is not None and tensor.producer.native in _ZEROS)
    return (0.0,) * channels if zeros or tensor is None else small(tensor)


_ZEROS = ("aten::zeros_like", "aten::zeros")


def _parameters(op: Op) -> tuple[Sequence[float], ...] | None:
    """(γ, β, μ, √(σ² + ε)) of a batch-norm, one value for each channel."""
    mean, var = (small(op.uses[role].tensor) if role in op.uses else None for role in ("mean", "var"))
    if mean is None or var is None or len(mean) != len(var):
        return None
    gamma, beta = (small(op.uses[role].tensor) if role in op.uses else (one,) * len(mean) for role, one in (("gamma", 1.0), ("beta", 0.0)))
    if gamma is None or beta is None or not len(gamma) == len(beta) == len(mean):
        return None
    epsilon = op.attrs.get("epsilon", 1e-5)
    if not isinstance(epsilon, (int, float)) or any(v + epsilon <= 0 for v in var):
        return None
    return gamma, beta, mean, [math.sqrt(v + epsilon) for v in var]


# -- several ranks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """A batch-norm whose statistics are not the same in models that share their weights.

    `factor` is by how much the weights would differ that it is folded into: the largest quotient of two factors γ/σ of a channel.
    """

    name: str
    factor: float
    mean: float  # largest difference of two means, in standard deviations


def differing_statistics(models: Sequence[Model]) -> list[Difference]:
    """Batch-norms of several checkpoints of one network (one for each rank) whose running statistics differ.

    Asynchronous batch-norm leaves each rank with statistics of its own: folded, they become different weights, and quantized
    weights of one rank are not those that another one trained with (MQBench paper, Table 5: 70.1 becomes 64.8 for MobileNetV2).
    Batch-norms are told apart by name; one that some model lacks is left out.
    """
    found = []
    tables = [dict(_statistics(model)) for model in models]
    for name in tables[0] if tables else ():
        known = [table[name] for table in tables if name in table]
        if len(known) < len(tables) or len({len(one) for one in known}) > 1:
            continue
        channels = list(zip(*known, strict=True))
        factor = max((max(s for _, s in ranks) / min(s for _, s in ranks) for ranks in channels), default=1.0)
        mean = max(((max(m for m, _ in ranks) - min(m for m, _ in ranks)) / max(s for _, s in ranks) for ranks in channels), default=0.0)
        if factor > 1 + TOLERANCE or mean > TOLERANCE:
            found.append(Difference(name, factor, mean))
    return found


def _statistics(model: Model) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """(mean, standard deviation) of each channel, by batch-norm; those that the graph folds itself go by the names of their buffers."""
    for op in model.ops:
        if op.kind == "batch_norm" and (parameters := _parameters(op)) is not None:
            yield op.label, list(zip(*parameters[2:], strict=True))
    for name, tensor in model.tensors.items():
        owner, _, last = name.rpartition(".")
        if last == "running_var" and not any(use.op is not None and use.op.kind == "batch_norm" for use in tensor.uses):
            mean = model.tensors.get(f"{owner}.running_mean")
            variances, means = small(tensor), small(mean) if mean is not None else None
            if variances is not None and (means is None or len(means) == len(variances)) and min(variances, default=0) >= 0:
                yield owner, [(m, math.sqrt(v + EPSILON)) for m, v in zip(means or (0.0,) * len(variances), variances, strict=True)]


def same_weights(models: Sequence[Model]) -> list[list[Model]]:
    """The models in groups that have the same weights, bit for bit, as the ranks that train one network together do."""
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(_weights(model), []).append(model)
    return list(groups.values())


def _weights(model: Model) -> str:
    """A digest of the constants that weights are computed from."""
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for op in model.ops:
        tensor = _weight(op) if op.kind in CLASSES["weighted"] and op.uses.get("w") is not None else None
        if tensor is not None and tensor.data is not None:
            digest.update(f"{op.label} {tensor.dtype} {tensor.shape}".encode())
            digest.update(tensor.data.array().tobytes())
    return digest.hexdigest()
