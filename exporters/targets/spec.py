"""What is to be exported, and what came out: the two values around a conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Precision, Preprocessing, TensorInfo

PIXEL_RANGE = (0.0, 255.0)
UNIT_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class ExportSpec:
    """What an exporter must know besides the module itself.

    Args:
        name: Name of the encoder, e.g. "glyphs".
        space_id: Fingerprint of the embedding space.
        capacity: Achieved capacity in (0, 1].
        dimension: D, length of the embedding.
        version: Version of prunnet that exports.
        preprocessing: Input size and the normalisation that the module already contains.
        precision: Number format of the artifact's weights and arithmetic.
        calibration_images: uint8 [C, H, W, 3], real images for int8 ranges and the check before.
    """

    name: str
    space_id: str
    capacity: float
    dimension: int
    version: str
    preprocessing: Preprocessing
    precision: Precision
    calibration_images: NDArray[np.uint8]

    @property
    def identity(self) -> Identity:
        """What is written inside the artifact."""
        return Identity(self.name, self.space_id, self.capacity, self.dimension, self.version)

    def pixels(self, layout: str, name: str = "image") -> TensorInfo:
        """Return the artifact's input: float32 RGB pixels in 0..255, batch 1.

        Args:
            layout: "NCHW", "NHWC" or "image" (Core ML's image input; its shape is written as NHWC).
            name: Name of the input inside the artifact.
        """
        height, width = self.preprocessing.height, self.preprocessing.width
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
            name=name, shape=(1, self.dimension), layout="NC", dtype="float32", value_range=UNIT_RANGE
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
    """

    path: Path
    input: TensorInfo
    output: TensorInfo
    tools: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on disk, all files of a folder together."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
