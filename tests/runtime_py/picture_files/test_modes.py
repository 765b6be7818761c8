"""Every mode of Pillow becomes the picture that a viewer shows, or is refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageMode

from runtime_py.errors import PictureError
from runtime_py.picture_files import inspect_picture, open_picture, rgb

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
"""uint8 [48, 64], 64 levels."""
RED = (200, 30, 30)


def _grey(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values[:, :, None], 3, axis=2)


def _cut_out(hidden: int) -> npt.NDArray[np.uint8]:
    """A red square on nothing; `hidden` is the colour under what is not seen."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[..., :3] = hidden
    pixels[10:30, 10:40] = *RED, 255
    return pixels


def _seen() -> npt.NDArray[np.uint8]:
    pixels = np.full((48, 64, 3), 255, np.uint8)
    pixels[10:30, 10:40] = RED
    return pixels


def _png(file: Path, depth: int, colour: int, rows: bytes, width: int, height: int, key: bytes) -> Path:
    """Write a PNG that Pillow itself cannot write: another depth, with a transparent colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(rows))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b""))
    return file


def _tiff(file: Path, data: bytes, width: int, **tags: int) -> Path:
    """Write a TIFF of one row in one strip that Pillow itself cannot write."""
    known = {"bits": 258, "photometric": 262, "samples": 277, "format": 339}
    values = {256: width, 257: 1, 259: 1, 273: 8, 278: 1, 279: len(data)}
    values |= {known[name]: value for name, value in tags.items()}
    at = 8 + len(data) + len(data) % 2
    bits = struct.pack("<HHH", *[tags["bits"]] * 3)
    count = tags.get("samples", 1)
    entries = struct.pack("<H", len(values))
    for tag, value in sorted(values.items()):
        if tag == 258 and count == 3:
            entries += struct.pack("<HHII", tag, 3, 3, at + 2 + 12 * len(values) + 4)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    file.write_bytes(b"II*\0" + struct.pack("<I", at) + data.ljust(at - 8, b"\0") + entries + bytes(4) + bits)
    return file


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBX", "YCbCr", "HSV", "LAB", "CMYK", "P", "1"])
def test_opaque_modes_keep_their_colours(mode: str) -> None:
    source = Image.fromarray(_grey(RAMP))
    made = source.convert("RGB").convert(mode)
    assert made.mode == mode
    got = np.asarray(rgb(made)).astype(int)
    worst = {"LAB": 4, "HSV": 1, "YCbCr": 1}.get(mode, 0)
    wanted = np.asarray(source.convert("1").convert("RGB")) if mode == "1" else _grey(RAMP)
    assert np.abs(got - np.asarray(made.convert("RGB") if mode == "P" else wanted)).max() <= worst


def test_every_mode_of_pillow_is_read_or_refused_by_name() -> None:
    modes = [*Image.MODES, "I;16B", "I;16L", "RGBa", "La"]
    for mode in modes:
        picture = Image.new(mode, (3, 2))
        if mode == "I":
            with pytest.raises(ValueError, match=r"32 bits \(mode I\).*save it with 8 or 16 bits"):
                rgb(picture)
            continue
        got = rgb(picture)
        assert got.mode == "RGB" and got.size == (3, 2), mode
        clear = ImageMode.getmode(mode).bands[-1] in ("A", "a")
        assert (np.asarray(got) == 255).all() or not clear, f"{mode}: what is not seen is white"


@pytest.mark.parametrize("hidden", [0, 128, 255])
@pytest.mark.parametrize(
    "name", ["a.png", "a.webp", "a.tif", "la.png", "p.png", "bytes.png", "a.gif", "key.png"]
)
def test_what_is_not_seen_does_not_count(name: str, hidden: int, tmp_path: Path) -> None:
    picture, file, wanted = Image.fromarray(_cut_out(hidden)), tmp_path / name, _seen()
    if name == "la.png":
        picture = picture.convert("LA")
        wanted = np.where(wanted == 255, 255, _grey(np.asarray(picture)[:, :, 0]))
    if name in ("p.png", "bytes.png", "a.gif"):
        index = np.zeros((48, 64), np.uint8)
        index[10:30, 10:40] = 1
        picture = Image.fromarray(index).convert("P")
        picture.putpalette([hidden] * 3 + list(RED))
    options = {
        "a.webp": {"lossless": True, "exact": True},
        "p.png": {"transparency": 0},
        "bytes.png": {"transparency": bytes([0, 255])},
        "a.gif": {"transparency": 0},
        "key.png": {"transparency": (hidden,) * 3},
    }.get(name, {})
    if name == "key.png":
        picture = picture.convert("RGB")
    picture.save(file, **options)
    assert np.array_equal(open_picture(file), wanted)
    assert inspect_picture(file).transparent


def test_half_transparent_and_premultiplied_pictures() -> None:
    half = np.zeros((4, 4, 4), np.uint8)
    half[...] = 200, 100, 0, 128
    wanted = np.array([200, 100, 0]) * (128 / 255) + 255 * (127 / 255)
    for mode in ("RGBA", "RGBa"):
        got = np.asarray(rgb(Image.fromarray(half).convert(mode)))
        assert np.abs(got - wanted).max() <= 1.5, mode


def test_a_transparent_grey_of_few_bits(tmp_path: Path) -> None:
    """tRNS names the stored number, which Pillow does not spread over 0..255 as it does the pixels."""
    for depth, key, row in (
        (2, 2, bytes([0b00_01_10_11])),
        (4, 10, bytes([0x0F, 0xA5])),
        (8, 7, bytes([0, 7, 9, 255])),
    ):
        file = _png(tmp_path / f"{depth}.png", depth, 0, b"\0" + row, 4, 1, struct.pack(">H", key))
        stored = [(int.from_bytes(row) >> (depth * (3 - n))) & (2**depth - 1) for n in range(4)]
        wanted = [255 if value == key else round(value * 255 / (2**depth - 1)) for value in stored]
        assert open_picture(file)[0, :, 0].tolist() == wanted


def test_a_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    colours = [(0x1234, 0x5678, 0x9ABC), (0xFFFF, 0x0000, 0x8000)]
    rows = b"\0" + b"".join(struct.pack(">HHH", *colour) for colour in colours)
    file = _png(tmp_path / "a.png", 16, 2, rows, 2, 1, struct.pack(">HHH", *colours[0]))
    assert open_picture(file)[0].tolist() == [[255, 255, 255], [255, 0, 128]]
    grey = _png(
        tmp_path / "g.png", 16, 0, b"\0" + struct.pack(">HH", 300, 40_000), 2, 1, struct.pack(">H", 300)
    )
    assert open_picture(grey)[0].tolist() == [[255, 255, 255], [156, 156, 156]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif", "a.pgm", "a.jp2"])
def test_sixteen_bits_keep_every_level(name: str, tmp_path: Path) -> None:
    values = (
        (RAMP.astype(np.uint16) * 257 + np.arange(64, dtype=np.uint16)[None]).clip(0, 65535).astype(np.uint16)
    )
    picture = Image.fromarray(values.astype(">u2") if name == "big.tif" else values)
    picture.save(tmp_path / name)
    wanted = np.rint(values.astype(float) * 255 / 65535)
    assert np.array_equal(open_picture(tmp_path / name), _grey(wanted.astype(np.uint8)))


def test_sixteen_bit_colours(tmp_path: Path) -> None:
    """Pillow keeps the high byte of colours: within a level of the rounded value."""
    values = [(0, 257 * 40, 65535), (65535, 257 * 7, 0)]
    rows = b"\0" + b"".join(struct.pack(">HHH", *each) for each in values)
    png = _png(tmp_path / "a.png", 16, 2, rows, 2, 1, struct.pack(">HHH", 1, 2, 3))
    data = b"".join(struct.pack("<HHH", *each) for each in values)
    tiff = _tiff(tmp_path / "a.tif", data, 2, bits=16, photometric=2, samples=3)
    for file in (png, tiff):
        assert open_picture(file)[0].tolist() == [[0, 40, 255], [255, 7, 0]]


def test_tiffs_whose_white_is_zero_and_of_12_bits(tmp_path: Path) -> None:
    data = struct.pack("<HHH", 0, 257 * 55, 65535)
    got = open_picture(_tiff(tmp_path / "a.tif", data, 3, bits=16, photometric=0))
    assert got[0, :, 0].tolist() == [255, 200, 0]
    data = struct.pack("<fff", 0, 0.2, 1)
    got = open_picture(_tiff(tmp_path / "b.tif", data, 3, bits=32, photometric=0, format=3))
    assert got[0, :, 0].tolist() == [255, 204, 0]
    twelve = bytes([0xFF, 0xF0, 0x00, 0x80, 0x00, 0x00])  # 4095, 0, 2048, 0
    got = open_picture(_tiff(tmp_path / "c.tif", twelve, 4, bits=12, photometric=1))
    assert got[0, :, 0].tolist() == [255, 0, 128, 0]


def test_floats_are_0_to_1_or_refused(tmp_path: Path) -> None:
    Image.fromarray((RAMP / 255).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.array_equal(open_picture(tmp_path / "a.tif"), _grey(RAMP))
    for name, values in {"b": RAMP.astype(np.float32), "c": RAMP / 255 - 0.1, "d": RAMP * np.nan}.items():
        Image.fromarray(values.astype(np.float32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(
            PictureError, match=rf"{name}\.tif is not a readable picture: its floats reach from"
        ):
            open_picture(tmp_path / f"{name}.tif")
        with pytest.raises(PictureError, match=r"only 0\.\.1 has a stated meaning"):
            inspect_picture(tmp_path / f"{name}.tif")


def test_whole_numbers_without_a_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match=r"a\.tif is not .*32 bits \(mode I\)"):
        open_picture(tmp_path / "a.tif")
    with pytest.raises(PictureError, match="its numbers are signed"):
        open_picture(_tiff(tmp_path / "b.tif", bytes([1, 2, 3, 255]), 4, bits=8, photometric=1, format=2))


def test_cmyk_jpegs_are_inverted_as_adobe_does(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16), RED).convert("CMYK")
    picture.save(tmp_path / "a.jpg", quality=100)
    picture.save(tmp_path / "a.tif")
    for name in ("a.jpg", "a.tif"):
        assert np.abs(open_picture(tmp_path / name).astype(int) - RED).max() <= 3
