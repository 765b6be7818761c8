"""A folder is written whole or not at all, whoever else writes it."""

from pathlib import Path

import pytest

from runtime_py.disk.folders import replaced_folder
from runtime_py.disk.scratch import is_unfinished


def test_of_two_that_make_a_new_folder_the_last_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw that nothing was there."""
    out = tmp_path / "bundles" / "one"
    with replaced_folder(out) as mine:
        (mine / "file").write_text("mine")
        with replaced_folder(out) as theirs:
            (theirs / "file").write_text("theirs")
        monkeypatch.setattr(Path, "exists", lambda self, **options: False)
    monkeypatch.undo()
    assert (out / "file").read_text() == "mine"
    assert not [path for path in out.parent.iterdir() if is_unfinished(path.name)]
