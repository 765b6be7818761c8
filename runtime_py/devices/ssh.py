"""A board that `ssh` reaches: one connection takes the folder in and gives the JSON back."""

from __future__ import annotations

import os
import shlex
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime_py.devices.guest import ANSWER
from runtime_py.errors import CrashError, DeviceError

SCHEME = "ssh://"
CLIENT = "PRUNNET_SSH"
"""Environment variable: the client with options of your own, e.g. "ssh -i key"; "ssh" if it is not set."""
PYTHON = "PRUNNET_DEVICE_PYTHON"
"""Environment variable: the board's Python, 3.11 or later, with numpy, pydantic and the runtime; "python3" if unset."""

_UNREACHED = 255
"""Exit code of ssh itself; any other is the remote command's."""
_BEGIN = "prunnet-answer "
"""Before the answer, in case the board's shell says something of its own."""


@dataclass(frozen=True)
class SshDevice:
    """A board at an address.

    Attributes:
        target: "user@host" or "host", as ssh takes it.
        port: None is what the client's configuration says.
    """

    target: str
    port: int | None = None

    @classmethod
    def at(cls, address: str) -> SshDevice:
        """Read "ssh://[user@]host[:port]".

        Raises:
            DeviceError: It is no such address.
        """
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError as error:
            raise DeviceError(f"{address!r} is no address ({error}): ssh://user@host:port") from error
        target = parts.netloc.removesuffix(f":{port}")
        if not parts.hostname or target.startswith("-") or parts.password or parts.path.strip("/"):
            raise DeviceError(
                f"{address!r} is no address of a board: ssh://user@host or ssh://user@host:port"
            )
        return cls(target, port)

    @property
    def name(self) -> str:
        """The address."""
        return f"{SCHEME}{self.target}" + (f":{self.port}" if self.port else "")

    def run(self, job: Path) -> str:
        """Send the folder, run the guest in it, and return its answer; nothing stays on the board."""
        python = shlex.join(shlex.split(os.environ.get(PYTHON) or "python3"))
        remote = (
            'set -e; job=$(mktemp -d); trap \'rm -rf "$job"\' EXIT; tar -xf - -C "$job"; cd "$job"; '
            f"PYTHONPATH=code PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 {python} -m runtime_py.devices.guest . >&2; "
            f"printf %s {shlex.quote(_BEGIN)}; cat {ANSWER}"
        )
        command = [*shlex.split(os.environ.get(CLIENT) or "ssh"), "-T", "-o", "BatchMode=yes"]
        command += ["-p", str(self.port)] if self.port else []
        # sh whatever the user's shell is; it reads the folder's archive from the connection.
        command += ["--", self.target, f"sh -c {shlex.quote(remote)}"]
        archive = job.with_name(f"{job.name}.tar")
        try:
            with tarfile.open(archive, "w") as packed:
                packed.add(job, ".")
            with archive.open("rb") as sent:
                done = subprocess.run(
                    command, stdin=sent, capture_output=True, text=True, errors="replace", check=False
                )
        except FileNotFoundError as error:
            raise DeviceError(
                f"{command[0]!r} is not here: install an ssh client, or name one in {CLIENT}"
            ) from error
        finally:
            archive.unlink(missing_ok=True)
        said = "; ".join(done.stderr.strip().splitlines()[-2:]) or "without a word"
        if done.returncode == _UNREACHED:
            raise DeviceError(f"{self.name} cannot be reached ({said}): try {shlex.join(command[:-1])} true")
        if done.returncode:
            raise CrashError(job.name, f"on {self.name} ended with exit code {done.returncode} ({said})")
        return done.stdout.partition(_BEGIN)[2]
