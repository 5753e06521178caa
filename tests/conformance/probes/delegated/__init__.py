"""Probes for delegates that take exported programs: torch.export archives with quantizers as PT2E writes them."""

from .corpora import recipes

__all__ = ["recipes"]
