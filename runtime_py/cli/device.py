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
            return 0
        install(folder, note)
        show(f"{folder}: installed; CPUs: {', '.join(CPUS)}")
    elif given.action == "remove":
        show(f"{folder}: {'removed' if remove(folder) else 'was not installed'}")
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
    return 0


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
