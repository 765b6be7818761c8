"""Installs what counts an emulated device's instructions: a QEMU that takes plugins, and our plugin for it.

The emulator of the check is one static file, which takes none. It is the newer QEMU, with more CPUs, so it stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from runtime_py.devices.fetch import Fetch
from runtime_py.devices.install import device_home, install_packages, is_installed, run_or_refuse
from runtime_py.devices.packages import Package, read_packages

PLUGIN = "counter.so"
TABLE = Path(__file__).with_name("counter.json")
SOURCE = Path(__file__).with_name("counter.c")
_QEMU = "bin/qemu-aarch64"
_LOADER = "lib/ld-linux-x86-64.so.2"


def counter_folder() -> Path:
    """Return where the counter lies, or would lie."""
    return device_home() / "counter"


def is_counter_installed(folder: Path) -> bool:
    """Tell whether the counter in `folder` is there and made of this version's packages."""
    return is_installed(folder, TABLE, SOURCE)


def install_counter(
    folder: Path,
    say: Callable[[str], None],
    packages: tuple[Package, ...] | None = None,
    fetch: Fetch | None = None,
) -> None:
    """Install the counter; see `runtime_py.devices.install.install`.

    Raises:
        DeviceError: Something is missing or not what was pinned; `folder` is as before.
    """

    def settle(scratch: Path) -> None:
        unpacked = scratch / "counter"
        (scratch / "bin").mkdir()
        (scratch / "lib").mkdir()
        for place in ("lib", "usr/lib"):
            for library in (unpacked / place / "x86_64-linux-gnu").glob("*.so*"):
                shutil.move(library, scratch / "lib")
        say("compiling the counter of instructions ...")
        compiler = unpacked / "usr/lib/x86_64-linux-gnu/tcc"
        command = [*started(scratch, unpacked / "usr/bin/tcc"), f"-B{compiler}", "-shared", "-nostdlib"]
        run_or_refuse(
            [*command, "-o", str(scratch / PLUGIN), str(SOURCE)],
            "the counter of instructions does not compile",
        )
        shutil.move(unpacked / "usr/bin/qemu-aarch64", scratch / _QEMU)
        shutil.rmtree(unpacked)

    install_packages(folder, say, packages or read_packages(TABLE), settle, SOURCE, fetch)


def emulator(folder: Path) -> list[str]:
    """Return the command of the installed QEMU."""
    return started(folder, folder / _QEMU)


def started(folder: Path, program: Path) -> list[str]:
    """Return the command that starts a program with the libraries of `folder`, whatever this system has."""
    return [str(folder / _LOADER), "--library-path", str(folder / "lib"), str(program)]
