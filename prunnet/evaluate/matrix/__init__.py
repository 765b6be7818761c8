"""Every encoder of a family against every other: the whole compatibility matrix."""

from prunnet.evaluate.matrix.measurement import measure_matrix, measure_rows
from prunnet.evaluate.matrix.result import Flips, Matrix, MixedGallery, Row

__all__ = ["Flips", "Matrix", "MixedGallery", "Row", "measure_matrix", "measure_rows"]
