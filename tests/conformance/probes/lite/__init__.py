"""Probes as TFLite files."""

from .corpora import random, single
from .defect import defect

__all__ = ["defect", "random", "single"]
