"""What a bundle can be checked against: whatever embeds or holds the server's index."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from runtime_py.arrays import Floats, Pixels
from runtime_py.check.server.gallery import StoredGallery
from runtime_py.errors import BundleError, MissingExtraError

ENTRY_POINTS = "prunnet.servers"
"""Group of entry points; "encoder-package" opens an encoder package, which needs torch and so is not ours."""

KINDS = (
    "an encoder package (or the built-in one's name), an ONNX model (.onnx), a TensorFlow SavedModel folder, "
    "or a stored gallery (.npz)"
)


@runtime_checkable
class ServerModel(Protocol):
    """A model that embeds the server's gallery."""

    @property
    def space_id(self) -> str | None:
        """The space that it embeds in; None if it does not say."""

    def embed(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3]; returns float32 [N, D]."""


def open_server(path: str | Path) -> ServerModel | StoredGallery:
    """Open a server by what lies at `path`.

    Args:
        path: One of `KINDS`.

    Raises:
        BundleError: Nothing of that kind is there, or it does not open.
        MissingExtraError: The package that opens it is not installed.
    """
    server = Path(path)
    if server.suffix == ".npz" and server.is_file():
        return StoredGallery.load(server)
    if server.suffix == ".onnx" and server.is_file():
        return _open_onnx(server)
    if (server / "saved_model.pb").is_file():
        return _open_saved_model(server)
    is_name = not server.exists() and server.name == str(path) and not server.suffix
    if is_name or (server / "encoder.json").is_file():
        return _open_package(server)
    problem = "is not a server" if server.exists() else "does not exist"
    inside = server / "encoder"
    hint = f"did you mean {inside}? Give" if (inside / "encoder.json").is_file() else "give"
    raise BundleError(server, problem, f"{hint} {KINDS}")


def _open_onnx(path: Path) -> ServerModel:
    try:
        from runtime_py.check.server.onnx import OnnxServer
    except ImportError as error:
        raise MissingExtraError(
            error.name or "onnxruntime", "runtime-onnx", f"server {path}", error
        ) from error
    return OnnxServer(path)


def _open_saved_model(path: Path) -> ServerModel:
    try:
        from runtime_py.check.server.saved_model import SavedModelServer
    except ImportError as error:
        raise MissingExtraError(error.name or "tensorflow", "tensorflow", f"server {path}", error) from error
    return SavedModelServer(path)


def _open_package(path: Path) -> ServerModel:
    for entry in entry_points(group=ENTRY_POINTS, name="encoder-package"):
        try:
            server = entry.load()(path)
        except MissingExtraError:
            raise
        except ImportError as error:
            raise MissingExtraError(error.name or "torch", "train", f"server {path}", error) from error
        if not isinstance(server, ServerModel):
            raise TypeError(f"entry point {entry.value} returned {type(server).__name__}, not a ServerModel")
        return server
    raise MissingExtraError("prunnet", "train", f"server {path}")
