"""Fixing one file: plan, write, read back, judge and lint again, until nothing is left to do.

Every step is written to a temporary file beside the model and believed only once that file was read again: its
quantizers are as planned, no operator runs worse, no finding is new at the end. A proposal is tried once, so that
nothing goes in circles. The last file that stands takes its name by an atomic rename.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlint.errors import QlintError, ReadError
from qlint.fixing import onnx, pt2, pt2_file, tflite, tflite_file, torchscript
from qlint.fixing.activations import INTO
from qlint.fixing.arithmetic import WriteError
from qlint.fixing.beside import beside
from qlint.fixing.calibration import METHODS, RUNNERS, Calibration
from qlint.fixing.edits import REAL, STRUCTURAL, Clamp, Depthwise, Edit, Explicit, Proposal, Requantize, Swap, realized
from qlint.fixing.explicit import BRINGS
from qlint.fixing.measured import measured
from qlint.fixing.onnx_file import Document as OnnxDocument
from qlint.fixing.plan import Plan, Refusal, places, plan
from qlint.fixing.proof import EXECUTES, Broken, batches, compare, samples
from qlint.fixing.ranges import Ranges
from qlint.fixing.state import Question, State, View, new_findings, worse
from qlint.judge.edits import applied
from qlint.lint.finding import SEARCHED, WRITABLE
from qlint.report.fixed import Change, Fixed, Numbers, Progress, Refused
from qlint.report.result import Result

# By format: the file as something that can be changed, and how edits are made on it.
WRITERS: dict[str, tuple[Any, Any]] = {
    "onnx": (OnnxDocument, onnx.edited), "tflite": (tflite_file.Document, tflite.edited), "pt2": (pt2_file.Document, pt2.edited),
    "torchscript": (torchscript.Document, torchscript.edited),
}  # fmt: skip
ROUNDS = 10
ROUNDING = 40.0  # dB: SQNR of outputs that differ by float32 rounding, and by what a quantizer makes of that now and then
SINGLY = 40  # proposals that are tried one by one where there is a doubt about the last step
SEARCHED_AGAIN = 200  # operators of a model that is searched until nothing more is found; of a larger one a search that was not cut short is the last
TRIES = 60  # files that are written for one step whose proposals do not hold together
ALONE = "by itself it would bring no operator into integer, and what that takes beside it is refused, or not found"


@dataclass(slots=True)
class Options:
    """How a file is to be fixed."""

    unsafe: bool = False
    in_place: bool = False
    dry: bool = False  # say what would change, and write nothing
    verify: bool = True
    calibration: str | Iterable[Any] = ""  # a file, or inputs
    method: str = METHODS[0]
    output: Path | None = None
    trust: bool = False  # let torch load the file, which executes what is in it
    swap: str = ""  # what activations without integer kernels are exchanged for
    encodings: str | Path | None = None  # a file with the model's quantizers, which are written into it first


def fixed_name(path: Path) -> Path:
    """`model.onnx` → `model.fixed.onnx`."""
    return path.with_name(f"{path.stem}.fixed{path.suffix}")


def fix(path: Path, question: Question, options: Options, shown: str = "") -> Fixed:
    """Cure what can be cured of a model's findings.

    Raises:
        ReadError: the model cannot be read.
        QlintError: the result cannot be written there, or there is no such way from data to a range.
    """
    if options.method not in METHODS:
        raise QlintError(f"there is no calibration method {options.method!r}", hint=f"there are {', '.join(METHODS)}")
    if options.swap and options.swap not in INTO:
        raise QlintError(f"activations are not exchanged for {options.swap!r}", hint=f"there are {', '.join(INTO)}")
    return _Run(path, question, options, shown or str(path)).run()


@dataclass(slots=True)
class _Run:
    path: Path
    question: Question
    options: Options
    shown: str
    tried: set[tuple[object, ...]] = field(default_factory=set)
    refusals: dict[tuple[str, str, str], Refusal] = field(default_factory=dict)
    samples: list[Any] = field(default_factory=list)
    described: str = ""

    def run(self) -> Fixed:
        source = Path(os.path.realpath(self.path))
        start = State.of(self.path, self.question)
        if start.model.format not in WRITABLE:
            done = Fixed(self.shown, "")
            done.refused.append(Refused("", "", [], f"qlint cannot write {start.model.format} files yet"))
            return done
        given = self.options.calibration
        if not isinstance(given, str) or given:
            if start.model.format not in RUNNERS:
                raise QlintError(f"calibration data do not run through {start.model.format} models", subject=self.shown, hint="leave out --calibration")
            if start.model.format in EXECUTES and not self.options.trust:
                raise QlintError("calibration data run through torch, which executes what is in the file", subject=self.shown, hint="--trust allows it, for a file whose origin you know")
            self.samples = samples(given, start.model) if isinstance(given, str) else batches(given, start.model)
            self.described = f"{len(self.samples)} samples" + (f" of {given}" if isinstance(given, str) else "")
        target = source if self.options.in_place else self.options.output or fixed_name(self.path)
        temporary: list[Path] = []
        try:
            if self.options.encodings is not None:
                try:
                    start = self._written(start, [beside(start.model, self.path, self.options.encodings, self.question.input_shapes)], target.parent, temporary)
                except WriteError as problem:
                    why = f"the quantizers of {self.options.encodings} cannot be written into the model: {problem.message}"
                    return Fixed(self.shown, "", refused=[Refused("", "", [], why)])
            states, accepted = self._rounds(start, target.parent, temporary)
            while len(states) > 1 and (why := self._doubt(start, states[-2], states[-1], accepted[-1])):
                states.pop()
                doubtful = accepted.pop()
                if len(doubtful) == 1:
                    self._refuse(doubtful[0], why)
                    continue
                best, kept = self._singly(states[-1], doubtful, target.parent, temporary, start)
                if kept:
                    states.append(best)
                    accepted.append(kept)
                else:
                    for one in doubtful:  # they need each other
                        self._unrefuse(one)
                        self._refuse(one, why)
            return self._finish(start, states[-1], [one for step in accepted for one in step], target)
        finally:
            for each in temporary:
                each.unlink(missing_ok=True)

    def _rounds(self, start: State, folder: Path, temporary: list[Path]) -> tuple[list[State], list[list[Proposal]]]:
        states, accepted, search = [start], [], True
        for _ in range(ROUNDS):
            state = states[-1]
            ranges = Ranges(state.model)
            if self.samples:
                ranges.measured = data = Calibration(state.path, state.model, self.samples, self.options.method)
                ranges.channels = data.channels
                ranges.calibration = f"{self.options.method} over {self.described}"
            made: Plan = plan(
                state, self.question.rules, self.question.known, unsafe=self.options.unsafe, ranges=ranges, fallback=self.question.fallback, tried=self.tried,
                swap=self.options.swap, searching=search, policy=self.question.policy,
            )  # fmt: skip
            again = {(each.rule, each.sites[:1]) for each in made.refusals}  # what a place was refused for before is not true of the file as it is now
            self.refusals = {key: each for key, each in self.refusals.items() if (each.rule, each.sites[:1]) not in again}
            for each in made.refusals:
                self.refusals[each.rule, each.why, each.sites[0] if each.sites else ""] = each
            if not made.proposals:
                break
            self.tried |= {one.key for one in made.proposals}
            after, why = self._attempt(state, made.proposals, folder, temporary)
            kept = made.proposals
            if after is None and len(kept) == 1:
                self._refuse(kept[0], why)
                continue
            if after is None:
                after, kept = self._holding(state, kept, folder, temporary)
            search = len(state.model.ops) <= SEARCHED_AGAIN or not (made.complete and kept == made.proposals)
            if kept:
                states.append(after)
                accepted.append(kept)
        return states, accepted

    def _holding(self, state: State, proposals: list[Proposal], folder: Path, temporary: list[Path]) -> tuple[State, list[Proposal]]:
        """The state after those proposals that hold, out of some that do not hold together: halves of halves, so that few that do not cost little."""
        kept: list[Proposal] = []
        best = state
        middle = (len(proposals) + 1) // 2
        queue = [proposals[:middle], proposals[middle:]]
        for _ in range(TRIES):
            if not queue:
                break
            group = queue.pop(0)
            after, why = self._attempt(state, [*kept, *group], folder, temporary)
            if after is not None:
                best = after
                kept += group
            elif len(group) == 1:
                self._refuse(group[0], why)
            else:
                middle = (len(group) + 1) // 2
                queue[:0] = [group[:middle], group[middle:]]
        for one in (one for group in queue for one in group):
            self._refuse(one, "it does not hold together with the others, and qlint did not try further")
        return best, kept

    def _singly(
        self, state: State, proposals: list[Proposal], folder: Path, temporary: list[Path], start: State | None = None
    ) -> tuple[State, list[Proposal]]:
        """The state after those proposals that hold, one after the other; each without a doubt, if it is said where it all started."""
        kept: list[Proposal] = []
        best = state
        for one in proposals[:SINGLY]:
            after, why = self._attempt(state, [*kept, one], folder, temporary)
            if after is not None and start is not None and (doubt := self._doubt(start, best, after, [one])):
                after, why = None, doubt
            if after is None:
                self._refuse(one, why)
            else:
                best = after
                kept.append(one)
        for one in proposals[SINGLY:]:
            self._refuse(one, f"there was a doubt about {len(proposals)} changes together, and only the first {SINGLY} were tried one by one: fix what came out once more")
        return best, kept

    @staticmethod
    def _doubt(start: State, before: State, after: State, proposals: list[Proposal]) -> str:
        """Why a step should not be the last one; '' if it may be."""
        spelled = any(isinstance(edit, Explicit) for one in proposals for edit in one.edits)
        if fresh := [one for one in new_findings(start, after) if not (spelled and one.rule in BRINGS)]:
            return f"it would bring {fresh[0].rule} {fresh[0].code} at {fresh[0].subject}"
        return "" if _helps(before, after, proposals) else "it would bring no operator into integer, and cure nothing"

    def _attempt(self, state: State, proposals: list[Proposal], folder: Path, temporary: list[Path]) -> tuple[State | None, str]:
        """The state after some proposals, or why it is none to have."""
        edits = _merged([edit for one in proposals for edit in one.edits])
        try:
            after = self._written(state, edits, folder, temporary)
        except WriteError as problem:
            return None, problem.message
        loss = worse(state, after)
        return (None, loss) if loss else (after, "")

    def _written(self, state: State, edits: Sequence[Edit], folder: Path, temporary: list[Path]) -> State:
        """The state after some edits, in a temporary file.

        Raises:
            WriteError: they have no form in this file, or what was written is not as planned.
        """
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.stem}.", suffix=".qlint.tmp", dir=folder)
        except OSError as error:
            raise QlintError(f"no file can be written there ({error.strerror})", subject=str(folder), hint="--fix writes beside the model: copy it to a folder of yours") from error
        temporary.append(Path(name))
        try:
            with os.fdopen(handle, "wb") as out:
                document_of, edited = WRITERS[state.model.format]
                document = document_of(state.path)
                if isinstance(document, torchscript.Document):
                    document.trust = self.options.trust
                edited(document, state.model, edits)
                document.write(out)
                out.flush()
                os.fsync(out.fileno())
            after = State.of(Path(name), self.question, like=state.model)
        except ReadError as problem:
            raise WriteError(f"the file with this change could not be read back ({problem.message}): please report it") from problem
        if not any(isinstance(edit, STRUCTURAL) for edit in edits):
            with applied({key: value for edit in edits if isinstance(edit, Requantize) for key, value in edit.changes.items()}):
                other = realized(state.model, after.model)
            if other:
                raise WriteError(f"the file with this change would not be as planned: {other}")
        return after

    def _unrefuse(self, one: Proposal) -> None:
        self.refusals = {key: each for key, each in self.refusals.items() if (each.rule, each.sites) != (one.rule, one.sites)}

    def _refuse(self, one: Proposal, why: str) -> None:
        self.refusals[one.rule, why, one.sites[0] if one.sites else ""] = Refusal(one.rule, one.code, one.sites, why)

    # -- the end ------------------------------------------------------------------------------

    def _finish(self, start: State, end: State, proposals: list[Proposal], target: Path) -> Fixed:
        done = Fixed(self.shown, "")
        done.changes = [Change(one.rule, one.code, "safe" if one.safe else "unsafe", list(one.sites), one.text) for one in proposals]
        made = {site for one in proposals for site in one.sites}
        done.refused = [Refused(one.rule, one.code, list(one.sites), one.why) for one in self.refusals.values() if one.conflict or not made.issuperset(one.sites)]
        told = {change.rule for change in done.changes} | {refused.rule for refused in done.refused}
        for finding, causes in end.findings():  # what the search came by, and left out again
            if causes[0].rule.cure in SEARCHED and finding.fix is not None and finding.fix.applicability != "display" and finding.rule not in told:
                done.refused.append(Refused(finding.rule, finding.code, list(places(finding)), ALONE))
        done.cured = max(0, sum(1 for _ in start.findings()) - sum(1 for _ in end.findings()))
        done.progress = [_progress(before, after) for before, after in zip(start.views, end.views, strict=True) if before.profile is not None]
        if end is start:
            return done
        if self.options.encodings is not None:
            done.changes.insert(0, Change("", "", "safe", [], f"the quantizers of {self.options.encodings} are in the model"))
        if self.options.verify:
            try:
                done.numbers, done.unproven = compare(
                    start.path, end.path, start.model, end.model, self.samples, self.described, trust=self.options.trust,
                    fuses=any(isinstance(edit, Explicit) and edit.operators for one in proposals for edit in one.edits),
                )  # fmt: skip
                done.measured = measured(start, end, trust=self.options.trust)
            except Broken as problem:
                return self._rolled_back(start, proposals, done, str(problem))
            if done.numbers is not None and all(one.safe for one in proposals) and not _as_promised(done.numbers, proposals):
                why = f"qlint took it for exact, and the outputs differ by {done.numbers.largest:.3g}: please report it, with the model if you can"
                return self._rolled_back(start, proposals, done, why)
        if self.options.dry:
            done.diff = difference(self.path, end)
            return done
        try:
            shutil.copymode(self.path, end.path)
            os.replace(end.path, target)
        except OSError as error:
            raise QlintError(f"cannot be written ({error.strerror})", subject=str(target), hint="the original is as it was") from error
        done.output = str(self.path if self.options.in_place else target)
        return done

    def _rolled_back(self, start: State, proposals: list[Proposal], done: Fixed, why: str) -> Fixed:
        """What claimed to keep the numbers and does not is our mistake, and not made; nor is what does not run."""
        undone = Fixed(self.shown, "", refused=[*done.refused, *(Refused(one.rule, one.code, list(one.sites), why) for one in proposals)])
        undone.progress = [_progress(view, view) for view in start.views if view.profile is not None]
        undone.numbers = done.numbers
        return undone


def _as_promised(numbers: Numbers, proposals: Sequence[Proposal]) -> bool:
    """Bit-equal; where something is exact in real arithmetic only, so near that rounding explains it."""
    rounds = any(isinstance(edit, REAL) for one in proposals for edit in one.edits)
    return numbers.equal or (rounds and (numbers.sqnr or 0.0) >= ROUNDING)


def _merged(edits: Sequence[Edit]) -> list[Edit]:
    """All changes of quantizers as one, which a writer has to see together."""
    changes = {key: value for edit in edits if isinstance(edit, Requantize) for key, value in edit.changes.items()}
    others: list[Edit] = [edit for edit in edits if not isinstance(edit, Requantize)]
    return [*([Requantize(changes)] if changes else []), *others]


def _helps(before: State, after: State, proposals: Sequence[Proposal]) -> bool:
    """Whether there is anything to show for a step: an operator more in integer, or a finding less if that is worth what it changes.

    What only prepares another step does not help by itself.
    """
    gains = any(
        _integer(new.result) > _integer(old.result) or (old.result.outcome == "refused") > (new.result.outcome == "refused")
        for old, new in zip(before.views, after.views, strict=True)
    )
    asked = any(view.profile is not None for view in before.views)
    prepares = all(isinstance(edit, (Clamp, Depthwise, Explicit) if asked else (Clamp, Depthwise)) for one in proposals for edit in one.edits)
    free = all(one.safe or one.worth for one in proposals) or not asked
    rules = {one.rule for one in proposals}
    if any(isinstance(edit, Swap) for one in proposals for edit in one.edits):
        return True  # asked for by name
    return gains or (free and not prepares and _places(after, rules) < _places(before, rules))


def _places(state: State, rules: set[str]) -> int:
    """Places that the findings of some rules are about."""
    return sum(max(1, len(finding.sites)) for finding, _ in state.findings() if finding.rule in rules)


def _progress(before: View, after: View) -> Progress:
    one, other = before.result, after.result
    return Progress(before.name, _integer(one), _integer(other), other.summary.ops - other.summary.absorbed, one.outcome or "", other.outcome or "")


def _integer(result: Result) -> int:
    """Operators in integer with the right numbers; a backend that refuses the model runs none."""
    return 0 if result.outcome == "refused" else result.summary.integer - result.summary.wrong


def difference(start: Path, end: State) -> list[str]:
    """What goes and what comes: nodes, or tensors where a format has grids on them."""
    import difflib

    before, after = (list(WRITERS[end.model.format][0](path).lines()) for path in (start, end.path))
    changed = difflib.unified_diff(before, after, lineterm="", n=1)
    return [line for line in changed if not line.startswith(("---", "+++"))]
