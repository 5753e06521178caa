"""The library: `qlint.check(model, backend=...) -> Report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlint.config import Config
from qlint.errors import ProfileError, QlintError, ReadError
from qlint.graph import Model
from qlint.graph.building import building
from qlint.lint import registry
from qlint.lint.select import Selection
from qlint.profile import Profile
from qlint.profile import load as load_profile
from qlint.report.result import Report
from qlint.runner import Settings, Subject, check_all, failure, name_of

if TYPE_CHECKING:
    from qlint.fixing.exporting import Exported
    from qlint.passes.folding import Difference
    from qlint.report.comparison import Comparison
    from qlint.report.fixed import Fixed

Shapes = dict[str, tuple[int, ...]]


def load(path: object, input_shapes: Shapes | None = None, encodings: str | Path | None = None, example_inputs: object = None) -> Model:
    """The canonical model in a file, or of a live object: compute ops, with quantizers on their uses.

    Args:
        path: the model file; or a torch module, an exported or scripted program, an ONNX model in memory.
        input_shapes: by input name, in place of the file's own.
        encodings: a file with quantizers by tensor name (AIMET, QNN overrides, MQBench clip ranges, TensorRT calibration cache).
        example_inputs: what a torch module is called with: a tensor, a tuple of arguments, or a dict of them by name.

    Raises:
        ReadError: a file cannot be read, or the model has no input of a name in `input_shapes`; the hint says what to do.
    """
    from qlint.passes import canonical
    from qlint.readers import read
    from qlint.readers.live import read_live

    model = read(path) if isinstance(path, (str, Path)) else read_live(path, example_inputs)
    inputs = [tensor.name for tensor in model.inputs]
    for name in input_shapes or ():
        if name not in inputs:
            raise ReadError(f"has no input {name!r}", subject=name_of(path), hint=f"its inputs are {', '.join(inputs) or 'none'}")
    found = canonical(model, input_shapes)
    if encodings is None:
        return found
    from qlint.passes.encodings import merge
    from qlint.readers.encodings import read_encodings

    return merge(found, read_encodings(encodings))


def check(
    model: object,
    backend: str | Profile | Iterable[str | Profile] = (),
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    extend_select: Iterable[str] = (),
    fallback: bool | None = None,
    input_shapes: Shapes | None = None,
    encodings: str | Path | None = None,
    example_inputs: object = None,
    config: Config | None = None,
    suppressions: bool = True,
    baseline: str | Path | None = None,
    jobs: int = 1,
    cache: str | Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Hold models against backends and lint them.

    Args:
        model: a path, several, a model from `load`, or a live object: a `torch.nn.Module`, `GraphModule`, `ExportedProgram`,
            `ScriptModule` or `ONNXProgram`, an `onnx.ModelProto`. It stays as it is.
        backend: names (`qnn-htp`, `qnn-htp@v68`, a path to a profile) or profiles; none: what the configuration says, or
            only what no backend is needed for.
        select, ignore, extend_select: rules by name, code, code prefix, category or glob.
        fallback: False judges as if the backend had nothing to fall back to; None is the configuration's choice.
        input_shapes: by input name, in place of the file's own.
        encodings: a file with quantizers by tensor name, merged into each model that is not from `load`.
        example_inputs: what a torch module is called with: a tensor, a tuple of arguments, or a dict of them by name.
        config: settings that the arguments go over; `qlint.config.find(path)` has those of the nearest file. None: no file is looked for.
        suppressions: False counts what a configuration, or the file MODEL.qlint.toml, accepts.
        baseline: a file of `qlint baseline write`; what is in it does not count. None is the configuration's choice, "" is none.
        jobs: processes that share the work; the results are the same for any number.
        cache: a folder in which results are kept, and used while nothing that they rest on has changed.
        progress: called with the name of each model before it is read, or waited for.

    A model that cannot be read is in `Report.errors` and hides no other. What is suppressed or in the baseline is
    in `Report.suppressed`.

    Raises:
        ProfileError: a backend is unknown or its profile not valid.
        RuleError: a selector meets no rule.
        ReadError: `model` is none of these.
        QlintError: the settings or the baseline are not valid.
    """
    models = _each(model)
    backends = [backend] if isinstance(backend, (str, Profile)) else list(backend)
    config = config or Config()
    chosen = config.baseline if baseline is None else Path(baseline) if baseline else None
    settings = Settings(
        partial(load, input_shapes=input_shapes, encodings=encodings, example_inputs=example_inputs), tuple(backends), Selection.of(select, ignore, extend_select),
        config.options.fallback if fallback is None else fallback, config, suppressions, chosen, Path(cache) if cache is not None else None,
    )  # fmt: skip
    problems = settings.validate(models)
    checked = check_all(models, settings, jobs, progress)
    report = Report(
        results=[result for one in checked for result in one.results],
        errors=[*(failure("", problem) for problem in problems), *(error for one in checked for error in one.errors)],
    )
    report._gone = [entry for one in checked for entry in one.gone]
    return report


