"""Four families of networks, with weights that no converter folds away, from raw pixels to a unit length."""

import torch
from torch import nn

from prunnet.torch_fixes.torchvision import ensure
from tests.exporters.nets import MEAN, STD

SIDE = 64
DIMENSION = 32
FAMILIES = {
    "resnet18": {"channels": (16, 32, 64, 128)},
    "mobilenetv2_100": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {"img_size": SIDE},
}


class Encoder(nn.Module):
    """float32 [N, 3, 64, 64] in 0..255 -> unit-length float32 [N, 32]."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.backbone((image - self.mean) / self.std), dim=1)


def build(name: str) -> Encoder:
    """Return an encoder with random weights and BatchNorm statistics, in eval mode.

    Statistics of the images themselves would make a random network chaotic: it would subtract what all images
    share and multiply the rest, rounding included.
    """
    ensure()
    import timm

    torch.manual_seed(0)
    encoder = Encoder(timm.create_model(name, num_classes=DIMENSION, **FAMILIES[name]))
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # timm zeroes the last one of each block, and a converter then drops the block.
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
        if getattr(layer, "gamma", None) is not None:
            # ConvNeXt's layer scale of 1e-6 would hide its blocks.
            nn.init.uniform_(layer.gamma, 0.1, 0.5)
    return encoder.eval()
