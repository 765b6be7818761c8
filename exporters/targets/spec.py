"""What is to be exported, and what came out: the two values around a conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Precision, Preprocessing, TensorInfo
from runtime_py.check.frames import as_frames

if TYPE_CHECKING:
    from prunnet.package.package import EncoderPackage

PIXEL_RANGE = (0.0, 255.0)
UNIT_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class ExportSpec:
    """What an exporter must know besides the module itself.

    Args:
        identity: What is written inside the artifact.
        preprocessing: Input size and the normalisation that the module already contains.
        precision: Number format of the artifact's weights and arithmetic.
        calibration_images: uint8 [C, H, W, 3], of the encoder's size: real images for int8 ranges and the check before.
        float_layers: Layers of a `mixed` artifact that stay in float, by their names in torch.
        frame: (height, width) of the frames that the module takes, pixels; None if it takes the encoder's size.
    """

    identity: Identity
    preprocessing: Preprocessing
    precision: Precision
    calibration_images: NDArray[np.uint8]
    float_layers: tuple[str, ...] = ()
    frame: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the artifact takes, pixels."""
        return self.frame or self.preprocessing.size

    def as_taken(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pictures of the encoder's size as the artifact takes them: uint8 [N, *size, 3]."""
        return images if self.frame is None else as_frames(images, self.frame)

    @classmethod
    def of(
        cls,
        package: EncoderPackage,
        capacity: float,
        precision: Precision,
        frame: tuple[int, int] | None = None,
    ) -> ExportSpec:
        """Return what is to be exported of an encoder package.

        Args:
            package: The encoder.
            capacity: Achieved capacity in (0, 1].
            precision: Number format.
            frame: As above.
        """
        version = metadata.version("prunnet")
        dimension = package.metadata.dimension
        identity = Identity(package.name, package.space_id, capacity, dimension, version)
        return cls(identity, package.preprocessing, precision, package.probes.calibration, frame=frame)

    def pixels(self, layout: str, name: str = "image") -> TensorInfo:
        """Return the artifact's input: float32 RGB pixels in 0..255, batch 1.

        Args:
            layout: "NCHW", "NHWC" or "image" (Core ML's image input; its shape is written as NHWC).
            name: Name of the input inside the artifact.
        """
        height, width = self.size
        shape = (1, 3, height, width) if layout == "NCHW" else (1, height, width, 3)
        return TensorInfo.model_validate(
            {
                "name": name,
                "shape": shape,
                "layout": layout,
                "dtype": "uint8" if layout == "image" else "float32",
                "value_range": PIXEL_RANGE,
            }
        )

    def embedding(self, name: str = "embedding") -> TensorInfo:
        """Return the artifact's output: unit-length float32 [1, D]."""
        return TensorInfo(
            name=name,
            shape=(1, self.identity.dimension),
            layout="NC",
            dtype="float32",
            value_range=UNIT_RANGE,
        )


@dataclass(frozen=True)
class Artifact:
    """A converted module in a scratch folder; nothing of it is a bundle yet.

    Args:
        path: File, or folder for a Core ML package.
        input: The tensor that the artifact takes.
        output: The tensor that it returns.
        tools: Distribution name -> version of every package that made it.
        notes: What the user should know though it succeeded, e.g. ops outside the delegate.
        twin: The same module in the target's float precision, of an artifact that is quantised.
        float_layers: Layers that stay in float, of a `mixed` one.
    """

    path: Path
    input: TensorInfo
    output: TensorInfo
    tools: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    twin: Twin | None = None
    float_layers: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on disk, all files of a folder together; FileNotFoundError once it is gone."""
        if not self.path.is_dir():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


@dataclass(frozen=True)
class Twin:
    """The float artifact of the module that a quantised artifact was made of: what errs here is the conversion.

    Args:
        artifact: Converted by the same exporter.
        precision: Its number format.
    """

    artifact: Artifact
    precision: Precision
