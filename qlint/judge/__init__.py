"""The judge: covers a model with a backend's kernels. `judge(model, profile) -> Verdict`."""

from qlint.judge.cover import judge
from qlint.judge.verdict import Mismatch, Placement, Verdict

__all__ = ["Mismatch", "Placement", "Verdict", "judge"]
