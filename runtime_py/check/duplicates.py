"""Pictures that occur more than once: what is equal within rounding counts as equal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROUNDING = 1e-6
"""Distance of two unit vectors, and difference of two cosines, that float32 arithmetic does not resolve: the same
picture at two places of a batch differs by up to some 5e-7."""

_CHUNK = 4_000_000


def representatives(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Find for each row the first row that equals it within rounding.

    Args:
        vectors: float32 [N, D], unit length.

    Returns:
        int64 [N]; `result[i] <= i`, and `result[result] == result`.

    >>> representatives(np.array([[1, 0], [0, 1], [1, 1e-8]], np.float32)).tolist()
    [0, 1, 0]
    """
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    first = np.zeros(len(exact), np.int64)
    step = max(1, _CHUNK // max(1, len(exact)))
    for start in range(0, len(exact), step):
        # |a - b|^2 = 2 - 2 a.b for unit vectors; float64 resolves 1e-16, the threshold is 5e-13.
        near = 1 - exact[start : start + step] @ exact.T <= ROUNDING**2 / 2
        np.fill_diagonal(near[:, start:], True)
        first[start : start + step] = near.argmax(axis=1)
    while (first[first] != first).any():  # a chain of near rows ends at its first
        first = first[first]
    return first


def gallery_scores(
    queries: npt.NDArray[np.float32], gallery: npt.NDArray[np.float32], first: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Cosine of every query with every gallery item; duplicates get the same score, to the bit.

    Ties are then broken by the rule of `runtime_py.retrieval.metrics`, the same for every encoder, and no rounding of
    two equal pictures decides what is found.

    Args:
        queries: float32 [Q, D], with a direction.
        gallery: float32 [G, D], unit length.
        first: int64 [G], the gallery's `representatives`.

    Returns:
        float32 [Q, G] in [-1, 1].
    """
    from runtime_py.retrieval.metrics import cosine_matrix

    kept, place = np.unique(first, return_inverse=True)
    return np.asarray(cosine_matrix(queries, gallery[kept])[:, place], np.float32)
