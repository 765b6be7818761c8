"""A server's dense encoder as an ONNX model; it says its space in `metadata_props`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.onnx import open_session
from runtime_py.bundle.identity import SPACE_KEY
from runtime_py.check.server.pixels import arrange, layout_of
from runtime_py.errors import BundleError


class OnnxServer:
    """One image input (raw RGB 0..255, float32, NCHW or NHWC) and one embedding output.

    Args:
        path: The `.onnx` file.

    Raises:
        BundleError: The file is no such model.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session = open_session(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            raise BundleError(
                path, "has not one float32 input and one output", "give the dense encoder alone"
            )
        self._name, self._shape = inputs[0].name, tuple(inputs[0].shape)
        self._layout = layout_of(path, self._shape)

    @property
    def space_id(self) -> str | None:
        """The entry `SPACE_KEY` of `metadata_props`, if there is one."""
        stated = self._session.get_modelmeta().custom_metadata_map.get(SPACE_KEY)
        return None if stated is None else str(stated)

    def embed(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        rows = [
            self._session.run(None, {self._name: arrange(self._path, image, self._layout, self._shape)})[0]
            for image in images
        ]
        return np.concatenate(rows).astype(np.float32)
