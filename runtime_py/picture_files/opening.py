"""Opening a picture file with Pillow: which formats, how large, and what is said of a file that is none."""

from __future__ import annotations

import functools
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runtime_py.errors import MissingExtraError, PictureError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""Pillow's names of what is read, beside JPEG. Not among them: what runs a program (EPS), or is no single picture."""
LARGEST = 89_478_485
"""Pixels decoded at most (Pillow warns from here on): 256 MiB as RGB."""
LARGEST_JPEG = 400_000_000
"""Pixels of a JPEG that can be decoded at a half, a quarter or an eighth of its size."""
LARGEST_PROGRESSIVE = 2 * LARGEST
"""The same for a progressive JPEG, which is held whole in memory before it is decoded, up to 6 bytes a pixel."""
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


@functools.cache
def pillow() -> Any:
    """Return Pillow's module `Image`, all its formats registered.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "runtime-pictures", "reading pictures", error) from error
    Image.init()
    return Image


@contextmanager
def said(file: Path) -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged picture into a `PictureError` that names the file."""
    try:
        yield
    except (PictureError, MissingExtraError):
        raise
    except FileNotFoundError as error:
        raise PictureError(file, "unreadable", "it does not exist", "check the path") from error
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:
            raise  # not the file's: an alarm that the caller set went off
        problem = error.strerror or str(error).replace(f" {str(file)!r}", "") or type(error).__name__
        raise PictureError(file, "damaged" if error.errno is None else "unreadable", problem) from error
    # Pillow's decoders document no closed list of what they raise on a damaged file.
    except Exception as error:
        raise PictureError(file, "damaged", str(error) or type(error).__name__) from error


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """Open a picture: its header is read, its pixels are not.

    Raises:
        PictureError: It is not a plain file (reading a pipe or a device may never end), is not a picture of
            `FORMATS`, or is too large to decode.
        MissingExtraError: Pillow is not installed.
    """
    pillow()
    with said(file):
        if not stat.S_ISREG(file.stat().st_mode):
            raise PictureError(file, "unreadable", "it is not a plain file, but a folder, a pipe or a device")
    with said(file), file.open("rb") as stream:
        start = stream.read(16)
        stream.seek(0)
        with _picture(file, stream, start) as picture:
            check_size(file, picture)
            yield picture


def _picture(file: Path, stream: IO[bytes], start: bytes) -> Image.Image:
    if not start:
        raise PictureError(file, "empty", "the file is empty")
    if start.startswith(b"\xff\xd8\xff"):
        from PIL.JpegImagePlugin import JpegImageFile

        # Not by Image.open, which refuses photographs of 200 megapixels before they can be decoded at a smaller size.
        return JpegImageFile(stream)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        _read_heif(file)
    image = pillow()
    formats = [name for name in FORMATS if name in image.OPEN]
    try:
        picture: Image.Image = image.open(stream, formats=formats)
    except (image.DecompressionBombError, image.DecompressionBombWarning) as error:
        raise PictureError(
            file, "too large", f"it has more than {LARGEST:,} pixels; make it smaller"
        ) from error
    except image.UnidentifiedImageError as error:
        raise PictureError(file, "damaged", "no format that is read here") from error
    return picture


def _read_heif(file: Path) -> None:
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise PictureError(file, "HEIC", "HEIC needs another package: pip install pillow-heif") from error


def check_size(file: Path, picture: Image.Image) -> None:
    """Raise PictureError if a picture must not be decoded."""
    pixels = picture.width * picture.height
    most = LARGEST
    if picture.format == "JPEG":
        most = LARGEST_PROGRESSIVE if picture.info.get("progressive") else LARGEST_JPEG
    if pixels > most:
        size = f"{picture.width:,} x {picture.height:,}"
        raise PictureError(file, "too large", f"{size} is more than {most:,} pixels; make it smaller")


def reduction(picture: Image.Image) -> int:
    """Return by what a JPEG is divided while it is decoded, so that no more than `LARGEST` pixels are: 1, 2, 4 or 8."""
    scale = 1
    while picture.width * picture.height > scale * scale * LARGEST:
        scale *= 2
    return scale


def cut_short(picture: Image.Image, stream: IO[bytes]) -> bool:
    """Tell whether a file seems to lack its end: without decoding, so it is a suspicion only.

    Args:
        picture: Opened from the stream.
        stream: The whole file.
    """
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 4096))
    tail = stream.read()
    if picture.format == "JPEG":
        return b"\xff\xd9" not in tail
    if picture.format == "PNG":
        return b"IEND" not in tail
    if picture.format == "GIF":
        return not tail.rstrip(b"\0").endswith(b";")
    if picture.format == "WEBP":
        stream.seek(4)
        return int(struct.unpack("<I", stream.read(4))[0]) + 8 > size
    if picture.format == "TIFF":
        tags: Any = getattr(picture, "tag_v2", {})
        parts = [(tags.get(a, ()), tags.get(b, ())) for a, b in ((273, 279), (324, 325))]
        return any(
            int(at) + int(n) > size for starts, counts in parts for at, n in zip(starts, counts, strict=False)
        )
    return False
