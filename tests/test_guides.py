"""The guides are followed word by word, in an empty folder: every file is saved, every command runs.

A block with a title is a file. Lines of a block `sh` are commands that must succeed. Other blocks are output, or
commands that are shown with the error that they end with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, Block, blocks

GUIDES = ("photos", "evaluate", "board", "server", "choose", "ci")
"""In the order in which a reader follows them: the later ones use what the earlier ones made."""
NOT_HERE = ("pip ", "make ", "git ")
"""Commands that set up an environment; the tests have one."""


def _follow(block: Block, folder: Path, environment: dict[str, str]) -> None:
    if block.title:
        (folder / block.title).write_text(block.text)
    elif block.language == "sh":
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith(NOT_HERE):
                done = subprocess.run(
                    line, shell=True, cwd=folder, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{block.page}: {line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_guides_can_be_followed(tmp_path: Path) -> None:
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": scripts, "PYTHONPATH": str(ROOT)}
    for guide in GUIDES:
        for block in blocks():
            if block.page == f"docs/guide/{guide}.md":
                _follow(block, tmp_path, environment)
    assert (tmp_path / "drift.xml").is_file(), "the last command of the last guide writes it"
