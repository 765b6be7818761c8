"""The resize in encoder packages: stated, kept, part of the space, obeyed by training and evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prunnet.data import open_data, open_test_pictures
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import space_id, weights_id
from prunnet.errors import DatasetError, EncoderError
from prunnet.package.images import PackageImages
from prunnet.package.load import load_encoder
from prunnet.package.metadata import BackboneSpec, EncoderMetadata, preprocessing_of
from prunnet.package.save import save_encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.recipe import load_recipe
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import read_picture

CROPPED = Resize(filter="bicubic", fit="crop", scale=0.875)
OPTIONS = {"channels": [16, 16, 16, 16], "stem_width": 16}
RNG = np.random.default_rng(0)


def _encoder(resize: Resize | None = None) -> Encoder:
    torch.manual_seed(0)
    return Encoder.from_timm(
        "resnet18", dimension=16, image_size=(32, 32), options=OPTIONS, resize=resize
    ).eval()


def _saved(folder: Path, encoder: Encoder, **changes: object) -> Path:
    images = RNG.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    about = EncoderMetadata(
        name="own",
        backbone=BackboneSpec(timm="resnet18", options=OPTIONS, features=16),
        granularity="channel",
        channel_multiple=8,
        dimension=16,
        preprocessing=preprocessing_of(encoder),
        training_capacities=(1.0,),
        space_id=space_id(encoder),
    )
    prunable = PrunableEncoder(encoder, CutRule("channel"))
    probes = PackageImages(images[:4], np.array([0, 0, 1, 1]), images[4:])
    save_encoder(folder, about.model_copy(update=changes), prunable, probes, "")
    return folder


def test_a_resize_is_stated_kept_and_part_of_the_space(tmp_path: Path) -> None:
    package = load_encoder(_saved(tmp_path / "own", _encoder(CROPPED)))
    stated = json.loads((tmp_path / "own" / "encoder.json").read_text())
    assert stated["schema_version"] == 3
    assert stated["preprocessing"]["resize"] == {
        "filter": "bicubic", "antialias": True, "fit": "crop", "scale": 0.875, "fill": [0, 0, 0],
    }  # fmt: skip
    assert package.preprocessing.resize == CROPPED == package.subnetwork(1.0).resize
    ids = {
        space_id(_encoder(each)) for each in (None, CROPPED, Resize(fit="letterbox"), Resize(antialias=False))
    }
    assert len(ids) == 4 and package.space_id in ids
    assert weights_id(_encoder()) == weights_id(_encoder(Resize())) != weights_id(_encoder(CROPPED))


def test_an_edited_resize_is_another_space(tmp_path: Path) -> None:
    file = _saved(tmp_path / "own", _encoder(CROPPED)) / "encoder.json"
    file.write_text(file.read_text().replace('"bicubic"', '"bilinear"'))
    with pytest.raises(EncoderError, match="the weights give the space id"):
        load_encoder(tmp_path / "own")


def test_a_resize_that_is_not_the_encoders_is_not_saved(tmp_path: Path) -> None:
    other = preprocessing_of(_encoder())
    with pytest.raises(
        EncoderError, match=r"the metadata's resize \(bilinear, antialiased, stretched\) is not that"
    ):
        _saved(tmp_path / "own", _encoder(CROPPED), preprocessing=other)


def test_a_package_from_before_means_pillows_bilinear(tmp_path: Path) -> None:
    file = _saved(tmp_path / "own", _encoder()) / "encoder.json"
    about = json.loads(file.read_text())
    for key in ("orientation", "color_space", "transparent"):
        del about["preprocessing"][key]
    about["preprocessing"]["resize"] = "bilinear"
    file.write_text(json.dumps({**about, "schema_version": 2}))
    package = load_encoder(tmp_path / "own")
    assert package.preprocessing.resize == Resize() and package.space_id == space_id(_encoder())


def _tree(root: Path) -> Path:
    for part, names in (("train", "ab"), ("test", "cd")):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                pixels = RNG.integers(0, 256, (50, 70 + number, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def test_training_and_evaluation_resize_as_stated(tmp_path: Path) -> None:
    root, framing = _tree(tmp_path / "photos"), Framing(height=32, width=32, resize=CROPPED)
    data = open_data("folder", str(root), framing)
    wanted = [read_picture(root / "test" / "c" / f"{number}.png", framing) for number in range(3)]
    assert np.array_equal(data.test.images[:3], wanted)
    assert np.array_equal(open_test_pictures(str(root), framing).images, data.test.images)
    trained = [read_picture(file, framing) for file in sorted((root / "train").rglob("*.png"))]
    assert {each.tobytes() for each in data.train.calibration(6)} == {each.tobytes() for each in trained}
    plain = open_data("folder", str(root), (32, 32))
    assert not np.array_equal(plain.test.images, data.test.images)
    with pytest.raises(DatasetError, match=r"encoder\.resize goes with pictures"):
        open_data("glyphs", None, framing)


def test_a_recipe_states_it(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "schema_version: 1\nname: own\ndata: {name: folder, path: photos}\n"
        "encoder: {backbone: resnet18, image_size: [32, 32], resize: {filter: bicubic, fit: crop, scale: 0.875}}\n"
        "schedule: {steps: 10}\n"
    )
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.encoder.framing == Framing(height=32, width=32, resize=CROPPED)
