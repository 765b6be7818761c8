from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from prunnet.data.source import RetrievalSet
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import space_id
from prunnet.errors import EncoderError
from prunnet.evaluate.family import CutFamily
from prunnet.evaluate.matrix import measure_matrix
from prunnet.package.images import PackageImages
from prunnet.package.load import load_encoder
from prunnet.package.metadata import BackboneSpec, EncoderMetadata, preprocessing_of
from prunnet.package.save import save_encoder
from prunnet.package.server import open_encoder_package
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from runtime_py.errors import IncompatibleError
from tests.prunnet.conftest import BACKBONES

FACTORS = {"*.layer1.*": 0.7}


@pytest.fixture(scope="module")
def package_folder(
    small_encoder: Encoder, glyph_images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "small"
    prunable = PrunableEncoder(
        copy.deepcopy(small_encoder),
        CutRule("channel", adapters="full", spare_narrow=0.5, keep_factors=FACTORS),
    )
    torch.manual_seed(3)
    for correction in prunable.adapters.parameters():
        torch.nn.init.uniform_(correction, -0.1, 0.1)
    prunable.adapters.round()
    images = glyph_images.numpy()
    probes = PackageImages(images[:32], np.arange(32, dtype=np.int64) // 4, images[32:])
    metadata = EncoderMetadata(
        name="small",
        backbone=BackboneSpec(timm="resnet18", options=BACKBONES["resnet18"][0], features=48),
        granularity="channel",
        channel_multiple=8,
        spare_narrow=0.5,
        keep_factors=FACTORS,
        adapters="full",
        dimension=32,
        preprocessing=preprocessing_of(prunable.encoder),
        training_capacities=(0.2, 1.0),
        space_id=space_id(prunable.encoder),
    )
    save_encoder(folder, metadata, prunable, probes, "# small\n")
    return folder


@pytest.fixture
def broken(package_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package_folder, tmp_path / "broken"))


def test_round_trip(package_folder: Path, small_encoder: Encoder, glyph_images: torch.Tensor) -> None:
    package = load_encoder(package_folder)
    images = glyph_images.numpy()[:8]
    dense = embed(package.subnetwork(1.0), images)
    assert np.array_equal(dense, embed(small_encoder, images))
    assert np.array_equal(dense, open_encoder_package(package_folder).embed(images))
    assert np.allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-6)
    assert (
        package.space_id
        == space_id(package.prunable.encoder)
        == open_encoder_package(package_folder).space_id
    )
    assert np.array_equal(package.probes.images, glyph_images.numpy()[:32])
    assert package.min_capacity == 0.2
    spared = PrunableEncoder(
        copy.deepcopy(small_encoder), CutRule(spare_narrow=0.5, keep_factors=FACTORS)
    ).capacities()
    assert package.prunable.capacities() == spared != PrunableEncoder(small_encoder).capacities()


def test_a_package_from_before_narrow_groups_were_spared_keeps_its_widths(
    broken: Path, small_encoder: Encoder
) -> None:
    file = broken / "encoder.json"
    about = json.loads(file.read_text())
    del about["spare_narrow"], about["keep_factors"]
    file.write_text(json.dumps(about))
    assert load_encoder(broken).prunable.capacities() == PrunableEncoder(small_encoder).capacities()


def test_corrections_are_stored_in_half_precision_and_lose_nothing(
    package_folder: Path, small_encoder: Encoder
) -> None:
    stored = load_file(package_folder / "model.safetensors")
    kinds = {name.partition(".")[0]: tensor.dtype for name, tensor in stored.items() if tensor.ndim}
    assert kinds["adapters"] == torch.float16 and kinds["encoder"] == torch.float32
    loaded = load_encoder(package_folder).prunable
    torch.manual_seed(3)
    for correction in loaded.adapters.parameters():
        wanted = torch.empty_like(correction).uniform_(-0.1, 0.1)
        assert torch.equal(correction, wanted.half().float())


