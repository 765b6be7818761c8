"""Writes a bundle so that a kill, at any moment, leaves the old one, the new one, or nothing that loads."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime_py.errors import BundleError
from runtime_py.files import MANIFEST, UNFINISHED, is_inside, list_files, sha256
from runtime_py.manifest import Manifest
from runtime_py.probes import Probes


def write_bundle(draft: Manifest, artifact: Path, probes: Probes, out: Path) -> Path:
    """Write one bundle, replacing an older one at the same place.

    Everything goes to a temporary folder beside `out`, the manifest last, and is renamed into place when it
    is safe on disk. Temporary folders of processes that died here before are removed.

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
            raise BundleError(out, f"{name!r} is no name for a file of a bundle", "choose another name")
    if out.exists() and not _replaceable(out):
        raise BundleError(out, "exists and is no bundle, so it is not replaced", "choose another folder")
    with _disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(out)
        scratch = out.parent / f".{out.name}{UNFINISHED}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
        scratch.mkdir()
        try:
            _fill(scratch, draft, artifact, probes)
            _move_into_place(scratch, out)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return out


def manifest_text(manifest: Manifest) -> str:
    """Return the one spelling of a manifest that a bundle may hold."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


def remove_unfinished(out: Path) -> None:
    """Remove temporary folders that dead processes of this host left beside `out`."""
    start = f".{out.name}{UNFINISHED}{_host()}-"
    for path in out.parent.iterdir():
        if path.name.startswith(start) and not _alive(path.name.removeprefix(start).split("-")[0]):
            shutil.rmtree(path, ignore_errors=True)


def _fill(scratch: Path, draft: Manifest, artifact: Path, probes: Probes) -> None:
    target = scratch / draft.artifact
    target.parent.mkdir(parents=True, exist_ok=True)
    if artifact.is_dir():
        shutil.copytree(artifact, target)
    else:
        shutil.copyfile(artifact, target)
    probes.save(scratch / draft.probes)
    files = list_files(scratch)
    for path in files.values():
        _sync(path)
    hashes = {name: sha256(path) for name, path in files.items()}
    sealed = draft.model_copy(update={"files": hashes}).sealed()
    (scratch / MANIFEST).write_bytes(manifest_text(sealed).encode())
    _sync(scratch / MANIFEST)
    for parent, _, _ in os.walk(scratch):
        _sync(Path(parent))


def _move_into_place(scratch: Path, out: Path) -> None:
    if not out.exists():
        scratch.rename(out)
    elif not _exchange(scratch, out):
        # No atomic exchange on this system: between the two renames there is no bundle at `out`.
        older = scratch.with_name(f"{scratch.name}-old")
        out.rename(older)
        scratch.rename(out)
        shutil.rmtree(older, ignore_errors=True)
    _sync(out.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step of the file system; False if the system can not."""
    library = ctypes.CDLL(None, use_errno=True)
    here, swap_on_linux, swap_on_macos = -100, 2, 2
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        done = library.renameat2(here, os.fsencode(one), here, os.fsencode(other), swap_on_linux)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        done = library.renamex_np(os.fsencode(one), os.fsencode(other), swap_on_macos)
    else:
        return False
    return bool(done == 0)


def _replaceable(out: Path) -> bool:
    return out.is_dir() and not out.is_symlink() and ((out / MANIFEST).is_file() or not any(out.iterdir()))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    return socket.gethostname().replace("-", "_").replace("/", "_")


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process: it lives
        return True
    return True


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BundleError(
            out, f"can not be written ({reason})", "make room or choose another disk"
        ) from error
