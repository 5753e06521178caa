"""Probes as TFLite files."""

from .corpora import random, single
from .defect import defect
from .shapes import shapes

__all__ = ["defect", "random", "shapes", "single"]
