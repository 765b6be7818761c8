"""A package loads as the function that it was written with, or not at all."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.computation import computation_of, differences
from prunnet.encoder.constants import is_constant
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import space_id, weights_id
from prunnet.errors import EncoderError
from prunnet.package.images import PackageImages
from prunnet.package.load import load_encoder
from prunnet.package.metadata import BackboneSpec, EncoderMetadata, preprocessing_of
from prunnet.package.reference import TOLERANCE, distance, references_of
from prunnet.package.save import save_encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule

SIDE = 32
AVERAGE = partial(torch.mean, dim=(2, 3))
NOTHING = nn.Identity()


class Net(nn.Module):
    """Two convolutions; everything that no tensor tells is an argument."""

    def __init__(
        self,
        act: Callable[[torch.Tensor], torch.Tensor] = F.relu,
        stride: int = 2,
        padding_mode: str = "zeros",
        eps: float = 1e-5,
        scale: float = 1.0,
        pool: Callable[[torch.Tensor], torch.Tensor] = AVERAGE,
        mix: Callable[[torch.Tensor], torch.Tensor] = NOTHING,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride, 1, padding_mode=padding_mode, bias=False)
        self.norm = nn.BatchNorm2d(16, eps=eps)
        self.second = nn.Conv2d(16, 32, 3, 2, 1, bias=False)
        self.act, self.scale, self.pool, self.mix = act, scale, pool, mix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.first(x)))
        return self.pool(self.mix(self.act(self.second(x * self.scale))))


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (16, SIDE, SIDE, 3)).astype(np.uint8)


def written(folder: Path, net: nn.Module) -> Path:
    torch.manual_seed(0)
    for tensor in net.parameters():
        nn.init.normal_(tensor, std=0.2)
    images = pictures()
    encoder = Encoder.from_module(net, dimension=16, image_size=(SIDE, SIDE))
    reestimate(encoder, torch.from_numpy(images))
    prunable = PrunableEncoder(encoder.eval(), CutRule("weight")).eval()
    metadata = EncoderMetadata(
        name="own",
        backbone=BackboneSpec(timm=None, features=32),
        granularity="weight",
        channel_multiple=8,
        dimension=16,
        preprocessing=preprocessing_of(encoder),
        training_capacities=(0.4, 1.0),
        space_id=space_id(encoder),
    )
    save_encoder(folder, metadata, prunable, PackageImages(images[:8], np.arange(8) // 2, images), "own\n")
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("own") / "package", Net())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"act": F.silu}, "norm computes|backbone computes silu.*made with relu"),
        ({"act": nn.SiLU()}, r"backbone\.act computes silu\(\), the package was made with relu\(\)"),
        ({"act": F.relu6}, r"hardtanh.*made with relu\(\)"),
        ({"act": F.gelu}, "gelu"),
        ({"act": partial(F.leaky_relu, negative_slope=1e-6)}, "leaky_relu"),
        (
            {"stride": 1},
            r"backbone\.first computes convolution\(stride=\[1, 1\].*made with .*stride=\[2, 2\]",
        ),
        ({"padding_mode": "reflect"}, "reflection_pad2d"),
        ({"eps": 1e-3}, r"backbone\.norm computes .*eps=0\.001.*eps=1e-05"),
        ({"eps": 1.1e-5}, r"not by the same operations.*eps=1\.1e-05"),
        ({"scale": 1.0 + 1e-7}, r"mul\(other="),
        ({"pool": partial(torch.amax, dim=(2, 3))}, r"amax.*made with mean"),
        ({"mix": lambda x: x.transpose(2, 3)}, "transpose"),
        ({"mix": lambda x: x.flip(1)}, "flip"),
    ],
)
def test_a_module_that_computes_something_else_is_refused_by_name(
    own: Path, change: dict, words: str
) -> None:
    with pytest.raises(EncoderError, match=words) as caught:
        load_encoder(own, backbone=Net(**change))
    assert "build the module as it was trained" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"act": nn.ReLU()},
        {"act": nn.ReLU(inplace=True)},
        {"act": torch.relu},
        {"pool": lambda x: x.mean((-1, -2))},
        {"pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())},
        {"pool": nn.Identity(), "mix": nn.Dropout(0.5)},
    ],
)
def test_another_spelling_of_the_same_function_loads(own: Path, change: dict) -> None:
    package = load_encoder(own, backbone=Net(**change))
    assert (
        distance(references_of(package.prunable.encoder, pictures()), package.probes.references) < TOLERANCE
    )


def test_what_no_operation_shows_is_seen_in_the_embeddings(own: Path) -> None:
    class Shifted(Net):
        shift = torch.linspace(0, 0.2, 16).view(1, -1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.act(self.norm(self.first(x)))
            return self.pool(self.act(self.second(x * (1 + self.shift))))

    with pytest.raises(EncoderError, match="at a distance of") as caught:
        load_encoder(own, backbone=Shifted())
    assert "mul()" in str(caught.value) or "a constant" in str(caught.value)


def test_a_package_without_references_says_what_was_not_compared(own: Path, tmp_path: Path) -> None:
    old = Path(tmp_path / "old")
    old.mkdir()
    for file in own.iterdir():
        (old / file.name).write_bytes(file.read_bytes())
    about = json.loads((old / "encoder.json").read_text())
    about["schema_version"] = 1
    del about["computation"]
    with np.load(old / "probes.npz") as stored:
        plain = {name: stored[name] for name in stored.files if name != "references"}
    np.savez(old / "probes.npz", **plain)
    about["space_id"] = weights_id(load_encoder(own, backbone=Net()).prunable.encoder)
    (old / "encoder.json").write_text(json.dumps(about))
    with pytest.warns(UserWarning, match="could not be checked"):
        package = load_encoder(old, backbone=Net(act=F.silu))
    assert package.space_id == about["space_id"] and len(package.space_id) == 32
    about |= {"schema_version": 2, "computation": ["x: relu()"]}
    (old / "encoder.json").write_text(json.dumps(about))
    with pytest.raises(EncoderError, match="references of dimension 16 are missing"):
        load_encoder(old, backbone=Net())
    del about["computation"]
    (old / "encoder.json").write_text(json.dumps(about))
    with pytest.raises(EncoderError, match="computation: the key is missing"):
        load_encoder(old, backbone=Net())


def test_the_space_id_covers_what_is_computed(own: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = load_encoder(own, backbone=Net()).prunable.encoder
    first, plain = space_id(encoder), weights_id(encoder)
    assert first.startswith("v2-") and len(first) == 35
    assert json.loads((own / "encoder.json").read_text())["space_id"] == first
    encoder.backbone.act = nn.ReLU(inplace=True)
    assert space_id(encoder) == first
    encoder.backbone.act = nn.SiLU()
    assert space_id(encoder) != first and weights_id(encoder) == plain
    encoder.backbone.act, encoder.backbone.norm.eps = nn.ReLU(), 1e-3
    assert space_id(encoder) != first and weights_id(encoder) == plain


def test_metadata_of_another_encoder_is_not_written(own: Path, tmp_path: Path) -> None:
    package = load_encoder(own, backbone=Net())
    with torch.no_grad():
        package.prunable.encoder.backbone.norm.weight += 1e-3
    with pytest.raises(EncoderError, match="is not that of the encoder"):
        save_encoder(tmp_path / "new", package.metadata, package.prunable, package.probes, "")
    assert not (tmp_path / "new").exists()


def test_timm_that_builds_another_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="leave backbone= out"):
        load_encoder("glyphs", backbone=Net())
    real = Encoder.from_timm

    def changed(*args: object, **keywords: object) -> Encoder:
        encoder = real(*args, **keywords)
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3
        return encoder

    monkeypatch.setattr(Encoder, "from_timm", changed)
    with pytest.raises(EncoderError, match=r"install the timm of the package \(1\.") as caught:
        load_encoder("glyphs")
    assert "backbone.bn1 computes" in str(caught.value) and "eps=0.001" in str(caught.value)


def test_rounding_is_told_from_a_fault() -> None:
    """Other arithmetic stays far below the tolerance, the smallest fault tried far above it."""
    package = load_encoder("glyphs")
    encoder, stored = package.prunable.encoder, package.probes.references
    images = package.probes.calibration
    assert stored is not None
    exact = references_of(encoder.double(), images)
    assert distance(exact, stored) < TOLERANCE / 20
    encoder.float()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-4
    assert distance(references_of(encoder, images), stored) > 3 * TOLERANCE
    assert distance(stored * np.float32("nan"), stored) == float("inf")


def test_attention_is_recorded_alike_whichever_kernel_runs() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x).mean(2)

    lines = computation_of(Attention(), SIDE, SIDE)
    assert any("softmax" in line for line in lines) and not any("flash" in line for line in lines)
    assert differences(lines, lines) == []


def test_a_module_that_is_frozen_when_loading_is_cut_as_it_was_trained(tmp_path: Path) -> None:
    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.BatchNorm2d(32)
        )

    images = pictures()
    encoder = Encoder.from_module(net(), dimension=16, image_size=(SIDE, SIDE)).eval()
    prunable = PrunableEncoder(encoder, CutRule("channel", 8)).eval()
    metadata = EncoderMetadata(
        name="own",
        backbone=BackboneSpec(timm=None, features=32),
        granularity="channel",
        channel_multiple=8,
        dimension=16,
        preprocessing=preprocessing_of(encoder),
        training_capacities=(0.4, 1.0),
        space_id=space_id(encoder),
    )
    save_encoder(
        tmp_path / "own", metadata, prunable, PackageImages(images[:8], np.arange(8) // 2, images), "own\n"
    )
    whole = net().requires_grad_(False)
    stem = net()
    stem[0].requires_grad_(False)
    for module in (whole, stem, net()):
        loaded = load_encoder(tmp_path / "own", backbone=module).prunable
        assert loaded.capacities() == prunable.capacities()


class Limited(nn.Module):
    """Reads tensors that nothing stores, and keeps what it looked up until it trains again."""

    def __init__(self, where: str = "attribute", limit: float = 50.0, turn: int = 0) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 32, 3, 2, 1, bias=False)
        self.table = nn.Parameter(torch.ones(4))
        self.looked_up: dict[str, torch.Tensor] = {}
        self.where, self.number, self.order = where, limit, torch.arange(16).roll(turn)
        self.attribute = torch.tensor(limit)
        self.register_buffer("buffer", torch.full((1, 16, 1, 1), limit), persistent=False)

    def train(self, mode: bool = True) -> Limited:
        if mode:
            self.looked_up.clear()
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        limit = torch.tensor(self.number) if self.where == "literal" else getattr(self, self.where)
        x = torch.minimum(F.relu(self.norm(self.first(x))), limit) + 0 * x.mean() * self.order.view(-1, 1, 1)
        scale = self.looked_up.get("scale")
        if scale is None:
            scale = self.table[self.order % 4]
        if not self.training:
            self.looked_up["scale"] = scale
        return F.relu(self.second(x * scale.view(-1, 1, 1))).mean((2, 3))


@pytest.mark.parametrize("where", ["attribute", "buffer", "literal"])
def test_a_constant_that_no_picture_reaches_is_compared(where: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "package", Limited(where))
    load_encoder(folder, backbone=Limited(where))
    with pytest.raises(EncoderError, match=r"reads constant\(.*20.*made with constant\(.*50"):
        load_encoder(folder, backbone=Limited(where, 20.0))
    with pytest.raises(EncoderError, match=r"reads constant.*bits="):
        load_encoder(folder, backbone=Limited(where, turn=8))


def test_a_package_that_noted_no_constants_loads(tmp_path: Path) -> None:
    folder = written(tmp_path / "package", Limited())
    metadata = json.loads((folder / "encoder.json").read_text())
    lines = metadata["computation"]
    metadata["computation"] = [line for line in lines if not is_constant(line)]
    assert len(metadata["computation"]) == len(lines) - 2
    (folder / "encoder.json").write_text(json.dumps(metadata))
    assert load_encoder(folder, backbone=Limited()).space_id == metadata["space_id"]


def test_constants_that_differ_by_rounding_are_the_same() -> None:
    class Waves(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.waves = factor * torch.sin(torch.arange(300.0)).view(3, 10, 10)
            self.waves[0, 0, 0] = -torch.inf

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[..., :10, :10] + self.waves.exp()).flatten(1)

    one, rounded, other = (computation_of(Waves(f), SIDE, SIDE) for f in (1.0, 1 + 3e-7, 1.001))
    assert one != rounded
    assert not differences(rounded, one)
    assert len(differences(other, one)) == 1


def test_what_an_earlier_pass_left_in_a_module_is_no_part_of_the_function() -> None:
    torch.manual_seed(0)
    encoder = Encoder.from_module(Limited(), dimension=16, image_size=(SIDE, SIDE)).eval()
    before = computation_of(encoder, SIDE, SIDE)
    with torch.no_grad():
        encoder(torch.zeros(1, 3, SIDE, SIDE))
    assert encoder.backbone.looked_up
    assert computation_of(encoder, SIDE, SIDE) == before
