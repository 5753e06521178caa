"""What a fix leaves alone, because somebody has accepted what is found there: in a configuration, beside the model, or in the file itself."""

from __future__ import annotations

from qlint.fixing.state import View
from qlint.graph import Use
from qlint.judge.verdict import SEVERITY, Mismatch
from qlint.lint.fingerprint import Surroundings
from qlint.lint.policy import Place, Policy
from qlint.lint.rule import Rule


class Held:
    """The places of one model, on one backend, that are to stay as they are."""

    def __init__(self, view: View, policy: Policy | None) -> None:
        self.policy, self.backend = policy, view.name
        self.uses: dict[int, str] = {}  # by id: the finding that is accepted there
        self.causes: set[tuple[str, int]] = set()  # (rule, tensor or operator by id)
        asked = policy is not None and view.verdict is not None and (policy.suppressions or policy.overrides)
        self.surroundings = Surroundings(view.verdict.model) if asked and view.verdict is not None else None
        for finding, causes in view.accepted:
            for cause in causes:
                self.causes.add((finding.rule, id(cause.tensor or cause.op)))
                port = cause.op.uses.get(cause.port) if cause.op is not None else None
                for use in [port] if port is not None else cause.tensor.uses if cause.tensor is not None else ():
                    self.uses[id(use)] = f"{finding.rule} {finding.code} is accepted at {cause.op.label if cause.op is not None else use.name}"

    def accepts(self, rule: Rule, mismatch: Mismatch) -> bool:
        """Whether what a rule would say of a mismatch is accepted, or not to be said there."""
        if (rule.name, id(mismatch.tensor or mismatch.anchor)) in self.causes:
            return True
        if self.policy is None or self.surroundings is None:
            return False
        op = mismatch.anchor
        fingerprint = self.surroundings.fingerprint(rule.name, op, mismatch.port)
        place = Place(rule, op, op.label, mismatch.port, mismatch.dimension, SEVERITY[mismatch.consequence], fingerprint)
        (decision,) = self.policy.decide([place], self.surroundings, self.backend)
        return decision.silent or decision.suppressed is not None

    def keeps(self, use: Use) -> str:
        """Why the quantizers in front of a reader stay, for its own sake or for that of one who shares them; '' if they may change."""
        shared = [other for other in use.tensor.uses if other is use or (use.quantizers and other.quantizers == use.quantizers)]
        return next((f"{self.uses[id(other)]}, which would change with it" for other in shared if id(other) in self.uses), "")
