"""Known lines of runtimes stay off the screen, all others stay on it."""

from __future__ import annotations

import os
import subprocess
import sys

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
