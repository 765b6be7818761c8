"""Backbones of one's own that are hard to cut: the slice is the network with zeros, or the width stays and says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.own_modules import KINDS, REFUSED, layer
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import space_id
from prunnet.errors import EncoderError
from prunnet.package.load import load_encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.step import Classifier, JointStep
from tests.oracles.masking import masked_encoder

CUT = [kind for kind in KINDS if kind not in REFUSED]
WHOLE = {
    "ChannelShuffle": ("grouped.0", "its slice is not the network with zeros"),
    "EfficientAttention": ("stem.0", "mixed along another dimension by convolution in backbone.along"),
    "Constant": ("stem.0", "meets something of full width in add"),
    "WeightNorm": ("stem.0", "weights that are normalised by"),
    "UnitLength": ("stem.0", "all channels are mixed by linalg_vector_norm"),
    "RegionalMaxima": ("end.0", "all channels are mixed by linalg_vector_norm"),
    "SpatialAttention": ("stem.0", "all channels are mixed by"),
    "HalfByNumber": ("stem.0", "its forward fixes the number of channels"),
    "ZeroPadding": (
        "down.0",
        "padded with constants by constant_pad_nd in backbone (16 of its 32 channels)",
    ),
    "WidthInTheCode": ("stem.0", "its forward fixes the number of channels"),
    "WrittenInPlace": ("stem.0", "its forward fixes the number of channels"),
    "FrozenStem": ("stem.0", "frozen"),
    "TorchAttention": ("stem.0", "its forward fixes the number of channels"),
}
"""What keeps its width, and why; in all other kinds nothing does but the embedding."""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3)).astype(np.uint8)


def _encoder(net: nn.Module, images: np.ndarray) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder.from_module(net, dimension=16, image_size=(32, 32))
    reestimate(encoder, torch.from_numpy(images))
    return encoder.eval()


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("kind", CUT)
def test_the_slice_is_the_network_with_zeros(kind: str, images: np.ndarray) -> None:
    encoder, pixels = _encoder(KINDS[kind](), images), _pixels(images)
    prunable = PrunableEncoder(encoder, CutRule("channel", 4)).eval()
    prunable.reset_scores("random")
    with torch.no_grad():
        assert torch.equal(prunable.at(1.0).extract()(pixels), encoder(pixels))
        for capacity in (0.4, 0.7):
            capacity = max(capacity, prunable.capacities()[0])
            sliced = prunable.at(capacity).extract()(pixels)
            masked = masked_encoder(prunable, capacity).eval()(pixels)
            torch.testing.assert_close(sliced, masked, atol=2e-6, rtol=0)
            assert (sliced - encoder(pixels)).abs().max() > 1e-3, "the cut changed nothing"


@pytest.mark.parametrize("kind", CUT)
def test_what_stays_says_why(kind: str, images: np.ndarray) -> None:
    fixed = dict(PrunableEncoder(_encoder(KINDS[kind](), images), CutRule("channel")).fixed)
    assert fixed.pop("head.project") == "the embedding's dimension is the gallery's"
    if kind in WHOLE:
        module, why = WHOLE[kind]
        assert why in fixed.pop(f"backbone.{module}")
    others = {"backbone.attention"} if kind == "TorchAttention" else set()
    assert set(fixed) == others


@pytest.mark.parametrize("kind", CUT)
def test_one_step_trains(kind: str, images: np.ndarray) -> None:
    prunable = PrunableEncoder(_encoder(KINDS[kind](), images), CutRule("channel", 4))
    capacity = max(0.5, prunable.capacities()[0])
    spec = MethodSpec(capacities=(capacity,))
    joint = JointStep(prunable.train(), Classifier(16, 4, None), spec)
    resting = {n: p.detach().clone() for n, p in prunable.encoder.named_parameters() if not p.requires_grad}
    losses = joint(_pixels(images)[:8], torch.arange(8) % 4, (capacity,))
    assert losses.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in joint.parameters)
    torch.optim.SGD(joint.parameters, lr=0.1).step()
    assert all(torch.equal(p, resting[n]) for n, p in prunable.encoder.named_parameters() if n in resting)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_an_encoder_is_loaded_without_gradients(context: type) -> None:
    wanted = load_encoder("glyphs").prunable.cutter.groups
    with context():
        found = load_encoder("glyphs").prunable.cutter.groups
    assert [g.name for g in found] == [g.name for g in wanted]


def test_what_is_frozen_is_fixed_and_a_wholly_frozen_backbone_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 48, 3), nn.ReLU(), nn.Conv2d(48, 64, 3))
    net[:3].requires_grad_(False)
    prunable = PrunableEncoder(Encoder.from_module(net, dimension=16, image_size=(32, 32)).eval())
    assert [g.name for g in prunable.cutter.groups] == ["backbone.4"]
    assert prunable.fixed["backbone.0"] == prunable.fixed["backbone.2"]
    assert prunable.fixed["backbone.0"].startswith("frozen")
    net.requires_grad_(False)
    with pytest.raises(EncoderError, match=r"no channel .* backbone.0 \(frozen"):
        PrunableEncoder(Encoder.from_module(net, dimension=16, image_size=(32, 32)).eval())


def test_scores_of_a_network_that_was_frozen_fit_one_that_is_not(images: np.ndarray) -> None:
    net = KINDS["FrozenStem"]()
    trained = PrunableEncoder(_encoder(net, images), CutRule("channel"))
    net.requires_grad_(True)
    free = PrunableEncoder(_encoder(net, images), CutRule("channel"))
    assert len(free.cutter.groups) > len(trained.cutter.groups)
    free.load_state_dict(trained.state_dict())
    assert [g.name for g in free.cutter.groups] == [g.name for g in trained.cutter.groups]
    assert free.capacities() == trained.capacities()
    pixels = _pixels(images)
    with torch.no_grad():
        assert torch.equal(free.eval().at(0.5).extract()(pixels), trained.eval().at(0.5).extract()(pixels))


@pytest.mark.parametrize("kind", ["TwoNames", "TiedWeights", "WeightNorm", "UsedTwice"])
def test_single_weights_of_shared_and_computed_tensors_are_masked_alike(
    kind: str, images: np.ndarray
) -> None:
    prunable = PrunableEncoder(_encoder(KINDS[kind](), images), CutRule("weight")).eval()
    prunable.reset_scores("random")
    module, pixels = prunable.at(0.5).extract(), _pixels(images)
    with torch.no_grad():
        torch.testing.assert_close(module(pixels), masked_encoder(prunable, 0.5)(pixels), atol=2e-6, rtol=0)
        if kind != "WeightNorm":
            tensors = module.state_dict()
            for name, count in ((n, t.numel()) for n, t in tensors.items() if n in prunable.cutter.shapes):
                assert abs(int((tensors[name] == 0).sum()) - count // 2) <= 1
        else:
            assert "computed" in prunable.fixed["backbone.normed"]
        if kind == "TiedWeights":
            assert torch.equal(module.backbone.a.weight, module.backbone.b.weight)


@pytest.mark.parametrize("kind", ["TwoNames", "TiedWeights"])
def test_shared_tensors_are_stored_under_each_name(kind: str, images: np.ndarray, tmp_path: Path) -> None:
    prunable = PrunableEncoder(_encoder(KINDS[kind](), images), CutRule("channel"))
    save_file({n: t.contiguous() for n, t in prunable.state_dict().items()}, tmp_path / "model.safetensors")
    again = PrunableEncoder(_encoder(KINDS[kind](), images), CutRule("channel"))
    nn.init.zeros_(again.encoder.backbone.a.weight)
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(again.encoder.backbone.b.weight, prunable.encoder.backbone.a.weight)
    assert again.encoder.backbone.b.weight is again.encoder.backbone.a.weight


class _Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end = layer(3, 8), layer(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.stem(x) + torch.rand(1))
        return out


class _Fails(nn.Module):
    """Runs one image, but not two."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layer(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise LookupError("one at a time")
        out: Tensor = self.stem(x)
        return out


