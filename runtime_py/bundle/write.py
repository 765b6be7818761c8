"""Writes a bundle so that a kill, at any moment, leaves the old one, the new one, or nothing that loads."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.probes import Probes
from runtime_py.disk.files import MANIFEST, is_inside, list_files, sha256
from runtime_py.disk.folders import is_replaceable, replaced_folder
from runtime_py.disk.scratch import scratch_path
from runtime_py.errors import BundleError

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)


def write_bundle(draft: Manifest, artifact: Path, probes: Probes, out: Path) -> Path:
    """Write one bundle, replacing an older one at the same place.

    Everything goes to a temporary folder beside `out`, the manifest last, and is renamed into place when it
    is safe on disk; see `replaced_folder`.

    Args:
        draft: The manifest; its `files` and `seal` are computed here, whatever they say.
        artifact: The artifact's file or folder; it is copied to the name `draft.artifact`.
        probes: Written to the name `draft.probes`.
        out: The bundle's folder; absent, empty, or an older bundle.

    Returns:
        `out`, absolute.

    Raises:
        BundleError: `out` is something else, the names leave the bundle, or the disk refuses.
    """
    out = out.absolute()
    for name in (draft.artifact, draft.probes):
        if not is_inside(name) or name == MANIFEST:
            raise BundleError(out, f"{name!r} is not a name for a file of a bundle", "choose another name")
    with _disk_errors(out):
        _expect_replaceable(out)
        with replaced_folder(out) as scratch:
            _fill(scratch, draft, artifact, probes)
    return out


def expect_place(out: Path) -> None:
    """Try, before the work, whether a bundle can be written to `out`; room on the disk is not asked for.

    Raises:
        BundleError: As `write_bundle` would raise it afterwards.
    """
    out = out.absolute()
    with _disk_errors(out):
        _expect_replaceable(out)
        above = next(folder for folder in out.parents if folder.exists())
        with scratch_path(above, f".{out.name}") as scratch:
            scratch.mkdir()


def _expect_replaceable(out: Path) -> None:
    if not is_replaceable(out, MANIFEST):
        raise BundleError(out, "exists and is not a bundle, so it is not replaced", "choose another folder")


def manifest_text(manifest: Manifest) -> str:
    """Return the one spelling of a manifest that a bundle may hold."""
    return json.dumps(manifest.body(), indent=2, sort_keys=True) + "\n"


def _fill(folder: Path, draft: Manifest, artifact: Path, probes: Probes) -> None:
    target = folder / draft.artifact
    target.parent.mkdir(parents=True, exist_ok=True)
    if artifact.is_dir():
        shutil.copytree(artifact, target)
    else:
        shutil.copyfile(artifact, target)
    probes.save(folder / draft.probes)
    hashes = {name: sha256(path) for name, path in list_files(folder).items()}
    sealed = draft.model_copy(update={"files": hashes}).sealed()
    (folder / MANIFEST).write_bytes(manifest_text(sealed).encode())


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        full = getattr(error, "errno", None) not in _NOT_ALLOWED
        remedy = "make room or choose another disk" if full else "choose a folder that you may write to"
        raise BundleError(out, f"cannot be written ({reason})", remedy) from error
