"""Every encoder of a family against every other: the whole compatibility matrix."""

from prunnet.matrix.measurement import measure_matrix, measure_rows
from prunnet.matrix.result import Flips, Matrix, MixedGallery, Row

__all__ = ["Flips", "Matrix", "MixedGallery", "Row", "measure_matrix", "measure_rows"]
