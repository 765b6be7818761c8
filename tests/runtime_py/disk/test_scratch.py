"""Temporary files, and writing through what is no file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from runtime_py.disk import scratch
from runtime_py.disk.files import write_atomically
from runtime_py.disk.scratch import UNFINISHED, host, is_stale, scratch_path, workspace

ROOT = Path(__file__).parents[3]


def test_what_a_dead_process_left_goes_and_the_rest_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale, living = (f"a{UNFINISHED}{host()}-{pid}-x" for pid in (dead.pid, os.getppid()))
    others = (f"a{UNFINISHED}elsewhere-{dead.pid}-x", f"b{UNFINISHED}{host()}-{dead.pid}-x")
    for name in (stale, living, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with scratch_path(tmp_path, "a") as path:
        path.write_text("mine")
        assert is_stale(stale) and not is_stale(path.name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([living, *others])


def test_another_container_of_the_same_name_is_left_alone_for_a_day(tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(scratch, "_mark", lambda: "0123abcd")  # another space of process ids
    theirs = [tmp_path / f"a{UNFINISHED}{host()}-{dead.pid}-{token}" for token in ("new", "old")]
    monkeypatch.undo()
    version_before = tmp_path / f"a{UNFINISHED}{scratch._host_name()}-{dead.pid}-x"
    elsewhere = tmp_path / f"a{UNFINISHED}elsewhere-{dead.pid}-x"
    for path in (*theirs, version_before, elsewhere):
        path.touch()
    for path in (theirs[1], elsewhere):
        os.utime(path, (0, 0))
    scratch.remove_stale(tmp_path, "a")
    assert sorted(tmp_path.iterdir()) == sorted([theirs[0], version_before, elsewhere])


def test_everything_temporary_lands_in_the_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with workspace() as folder:
        made = Path(tempfile.mkdtemp())
        child = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"]
        theirs = subprocess.run(child, capture_output=True, text=True, check=True).stdout.strip()
        assert made.parent == Path(theirs).parent == folder
    assert list(tmp_path.iterdir()) == []
    assert os.environ["TMPDIR"] == str(tmp_path) and Path(tempfile.gettempdir()) == tmp_path


def test_a_cleaning_that_was_interrupted_can_be_finished(tmp_path):
    context = scratch_path(tmp_path, "a")
    path = context.__enter__()
    (path / "deep").mkdir(parents=True)
    scratch.remove_all()
    assert list(tmp_path.iterdir()) == []
    context.__exit__(None, None, None)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "r.xml"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"x" * 200_000)
    reader.join(10)
    assert read == [b"x" * 200_000] and pipe.is_fifo()


def test_a_link_stays_a_link_and_its_file_is_replaced_whole(tmp_path):
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "real"
    (tmp_path / "hop").symlink_to(real)
    (tmp_path / "link").symlink_to("hop")
    write_atomically(tmp_path / "link", b"first and longer")
    with real.open("rb") as before:  # a reader that is at it keeps the old content
        write_atomically(tmp_path / "link", b"second")
        assert before.read() == b"first and longer"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "hop").is_symlink()
    assert real.read_bytes() == b"second" and list(real.parent.iterdir()) == [real]


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_stays_a_device(tmp_path):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    for path in (full, Path("/dev/full")):
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"x")
    write_atomically(Path("/dev/null"), b"x")
    assert Path("/dev/full").is_char_device() and Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_the_own_stream_by_its_name_is_that_stream(tmp_path, name):
    """A report on /dev/stdout of a command whose output goes to a file: one after the other, none lost."""
    code = (
        "import sys; from pathlib import Path; from runtime_py.disk.files import write_atomically\n"
        "print('before'); write_atomically(Path(sys.argv[1]), b'report\\n'); print('after')"
    )
    with (tmp_path / "out.txt").open("wb") as out:
        subprocess.run([sys.executable, "-c", code, name], stdout=out, check=True, cwd=ROOT)
    assert (tmp_path / "out.txt").read_text() == "before\nreport\nafter\n"
