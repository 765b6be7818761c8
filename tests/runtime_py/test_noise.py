"""Known lines of runtimes stay off the screen, all others stay on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from runtime_py.noise import without_lines


def test_known_lines_are_left_out_and_all_others_follow(capfd: pytest.CaptureFixture[str]) -> None:
    with without_lines([r"INFO: created", r"\[cpu\]"]):
        os.write(2, b"INFO: created a delegate\nerror: it fails\n[cpu] 3\n")
        os.write(2, b"not INFO: created\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err.splitlines() == ["error: it fails", "not INFO: created", "after"]


def test_what_was_written_before_an_error_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), without_lines(["noise"]):
        os.write(2, b"noise\nwhy it fails\n")
        raise RuntimeError
    assert capfd.readouterr().err == "why it fails\n"


def test_a_closed_standard_error_is_no_fault() -> None:
    code = "import os; os.close(2)\nfrom runtime_py.noise import without_lines\nwith without_lines(['a']): print('in')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "in\n")


def test_without_a_place_for_temporary_files_nothing_is_left_out(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with without_lines(["noise"]):
        os.write(2, b"noise\n")
    assert capfd.readouterr().err == "noise\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_process_that_is_forked_while_another_thread_loads_keeps_its_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def load() -> None:
        with without_lines(["noise"]):
            inside.set()
            assert leave.wait(60)

    thread = threading.Thread(target=load)
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        os.write(2, b"of the child\n")
        with without_lines(["noise"]):
            os.write(2, b"noise\nof its own block\n")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    leave.set()
    thread.join(60)
    assert status == 0, "it hangs"
    assert capfd.readouterr().err == "of the child\nof its own block\n"
