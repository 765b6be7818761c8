"""The whole of `prunnet-train`: train, settle the statistics, measure, write the encoder package."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prunnet.data import DataSet, RetrievalSet, open_data
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.space import space_id
from prunnet.errors import TrainingError
from prunnet.evaluate.curve import Curve, measure_curve, reachable
from prunnet.package.card import card
from prunnet.package.images import PackageImages
from prunnet.package.load import load_encoder
from prunnet.package.metadata import BackboneSpec, EncoderMetadata, preprocessing_of
from prunnet.package.originals import original_files
from prunnet.package.package import EncoderPackage
from prunnet.package.save import save_encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.build import Start
from prunnet.train.checkpoint.checkpoint import check_folder, holds_run
from prunnet.train.official import official_metrics, official_probes
from prunnet.train.processes import leave_processes
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.rounds import plan_of
from prunnet.train.training import train
from prunnet.train.validation import about_validation, divided
from prunnet.train.watch.log import events_can_be_written
from runtime_py.arrays import Labels, Pixels
from runtime_py.framing import Into

CALIBRATION_IMAGES = 256
PROBES = 312
LEAST_OF_A_CLASS, MOST_OF_A_CLASS = 4, 8
"""Probes of one class, where it has as many."""
FEW_QUERIES, FEW_CLASSES = 50, 10
"""Below these, training says that the probes are few."""


def train_package(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    control: bool = False,
    dense: EncoderPackage | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> EncoderPackage | None:
    """Train by a recipe and write the encoder package to `out/encoder`.

    Args:
        recipe: The run.
        out: Folder of the run; checkpoint and log lie there too.
        resume: Continue from the folder's checkpoint.
        control: Also train the same network dense alone for as many steps (in `out/control`), and report the tax.
        dense: A package whose dense encoder stays as it is, space id included, so that what a server has indexed with
            it stays valid; only subnetworks are trained (the recipe's second round).
        say: Told about the stages after training.

    Returns:
        The written package, read back; None in all but the first process of `torchrun`.

    Raises:
        TrainingError: See `prunnet.train.training.train`; the given dense encoder is not the one of the recipe.
        DatasetError: The pictures are not where they must be.
    """
    recipe.require_one_network()
    check_folder(out, resume)
    if dense is not None:
        _check_backbone(dense, recipe)
    data = open_data(recipe.data.name, recipe.data.path, recipe.encoder.framing, recipe.data.augment)
    source, held = divided(recipe, data.train)
    calibration = source.calibration(CALIBRATION_IMAGES)
    # Before the first step: a test in which nothing can be found would be known only after hours of training.
    probes = _probes_of(data, recipe.encoder.framing, calibration)
    first = os.environ.get("RANK", "0") == "0"
    plan = plan_of(recipe.for_items(source.size), source.size, dense is not None)
    watched = [] if held is None else [about_validation(recipe, held, data.train.classes)]
    for line in (*data.notes, *watched, _about(probes), *plan) if first else ():
        say(line)
    if not events_can_be_written() and first:
        say("log.jsonl alone is written: TensorBoard's event files need pip install 'prunnet[logs]'")
    start = Start(dense=dense.prunable.encoder) if dense else Start()
    trained = train(recipe, source, out, start=start, held=held, resume=resume)
    prunable = trained.prunable
    alone = None
    if control:
        say("train the same network dense alone, as the control")
        folder = out / "control"
        whole = recipe.for_items(source.size).dense_alone()
        alone = train(whole, source, folder, held=held, resume=resume and holds_run(folder)).prunable
    if not leave_processes():
        return None
    for encoder in (None if dense else prunable, alone):
        if encoder is not None:
            reestimate(encoder.encoder, torch.from_numpy(calibration))
    folder, test = out / "encoder", data.test
    about: dict[str, Any] = {"data": data.name, **({"dense_from": dense.name} if dense else {})}
    if trained.best is not None and recipe.validation is not None:
        best, taken = trained.best, recipe.validation.package
        about["validation"] = {"best_step": best.step, "best_map": best.figure, "package": taken}
        say(
            f"the best state on held-out classes is that after step {best.step} (mAP {best.figure:.1f}); the package "
            f"holds {'it' if taken == 'best' else 'the last state, as validation.package says'}"
        )
    if isinstance(test, RetrievalSet):
        metrics = {**about, **_measured(prunable, alone, calibration, test, say), "protocol": _protocol(data)}
        _save(folder, _metadata(recipe, prunable, metrics, dense), prunable, probes)
        return load_encoder(folder)
    metadata = _metadata(recipe, prunable, {**about, "protocol": f"that of {test.name}"}, dense)
    # A large gallery takes hours: the package is there before it is measured.
    _save(folder, metadata, prunable, probes)
    metrics = official_metrics(load_encoder(folder), test, alone, say)
    _save(folder, metadata.model_copy(update={"metrics": metrics}), prunable, probes)
    return load_encoder(folder)


def _check_backbone(dense: EncoderPackage, recipe: Recipe) -> None:
    """Options may change what a network computes and leave every tensor its shape."""
    found, wanted = dense.metadata.backbone, recipe.encoder
    if (found.timm, found.options) != (wanted.backbone, wanted.options):
        raise TrainingError(
            f"the dense encoder {dense.name!r} is a {found.timm or 'module of yours'} {found.options or ''}, recipe "
            f"{recipe.name!r} describes a {wanted.backbone} {wanted.options or ''}; write the encoder's own backbone "
            "and options into the recipe"
        )


def _save(folder: Path, metadata: EncoderMetadata, prunable: PrunableEncoder, probes: PackageImages) -> None:
    save_encoder(folder, metadata, prunable, probes, card(metadata))


def _measured(
    prunable: PrunableEncoder,
    alone: PrunableEncoder | None,
    calibration: Pixels,
    test: RetrievalSet,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure on held-out images that are all in memory."""
    say("measure the dense encoder and its subnetworks")
    curve = measure_curve(prunable, calibration, test, reachable(prunable), say=say)
    say("measure magnitude pruning of the dense encoder, for comparison")
    magnitude = _magnitude(prunable, calibration, test, say)
    metrics: dict[str, Any] = {"curve": curve.as_dict(), "magnitude": magnitude.as_dict()}
    if alone is not None:
        metrics["control"] = _control(alone, test, curve)
    return metrics


def _magnitude(
    prunable: PrunableEncoder, calibration: Pixels, test: RetrievalSet, say: Callable[[str], None]
) -> Curve:
    """Measure what the dense weights alone give when they are cut by magnitude, without scores or corrections."""
    learned = {name: score.detach().clone() for name, score in prunable.scores.items()}
    adapters, prunable.adapters = prunable.adapters, None
    prunable.reset_scores("magnitude")
    curve = measure_curve(prunable, calibration, test, reachable(prunable), say=say)
    with torch.no_grad():
        for name, score in prunable.scores.items():
            score.copy_(learned[name])
    prunable.adapters = adapters
    return curve


def _control(alone: PrunableEncoder, test: RetrievalSet, joint: Curve) -> dict[str, float]:
    """Measure the tax: by what the dense encoder is below the one that trained alone for as many steps."""
    dense = measure_curve(alone, np.empty(0, np.uint8), test, ())  # no subnetwork, nothing to calibrate
    return {
        "dense_map": dense.dense_map,
        "dense_recall_at_1": dense.dense_recall_at_1,
        "tax": round(dense.dense_map - joint.dense_map, 2),
    }


def _protocol(data: DataSet) -> str:
    seen = f"{data.shared_classes} of the classes also trained on" if data.shared_classes else ""
    return f"every held-out image against all others, {seen or 'classes unseen in training'}"


def _probes_of(data: DataSet, into: Into, calibration: Pixels) -> PackageImages:
    if isinstance(data.test, RetrievalSet):
        return _probes(data.test, calibration)
    return official_probes(data.test, into, calibration, PROBES)


def _probes(test: RetrievalSet, calibration: Pixels) -> PackageImages:
    """Take a few pictures of each class, so that chance finds little, and of classes of two or more first.

    With fewer than 312 pictures in such classes, single pictures fill up: they have nothing to find, and are there to
    be found wrongly.
    """
    rng = np.random.default_rng(1)
    labels, counts = np.unique(test.labels, return_counts=True)
    drawn = rng.permutation(len(labels))
    order = drawn[np.argsort(counts[drawn] < 2, kind="stable")]
    few = min(MOST_OF_A_CLASS, max(LEAST_OF_A_CLASS, PROBES // int((counts > 1).sum())))
    chosen: list[Labels] = []
    left = PROBES
    for number in order:
        rows = rng.permutation(np.flatnonzero(test.labels == labels[number]))[: min(few, left)]
        chosen.append(np.sort(rows))
        left -= len(rows)
        if not left:
            break
    rows = np.concatenate(chosen)
    originals = original_files(test.open_original, rows.tolist(), test.images.shape[1:3])
    return PackageImages(test.images[rows], test.labels[rows], calibration, originals=originals)


def _about(probes: PackageImages) -> str:
    counts = np.unique(probes.labels, return_counts=True)[1]
    pairs = counts[counts > 1]
    text = (
        f"probes: {len(probes.labels)} test pictures; {pairs.sum()} have something to find, "
        f"in {len(pairs)} classes"
    )
    if pairs.sum() < FEW_QUERIES or len(pairs) < FEW_CLASSES:
        text += (
            "; so few say little about drift, and a check may end `not verified`: "
            f"give {FEW_CLASSES} test classes or more, of two pictures or more"
        )
    return text


def _metadata(
    recipe: Recipe, prunable: PrunableEncoder, metrics: dict[str, Any], dense: EncoderPackage | None
) -> EncoderMetadata:
    """Describe the package; a dense encoder that was kept keeps its space id, of whichever version."""
    spec, encoder = recipe.encoder, prunable.encoder
    return EncoderMetadata(
        name=recipe.name,
        backbone=BackboneSpec(
            timm=spec.backbone, options=spec.options, features=encoder.head.project.in_features
        ),
        **prunable.rule.fields(),
        dimension=encoder.dimension,
        preprocessing=preprocessing_of(encoder),
        training_capacities=(*recipe.method.capacities, 1.0),
        space_id=dense.space_id if dense else space_id(encoder),
        recipe=recipe.model_dump(mode="json"),
        metrics=metrics,
        tools={name: version(name) for name in ("prunnet", "torch", "timm", "numpy", "matplotlib")},
    )
