"""Probes for PyTorch's engines: TorchScript files, with fake quantizers or with operators on quantized tensors."""

from .corpora import random, single

__all__ = ["random", "single"]
