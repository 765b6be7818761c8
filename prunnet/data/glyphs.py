"""Glyphs: a retrieval data set rendered from the fonts that matplotlib carries, for a machine without any download.

Classes are characters, items are faces (fonts), views are random camera-like distortions. Train and test characters are
disjoint, so the test retrieves unseen classes. Characters that the fonts draw alike (Latin A, Greek Alpha) are one
class: no picture could tell them apart.
"""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime_py.bundle.npz import read_npz
from runtime_py.disk.files import write_atomically

PICTURE = 64
"""Height and width of a rendered glyph, pixels."""
MIN_FACES = 10
REFERENCE_FACE = "DejaVuSans.ttf"
TEST_SHARE = 0.25
_FORMAT = "glyphs-1"


@dataclass(frozen=True)
class Glyphs:
    """Rendered glyphs.

    Attributes:
        pictures: uint8 [N, 64, 64], coverage of the ink in 0..255.
        classes: int64 [N], index into `characters`.
        faces: int64 [N], index of the font.
        characters: One representative character for each class, ordered by code point.
    """

    pictures: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]
    faces: npt.NDArray[np.int64]
    characters: tuple[str, ...]

    def split(self, seed: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Split by character.

        Returns:
            Row numbers (int64) of the train items and of the test items; no class is in both.
        """
        order = np.random.default_rng([seed, 7]).permutation(len(self.characters))
        test = np.zeros(len(self.characters), dtype=bool)
        test[order[: round(TEST_SHARE * len(order))]] = True
        held_out = test[self.classes]
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _font_files() -> list[Path]:
    import matplotlib

    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    # LastResort draws one placeholder for a whole block of characters: no picture of a character.
    return [font for font in fonts if not font.name.startswith("LastResort")]


def cache_folder() -> Path:
    """Return the folder for what can be made again: `PRUNNET_CACHE`, else `~/.cache/prunnet`."""
    root = os.environ.get("PRUNNET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "prunnet"
    return Path(root).expanduser()


def _render(font_file: Path, code_points: list[int]) -> dict[int, npt.NDArray[np.uint8]]:
    """Draw every character of one face, centred and scaled to the same box; blank ones are left out."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(font_file), 96, layout_engine=ImageFont.Layout.BASIC)
    drawn = {}
    for point in code_points:
        left, top, right, bottom = font.getbbox(chr(point))
        width, height = int(right - left), int(bottom - top)
        if width <= 0 or height <= 0 or max(width, height) > 400:
            continue
        canvas = Image.new("L", (width, height))
        ImageDraw.Draw(canvas).text((-left, -top), chr(point), fill=255, font=font)
        # Both sides go into 48 px, so a full stop is not a large O; small marks grow at most to a quarter more.
        scale = min(48 / max(width, height), 1.25 * 48 / 96)
        resized = canvas.resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
        )
        picture = Image.new("L", (PICTURE, PICTURE))
        picture.paste(resized, ((PICTURE - resized.width) // 2, (PICTURE - resized.height) // 2))
        pixels = np.asarray(picture, dtype=np.uint8)
        if int(pixels.max()) >= 64:
            drawn[point] = pixels
    return drawn


def _covered(font_file: Path) -> list[int]:
    from matplotlib.ft2font import FT2Font

    points = FT2Font(str(font_file)).get_charmap()
    return sorted(p for p in points if p > 32 and unicodedata.category(chr(p))[0] in "LNPS")


def _draw_all() -> Glyphs:
    faces = _font_files()
    drawn = [_render(face, _covered(face)) for face in faces]
    counts: dict[int, int] = {}
    for face in drawn:
        for point in face:
            counts[point] = counts.get(point, 0) + 1
    points = sorted(p for p, n in counts.items() if n >= MIN_FACES)

    # One class for characters that the reference face draws with the same pixels.
    reference = drawn[[face.name for face in faces].index(REFERENCE_FACE)]
    seen: dict[bytes, int] = {}
    first = {p: seen.setdefault(reference[p].tobytes(), p) if p in reference else p for p in points}
    roots = sorted(set(first.values()))
    number = {p: i for i, p in enumerate(roots)}
    rows: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}
    for f, face in enumerate(drawn):
        for p in points:
            if p in face:
                rows.setdefault((number[first[p]], f), face[p])
    keys = sorted(rows)
    return Glyphs(
        pictures=np.stack([rows[k] for k in keys]),
        classes=np.array([c for c, _ in keys], dtype=np.int64),
        faces=np.array([f for _, f in keys], dtype=np.int64),
        characters=tuple(chr(p) for p in roots),
    )


def load_glyphs() -> Glyphs:
    """Render the glyphs, or read them from the cache of an earlier call with the same fonts.

    The cache is rewritten when it is damaged; it is never needed.
    """
    fingerprint = hashlib.sha256(_FORMAT.encode())
    for file in _font_files():
        fingerprint.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    cache = cache_folder() / f"{_FORMAT}-{fingerprint.hexdigest()[:16]}.npz"
    try:
        stored = read_npz(cache)
        characters = tuple(chr(p) for p in stored["characters"])
        return Glyphs(stored["pictures"], stored["classes"], stored["faces"], characters)
    except (ValueError, KeyError):
        glyphs = _draw_all()
    _store(glyphs, cache)
    return glyphs


def _store(glyphs: Glyphs, cache: Path) -> None:
    """Write the cache atomically; a machine that cannot keep it renders again next time."""
    content = io.BytesIO()
    points = np.array([ord(c) for c in glyphs.characters], dtype=np.int32)
    np.savez_compressed(
        content, pictures=glyphs.pictures, classes=glyphs.classes, faces=glyphs.faces, characters=points
    )
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, content.getvalue())
    except OSError:
        return
