"""The files that the emulated device is made of, pinned: `packages.json` is the table, `counter.json` the counter's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from runtime_py.disk.files import sha256
from runtime_py.errors import DeviceError


@dataclass(frozen=True)
class Package:
    """One downloaded file.

    Attributes:
        name: The package's name where it comes from.
        version: Its version.
        source: `pip`, or a Debian suite and architecture, e.g. `bookworm-arm64`.
        into: The part of the device that it is unpacked for: emulator, root, site, executorch, compiler, counter.
        file: Name of the file as pip and apt save it.
        bytes: Its size.
        sha256: Its hash, in hex.
    """

    name: str
    version: str
    source: str
    into: str
    file: str
    bytes: int
    sha256: str


def read_packages(table: Path | None = None) -> tuple[Package, ...]:
    """Return the packages of a table; None is the shipped one."""
    text = (files("runtime_py.devices") / "packages.json" if table is None else table).read_text()
    return tuple(Package(**row) for row in json.loads(text))


def digest(packages: tuple[Package, ...]) -> str:
    """Return what tells one set of packages from another: a sha256 over their hashes, in hex."""
    return hashlib.sha256("\n".join(sorted(package.sha256 for package in packages)).encode()).hexdigest()


def is_here(package: Package, folder: Path) -> bool:
    """Tell whether the whole file, with its hash, lies in `folder` already."""
    path = folder / package.file
    return path.is_file() and sha256(path) == package.sha256


def verify(packages: tuple[Package, ...], folder: Path) -> None:
    """Compare every downloaded file with its pin, and remove those that differ.

    Raises:
        DeviceError: Names every file that is absent or another one.
    """
    wrong = []
    for package in packages:
        path = folder / package.file
        if not path.is_file():
            wrong.append(f"{package.file} was not delivered")
        elif (found := sha256(path)) != package.sha256:
            path.unlink()
            wrong.append(f"{package.file} has sha256 {found}, pinned is {package.sha256}")
    if wrong:
        raise DeviceError(
            f"not what was pinned: {'; '.join(wrong)}. Nothing was installed. Try again; if it stays so, "
            "the mirror has other files: choose one that keeps old versions (PRUNNET_DEBIAN_MIRROR)"
        )
