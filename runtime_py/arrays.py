"""The arrays that travel: a name for each kind of number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""RGB in 0..255: an image [H, W, 3], or images [N, H, W, 3]."""
Floats = npt.NDArray[np.float32]
"""What a network computes: embeddings [N, D], scores [Q, G]."""
Doubles = npt.NDArray[np.float64]
"""What is summed up or averaged."""
Labels = npt.NDArray[np.int64]
"""Classes, or numbers of rows."""
Mask = npt.NDArray[np.bool_]
"""What counts."""
