"""What boards and phones have in common: one connection takes the folder in and gives the JSON back."""

from __future__ import annotations

import os
import shlex
import subprocess
import tarfile
from pathlib import Path

from runtime_py.devices.guest import ANSWER
from runtime_py.errors import CrashError, DeviceError

PYTHON = "PRUNNET_DEVICE_PYTHON"
"""Environment variable: the device's Python, 3.11 or later, with numpy, pydantic and the runtime; else "python3"."""

_REACHED = "prunnet-reached"
_ANSWER = "prunnet-answer "
"""Before the answer, in case the device's shell says something of its own."""


def words_of(variable: str, default: str) -> list[str]:
    """Return the words of a command in an environment variable, or the default's where it is not set.

    Raises:
        DeviceError: A quotation in it does not end.
    """
    stated = os.environ.get(variable) or default
    try:
        return shlex.split(stated) or [default]
    except ValueError as error:
        raise DeviceError(f"{variable} is no command ({error}): {stated!r}") from error


def script(temporary: str = "") -> str:
    """Return what the device's `sh` does with the folder's archive on its standard input.

    Args:
        temporary: Folder for temporary files, where the device names none; empty is its own default.
    """
    python = shlex.join(words_of(PYTHON, "python3"))
    here = f'export TMPDIR="${{TMPDIR:-{temporary}}}"; ' if temporary else ""
    return (
        f'echo {_REACHED}; set -e; {here}job=$(mktemp -d); trap \'rm -rf "$job"\' EXIT; tar -xf - -C "$job"; '
        'cd "$job"; '
        f"PYTHONPATH=code PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 {python} -m runtime_py.devices.guest . >&2; "
        f"printf %s {shlex.quote(_ANSWER)}; cat {ANSWER}"
    )


def exchange(command: list[str], job: Path, device: str, variable: str) -> str:
    """Send the folder to a client's command that runs `script`, and return the answer's text.

    Args:
        command: The client with all its words.
        job: The folder.
        device: Its name, for people.
        variable: Environment variable that names another client.

    Raises:
        DeviceError: There is no client, or it does not reach the device.
        CrashError: The guest ended without an answer.
    """
    archive = job.with_name(f"{job.name}.tar")
    try:
        with tarfile.open(archive, "w") as packed:
            packed.add(job, ".")
        with archive.open("rb") as sent:
            done = subprocess.run(
                command, stdin=sent, capture_output=True, text=True, errors="replace", check=False
            )
    except OSError as error:
        raise DeviceError(
            f"{command[0]!r} cannot be started ({error.strerror}): install its package, or name another client in "
            f"{variable}"
        ) from error
    finally:
        archive.unlink(missing_ok=True)
    said = "; ".join(done.stderr.strip().splitlines()[-2:]) or "without a word"
    if _REACHED not in done.stdout:
        trial = shlex.join([*command[:-1], "true"])
        raise DeviceError(f"{device} cannot be reached ({said}): try {trial}")
    if done.returncode:
        raise CrashError(job.name, f"on {device} ended with exit code {done.returncode} ({said})")
    return done.stdout.partition(_ANSWER)[2]
