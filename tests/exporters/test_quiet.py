"""What the toolchains print, by whatever way, is in the log and nowhere else."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from exporters.quiet import quiet


def make_noise(tag: str) -> None:
    print(f"print {tag}")
    print(f"stderr {tag}", file=sys.stderr)
    warnings.warn(f"warning {tag}", stacklevel=1)
    os.write(1, f"descriptor 1 {tag}\n".encode())
    os.write(2, f"descriptor 2 {tag}\n".encode())
    subprocess.run([sys.executable, "-c", f"print('child {tag}')"], check=True)


@pytest.mark.filterwarnings("default")
def test_everything_goes_to_the_log_and_comes_back_after(tmp_path: Path, capfd) -> None:
    log = tmp_path / "log"
    with quiet(log):
        make_noise("inside")
    hidden = capfd.readouterr()
    assert (hidden.out, hidden.err) == ("", "")
    text = log.read_text()
    for way in ("print", "stderr", "descriptor 1", "descriptor 2", "child"):
        assert f"{way} inside\n" in text
    os.write(1, b"after\n")
    print("after", file=sys.stderr)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("after\n", "after\n")


def test_an_error_passes_and_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(RuntimeError, match="inside"), quiet(tmp_path / "log"):
        raise RuntimeError("inside")
    assert len(list(Path("/dev/fd").iterdir())) == before
