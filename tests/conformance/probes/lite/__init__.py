"""Probes as TFLite files."""

from .corpora import random, single

__all__ = ["random", "single"]
