from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from prunnet.data.source import RetrievalSet
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.evaluate.curve import interval, measure_curve
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule


def _slow_map(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Textbook mAP and Recall@1, an image at a time, the query left out of its gallery."""
    precisions, hits = [], []
    for q in range(len(queries)):
        others = [g for g in range(len(gallery)) if g != q]
        others.sort(key=lambda g: (-float(np.float32(queries[q] @ gallery[g])), g))
        relevant = [labels[g] == labels[q] for g in others]
        if any(relevant):
            found = [sum(relevant[: i + 1]) / (i + 1) for i in range(len(others)) if relevant[i]]
            precisions.append(sum(found) / len(found))
            hits.append(relevant[0])
    return 100 * float(np.mean(precisions)), 100 * float(np.mean(hits))


def test_the_curve_against_a_textbook(small_encoder: Encoder, glyph_images: torch.Tensor) -> None:
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule("channel"))
    images = glyph_images.numpy()
    labels = np.arange(64) // 3  # the last class has a single image: no query
    curve = measure_curve(prunable, images, RetrievalSet(images, labels), (0.4, 1.0))
    dense = embed(prunable.at(1.0).extract(), images)
    module = prunable.at(0.4).extract()
    reestimate(module, glyph_images)
    own = embed(module, images)
    point, last = curve.points
    assert (point.cross_map, point.cross_recall_at_1) == pytest.approx(
        _slow_map(own, dense, labels), abs=0.02
    )
    assert (point.self_map, point.self_recall_at_1) == pytest.approx(_slow_map(own, own, labels), abs=0.02)
    assert (curve.dense_map, curve.dense_recall_at_1) == pytest.approx(
        _slow_map(dense, dense, labels), abs=0.02
    )
    assert point.below_dense.mean == pytest.approx(curve.dense_map - point.cross_map, abs=0.02)
    assert point.cross_minus_self.mean == pytest.approx(point.cross_map - point.self_map, abs=0.02)
    assert last.cross_map == curve.dense_map and last.below_dense.mean == 0
    assert curve.queries == 63
    assert point.parameters == sum(p.numel() for p in module.parameters())
    assert point.mflops < last.mflops


def test_the_interval_covers_the_mean_and_draws_whole_classes() -> None:
    values = np.repeat([0.0, 1.0, 0.0, 1.0], 50)
    labels = np.repeat([0, 1, 2, 3], 50)
    wide = interval(values, labels)
    narrow = interval(values, np.arange(200))
    assert wide.mean == narrow.mean == 50
    assert wide.low < narrow.low < 50 < narrow.high < wide.high, "one class is one draw"
    assert interval(np.append(values, np.nan), np.append(labels, 9)) == wide
