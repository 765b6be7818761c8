"""Downloads packages with the clients that are made for it: pip for wheels, apt-get for Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from runtime_py.devices.packages import Package, is_here, verify
from runtime_py.errors import DeviceError

MIRROR = "PRUNNET_DEBIAN_MIRROR"
"""Environment variable: address of a Debian mirror, instead of the one that this system's apt uses."""

_PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 26, 27, 28)] + ["manylinux2014_aarch64"]

Fetch = Callable[[str, tuple[Package, ...], Path], None]
"""(source, packages, folder): lets the files appear in the folder."""


def download(
    packages: tuple[Package, ...], folder: Path, say: Callable[[str], None], fetch: Fetch | None = None
) -> None:
    """Let every package's file lie in `folder`; what is there and right is not fetched again.

    Args:
        packages: What is needed.
        folder: Is made; keeps what arrived if the rest fails, so that another try goes on from there.
        say: Takes a line for each source.
        fetch: Brings the files of one source.

    Raises:
        DeviceError: No client, no network, or a file that is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source, group in groupby(sorted(packages, key=lambda one: one.source), lambda one: one.source):
        missing = tuple(package for package in group if not is_here(package, folder))
        if missing:
            size = sum(package.bytes for package in missing) / 1e6
            say(f"downloading {len(missing)} packages ({source}, {size:.0f} MB) ...")
            (fetch or fetch_from)(source, missing, folder)
    verify(packages, folder)


def fetch_from(source: str, packages: tuple[Package, ...], folder: Path) -> None:
    """Download with pip or apt-get; see `Fetch`. Raises DeviceError with what the client said."""
    if source == "pip":
        _pip(packages, folder)
    else:
        suite, architecture = source.split("-")
        _apt(suite, architecture, packages, folder)


def _pip(packages: tuple[Package, ...], folder: Path) -> None:
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    abis = [word for name in ("cp311", "abi3", "none") for word in ("--abi", name)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [
        "--implementation",
        "cp",
        "--python-version",
        "3.11",
        *platforms,
        *abis,
        "--dest",
        str(folder),
    ]
    command += [f"{package.name}=={package.version}" for package in packages]
    # The user's constraints are for this machine's environment, not for the device's.
    _run(command, "pip", {**os.environ, "PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def _apt(suite: str, architecture: str, packages: tuple[Package, ...], folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise DeviceError(
            "the emulator's packages come through apt-get, which is not here: use a Debian system"
        )
    work = folder / f"apt-{suite}-{architecture}"
    for name in ("lists/partial", "cache/archives/partial", "preferences"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "status").write_text("")
    # Debian's signature is not needed: each file is held against its pinned hash.
    mirror = os.environ.get(MIRROR) or _own_mirror()
    (work / "sources.list").write_text(f"deb [arch={architecture} trusted=yes] {mirror} {suite} main\n")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": work / "preferences",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
        "APT::Sandbox::User": "",
        "Debug::NoLocking": 1,
    }
    apt = ["apt-get", "-qq", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    names = [f"{package.name}={package.version}" for package in packages]
    try:
        _run([*apt, "update", "-o", "APT::Update::Error-Mode=any"], "apt-get update", dict(os.environ))
        _run([*apt, "download", *names], "apt-get download", dict(os.environ), folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _own_mirror() -> str:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.rstrip("/").endswith("/debian"):
            return line
    raise DeviceError(f"this system's apt has no mirror of Debian: give one's address in {MIRROR}")


def _run(command: list[str], name: str, environment: dict[str, str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = "; ".join(line.strip() for line in done.stderr.strip().splitlines()[-3:])
        raise DeviceError(
            f"{name} failed ({said or f'exit code {done.returncode}'}): is there a network, and has the source "
            f"still these versions ({MIRROR} names another Debian mirror)? What arrived is kept; the same command goes "
            "on from there"
        )
