"""Every backbone of docs/reference/backbones.md in its own width and depth: train a step, cut, export."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from benchmarks.backbones import BACKBONES, MULTIPLES, PAGE, row
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.data.glyph_set import fixed_views
from prunnet.data.glyphs import load_glyphs
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.package.metadata import preprocessing_of
from prunnet.pruning.channel import ChannelCut
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.tensors import as_batch
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.step import Classifier, JointStep
from runtime_py.bundle.identity import Identity
from tests.oracles.masking import masked_encoder

SIDE = 64
# BatchNorm divides by the spread of 16 images, which an untrained network hardly tells apart: rounding grows.
ROUNDING = 1e-4
LIGHT = ("resnet18", "mobilenetv2_100", "convnext_atto")
CASES = [
    pytest.param(name, granularity, marks=[] if quick else [pytest.mark.slow], id=f"{name}-{granularity}")
    for name in BACKBONES
    for granularity in ("channel", "weight")
    for quick in [name in LIGHT and granularity == "channel"]
]


def _encoder(name: str) -> Encoder:
    torch.manual_seed(3)
    encoder = Encoder.from_timm(name, dimension=32, image_size=(SIDE, SIDE))
    for module in encoder.modules():
        if isinstance(getattr(module, "gamma", None), nn.Parameter):
            nn.init.uniform_(module.gamma, 0.5, 1.0)  # ConvNeXt's layer scale starts at 1e-6: nothing to see
    return encoder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """uint8 [16, 64, 64, 3], rendered glyphs."""
    return fixed_views(torch.from_numpy(load_glyphs().pictures[::1500][:16]), 5, SIDE)


def _masked(prunable: PrunableEncoder, capacity: float) -> Encoder:
    """The slow reference for channels; for weights one in NumPy: Python takes minutes to sort 20 million numbers."""
    if isinstance(prunable.cutter, ChannelCut):
        return masked_encoder(prunable, capacity)
    encoder = copy.deepcopy(prunable.encoder)
    tensors = encoder.state_dict()
    for name in prunable.cutter.shapes:
        sizes = np.abs(prunable.scores[name.replace(".", "/")].detach().numpy()).reshape(-1)
        keep = max(1, int(capacity * len(sizes) + 1e-6))
        least = np.sort(sizes)[-keep]
        kept = sizes > least
        kept[np.flatnonzero(sizes == least)[: keep - kept.sum()]] = True
        tensors[name].view(-1)[torch.from_numpy(~kept)] = 0
    return encoder


@torch.no_grad()
def _embed(module: Encoder, images: np.ndarray) -> torch.Tensor:
    """Embed with BatchNorm statistics of these images: without, the deep networks embed all images alike."""
    reestimate(module, torch.from_numpy(images))
    return module.eval()(as_batch(images))


@pytest.mark.parametrize(("name", "granularity"), CASES)
def test_a_backbone_trains_is_cut_and_exported(
    name: str, granularity: str, images: np.ndarray, tmp_path: Path
) -> None:
    prunable = PrunableEncoder(_encoder(name), CutRule(granularity))
    before = {n: s.detach().clone() for n, s in prunable.scores.items()}
    joint = JointStep(
        prunable.train(),
        Classifier(32, 4, None),
        MethodSpec(name="prunnet-channel", granularity=granularity, capacities=(0.3,)),
    )
    losses = joint(as_batch(images[:4]), torch.arange(4), (0.3,))
    assert np.isfinite(losses).all() and len(losses) == 2
    assert all(p.grad is not None and p.grad.isfinite().all() for p in joint.parameters)
    torch.optim.SGD(joint.parameters, lr=1e-3).step()
    assert any(not torch.equal(score, before[n]) for n, score in prunable.scores.items())
    dense = _embed(prunable.eval().encoder, images)
    for capacity in (0.2, 0.5):
        module = prunable.at(capacity).extract()
        sliced = _embed(module, images)
        torch.testing.assert_close(sliced, _embed(_masked(prunable, capacity), images), atol=ROUNDING, rtol=0)
        assert (sliced - dense).abs().max() > 1e-2, "the cut changed nothing"
        assert sliced.std(0).max() > 1e-2, "all images alike: equality would prove nothing"
        assert prunable.at(capacity).achieved <= capacity
    identity = Identity(name, "0" * 32, capacity, 32, "0")
    spec = ExportSpec(identity, preprocessing_of(module), "fp32", images)
    artifact = get_exporter("onnx").convert(module, spec, tmp_path)
    session = onnxruntime.InferenceSession(str(artifact.path))
    found = np.concatenate(
        [session.run(None, {"image": as_batch(images[i : i + 1]).numpy()})[0] for i in range(4)]
    )
    np.testing.assert_allclose(found, sliced[:4].numpy(), atol=ROUNDING, rtol=0)
    assert (found * sliced[:4].numpy()).sum(1).min() > 1 - 1e-6


@pytest.mark.parametrize("name", BACKBONES)
def test_less_than_the_smallest_is_an_error_in_both_granularities(name: str) -> None:
    encoder = _encoder(name).eval()
    for granularity in ("channel", "weight"):
        prunable = PrunableEncoder(encoder, CutRule(granularity))
        for multiple in MULTIPLES:
            smallest = prunable.capacities(multiple)[0]
            assert prunable.at(smallest, multiple).achieved <= smallest + 1e-9
            with pytest.raises(EncoderError, match=f"below the smallest subnetwork, {smallest:.4g}"):
                prunable.at(0.9 * smallest, multiple)


def test_a_network_of_few_weights_has_a_larger_smallest_capacity() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    prunable = PrunableEncoder(Encoder.from_module(net, dimension=4, image_size=(8, 8)), CutRule("weight"))
    # 12 and 16 weights, of each of which one stays: 2 of 28.
    assert prunable.capacities()[0] == 0.08
    assert all(prunable.at(capacity).achieved <= capacity for capacity in prunable.capacities())


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_the_page_says_what_the_code_does(name: str) -> None:
    assert row(name) in PAGE.read_text(encoding="utf-8").splitlines()
