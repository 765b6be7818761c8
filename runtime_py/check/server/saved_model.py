"""A server's dense encoder as a TensorFlow SavedModel; it says its space in `assets.extra/prunnet.json`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from runtime_py.arrays import Floats, Pixels
from runtime_py.check.server.pixels import arrange, layout_of
from runtime_py.disk.files import plain_name
from runtime_py.errors import BundleError

SIGNATURE = "serving_default"
SPACE_FILE = Path("assets.extra") / "prunnet.json"
"""JSON object whose key `space_id` names the space; TensorFlow keeps `assets.extra` for such additions."""


class SavedModelServer:
    """A SavedModel whose signature `serving_default` maps one image (raw RGB 0..255) to one embedding.

    Args:
        path: The SavedModel's folder.

    Raises:
        BundleError: The folder is no such model.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._space_id = _read_space_id(path / SPACE_FILE)
        try:
            # The signature dies with the object that it was loaded with, so that one is kept too.
            with plain_name(path) as name:
                self._model = tf.saved_model.load(str(name))
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise BundleError(
                path, f"TensorFlow does not open it ({error})", "give a SavedModel folder"
            ) from error
        if SIGNATURE not in self._model.signatures:
            raise BundleError(path, f"has no signature {SIGNATURE!r}", "save it with that signature")
        self._run = self._model.signatures[SIGNATURE]
        inputs, outputs = self._run.structured_input_signature[1], self._run.structured_outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(path, "has not one input and one output", "give the dense encoder alone")
        ((self._feed, spec),) = inputs.items()
        (self._fetch,) = outputs
        if spec.dtype != tf.float32 or spec.shape.rank != 4:
            raise BundleError(
                path, f"its input is {spec.dtype.name} {spec.shape}", "give a float32 image input"
            )
        self._shape = tuple(spec.shape.as_list())
        self._layout = layout_of(path, self._shape)

    @property
    def space_id(self) -> str | None:
        """What `SPACE_FILE` says; None if there is no such file."""
        return self._space_id

    def embed(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        rows = []
        for image in images:
            batch = arrange(self._path, image, self._layout, self._shape)
            rows.append(self._run(**{self._feed: tf.constant(batch)})[self._fetch].numpy())
        return np.concatenate(rows).astype(np.float32)


def _read_space_id(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_bytes())["space_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(path, "is not a JSON object with the key space_id", "write it again") from error
