"""From a package on disk to a bundle: what is written, what steps down, and what is never written."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporters.errors import ExportError
from exporters.pipeline import export
from exporters.pipeline.export import _attempt, export_bundle
from exporters.pipeline.planning import plan_export
from prunnet.cost.storage import STORAGE, Storage
from prunnet.encoder.embedding import embed
from prunnet.errors import InfeasibleError, ProfileError
from prunnet.package.load import load_encoder
from prunnet.package.package import EncoderPackage
from prunnet.profile import load_profile
from runtime_py.errors import BundleError, IncompatibleError
from runtime_py.loading import load, read_manifest
from tests.exporters.packages import UNTRAINED, write_package, write_profile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def package(folder: Path) -> EncoderPackage:
    return load_encoder(folder)


def test_the_bundle_embeds_what_the_subnetwork_embeds(package, tmp_path) -> None:
    profile = load_profile(write_profile(tmp_path, budgets="max_mflops: 1.2"))
    done = export_bundle(package, profile, "onnx", tmp_path / "build")
    assert done.path == tmp_path / "build" / "bench" / "onnx"
    assert sorted(path.name for path in done.path.iterdir()) == [
        "encoder.onnx",
        "manifest.json",
        "probes.npz",
    ]
    subnetwork = package.subnetwork(done.plan.capacity_asked, 4)
    wanted = embed(subnetwork, package.probes.images)
    encoder = load(done.path)
    found = encoder.embed(package.probes.images)
    assert np.sum(found * wanted, 1).min() > 0.99999
    manifest = read_manifest(done.path)
    assert 0.1 < manifest.capacity < 1
    assert (manifest.encoder, manifest.space_id) == ("tiny", package.space_id)
    stored = sum(parameter.numel() for parameter in subnetwork.parameters())
    folded = sum(2 * norm.num_features for norm in subnetwork.modules() if hasattr(norm, "running_mean"))
    assert stored - folded <= manifest.measured.parameters <= stored
    assert manifest.measured.artifact_bytes == (done.path / "encoder.onnx").stat().st_size
    (check,) = manifest.budgets
    assert check.measured == manifest.measured.mflops == pytest.approx(check.predicted)
    assert check.fits and manifest.drift.verdict == "compatible"
    encoder.check().raise_if_incompatible()


def test_a_prediction_that_was_too_good_steps_down(package, tmp_path) -> None:
    """The artifact budget lies between what is predicted of some capacity and what it really takes."""
    roomy = export_bundle(package, load_profile(write_profile(tmp_path)), "onnx", tmp_path / "roomy")
    predicted, measured = roomy.plan.predicted.artifact_bytes, roomy.manifest.measured.artifact_bytes
    assert predicted < measured, "the storage model is exact: find another way to make a prediction wrong"
    limit = (predicted + measured) // 2
    profile = load_profile(write_profile(tmp_path, budgets=f"max_artifact: {limit}B"))
    lines: list[str] = []
    done = export_bundle(package, profile, "onnx", tmp_path / "build", say=lines.append)
    assert len(done.steps) == 1
    assert f"broke a budget: max_artifact: measured {measured:,} bytes, " in done.steps[0]
    assert f"the limit is {limit:,} bytes" in done.steps[0]
    assert any("stepping down" in line for line in lines)
    assert done.plan.capacity < roomy.plan.capacity
    assert done.manifest.measured.artifact_bytes <= limit
    (check,) = done.manifest.budgets
    assert check.fits and check.measured == (done.path / "encoder.onnx").stat().st_size


def test_a_budget_that_only_the_measurement_breaks_everywhere_is_infeasible(
    package, tmp_path, monkeypatch
) -> None:
    """A prediction that forgets what the format adds: every file is larger, the smallest too."""
    monkeypatch.setitem(STORAGE, "onnx", Storage(base=0, per_weighted_op=0, per_other_op=0))
    budget = package_floor(package, tmp_path)
    profile = load_profile(write_profile(tmp_path, budgets=f"max_artifact: {budget}B"))
    with pytest.raises(InfeasibleError, match=r"measured on the artifact at capacity 0\.0957") as caught:
        export_bundle(package, profile, "onnx", tmp_path / "build")
    assert caught.value.budget == "max_artifact" and caught.value.reachable > budget
    assert not (tmp_path / "build").exists()


def package_floor(package: EncoderPackage, tmp_path: Path) -> int:
    """What is predicted of the smallest trained capacity: it fits on paper."""
    from exporters.pipeline.planning import plan_export
    from prunnet.solver import solve

    profile = load_profile(write_profile(tmp_path))
    plan = plan_export(package, profile, "onnx")
    while True:
        try:
            plan = solve(
                package.prunable,
                profile,
                "onnx",
                below=plan.capacity_asked,
                min_capacity=package.min_capacity,
            )
        except InfeasibleError:
            return int(plan.predicted.artifact_bytes) + 1


def test_incompatible_embeddings_leave_no_bundle_and_keep_the_old_one(package, tmp_path) -> None:
    good = load_profile(write_profile(tmp_path))
    old = export_bundle(package, good, "onnx", tmp_path / "build").path
    sealed = read_manifest(old).seal
    strict = "max_recall_drop: 0.0, max_map_drop: 0.0, min_cosine: 1.0"
    profile = load_profile(write_profile(tmp_path, budgets="max_mflops: 1.0", compatibility=strict))
    with pytest.raises(IncompatibleError, match=r"No bundle was written") as caught:
        export_bundle(package, profile, "onnx", tmp_path / "build")
    assert caught.value.exit_code == 5
    assert read_manifest(old).seal == sealed
    assert [path.name for path in old.parent.iterdir()] == ["onnx"]


def test_dense_embeddings_taken_over_must_be_the_encoders_own_in_order(folder, tmp_path) -> None:
    package = load_encoder(folder)
    profile = load_profile(write_profile(tmp_path))
    dense = package.dense
    for wrong in (np.roll(dense, 1, axis=0), dense[:, ::-1].copy(), dense[:-1], dense * np.nan):
        package.take_dense(wrong)
        with pytest.raises(IncompatibleError, match="the dense embeddings"):
            export_bundle(package, profile, "onnx", tmp_path / "build")
    assert not (tmp_path / "build").exists()
    package.take_dense(dense)
    done = export_bundle(package, profile, "onnx", tmp_path / "build")
    assert done.manifest.drift.verdict == "compatible"


def test_a_bundle_that_chance_would_pass_is_not_written(package, tmp_path) -> None:
    """24 probes of an encoder that was never trained: no gate fails, and none could have."""
    profile = load_profile(write_profile(tmp_path, compatibility=""))
    with pytest.raises(IncompatibleError, match=r"not verified on .*random embeddings would lose"):
        export_bundle(package, profile, "onnx", tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_a_target_that_the_profile_does_not_list_is_refused(package, tmp_path) -> None:
    profile = load_profile(write_profile(tmp_path))
    with pytest.raises(ProfileError, match=r"no target 'tflite'.*onnx"):
        export_bundle(package, profile, "tflite", tmp_path / "build")


@pytest.mark.parametrize("stage", ["convert", "measure", "write"])
def test_a_killed_export_leaves_nothing_that_loads(folder, tmp_path, stage) -> None:
    profile, out = write_profile(tmp_path), tmp_path / "build"
    command = [
        sys.executable,
        "-m",
        "exporters.cli.export",
        "--profile",
        str(profile),
        "--encoder",
        str(folder),
    ]
    process = subprocess.Popen(
        [*command, "--out", str(out)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if f"bench/onnx: {stage}" in line:
            break
    else:
        pytest.fail(f"the export never said that it would {stage}")
    time.sleep(0.02 if stage == "write" else 0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    for path in [out / "bench" / "onnx", *out.glob("bench/.*")]:
        try:
            load(path)
        except BundleError:
            continue
        assert path.name == "onnx" and stage == "write", "only a finished bundle may load"


LOSSLESS = f"{UNTRAINED}, min_mean_cosine: 0.99999"
"""Tolerances that no int8 artifact meets."""


def test_a_precision_that_loses_too_much_gives_way_to_the_next(package, tmp_path) -> None:
    """int8 has room for more channels, so it comes first; its artifact shows what the plan could not know."""
    profile = load_profile(
        write_profile(
            tmp_path,
            budgets="max_artifact: 150KiB",
            precision="onnx: [fp32, int8]",
            compatibility=LOSSLESS,
        )
    )
    planned = plan_export(package, profile, "onnx")
    assert planned.precision == "int8"
    done = export_bundle(package, profile, "onnx", tmp_path / "build")
    assert (done.plan.precision, read_manifest(done.path).precision) == ("fp32", "fp32")
    assert done.plan.capacity < planned.capacity
    (step,) = done.steps
    assert "in int8 was exported and loses too much: compression.mean_cosine" in step
    (rejected,) = done.plan.rejected
    assert rejected.precision == "int8"
    assert "compression.mean_cosine" in rejected.why


@pytest.mark.parametrize("problem", ["range", "rounding"])
def test_a_float_precision_that_fails_gives_way_too(package, tmp_path, monkeypatch, problem) -> None:
    def attempt(package, profile, plan, *more):
        if plan.precision == "fp16" and problem == "range":
            raise ExportError("onnx", "convert", "it leaves the range of fp16")
        made = _attempt(package, profile, plan, *more)
        if plan.precision == "fp32":
            return made
        reasons = ("parity.min_cosine is 0.9, at least 0.9995 is demanded",)
        drift = made.drift.model_copy(update={"verdict": "incompatible", "reasons": reasons})
        return replace(made, drift=drift)

    monkeypatch.setattr(export, "_attempt", attempt)
    allowed = write_profile(tmp_path, budgets="max_artifact: 150KiB", precision="onnx: [fp16, fp32]")
    done = export_bundle(package, load_profile(allowed), "onnx", tmp_path / "build")
    assert done.plan.precision == "fp32"
    assert ("could not be exported" if problem == "range" else "loses too much") in done.steps[0]
    alone = write_profile(tmp_path, budgets="max_artifact: 150KiB", precision="onnx: fp16")
    with pytest.raises(ExportError if problem == "range" else IncompatibleError):
        export_bundle(package, load_profile(alone), "onnx", tmp_path / "other")