def compare(
    model: object, backend: Iterable[str | Profile], *, fallback: bool = True, input_shapes: Shapes | None = None,
    encodings: str | Path | None = None, example_inputs: object = None,
) -> Comparison:
    """Hold one model against several backends: what runs where, what blocks it, and the changes that satisfy each and all.

    Args:
        model: a path, a model from `load`, or a live object as for `check`.
        backend: two or more, as for `check`.
        fallback: False judges as if the backends had nothing to fall back to.
        input_shapes: by input name, in place of the file's own.
        encodings: a file with quantizers by tensor name, merged into the model unless that is from `load`.
        example_inputs: what a torch module is called with.

    A change counts only if judging the changed model shows it. The changes are about quantizers alone, and nobody
    knows the scale of one that was not there: it has to come from calibration or training.

    Raises:
        ReadError: the model cannot be read.
        ProfileError: a backend is unknown or its profile not valid, or none is named.
    """
    from qlint.report.comparison import compare as hold

    profiles = [one if isinstance(one, Profile) else load_profile(one) for one in ([backend] if isinstance(backend, (str, Profile)) else backend)]
    if not profiles:
        raise ProfileError("no backend to compare", hint="name two or more; `qlint backend` lists them")
    with building():
        loaded = model if isinstance(model, Model) else load(model, input_shapes, encodings, example_inputs)
        return hold(name_of(model), loaded, list({one.name: one for one in profiles}.values()), registry.load().rules, fallback=fallback)


def differing_statistics(models: Iterable[str | Path | Model]) -> list[Difference]:
    """Batch-norms whose running statistics differ between checkpoints of one network, one for each rank that trained it.

    Raises:
        ReadError: a model cannot be read.
    """
    from qlint.passes.folding import differing_statistics as differing

    return differing([one if isinstance(one, Model) else load(one) for one in models])


