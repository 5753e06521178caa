"""The graph: Model, Op, Use, Tensor, Quantizer and the op vocabulary. Knows nothing else."""

from qlint.graph.model import Data, Dim, Ignored, Model, Module, Op, Shape, Tensor, Use
from qlint.graph.once import once
from qlint.graph.quantizer import COUNTS, FLOAT_GRIDS, INTEGER_RANGES, TYPE_SINCE, UNSEEN, Quantizer, container, left_behind

__all__ = ["COUNTS", "FLOAT_GRIDS", "INTEGER_RANGES", "TYPE_SINCE", "UNSEEN", "Data", "Dim", "Ignored", "Model", "Module", "Op", "Quantizer", "Shape", "Tensor", "Use", "container", "left_behind", "once"]
