"""The process in which bundles are checked: a request a line on standard input, an outcome a line on output.

`python -m runtime_py.cli.checker PARENT`, where PARENT is the id of the process that it ends with.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from runtime_py.children import follow
from runtime_py.cli.isolation import Request, to_message
from runtime_py.cli.outcome import Outcome, check_bundle
from runtime_py.errors import CrashError

MEMORY_SHARE = 0.8
"""Of the machine's memory; a damaged artifact may ask for any amount."""


def main(parent: int) -> None:
    """Answer requests until there are none."""
    follow(parent)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # runtimes print on standard output
    _limit_memory()
    for line in sys.stdin:
        request = Request(**json.loads(line))
        print(json.dumps(to_message(_outcome(request))), file=answers, flush=True)


def _outcome(request: Request) -> Outcome:
    bundle = Path(request.bundle)
    try:
        return check_bundle(
            bundle,
            request.server,
            request.device,
            request.probes,
            instructions=request.instructions,
            exhibits=request.exhibits,
        )
    except Exception as error:  # whatever a runtime's binding raises on a damaged file
        return Outcome(bundle, error=CrashError(bundle, f"met {type(error).__name__}: {error}"))


def _limit_memory() -> None:
    """Cap what this process may allocate, where the system can, so that it fails before the machine does."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        cap = int(MEMORY_SHARE * min([machine, *_group_limit()]))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (cap if most < 0 else min(cap, most), most))


def _group_limit() -> list[int]:
    """Return the memory that a container of Linux may have, if there is a limit."""
    try:
        return [int(Path("/sys/fs/cgroup/memory.max").read_text())]
    except (OSError, ValueError):
        return []


if __name__ == "__main__":
    main(int(sys.argv[1]))
