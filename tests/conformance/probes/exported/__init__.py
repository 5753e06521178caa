"""Probes for torch.compile: torch.export files, quantized as PT2E does."""

from .corpora import random, single

__all__ = ["random", "single"]
