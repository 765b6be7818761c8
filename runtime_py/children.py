"""Processes of our own: how they are started, and that none outlives the command that started it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from runtime_py.disk.scratch import remove_all

_LOOK_SECONDS = 0.5


def python_command(module: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs a module of ours in a fresh Python, and its environment.

    It imports what this process imports: not what lies in the working directory under a name of a library. It reads
    text as UTF-8, whatever the locale: torch reads files of its own, which are, without saying so.
    """
    home = str(Path(__file__).absolute().parents[1])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    return [sys.executable, "-P", "-m", module], {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}


def follow(parent: int) -> None:
    """Let this process, and its children, end when `parent` ends or when SIGTERM comes, leaving nothing behind.

    The process gets a group of its own: Ctrl-C on the terminal goes to the parent, which decides.

    Args:
        parent: Process id of who started it.
    """
    with suppress(OSError, AttributeError):  # a session's leader has a group already; Windows has none
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def kill_group(pid: int) -> None:
    """Kill a process that called `follow`, and its children."""
    with suppress(OSError):
        if hasattr(os, "killpg") and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    _end()


def _end() -> NoReturn:
    remove_all()
    if hasattr(os, "getpgrp") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(128 + signal.SIGTERM)
