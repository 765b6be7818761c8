"""Errors of the export.

PrunnetError (runtime_py.errors)
└ ExportError(RuntimeError)         target, stage, cause                   exit 4
"""

from __future__ import annotations

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
