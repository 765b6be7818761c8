"""Errors of the export.

PrunnetError (runtime_py.errors)
├ ExportError(RuntimeError)         target, stage, cause                   exit 4
└ UnsupportedHostError(RuntimeError)  target, this computer, where to go   exit 2
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime_py.errors import PrunnetError


class ExportError(PrunnetError, RuntimeError):
    """A conversion that failed, or an artifact that is not what was asked for.

    Args:
        target: The target that was being exported.
        stage: The stage that failed, e.g. "convert", "parity", "write".
        cause: What happened, in words.
    """

    exit_code = 4

    def __init__(self, target: str, stage: str, cause: str) -> None:
        self.target, self.stage, self.cause = target, stage, cause
        super().__init__(f"{target}: {stage} failed: {cause}")


class UnsupportedHostError(PrunnetError, RuntimeError):
    """A target whose converter is not built for this computer; names those that it is built for.

    Args:
        target: The target that was asked for.
        host: This computer, e.g. "Linux aarch64".
        hosts: Those that can export to it.
    """

    def __init__(self, target: str, host: str, hosts: Sequence[str]) -> None:
        self.target, self.host, self.hosts = target, host, tuple(hosts)
        super().__init__(
            f"{target}: its converter is not built for {host}, only for {' and '.join(hosts)}: export there. "
            "The bundle can be loaded and checked here"
        )
