"""A board that `ssh` reaches."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime_py.devices.remote import exchange, script, words_of
from runtime_py.errors import DeviceError

SCHEME = "ssh://"
CLIENT = "PRUNNET_SSH"
"""Environment variable: the client with options of your own, e.g. "ssh -i key"; "ssh" if it is not set."""


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
        user, at, host = parts.netloc.removesuffix(f":{port}").rpartition("@")
        # Without the brackets of an IPv6 address: ssh takes them for a part of the name.
        target = f"{user}{at}{host.strip('[]')}"
        more = parts.password or parts.path.strip("/") or parts.query or parts.fragment
        if not parts.hostname or target.startswith("-") or more or port == 0:
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
        command = [*words_of(CLIENT, "ssh"), "-T", "-o", "BatchMode=yes"]
        command += ["-p", str(self.port)] if self.port else []
        # sh whatever the user's shell is; it reads the folder's archive from the connection.
        command += ["--", self.target, f"sh -c {shlex.quote(script())}"]
        return exchange(command, job, self.name, CLIENT)
