"""The encoder that ships: is it what its card says, and do the shipped profiles make use of it?"""

from __future__ import annotations

import numpy as np
import pytest

from prunnet.data import open_test_pictures
from prunnet.encoder.embedding import embed
from prunnet.evaluate.curve import measure_curve
from prunnet.package.load import load_encoder
from prunnet.package.package import EncoderPackage
from prunnet.profile import load_profile, shipped_profiles
from prunnet.solver import solve
from prunnet.train.recipe.recipe import Recipe, load_recipe
from runtime_py.bundle.manifest import Precision


@pytest.fixture(scope="module")
def package() -> EncoderPackage:
    return load_encoder("glyphs")


def test_it_is_small(package: EncoderPackage) -> None:
    assert sum(file.stat().st_size for file in package.path.iterdir()) <= 12_000_000


def test_it_was_trained_by_the_shipped_recipe(package: EncoderPackage) -> None:
    recipe = load_recipe("glyphs")
    # Compared as it was stored too: reading it back fills in what its method means today.
    assert Recipe.model_validate(package.metadata.recipe) == recipe
    assert package.metadata.spare_narrow == package.metadata.recipe["method"]["spare_narrow"]
    assert package.metadata.spare_narrow == recipe.method.spare_narrow


def test_probes_are_unseen_views(package: EncoderPackage) -> None:
    unseen = open_test_pictures("glyphs", (48, 48))
    known = {image.tobytes() for image in unseen.images}
    assert all(image.tobytes() in known for image in package.probes.images)
    assert not any(image.tobytes() in known for image in package.probes.calibration)


@pytest.mark.parametrize(("precision", "pruned"), [("fp32", 3), (None, 2)])
def test_profiles_prune_it_and_one_keeps_it_dense(
    package: EncoderPackage, precision: Precision | None, pruned: int
) -> None:
    """In fp32, and in the precision that each profile asks for, where the whole encoder fits on one more."""
    capacities = {}
    for name in shipped_profiles():
        profile = load_profile(name)
        capacities[name] = [
            solve(package.prunable, profile, target, precision=precision).capacity
            for target in profile.targets
        ]
    assert sum(max(found) < 1 for found in capacities.values()) >= pruned
    assert any(min(found) == 1 for found in capacities.values())


def test_the_card_shows_the_metrics(package: EncoderPackage) -> None:
    card = (package.path / "README.md").read_text()
    curve = package.metadata.metrics["curve"]
    for point in curve["points"]:
        assert f"| {point['capacity']:g} | {point['achieved']:.3f} | {point['parameters']:,} |" in card
    assert f"mAP {package.metadata.metrics['control']['dense_map']:.1f}" in card


def test_subnetworks_find_what_the_dense_encoder_finds(package: EncoderPackage) -> None:
    """On the probes: dense gallery, queries of a fifth of it; a cut by chance finds next to nothing."""
    images, labels = package.probes.images, package.probes.labels
    dense = embed(package.subnetwork(1.0), images)

    def recall(queries: np.ndarray) -> float:
        scores = queries @ dense.T
        np.fill_diagonal(scores, -2)
        return float((labels[scores.argmax(1)] == labels).mean())

    small = recall(embed(package.subnetwork(0.2), images))
    assert small > recall(dense) - 0.05
    package = load_encoder("glyphs")
    package.prunable.reset_scores("random")
    assert recall(embed(package.subnetwork(0.2), images)) < 0.5 * small


@pytest.mark.slow
def test_the_measured_curve_is_measured_again(package: EncoderPackage) -> None:
    pictures = open_test_pictures("glyphs", (48, 48))
    again = measure_curve(package.prunable, package.probes.calibration, pictures, (0.2, 1.0))
    recorded = package.metadata.metrics["curve"]
    assert again.queries == recorded["queries"]
    assert again.dense_map == pytest.approx(recorded["dense_map"], abs=0.05)
    by_capacity = {p["capacity"]: p for p in recorded["points"]}
    for point in again.points:
        assert point.cross_map == pytest.approx(by_capacity[point.capacity]["cross_map"], abs=0.05)
        assert point.self_map == pytest.approx(by_capacity[point.capacity]["self_map"], abs=0.05)
        assert point.cross_minus_self.high >= 0, "the cross-test is below the self-test by more than noise"