def test_a_package_whose_trained_subnetworks_shared_a_switch_is_extracted_as_before(
    small_encoder: Encoder, glyph_images: torch.Tensor, tmp_path: Path
) -> None:
    """Before, a switch served what was nearest to the capacity that was asked; here 0.25 took that of 0.2."""
    trained = (0.2, 0.25, 0.5, 1.0)
    rule = CutRule("channel", adapters="switched", trained=trained[:-1])
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), rule)
    with torch.no_grad():
        for correction in prunable.adapters.parameters():
            correction[0], correction[2] = 0.125, 0.25
    metadata = EncoderMetadata(
        name="small",
        backbone=BackboneSpec(timm="resnet18", options=BACKBONES["resnet18"][0], features=48),
        granularity="channel",
        channel_multiple=8,
        adapters="switched",
        dimension=32,
        preprocessing=preprocessing_of(prunable.encoder),
        training_capacities=trained,
        space_id=space_id(prunable.encoder),
    )
    images = glyph_images.numpy()
    save_encoder(
        tmp_path / "old", metadata, prunable, PackageImages(images[:4], np.zeros(4, np.int64), images[4:]), ""
    )
    loaded = load_encoder(tmp_path / "old").prunable
    dense = prunable.encoder.head.norm.weight
    for capacity, shift in ((0.2, 0.125), (0.25, 0.125), (0.5, 0.25)):
        assert torch.equal(loaded.at(capacity).extract().head.norm.weight, dense + shift)


def test_a_subnetwork_is_calibrated_and_the_same_every_time(package_folder: Path) -> None:
    first, second = load_encoder(package_folder).subnetwork(0.4), load_encoder(package_folder).subnetwork(0.4)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    raw = load_encoder(package_folder).prunable.at(0.4).extract()
    assert not torch.equal(raw.backbone.bn1.running_mean, first.backbone.bn1.running_mean)


def test_a_package_is_measured_as_it_is(package_folder: Path) -> None:
    package = load_encoder(package_folder)
    seen = RetrievalSet(package.probes.images, package.probes.labels)
    cut = CutFamily(package.prunable, package.probes.calibration, (0.2,))
    assert measure_matrix(package, seen) == measure_matrix(cut, seen)


def test_dense_embeddings_are_computed_once_or_taken_over(package_folder: Path) -> None:
    package = load_encoder(package_folder)
    assert not package.knows_dense
    found = package.dense
    assert package.knows_dense and package.dense is found
    assert np.array_equal(found, embed(package.subnetwork(1.0), package.probes.images))
    package.take_dense(found[::-1])
    with pytest.raises(IncompatibleError, match="not those of small: probe"):
        _ = package.dense
    package.take_dense(found.copy())
    assert np.array_equal(package.dense, found)


def test_space_id_follows_the_weights_and_nothing_else(package_folder: Path, tmp_path: Path) -> None:
    renamed = shutil.copytree(package_folder, tmp_path / "another name")
    first, second = load_encoder(package_folder), load_encoder(renamed)
    assert first.space_id == second.space_id
    encoder = second.prunable.encoder
    with torch.no_grad():
        encoder.head.project.weight[0, 0] += 1e-6
    assert space_id(encoder) != first.space_id
    encoder = load_encoder(renamed).prunable.encoder
    encoder.pixels.mean[0, 0, 0, 0] += 1e-3
    assert space_id(encoder) != first.space_id
    scores = load_encoder(renamed).prunable
    scores.reset_scores("random")
    assert space_id(scores.encoder) == first.space_id, "scores choose subnetworks; the gallery's space stays"


