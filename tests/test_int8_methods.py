"""The methods that were tried for int8 do what they are called: otherwise the table of them would mislead."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.int8_methods import Corrected, Means, equalised, least_error, percentile
from exporters.targets.sensitivity import RoundedNetwork, extremes
from tests.exporters.nets import glyph_images


class Plain(nn.Module):
    """Two convolutions with BatchNorm and ReLU between them; one channel a thousand times the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3)
        with torch.no_grad():
            self.norm.weight[0] *= 1000
            self.norm.bias[0] *= 1000
            self.second.weight[:, 0] /= 1000
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.second(torch.relu(self.norm(self.first(image / 255))))
        return nn.functional.normalize(maps.mean((2, 3)), dim=1)


IMAGES = glyph_images(24)
EXAMPLE = torch.from_numpy(IMAGES[:1]).permute(0, 3, 1, 2).float()


def test_equalisation_computes_the_same_and_undoes_an_outlier() -> None:
    module = Plain()
    even, pairs = equalised(module, EXAMPLE)
    assert pairs == 1
    torch.testing.assert_close(even(EXAMPLE), module(EXAMPLE), rtol=1e-4, atol=1e-5)
    before, after = (_distance(RoundedNetwork(each, IMAGES, IMAGES[:0])) for each in (module, even))
    assert after < before / 10


def test_bias_correction_gives_each_channel_its_mean_back() -> None:
    network = RoundedNetwork(Plain(), IMAGES, IMAGES[:0])
    means = Means(network, len(IMAGES))
    network.execute(means)
    corrected = network.execute(Corrected(network, means.means, len(IMAGES)))
    exact, plain = network.run(()), network.run(network.layers)
    assert (corrected - exact).mean(0).norm() < 0.5 * (plain - exact).mean(0).norm()


def test_ranges_leave_out_what_they_say() -> None:
    values = torch.linspace(0, 1, 1001)
    assert np.allclose(percentile(0.9)(values - 0.5), (-0.45, 0.45))
    tailed = torch.cat([values, torch.tensor([3.0])])
    assert extremes(tailed) == (0.0, 3.0)
    assert least_error(torch.cat([values.repeat(100), torch.tensor([3.0])]))[1] < 3.0


def _distance(network: RoundedNetwork) -> float:
    exact, found = network.run(()).double(), network.run(network.layers).double()
    return float((1 - (exact * found).sum(1)).mean())
