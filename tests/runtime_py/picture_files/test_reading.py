"""Reading picture files: orientation, frames, size, damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from runtime_py.errors import MissingExtraError, PictureError
from runtime_py.picture_files import inspect_picture, open_picture, opening, read_picture, reading, thumbnail

PIXELS = np.asarray(
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((42, 30))
)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    picture, exif = Image.fromarray(PIXELS), Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    picture.save(file, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(file) as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert np.array_equal(open_picture(file), wanted)
    assert wanted.shape[:2] == ((30, 42) if orientation < 5 else (42, 30))


def test_a_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_picture(tmp_path / "a.jpg").shape == (30, 42, 3)


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_the_first_frame_counts(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), (250 * (n == 0), 0, 250 * (n > 0))) for n in range(3)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert open_picture(tmp_path / f"a.{suffix}")[3, 3].tolist() == [250, 0, 0]
    assert inspect_picture(tmp_path / f"a.{suffix}").frames


def test_resized_is_what_pillow_gives(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    wanted = Image.fromarray(PIXELS).resize((20, 11), Image.Resampling.BILINEAR)
    assert np.array_equal(read_picture(tmp_path / "a.png", (11, 20)), np.asarray(wanted))
    assert thumbnail(tmp_path / "a.png", (4, 4)).shape == (4, 4, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp"])
def test_damaged_files_are_only_ever_a_picture_error(suffix: str, tmp_path: Path) -> None:
    source, file = tmp_path / f"sound.{suffix}", tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(source)
    content, rng, refused = source.read_bytes(), np.random.default_rng(7), 0
    for number in range(120):
        damaged = bytearray(content)
        if number % 3 == 0:
            damaged = damaged[: int(rng.integers(len(damaged)))]
        for at in rng.integers(0, max(len(damaged), 1), 4 if damaged else 0):
            damaged[at] = int(rng.integers(256))
        file.write_bytes(bytes(damaged))
        for read in (open_picture, inspect_picture):
            try:
                read(file)
            except PictureError as error:
                refused += 1
                assert str(file) in str(error) and error.problem
    assert refused > 40


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"<html>not found</html>", bytes(3000)])
def test_what_is_no_picture(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    for read in (open_picture, inspect_picture):
        with pytest.raises(PictureError, match=r"a\.jpg is not a readable picture"):
            read(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match="it does not exist; check the path"):
        open_picture(tmp_path / "b.jpg")


def test_programs_are_not_pictures(tmp_path: Path) -> None:
    """Pillow hands EPS to Ghostscript, which runs it."""
    Image.fromarray(PIXELS).save(tmp_path / "a.eps")
    with pytest.raises(PictureError, match="no format that is read here"):
        open_picture(tmp_path / "a.eps")


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    opening.pillow.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"pip install 'prunnet\[runtime-pictures\]'"):
            open_picture(tmp_path / "a.jpg")
    finally:
        opening.pillow.cache_clear()


@pytest.mark.parametrize(("side", "scale"), [(64, 1), (66, 2), (128, 2), (200, 4), (500, 8)])
def test_large_jpegs_are_decoded_smaller(
    side: int, scale: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LARGEST", 64 * 64)
    picture = Image.fromarray(PIXELS).resize((side, side))
    picture.save(tmp_path / "a.jpg", quality=95)
    got = open_picture(tmp_path / "a.jpg")
    assert got.shape == (-(-side // scale), -(-side // scale), 3)
    assert inspect_picture(tmp_path / "a.jpg").reduced == (scale > 1)
    wanted = np.asarray(picture.resize(got.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(got - wanted).mean() < 4
    if scale > 1:
        picture.save(tmp_path / "a.png")
        with pytest.raises(PictureError, match="is more than 4,096 pixels; make it smaller") as caught:
            open_picture(tmp_path / "a.png")
        assert caught.value.kind == "too large"
        with pytest.raises(PictureError, match="not read with a box"):
            open_picture(tmp_path / "a.jpg", (0, 0, 9, 9))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("a.jpg", 900), ("progressive.jpg", 1200), ("a.png", 200)])
def test_thirteen_thousand_pixels_square_in_bounded_memory(name: str, limit: int, tmp_path: Path) -> None:
    """`limit`: MiB of the reading process at most; so many pixels are 484 MiB as RGB, 645 as Pillow holds them."""
    made = Image.new("RGB", (13_000, 13_000), (10, 200, 30))
    made.save(tmp_path / name, **({"progressive": True} if name == "progressive.jpg" else {}))
    code = (
        "import re, sys\nfrom pathlib import Path\nfrom runtime_py.errors import PictureError\n"
        "from runtime_py.picture_files import read_picture\n"
        "try: print(read_picture(sys.argv[1], (8, 8))[4, 4].tolist())\n"
        "except PictureError as error: print(error.kind)\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said, memory = done.stdout.splitlines()
    assert (
        said == "too large"
        if name == "a.png"
        else np.abs(np.array(json.loads(said)) - [10, 200, 30]).max() <= 3
    )
    assert int(memory) < limit


def test_what_is_not_a_plain_file_is_refused_unopened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for file in (pipe, tmp_path, Path("/dev/zero")):
        for read in (open_picture, inspect_picture):
            with pytest.raises(PictureError, match=f"{file.name}.*not a plain file"):
                read(file)


def test_a_link_to_a_plain_file_is_read(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert np.array_equal(open_picture(tmp_path / "link.png"), PIXELS)


def test_the_callers_alarm_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")

    def ring(*_: object) -> None:
        raise TimeoutError

    for place in ("load", "getexif"):
        with monkeypatch.context() as patch:
            patch.setattr(f"PIL.PngImagePlugin.PngImageFile.{place}", ring)
            with pytest.raises(TimeoutError):
                open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("missing", [1, 10, 29])
def test_a_png_with_too_few_rows_is_refused(mode: str, missing: int, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    grey = Image.fromarray(np.full((30, 42), 7, np.uint16)) if mode == "I;16" else None
    (grey or Image.fromarray(PIXELS).convert(mode)).save(file)
    whole = open_picture(file)
    content = file.read_bytes()
    rows = _rows(content)
    size = len(rows) // 30
    file.write_bytes(_with_rows(content, rows[: size * (30 - missing)]))
    with pytest.raises(PictureError, match=r"a\.png.*ends early"):
        open_picture(file)
    file.write_bytes(_with_rows(content, rows))
    assert np.array_equal(open_picture(file), whole)


def test_a_black_png_is_whole(tmp_path: Path) -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA"):
        Image.new(mode, (33, 5)).save(tmp_path / "a.png")
        assert open_picture(tmp_path / "a.png").shape == (5, 33, 3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (8, 8), (13, 9)])
def test_an_interlaced_png_is_counted_pass_by_pass(width: int, height: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(1, 256, (height, width), dtype=np.uint8)
    rows = b""
    for y, x, down, across in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
    ):  # fmt: skip
        part = pixels[y::down, x::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[28] = 1
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(_with_rows(bytes(content), rows))
    assert np.array_equal(open_picture(tmp_path / "a.png")[..., 0], pixels)
    (tmp_path / "a.png").write_bytes(_with_rows(bytes(content), rows[:-1]))
    with pytest.raises(PictureError, match=r"ends early|truncated"):
        open_picture(tmp_path / "a.png")


def _rows(content: bytes) -> bytes:
    """Return the inflated rows of a PNG of one IDAT chunk."""
    at = content.index(b"IDAT")
    length = int.from_bytes(content[at - 4 : at], "big")
    return zlib.decompress(content[at + 4 : at + 4 + length])


def _with_rows(content: bytes, rows: bytes) -> bytes:
    """Return the PNG with other rows, its checksums right."""
    at = content.index(b"IDAT")
    body = b"IDAT" + zlib.compress(rows)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[: at - 4] + chunk + content[content.index(b"IEND") - 4 :]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_process_that_is_forked_while_a_large_picture_is_decoded_decodes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(reading, "_ONE_AT_A_TIME", 0)
    with reading._large:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            os._exit(0 if np.array_equal(open_picture(tmp_path / "a.png"), PIXELS) else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_pillow_that_does_not_load_is_not_called_missing(monkeypatch):
    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise ImportError("libjpeg.so.62: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "PIL", Broken("PIL"))
    with pytest.raises(MissingExtraError, match=r"is installed, and this machine cannot load it .*libjpeg"):
        opening.pillow.__wrapped__()
