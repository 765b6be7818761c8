"""An `.mlpackage` on disk: which file is the model, what it says about itself, where its weights are."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from runtime_py.errors import BundleError
from runtime_py.mil_executor.blobs import WeightFile
from runtime_py.mil_executor.schema import parse_model

_MODEL_PATH = "@model_path"


class Package:
    """A read package.

    Args:
        path: The `.mlpackage` folder.

    Raises:
        BundleError: A file is missing or malformed, or the model is not an ML Program.
        MissingExtraError: coremltools, which brings the message definitions, is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model_path = _model_path(path)
        try:
            self.model = parse_model(self.model_path.read_bytes())
        except (OSError, ValueError) as error:
            raise BundleError(self.model_path, f"is not a Core ML model ({error})") from error
        kind = self.model.WhichOneof("Type")
        if kind != "mlProgram":
            raise BundleError(
                self.model_path,
                f"holds {kind or 'no model'}, not an ML Program",
                "convert with minimum_deployment_target iOS15 or later",
            )
        self._weights: dict[str, WeightFile] = {}

    @property
    def metadata(self) -> dict[str, str]:
        """The user-defined metadata."""
        return dict(self.model.description.metadata.userDefined)

    @property
    def image_inputs(self) -> dict[str, str]:
        """Name of each image input -> its colour space: "RGB", "BGR", "GRAYSCALE" or another."""
        found: dict[str, str] = {}
        for feature in self.model.description.input:
            if feature.type.WhichOneof("Type") == "imageType":
                image = feature.type.imageType
                spaces = image.DESCRIPTOR.enum_types_by_name["ColorSpace"].values_by_number
                known = spaces.get(image.colorSpace)
                found[feature.name] = known.name if known else f"unknown ({image.colorSpace})"
        return found

    def function(self) -> Any:
        """Return the message of the function that Core ML runs by default."""
        functions = self.model.mlProgram.functions
        name = self.model.description.defaultFunctionName or "main"
        if name not in functions:
            raise BundleError(
                self.model_path, f"has no function {name!r}; it has {', '.join(sorted(functions)) or 'none'}"
            )
        return functions[name]

    def weights(self, file_name: str) -> WeightFile:
        """Open a weight file by the name that the program gives it, e.g. "@model_path/weights/weight.bin"."""
        if file_name not in self._weights:
            prefix, _, rest = file_name.partition("/")
            if prefix != _MODEL_PATH:
                raise BundleError(self.model_path, f"refers to weights outside the package: {file_name!r}")
            self._weights[file_name] = WeightFile(_inside(self.model_path, self.model_path.parent, rest))
        return self._weights[file_name]


def _model_path(package: Path) -> Path:
    """Return the model that Manifest.json names as the root."""
    manifest = package / "Manifest.json"
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        entry = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
    except OSError as error:
        raise BundleError(manifest, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BundleError(manifest, f"is not JSON ({error})") from error
    except (KeyError, TypeError) as error:
        raise BundleError(manifest, f"does not name the root model (missing {error})") from error
    if not isinstance(entry, str):
        raise BundleError(manifest, f"names the root model by {entry!r}, which is not a path")
    model = _inside(manifest, package / "Data", entry)
    if not model.is_file():
        raise BundleError(model, f"is missing, though {manifest.name} names it")
    return model


def _inside(file: Path, folder: Path, relative: str) -> Path:
    """Join a path that a file states to a folder; BundleError if it would leave the folder."""
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise BundleError(file, f"refers to a path outside the package: {relative!r}")
    return folder / parts
