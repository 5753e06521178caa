"""Probes as TFLite files."""

from .corpora import defect, random, single

__all__ = ["defect", "random", "single"]
