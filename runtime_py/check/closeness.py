"""How close embeddings are to the dense encoder's, whatever the labels say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime_py.check.duplicates import ROUNDING

_ALIKE = 1e-4
"""Mean of 1 - cosine below which a dense encoder tells no pictures apart."""


def closeness(
    scores: npt.NDArray[np.float32], dense: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
) -> float:
    """Return how surely an embedding finds the dense embedding of the same picture, before those of others.

    For each probe: the share of the other probes whose dense embedding scores lower than the picture's own. Each
    other probe counts by its distance (1 - cosine) to the picture in the dense space, so that pictures which the
    dense encoder itself takes for one do not matter; equal within rounding counts half. 1.0 for the dense encoder
    itself, 0.5 for random embeddings, on probes of one class as on any other.

    Args:
        scores: float32 [P, P], cosine of each embedding with each dense embedding.
        dense: float32 [P, P], cosine of each dense embedding with each other.
        usable: bool [P], whether the embedding has a direction; one that has none finds nothing.

    Returns:
        Mean over the probes, in [0, 1]; 0.5 if the dense encoder embeds all probes alike.
    """
    distance = np.clip(1 - dense.astype(np.float64), 0, None)
    np.fill_diagonal(distance, 0)
    if distance.mean() < _ALIKE:
        return 0.5
    ahead = np.diag(scores).astype(np.float64)[:, None] - scores
    found = np.where(np.abs(ahead) <= ROUNDING, 0.5, ahead > 0)
    weights = distance.sum(axis=1)
    shares = (found * distance).sum(axis=1) * usable
    return float(shares.sum() / weights.sum())


def own_picture(
    scores: npt.NDArray[np.float32],
    dense: npt.NDArray[np.float32],
    copies: npt.NDArray[np.bool_],
    usable: npt.NDArray[np.bool_],
) -> float:
    """Return how often an embedding prefers its own picture to the one that the dense encoder embeds nearest to it.

    Closeness hardly notices a row taken for its neighbour of the same class; here it loses to that neighbour. Each
    probe counts by the distance of the two, equal within rounding counts half: a coin, which is what an encoder whose
    classes have collapsed to a point can do, has 0.5, a wrong order less.

    Args:
        scores: float32 [P, P], cosine of each embedding with each dense embedding.
        dense: float32 [P, P], cosine of each dense embedding with each other.
        copies: bool [P, P], what is a probe itself or a copy of it.
        usable: bool [P], whether the embedding has a direction.

    Returns:
        Weighted mean over the probes, in [0, 1]; 0.5 if the dense encoder embeds all probes alike.
    """
    others = np.where(copies, -np.inf, dense.astype(np.float64))
    nearest = others.argmax(axis=1)
    rows = np.arange(len(dense))
    distance = np.where(copies.all(axis=1), 0.0, 1 - np.clip(others[rows, nearest], -1, 1))
    if not distance.sum() > ROUNDING * len(dense):
        return 0.5
    ahead = np.diag(scores).astype(np.float64) - scores[rows, nearest]
    found = np.where(np.abs(ahead) <= ROUNDING, 0.5, ahead > 0) * usable
    return float((found * distance).sum() / distance.sum())
