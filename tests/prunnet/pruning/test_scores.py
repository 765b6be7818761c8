"""Scores from the weights, where what is read has few dimensions or few entries."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from benchmarks.own_modules import layer
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule


def _prunable(net: nn.Module, granularity: str) -> PrunableEncoder:
    encoder = Encoder.from_module(net, dimension=8, image_size=(16, 16)).eval()
    return PrunableEncoder(encoder, CutRule(granularity, 1))


class _Pooled(nn.Module):
    """Attention pooling by a learned query vector, which alone reads the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.key = layer(3, 16, 3, 2), nn.Linear(16, 12)
        self.query = nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        share = (self.key(tokens) @ self.query).softmax(1)
        return (share[:, :, None] * tokens).sum(1)


def test_a_vector_is_read_entry_by_entry() -> None:
    torch.manual_seed(0)
    prunable = _prunable(_Pooled(), "channel")
    prunable.reset_scores("magnitude")
    query = prunable.encoder.backbone.query.detach()
    score = prunable.ranking["backbone/key"].detach()
    torch.testing.assert_close(score, query.abs() / query.abs().mean())
    gradient = torch.randn(12)
    found = prunable.cutter.score_gradients({"backbone.query": query}, {"backbone.query": gradient})
    assert torch.equal(found["backbone/key"], gradient * query)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_parametrized_convolutions_are_ranked_and_cut(norm, granularity: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        norm(nn.Conv2d(3, 16, 3, 2)), nn.ReLU(), norm(nn.Conv2d(16, 16, 3)), nn.ReLU(), nn.Conv2d(16, 8, 1)
    )
    prunable = _prunable(net, granularity)
    prunable.reset_scores("magnitude")
    assert all(score.isfinite().all() and score.unique().numel() > 1 for score in prunable.ranking.values())
    normal, named = torch.randn(8, 3, 16, 16), dict(prunable.encoder.named_parameters())
    with torch.no_grad():
        trained = prunable.features_of(0.5, normal, named)
        extracted = prunable.at(0.5).extract().train().features_of(normal)
    torch.testing.assert_close(trained, extracted, atol=1e-4, rtol=1e-4)


def test_a_layer_of_one_weight_has_a_score_and_leaves_the_others_theirs() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 1, 3, 2), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 8, 3))
    prunable = _prunable(net, "weight")
    prunable.reset_scores("magnitude")
    assert prunable.ranking["backbone/1/weight"].tolist() == [[[[0.0]]]]
    for name in ("0", "2"):
        w = prunable.encoder.backbone.get_submodule(name).weight.detach()
        wanted = (w - w.mean()) * (2 / w[0].numel()) ** 0.5 / w.std()
        assert torch.equal(prunable.ranking[f"backbone/{name}/weight"], wanted)
    assert all(mask.any() for mask in prunable.at(prunable.capacities()[0]).kept())


class _OwnNorm(nn.Module):
    """Divides by a running size in eval mode, by that of the batch in training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("size", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x / self.size[:, None, None]
        found = x.square().mean((0, 2, 3)).sqrt()
        self.size.lerp_(found.detach(), 0.1)
        return x / found[:, None, None]


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_a_training_pass_of_a_subnetwork_leaves_the_dense_encoders_buffers(granularity: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(layer(3, 16), _OwnNorm(16), layer(16, 16), nn.Conv2d(16, 6, 1), _OwnNorm(6))
    net[3].requires_grad_(False)  # full width, so nothing of the second norm is cut
    prunable = _prunable(net, granularity).train()
    before = copy.deepcopy(dict(prunable.encoder.named_buffers()))
    prunable.features_of(0.5, torch.randn(8, 3, 16, 16), dict(prunable.encoder.named_parameters()))
    for name, buffer in prunable.encoder.named_buffers():
        assert torch.equal(buffer, before[name]), name
