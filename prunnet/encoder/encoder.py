"""The encoder: raw RGB pixels in, embedding out. Normalisation at both ends is part of it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunnet.encoder.admission import copied
from prunnet.encoder.allocation import MOST_ELEMENTS, AllocationLimit
from prunnet.encoder.options import check_for
from prunnet.errors import EncoderError, PrunnetError, UnknownNameError
from prunnet.torch_fixes import torchvision as _torchvision
from prunnet.torch_fixes.compiler import compiler_put_off
from prunnet.torch_fixes.convolution import guard_convolutions
from runtime_py.framing import Framing, Resize

guard_convolutions()

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class PixelNorm(nn.Module):
    """Normalise raw RGB pixels per channel.

    Args:
        mean: Mean of each channel on the 0..255 scale.
        std: Standard deviation of each channel on the 0..255 scale, > 0.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(
        self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("inverse_std", 1 / torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float32 [N, 3, H, W] in 0..255 to zero mean and unit variance."""
        return (pixels - self.mean) * self.inverse_std


class Head(nn.Module):
    """Embedding head: average pool (for feature maps), Linear, BatchNorm1d.

    Args:
        features: Channels of the backbone.
        dimension: Dimension D of the embedding.
    """

    def __init__(self, features: int, dimension: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, dimension, bias=False)
        self.norm = nn.BatchNorm1d(dimension)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C, H, W] or [N, C] to the embedding before its normalisation, [N, D]."""
        if features.ndim == 4:
            features = features.mean((2, 3))
        out: Tensor = self.norm(self.project(features))
        return out


class Encoder(nn.Module):
    """Backbone and embedding head.

    Args:
        backbone: Maps normalised float32 [N, 3, H, W] to [N, C] or [N, C, h, w].
        features: C.
        dimension: Dimension D of the embedding.
        image_size: (height, width) of the input, pixels.
        mean: Per-channel mean of the pixels, 0..255 scale.
        std: Per-channel standard deviation, 0..255 scale.
        resize: How pictures are brought to that size; part of the embedding space.
    """

    channels_last = True
    """Whether the backbone runs on maps that lie in memory channels-last; if not, it is given contiguous ones."""

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        dimension: int = 256,
        image_size: tuple[int, int] = (224, 224),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        resize: Resize | None = None,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.resize = resize or Resize()
        self.pixels = PixelNorm(mean, std)
        self.backbone = backbone
        self.head = Head(features, dimension)

    @property
    def dimension(self) -> int:
        """Dimension D of the embedding."""
        return self.head.norm.num_features

    @property
    def framing(self) -> Framing:
        """What a picture is brought to."""
        return Framing(height=self.image_size[0], width=self.image_size[1], resize=self.resize)

    def features(self, pixels: Tensor) -> Tensor:
        """Return the embedding before its normalisation, float32 [N, D]: what the classifier of the training sees."""
        return self.features_of(self.pixels(pixels))

    def features_of(self, normal: Tensor) -> Tensor:
        """Return the same of pixels that are normalised already, float32 [N, 3, H, W]."""
        out: Tensor = self.head(self.backbone(normal if self.channels_last else normal.contiguous()))
        return out

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed.

        Args:
            pixels: float32 [N, 3, H, W], raw RGB in 0..255.

        Returns:
            float32 [N, D], unit length.
        """
        return F.normalize(self.features(pixels), dim=1)

    @classmethod
    @torch.inference_mode(False)
    def from_timm(
        cls,
        name: str,
        *,
        dimension: int = 256,
        image_size: tuple[int, int] | None = None,
        pretrained: bool = False,
        options: dict[str, Any] | None = None,
        resize: Resize | None = None,
        most: int = MOST_ELEMENTS,
    ) -> Encoder:
        """Build an encoder on a backbone of timm.

        Args:
            name: A timm model name, e.g. "resnet18".
            dimension: Dimension D of the embedding.
            image_size: (height, width), pixels; None takes the backbone's own.
            pretrained: Load timm's weights (needs them on this machine or a network).
            options: Further keyword arguments of `timm.create_model` (`prunnet.encoder.options` says which).
            resize: How pictures are brought to that size; None is Pillow's bilinear, stretched.
            most: Values that the network may hold; one that would be larger is refused before it takes memory.

        Raises:
            UnknownNameError: timm has no such model.
            EncoderError: The options do not fit the model, or its pretrained weights are nowhere.
        """
        _torchvision.ensure()
        import timm

        if not timm.is_model(name):
            raise UnknownNameError("timm backbone", name, timm.list_models())
        keywords = dict(options or {})
        check_for(name, keywords)
        try:
            config = timm.get_pretrained_cfg(name)
        except RuntimeError as error:  # an unknown tag after the dot
            raise EncoderError(f"backbone {name!r}: {error}; see timm.list_pretrained()") from error
        size = image_size or (tuple(config.input_size[1:]) if config else (224, 224))
        if config and config.fixed_input_size:
            keywords.setdefault("img_size", size)
        limit = (
            nullcontext() if pretrained else AllocationLimit(f"the backbone {name!r} with {keywords}", most)
        )
        try:
            with compiler_put_off(), limit:
                backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, **keywords)
        except PrunnetError:
            raise
        except OSError as error:  # the hub's errors are of this kind; nothing else here reads or connects
            raise EncoderError(
                f"the pretrained weights of {name!r} are not on this machine and cannot be fetched: {error}; "
                "connect once, or train from scratch (encoder: pretrained: false)"
            ) from error
        except ModuleNotFoundError:  # a package that is not installed; the commands name its extra
            raise
        except Exception as error:  # a constructor that is handed odd options fails in any way it likes
            raise EncoderError(
                f"backbone {name!r} cannot be built with options {keywords}: {type(error).__name__}: {error}; "
                "see timm.create_model"
            ) from error
        mean = tuple(255 * m for m in config.mean) if config else IMAGENET_MEAN
        std = tuple(255 * s for s in config.std) if config else IMAGENET_STD
        _wake_residual_branches(backbone)
        return cls.from_module(
            backbone, dimension=dimension, image_size=(size[0], size[1]), mean=mean, std=std, resize=resize
        )

    @classmethod
    def from_module(
        cls,
        backbone: nn.Module,
        *,
        dimension: int = 256,
        image_size: tuple[int, int] = (224, 224),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        resize: Resize | None = None,
    ) -> Encoder:
        """Build an encoder on the user's own backbone, which maps [N, 3, H, W] to [N, C] or [N, C, h, w].

        `resize` states how your pictures are brought to the input's size; None is Pillow's bilinear, stretched.

        Raises:
            EncoderError: The backbone cannot be copied, does not run on such an input, or returns something else.
        """
        probe = copied(backbone)
        try:
            with torch.no_grad():
                out = probe(torch.zeros(1, 3, *image_size))
        except ModuleNotFoundError:  # a package that is not installed; the commands name its extra
            raise
        except Exception as error:
            raise EncoderError(
                f"the backbone {type(backbone).__name__} does not run on float32 [1, 3, {image_size[0]}, "
                f"{image_size[1]}]: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(out, Tensor) or out.ndim not in (2, 4):
            shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise EncoderError(
                f"the backbone {type(backbone).__name__} returns {shape}; it must return [N, C] or [N, C, h, w]"
            )
        encoder = cls(backbone, out.shape[1], dimension, image_size, mean, std, resize)
        encoder.channels_last = _runs_channels_last(probe, image_size)
        return encoder


def _runs_channels_last(probe: nn.Module, image_size: tuple[int, int]) -> bool:
    """Try a backbone that runs on one image with weights and image channels-last; `view` may not."""
    pixels = torch.zeros(1, 3, *image_size).contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            probe.to(memory_format=torch.channels_last)(pixels)  # type: ignore[call-overload]
    except Exception:  # the same ran on contiguous maps: whatever it says, it needs those
        return False
    return True


def _wake_residual_branches(backbone: nn.Module) -> None:
    """Undo timm's zero initialisation of each block's last BatchNorm.

    A branch that is exactly zero has no gradient for its scores and is folded away by converters.
    """
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d) and module.weight is not None and not module.weight.any():
            nn.init.constant_(module.weight, 0.2)