def test_a_forward_that_cannot_be_followed_is_refused_by_name() -> None:
    with pytest.raises(EncoderError, match="_Random cannot be cut: a copy of it does not compute"):
        PrunableEncoder(Encoder.from_module(_Random(), dimension=4, image_size=(8, 8)))
    with pytest.raises(EncoderError, match=r"the module backbone \(_Fails\) does not run .* one at a time"):
        PrunableEncoder(Encoder.from_module(_Fails(), dimension=4, image_size=(8, 8)))


def test_what_is_loaded_in_inference_mode_is_cut_and_trained_outside() -> None:
    with torch.inference_mode():
        package = load_encoder("glyphs")
    package.prunable.reset_scores("random")
    pixels = torch.zeros(2, *package.prunable.input_shape)
    assert package.prunable.at(0.5).extract().eval()(pixels).shape == (2, 256)
    parameters = dict(package.prunable.encoder.named_parameters())
    package.prunable.features_at(0.5, pixels + torch.rand_like(pixels), parameters).sum().backward()
    assert all(p.grad is not None for p in package.prunable.encoder.head.parameters())


def test_a_module_that_was_built_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))
    with pytest.raises(
        EncoderError, match=r"inference_mode, so 0\.weight can never be changed; build it outside"
    ):
        Encoder.from_module(net, dimension=16, image_size=(32, 32))


def test_a_buffer_in_bfloat16_has_part_in_the_space_id(images: np.ndarray) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.register_buffer("scale", torch.ones(16, 1, 1, dtype=torch.bfloat16))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.scale

    encoder = _encoder(Scaled(), images)
    before = space_id(encoder)
    encoder.backbone.scale[0] = 2  # type: ignore[index]
    assert space_id(encoder) != before
