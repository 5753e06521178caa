"""The model was exported as it is while it is trained.

## What it does

Finds batch-norms that compute the statistics of the batch, and dropout that drops. Where the file says that
its module is in training mode and no operator depends on it, that is noted only; and of a live module that is, as
a copy of it in evaluation mode is what is checked.

## Why it matters on hardware

A batch-norm in training takes mean and variance from its input: it cannot be folded into the convolution in
front of it, and for a batch of one it computes something else than what was trained. Dropout sets random
numbers to zero. Compilers refuse both, or quietly take the inference form, whose ranges nobody calibrated.

## Example

    conv ─► batch_norm(training=True) ─► relu ─► dropout(p=0.2, train=True)

## Instead

    conv ─► batch_norm(training=False) ─► relu

## Fix and its safety

`model.eval()` before tracing, scripting or exporting (after calibration, for a model with observers). Unsafe:
the numbers change, to those of inference. A batch-norm without running statistics has to get some first.

## References

- PyTorch documentation, torch.nn.Module.eval; ONNX, BatchNormalization-15: `training_mode`; Dropout-13
- MQBench (arXiv 2111.03759), section 3.2: folding strategies that compute statistics of the batch
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="training-mode",
    code="QL703",
    since="0.1.0",
    what="{found}",
    why="{reason}",
    fix="call model.eval() before the export",
    severity="warning",
)
REASONS = {
    "batch_norm": ("is in training mode", "it computes mean and variance of each batch, and cannot be folded"),
    "dropout": ("is active", "it sets random numbers to zero on each run"),
}


@rule.check
def operators(model: Model) -> Iterator[Issue]:
    """Operators that compute something else in training; or a word about the module, if there are none."""
    found = [op for op in model.walk() if op.kind in REASONS and _training(op)]
    for op in found:
        state, reason = REASONS[op.kind]
        yield Issue(op, "", None, state, None, "training", facts={"reason": reason})
    if model.metadata.get("mode") == "training":
        reason = "what was checked is a copy in eval mode, as an export of the module itself may compute something else"
        yield Issue(found="the module is in training mode", dimension="live", severity="info", facts={"reason": reason})
    if not found and model.metadata.get("training") == "true":
        reason = "no operator depends on it, but observers may"
        yield Issue(found="the module was saved in training mode", dimension="module", severity="info", facts={"reason": reason})


def _training(op: Op) -> bool:
    switch = op.uses.get("training_mode")
    if switch is not None:
        return switch.tensor.data is not None and switch.tensor.data.shape in ((), (1,)) and any(switch.tensor.data.values())
    return bool(op.attrs.get("training_mode", 0))


@rule.bad(says="bn: is in training mode; it computes mean and variance of each batch, and cannot be folded")
def statistics_of_the_batch() -> Model:
    g = Graph()
    return g.model(g.op("batch_norm", g.conv(g.input() | u8(), w=s8()), name="bn", attrs={"training_mode": 1}) | u8())


@rule.bad(says="is active; it sets random numbers to zero")
def active_dropout() -> Model:
    g = Graph()
    x = g.op("dropout", g.input(), ratio=g.constant(values=[0.5]), training_mode=g.constant(values=[True], dtype="bool"))
    return g.model(g.conv(x | u8(), w=s8()) | u8())


@rule.bad(sites=0, says="the module was saved in training mode")
def only_the_module() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | u8(), w=s8()) | u8())
    model.metadata["training"] = "true"
    return model


@rule.bad(sites=0, says="the module is in training mode; what was checked is a copy in eval mode")
def a_live_module() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | u8(), w=s8()) | u8())
    model.metadata["mode"] = "training"
    return model


@rule.good
def inference() -> Model:
    g = Graph()
    return g.model(g.op("batch_norm", g.conv(g.input() | u8(), w=s8()), attrs={"training_mode": 0}) | u8())


@rule.good
def near_miss_idle_dropout() -> Model:
    g = Graph()
    x = g.op("dropout", g.input(), ratio=g.constant(values=[0.5]), training_mode=g.constant(values=[False], dtype="bool"))
    return g.model(g.conv(x | u8(), w=s8()) | u8())