@pytest.mark.parametrize("name", ["encoder.json", "model.safetensors"])
def test_a_missing_file_is_named(broken: Path, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(EncoderError, match=name.replace(".", r"\.")):
        load_encoder(broken)


def test_missing_and_damaged_probes(broken: Path) -> None:
    file = broken / "probes.npz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(EncoderError, match=r"probes\.npz: not a readable probes file"):
        _ = load_encoder(broken).probes
    np.savez(
        file, images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.zeros(4, np.int64), calibration=np.zeros(3)
    )
    with pytest.raises(EncoderError, match=r"images is uint8 \[4, 8, 8, 3\]; it must be uint8"):
        _ = load_encoder(broken).probes
    file.unlink()
    with pytest.raises(EncoderError, match="is missing; the encoder package is not whole"):
        _ = load_encoder(broken).probes


def test_more_references_than_are_made_are_refused(broken: Path) -> None:
    file = broken / "probes.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["references"] = np.concatenate([arrays["references"]] * 2)
    np.savez(file, **arrays)
    with pytest.raises(EncoderError, match=r"references of dimension 32 are missing, or more than 4"):
        load_encoder(broken)


def test_truncated_weights(broken: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(EncoderError, match="not a readable safetensors file"):
        load_encoder(broken)


def test_nan_weights_name_the_tensor(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    tensors["encoder.backbone.conv1.0.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(EncoderError, match=r"encoder\.backbone\.conv1\.0\.weight holds NaN"):
        load_encoder(broken)


def test_weights_of_another_encoder_are_refused(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    tensors["encoder.head.project.weight"] += 0.01
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(EncoderError, match="belongs to another encoder"):
        load_encoder(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"granularity": "filter"}, "granularity"),
        ({"surprise": 1}, "surprise"),
        ({"schema_version": 4}, "schema_version"),
        ({"channel_multiple": 0}, "channel_multiple"),
        ({"spare_narrow": 1.5}, "spare_narrow"),
        ({"keep_factors": {"*": 0}}, "keep_factors"),
        (
            {"keep_factors": {"*.layer9": 0.5}},
            r"encoder\.json: does not fit .* fits nothing",
        ),
    ],
)
def test_metadata_that_does_not_fit(broken: Path, change: dict, message: str) -> None:
    file = broken / "encoder.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(EncoderError, match=message):
        load_encoder(broken)


def test_a_folder_without_a_package(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"is not an encoder package.*'glyphs' for the built-in"):
        load_encoder(tmp_path)
    with pytest.raises(EncoderError, match="it does not exist"):
        load_encoder(tmp_path / "typo")


def test_the_folder_of_a_run_is_not_its_package(package_folder: Path) -> None:
    run = package_folder.parent / "run"
    shutil.copytree(package_folder, run / "encoder")
    with pytest.raises(EncoderError, match=f"did you mean {run / 'encoder'}\\?"):
        load_encoder(run)


def test_a_failed_save_leaves_the_old_package(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = load_encoder(broken)
    probes = package.probes

    def full_disk(self: PackageImages, file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PackageImages, "save", full_disk)
    with pytest.raises(EncoderError, match=r"cannot be written.*No space left"):
        save_encoder(broken, package.metadata, package.prunable, probes, "")
    assert load_encoder(broken).space_id == package.space_id
    assert [p.name for p in broken.parent.iterdir()] == ["broken"], "scratch left behind"


def test_a_users_own_module(glyph_images: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)

    def backbone() -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, 2),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 24, 3, 2),
        )

    encoder = Encoder.from_module(backbone(), dimension=8, image_size=(32, 32)).eval()
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4))
    images = glyph_images.numpy()
    metadata = EncoderMetadata(
        name="own",
        backbone=BackboneSpec(timm=None, features=24),
        granularity="channel",
        channel_multiple=4,
        dimension=8,
        preprocessing=preprocessing_of(encoder),
        training_capacities=(0.3, 1.0),
        space_id=space_id(encoder),
    )
    probes = PackageImages(images[:4], np.zeros(4, np.int64), images[4:])
    save_encoder(tmp_path / "own", metadata, prunable, probes, "")
    with pytest.raises(EncoderError, match="module of your own"):
        load_encoder(tmp_path / "own")
    package = load_encoder(tmp_path / "own", backbone=backbone())
    assert np.array_equal(embed(package.subnetwork(1.0), images), embed(encoder, images))
    assert embed(package.subnetwork(0.5), images).shape == (64, 8)


@pytest.mark.parametrize("module", [torch.nn.Flatten(0), torch.nn.Conv2d(1, 4, 3)])
def test_a_backbone_that_does_not_fit(module: torch.nn.Module) -> None:
    with pytest.raises(EncoderError, match="the backbone"):
        Encoder.from_module(module, image_size=(16, 16))


def test_reestimation_is_the_cumulative_average(glyph_images: torch.Tensor) -> None:
    """Oracle: the mean over batches of each batch's own statistics, in float64."""
    norm = torch.nn.BatchNorm2d(3)
    reestimate(norm, glyph_images, batch_size=32)
    batches = [b.permute(0, 3, 1, 2).double() for b in glyph_images.split(32)]
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    var = torch.stack([b.transpose(0, 1).flatten(1).var(1) for b in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-2)
    assert norm.momentum == 0.1 and norm.training


def test_reestimation_leaves_dropout_off_and_needs_images(glyph_images: torch.Tensor) -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.BatchNorm2d(3)).eval()
    reestimate(module, glyph_images)
    assert module[1].running_mean.min() > 20, "dropout would have taken nine tenths of it"
    assert not module.training and not module[1].training
    with pytest.raises(EncoderError, match="at least 2 calibration images"):
        reestimate(module, glyph_images[:1])
