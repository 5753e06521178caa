"""Probes for delegates that take exported programs: torch.export archives with quantizers as PT2E writes them."""

from .corpora import random, recipes, single

__all__ = ["random", "recipes", "single"]
