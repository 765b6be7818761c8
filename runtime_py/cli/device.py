"""`prunnet-device`: install, list and remove the emulated device."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from runtime_py.shell import note, run_command, show

_EPILOG = """\
It goes to the folder prunnet in the user's cache folder, or to PRUNNET_DEVICE_HOME. No root is needed; pip, apt-get
and dpkg-deb are. Every file is pinned by its sha256. PRUNNET_DEBIAN_MIRROR names another mirror than apt's own.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_parser(), _run, arguments, stopped="run it again: it goes on from there")


def _run(given: argparse.Namespace) -> int:
    from runtime_py.devices.counter_install import counter_folder
    from runtime_py.devices.emulator import CPUS
    from runtime_py.devices.install import (
        COMMAND,
        emulator_folder,
        install,
        installed_packages,
        is_installed,
        remove,
    )

    folder = emulator_folder()
    if given.action == "install":
        if is_installed(folder) and not given.again:
            show(f"{folder}: is installed already")
        else:
            install(folder, note)
            show(f"{folder}: installed; CPUs: {', '.join(CPUS)}")
        _install_counter(given.again)
    elif given.action == "remove":
        for each in (folder, counter_folder()):
            show(f"{each}: {'removed' if remove(each) else 'was not installed'}")
    else:
        packages = installed_packages(folder)
        if packages is None:
            show(f"{folder}: not installed ({COMMAND})")
            return 0
        other = "" if is_installed(folder) else f"; of another version of prunnet ({COMMAND})"
        show(f"{folder}: installed; CPUs: {', '.join(CPUS)}{other}")
        for package in packages:
            if package.into != "compiler":
                show(f"  {package.name} {package.version}")
        _list_counter()
    return 0


def _install_counter(again: bool) -> None:
    """Install what counts instructions; without it a check has all but this one figure."""
    from runtime_py.devices.counter_install import counter_folder, install_counter, is_counter_installed
    from runtime_py.errors import DeviceError

    folder = counter_folder()
    if is_counter_installed(folder) and not again:
        show(f"{folder}: is installed already")
        return
    try:
        install_counter(folder, note)
    except DeviceError as error:
        note(f"{folder}: not installed, so --instructions will count none; all else works ({error})")
    else:
        show(f"{folder}: installed, for --instructions")


def _list_counter() -> None:
    from runtime_py.devices.counter_install import counter_folder, is_counter_installed
    from runtime_py.devices.install import COMMAND

    folder = counter_folder()
    state = "installed, for --instructions" if is_counter_installed(folder) else f"not installed ({COMMAND})"
    show(f"{folder}: {state}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-device",
        description="Install the emulated Arm device of prunnet-check --emulate.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("install", "list", "remove"), help="what to do")
    parser.add_argument("--again", action="store_true", help="install also where it is installed already")
    return parser


if __name__ == "__main__":
    sys.exit(main())
