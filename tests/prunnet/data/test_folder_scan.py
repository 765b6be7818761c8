"""A tree of pictures as people have them: what is used, what is left out, and that both are said."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunnet.data import DataSet, open_data, open_test_pictures
from prunnet.data.folders import walk as folder_walk
from prunnet.data.folders.same_pictures import equal_files
from prunnet.data.folders.scan import scan
from prunnet.errors import DatasetError


def photo(file: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, first in (("train", 0), ("test", 100)):
        for number in range(12):
            name = f"{'cat' if part == 'train' else 'cow'}{number % 3}"
            photo(tmp_path / part / name / f"{number}.jpg", first + number)
    return tmp_path


def _open(root: Path) -> tuple[DataSet, str]:
    data = open_data("folder", str(root), (16, 16))
    return data, "\n".join(data.notes)


def test_a_sound_tree_is_counted(root: Path) -> None:
    data, said = _open(root)
    assert said.splitlines() == [
        f"train: 12 pictures of 3 classes in {root / 'train'}",
        f"test: 12 pictures of 3 classes in {root / 'test'}",
    ]
    assert data.shared_classes == 0 and len(data.test.images) == 12  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name", ["new.JPG", "new.jfif", "new.jpe", "new.gif", "new.webp", "new.PNG", "new", "new.bin"]
)
def test_what_is_a_picture_is_read_whatever_it_is_called(name: str, root: Path) -> None:
    picture = photo(root / "other.png", 77)
    kind = {"gif": "GIF", "webp": "WEBP", "png": "PNG"}.get(name.lower().rpartition(".")[2], "JPEG")
    Image.open(picture).save(root / "train" / "cat0" / name, kind)
    data, said = _open(root)
    assert data.train.size == 13 and "left out" not in said


def test_everything_that_is_left_out_is_said_by_kind(root: Path) -> None:
    train = root / "train"
    for name, content in {
        "cat0/notes.txt": b"hello",
        "cat0/.DS_Store": b"\0\0\0\1Bud1",
        "cat0/._0.jpg": b"\0\5\26\7",
        "cat0/Thumbs.db": b"\xd0\xcf",
        "cat1/empty.jpg": b"",
        "cat1/phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        ".ipynb_checkpoints/0.jpg": b"no class",
        "__MACOSX/0.jpg": b"no class",
        "loose.jpg": (train / "cat0" / "0.jpg").read_bytes(),
    }.items():
        (train / name).parent.mkdir(exist_ok=True)
        (train / name).write_bytes(content)
    (train / "cat2" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (train / "cat2" / "loop").symlink_to(train / "cat2")
    os.mkfifo(train / "cat2" / "pipe.jpg")
    data, said = _open(root)
    assert data.train.classes == 3 and data.train.size == 12
    for text in (
        "5 hidden (.ipynb_checkpoints; __MACOSX; ...)",
        "1 in no class folder (loose.jpg)",
        "1 not a picture (cat0/notes.txt)",
        "1 empty (cat1/empty.jpg: the file is empty)",
        "1 HEIC (cat1/phone.heic: HEIC needs another package: pip install pillow-heif)",
        "1 a broken link (cat2/gone.jpg)",
        "1 a link in a circle (cat2/loop)",
        "1 not a file (cat2/pipe.jpg)",
    ):
        assert text in said


def test_heic_is_read_where_its_package_is_installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    from PIL.JpegImagePlugin import JpegImageFile

    class Heif(JpegImageFile):
        """A decoder that knows one picture: what follows the brand is a JPEG."""

        def _open(self) -> None:
            assert self.fp is not None
            self.fp.seek(12)
            super()._open()

    fake = types.ModuleType("pillow_heif")
    fake.register_heif_opener = (
        lambda: Image.register_open(  # type: ignore[attr-defined]
            "HEIF", Heif, lambda start: start[4:12] == b"ftypheic"
        )
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    jpeg = (root / "train" / "cat0" / "0.jpg").read_bytes()
    (root / "train" / "cat0" / "new.heic").write_bytes(b"\0\0\0\x18ftypheic" + jpeg)
    assert _open(root)[0].train.size == 13


def test_deeper_pictures_belong_to_their_class_and_links_are_followed(root: Path) -> None:
    photo(root / "train" / "cat0" / "more" / "deep" / "1.jpg", 50)
    photo(root / "elsewhere" / "2.jpg", 51)
    (root / "train" / "cat9").symlink_to(root / "elsewhere")
    data, said = _open(root)
    assert (data.train.size, data.train.classes) == (14, 4)
    assert "1 in folders below their class folder, taken as pictures of that class" in said


def _cut_short(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _scribbled(file: Path) -> None:
    file.write_bytes(b"\xff\xd8\xff" + bytes(500))


def _text(file: Path) -> None:
    file.write_text("<html>404</html>")


def _png_cut(file: Path) -> None:
    Image.open(file).save(file, "PNG")
    _cut_short(file)


@pytest.mark.parametrize("damage", [_cut_short, _scribbled, _text, _png_cut])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_damaged_picture_is_left_out_and_said(
    part: str, damage: Callable[[Path], None], root: Path
) -> None:
    (file,) = (root / part).glob("*0/0.jpg")
    damage(file)
    data, said = _open(root)
    assert f"1 damaged ({file.parent.name}/0.jpg: " in said
    assert (data.train.size, len(data.test.images)) == ((11, 12) if part == "train" else (12, 11))  # type: ignore[union-attr]
    if part == "test":
        assert any("1 damaged" in line for line in open_test_pictures(str(root), (16, 16)).notes)


def test_many_damaged_pictures_are_an_error(root: Path) -> None:
    files = sorted((root / "train").glob("*/*.jpg"))
    for file in files[:3]:
        _text(file)
    assert _open(root)[0].train.size == 9
    _text(files[3])
    with pytest.raises(
        DatasetError, match=r"4 of 12 pictures in .*train cannot be read, more than 10%: 4 damaged"
    ):
        _open(root)


def test_classes_without_a_picture(root: Path) -> None:
    for file in (root / "train" / "cat2").iterdir():
        _text(file)
    for number in range(30):
        photo(root / "train" / "cat0" / f"more{number}.jpg", 1000 + number)
    data, said = _open(root)
    assert data.train.classes == 2 and "1 class without a readable picture (cat2)" in said
    (root / "train" / "cat3").mkdir()
    (root / "train" / "cat4").mkdir()
    (root / "train" / "cat4" / "list.txt").write_text("not a picture")
    with pytest.raises(
        DatasetError, match=r"cat3, .*cat4 holds no picture \(2 of 5 classes\); remove the folder"
    ):
        _open(root)


def test_one_class_or_one_picture_is_refused(root: Path) -> None:
    whole = shutil.copytree(root, root.with_name("whole"))
    for name in ("cat1", "cat2"):
        shutil.rmtree(root / "train" / name)
    with pytest.raises(DatasetError, match=r"all training pictures \(4\) are of one class"):
        _open(root)
    for file in sorted((root / "train" / "cat0").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DatasetError, match=r"all training pictures \(1\) are of one class"):
        _open(root)
    for name in ("cow1", "cow2"):
        shutil.rmtree(whole / "test" / name)
    for opening in (lambda: _open(whole), lambda: open_test_pictures(str(whole), (16, 16))):
        with pytest.raises(DatasetError, match="all of one class, so every answer is right"):
            opening()


def test_a_folder_that_cannot_be_looked_into(root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look into everything")
    (root / "train" / "cat0").chmod(0)
    with pytest.raises(DatasetError, match="cat0 cannot be looked into"):
        scan(root / "train")


def test_links_that_lead_to_themselves_are_counted(root: Path) -> None:
    for name in ("self", "cat0/self.jpg"):
        (root / "train" / name).symlink_to(Path(name).name)
    (root / "train" / "nowhere").symlink_to("gone")
    data, said = _open(root)
    assert data.train.size == 12 and data.train.classes == 3
    assert "2 a link in a circle (cat0/self.jpg; self)" in said and "1 a broken link (nowhere)" in said


@pytest.mark.parametrize("name", ["cat0/0.jpg", "cat1"])
def test_what_vanishes_or_cannot_be_looked_at_is_counted(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = root / "train"
    listed = folder_walk._entries

    class Gone:
        def __init__(self, entry: os.DirEntry[str], problem: type[OSError]) -> None:
            self.name, self.path, self.is_symlink, self._problem = (
                entry.name,
                entry.path,
                entry.is_symlink,
                problem,
            )

        def stat(self) -> os.stat_result:
            raise self._problem(0, "told so")

    for problem, said in (
        (FileNotFoundError, ("vanished", "")),
        (PermissionError, ("cannot be looked at", "told so")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(
                folder_walk, "_entries",
                lambda folder, problem=problem: [
                    Gone(entry, problem) if entry.path == str(train / name) else entry for entry in listed(folder)
                ],
            )  # fmt: skip
            found = folder_walk.walk(train)
        assert found.left_out == [folder_walk.LeftOut(name, *said)]
        assert len(found.names) == (11 if "/" in name else 8)


def test_a_tree_that_is_a_link_to_itself_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to("train")
    with pytest.raises(DatasetError, match="train cannot be looked into: Too many levels"):
        scan(tmp_path / "train")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is not a folder"):
        scan(tmp_path / "file")
    with pytest.raises(DatasetError, match="is missing"):
        scan(tmp_path / "file" / "train")


def test_pictures_of_train_in_test_are_found_whatever_their_file(root: Path) -> None:
    train, test = root / "train", root / "test"
    shutil.copy(train / "cat0" / "0.jpg", test / "cow0" / "copy.jpg")
    with Image.open(photo(train / "cat1" / "large.png", 500, (400, 300))) as large:
        large.convert("RGB").save(test / "cow1" / "saved.jpg", quality=80)
        large.convert("RGB").resize((100, 75)).save(test / "cow2" / "small.webp")
    shutil.copy(train / "cat0" / "0.jpg", train / "cat0" / "twice.jpg")
    shutil.copy(train / "cat1" / "1.jpg", train / "cat2" / "again.jpg")
    (test / "cat2").mkdir()
    photo(test / "cat2" / "1.jpg", 900)
    data, said = _open(root)
    assert "3 of 16 test pictures are in train, too: 1 equal files, 2 that look the same" in said
    assert "test/cow0/copy.jpg is train/cat0/0.jpg" in said
    assert "copies among the pictures of train: 2 (" in said and "pictures in several classes: 1" in said
    assert data.shared_classes == 1 and "1 of 4 test classes are also trained on (cat2)" in said


def test_equal_files_are_those_with_equal_bytes(tmp_path: Path) -> None:
    middle = [b"a" * 4000 + bytes([n]) * 4000 + b"z" * 4000 for n in (0, 1, 0, 2)]
    contents = [*middle, b"", b"short", b"", b"shorT", b"short"]
    files = [tmp_path / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    assert equal_files(files, [len(content) for content in contents]) == [[0, 2], [4, 6], [5, 8]]


def _spoil(file: Path) -> None:
    """Break the pixels of a PNG and leave header, end and length as they were: only decoding finds it."""
    Image.open(file).save(file, "PNG")
    content = bytearray(file.read_bytes())
    at = content.index(b"IDAT") + 4
    content[at : at + 8] = bytes(8)
    file.write_bytes(content)


def test_a_picture_that_fails_when_it_is_decoded_is_replaced_by_its_class(root: Path) -> None:
    _spoil(root / "train" / "cat0" / "3.jpg")
    data, said = _open(root)
    assert "left out" not in said and data.train.size == 12
    with pytest.warns(
        UserWarning, match=r"cat0/3\.jpg is not a readable picture.*the next picture of its class"
    ) as caught:
        first = [data.train.batch(1, step, 6) for step in range(4)]
    assert len(caught) == 1, "each damaged picture is said once"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed = _open(root)[0].train
        again = [resumed.batch(1, step, 6) for step in reversed(range(4))][::-1]
        assert len(resumed.calibration(12)) == 12
    for (one, labels), (other, same) in zip(first, again, strict=True):
        assert (one == other).all() and (labels == same).all(), "the stand-in follows from the files alone"


def test_too_many_that_fail_when_decoded_are_an_error(root: Path) -> None:
    for file in sorted((root / "train").glob("*/*.jpg"))[:4]:
        _spoil(file)
    train = _open(root)[0].train
    with (
        warnings.catch_warnings(),
        pytest.raises(DatasetError, match=r"every other picture of its class|more than 10%"),
    ):
        warnings.simplefilter("ignore")
        train.batch(0, 0, 12)


def test_a_file_that_is_gone_is_an_error_that_names_it(root: Path) -> None:
    train = _open(root)[0].train
    (root / "train" / "cat1" / "1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"cat1/1\.jpg is not a readable picture: it does not exist"):
        train.batch(0, 0, 12)