def fix(
    model: object,
    backend: str | Profile | Iterable[str | Profile] = (),
    *,
    unsafe: bool = False,
    in_place: bool = False,
    output: str | Path | None = None,
    dry: bool = False,
    calibration: str | Path | Iterable[Any] = "",
    method: str = "minmax",
    swap_activation: str = "",
    verify: bool = True,
    trust: bool = False,
    encodings: str | Path | None = None,
    example_inputs: object = None,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    extend_select: Iterable[str] = (),
    fallback: bool | None = None,
    input_shapes: Shapes | None = None,
    config: Config | None = None,
    suppressions: bool = True,
) -> Fixed:
    """Cure what can be cured of a model's findings, in a new file that was read, judged and linted again.

    Args:
        model: a path, or a live object as for `check`, which stays as it is: what it is made into is `result` of what comes back.
        backend, select, ignore, extend_select, fallback, input_shapes, config, suppressions: as for `check`; what is suppressed is left as it is.
        unsafe: make changes of the numbers too; what each one does to them is in the report.
        in_place: the result takes the model's place; otherwise it is `output`, or `NAME.fixed.EXT` beside the model.
        dry: say what would change, and write nothing.
        calibration: a .npy or .npz file of inputs, or an iterable of them (arrays or tensors, tuples, dicts by input name), for the ranges of new quantizers and for the comparison of outputs.
        method: how a range follows from them: `minmax`, `percentile`, `mse` or `entropy`.
        swap_activation: exchange swish, hard swish, gelu and mish for `relu` or `relu6`; the network has to be trained on with it.
        verify: compare the outputs before and after, where ONNX Runtime, LiteRT, or torch (with `trust`) is installed.
        trust: let torch load the file, which executes what is in it: to compare outputs, and to change operators of TorchScript files.
        encodings: a file with the model's quantizers by tensor name, as for `check`: the result has them in it, and what is cured of them.
        example_inputs: what a torch module is called with: a tensor, a tuple of arguments, or a dict of them by name.

    Raises:
        ReadError: the model cannot be read, or exported.
        ProfileError, RuleError: as for `check`.
        QlintError: the result cannot be written, or the calibration data do not fit.
    """
    from qlint.fixing.run import Options
    from qlint.fixing.run import fix as run
    from qlint.fixing.state import Question

    if not isinstance(model, (str, Path)):
        from qlint.fixing.live import fix_live

        if in_place:
            raise QlintError("an object in memory stays as it is", subject=name_of(model), hint="leave out in_place, and take `result`")
        again = partial(fix, backend=backend, unsafe=unsafe, dry=dry, calibration=calibration, method=method, verify=verify, trust=True, select=select, ignore=ignore,
                        extend_select=extend_select, fallback=fallback, input_shapes=input_shapes, config=config, suppressions=suppressions, encodings=encodings)  # fmt: skip
        return fix_live(model, example_inputs, Path(output) if output is not None else None, lambda path, target: again(path, output=target))
    if input_shapes:
        load(model, input_shapes)  # complains of names that the model does not have
    config = config or Config()
    fallback = config.options.fallback if fallback is None else fallback
    backends = [backend] if isinstance(backend, (str, Profile)) else list(backend)
    settings = Settings(partial(load, input_shapes=input_shapes), tuple(backends), Selection.of(select, ignore, extend_select), fallback, config, suppressions)
    settings.validate([model])
    policy = settings.policy(model)
    question = Question(tuple(settings.profiles(model)), policy.rules, policy.known, fallback, input_shapes or {}, policy)
    options = Options(
        unsafe, in_place, dry, verify, str(calibration) if isinstance(calibration, Path) else calibration, method, Path(output) if output is not None else None, trust,
        swap_activation, encodings,
    )  # fmt: skip
    return run(Path(model), question, options, name_of(model))


def export(
    model: str | Path | Model, form: str, backend: str | Profile | Iterable[str | Profile] = (), *, output: str | Path | None = None,
    input_shapes: Shapes | None = None, encodings: str | Path | None = None,
) -> Exported:
    """The quantizers of a model as a deployment file, for toolchains that take the network in float and a file beside it.

    Args:
        model: a path, or a model from `load`.
        form: `encodings` (AIMET, QNN, SNPE), `clip-ranges` (MQBench) or `calibration-cache` (TensorRT).
        backend: decides which of MQBench's clip ranges are written; without one, those for PPL, which say the most.
        output: where to; by default beside the model, and nowhere if that is not a path.
        input_shapes, encodings: as for `load`.

    What the format has no word for is in `Exported.left`, by reason.

    Raises:
        QlintError: there is no such format, nothing that it could say, or no such place.
    """
    from qlint.fixing.exporting import FORMATS
    from qlint.fixing.exporting import export as say

    loaded = model if isinstance(model, Model) else load(model, input_shapes, encodings)
    profiles = [one if isinstance(one, Profile) else load_profile(one) for one in ([backend] if isinstance(backend, (str, Profile)) else backend)]
    try:
        done = say(loaded, form, [family for profile in profiles for family in profile.encodings])
    except QlintError as error:
        error.subject = error.subject or name_of(model)
        raise
    target = Path(output) if output is not None else Path(model).with_suffix(FORMATS[form][0]) if not isinstance(model, Model) else None
    if target is not None:
        try:
            target.write_text(done.text, encoding="utf-8")
        except OSError as error:
            raise QlintError(f"cannot be written ({error.strerror})", subject=str(target), hint="name another file for it") from error
        done.path = str(target)
    return done


def _each(model: object) -> list[Subject]:
    """The models that `check` was given; several only as a list or the like, as modules can be iterated over, too."""
    from qlint.readers.live import ACCEPTED, is_live

    models = list(model) if isinstance(model, (list, tuple, set, frozenset, Iterator)) else [model]
    for one in models:
        if not isinstance(one, (str, Path, Model)) and not is_live(one):
            raise ReadError(f"is a {type(one).__name__}, which is no model", subject="model", hint=ACCEPTED)
    return models
