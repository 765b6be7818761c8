"""The stated resize: against Pillow, torchvision's rule, and slow oracles."""

from __future__ import annotations

import hashlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, ImageSequence
from pydantic import ValidationError

from runtime_py.errors import PictureError
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import open_picture, read_image, read_picture, resize
from runtime_py.picture_files.resizing import placed

SIDES = st.integers(1, 97)
RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (61, 83, 3), dtype=np.uint8)
KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(7, 5), (61, 83), (200, 31)])
def test_antialiased_and_stretched_is_pillow_columns_first(kernel: str, size: tuple[int, int]) -> None:
    framing = Framing(height=size[0], width=size[1], resize=Resize(filter=kernel))
    picture, across = Image.fromarray(PICTURE), (size[1], len(PICTURE))
    wanted = picture.resize(across, KERNELS[kernel]).resize(size[::-1], KERNELS[kernel])
    assert np.array_equal(resize(PICTURE, framing), np.asarray(wanted))


@given(SIDES, SIDES, SIDES, st.sampled_from([1.0, 0.95, 0.875, 0.5]))
def test_crop_is_torchvisions_resize_and_center_crop(h: int, w: int, side: int, scale: float) -> None:
    """torchvision 0.26, transforms.functional: `_compute_resized_output_size` and `center_crop`, timm's scale_size."""
    short = math.floor(side / scale)
    long = int(short * max(h, w) / min(h, w))
    wide = (short, long) if h <= w else (long, short)
    framing = Framing(height=side, width=side, resize=Resize(fit="crop", scale=scale))
    assert placed((h, w), framing) == wide
    pixels = RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)
    scaled = resize(pixels, wide)
    top, left = (round((whole - side) / 2.0) for whole in wide)
    wanted = scaled[top : top + side, left : left + side]
    assert np.array_equal(resize(pixels, framing), wanted)


@given(SIDES, SIDES, SIDES, SIDES)
def test_letterbox_is_pillows_pad(h: int, w: int, height: int, width: int) -> None:
    bicubic = Image.Resampling.BICUBIC
    framing = Framing(
        height=height, width=width, resize=Resize(filter="bicubic", fit="letterbox", fill=(9, 99, 199))
    )
    across = placed((h, w), framing)
    if min(h / w * width, w / h * height) <= 0.5:
        assert min(across) == 1  # Pillow refuses a side of no pixel
        return
    white = Image.new(
        "RGB", (w, h), (255, 255, 255)
    )  # no filter changes it, so that only places are compared
    assert across == ImageOps.contain(white, (width, height), bicubic).size[::-1]
    pad = ImageOps.pad(white, (width, height), bicubic, color=(9, 99, 199))
    assert np.array_equal(resize(np.asarray(white), framing), np.asarray(pad))
    if across == (height, width):
        pixels = RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)
        assert np.array_equal(
            resize(pixels, framing),
            resize(pixels, Framing(height=height, width=width, resize=Resize(filter="bicubic"))),
        )


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["crop", "letterbox"]))
def test_a_picture_always_comes_out_in_the_size_of_the_input(
    h: int, w: int, height: int, width: int, fit: str
) -> None:
    out = resize(
        np.full((h, w, 3), 77, np.uint8),
        Framing(height=height, width=width, resize=Resize(fit=fit, filter="bicubic")),
    )
    assert out.shape == (height, width, 3) and out.dtype == np.uint8
    assert fit == "letterbox" or (out == 77).all()


@pytest.mark.parametrize("size", [(7, 5), (200, 31), (61, 83)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_without_antialias_the_nearest_pixels_are_interpolated(kernel: str, size: tuple[int, int]) -> None:
    import torch
    import torch.nn.functional as F

    framing = Framing(height=size[0], width=size[1], resize=Resize(filter=kernel, antialias=False))
    got = resize(PICTURE, framing)
    if kernel == "bilinear":
        planes = torch.from_numpy(PICTURE).permute(2, 0, 1)[None].double()
        wanted = F.interpolate(planes, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    else:
        wanted = _cubic(PICTURE, size)
    assert np.abs(got - wanted.clip(0, 255)).max() <= 0.5 + 1e-6


def _cubic(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Keys' cubic, a = -0.5, one output pixel at a time."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    out = np.zeros((*size, 3))
    for i in range(size[0]):
        y = (i + 0.5) * pixels.shape[0] / size[0] - 0.5
        for j in range(size[1]):
            x = (j + 0.5) * pixels.shape[1] / size[1] - 0.5
            for dy in range(-1, 3):
                for dx in range(-1, 3):
                    row, column = math.floor(y) + dy, math.floor(x) + dx
                    share = kernel(y - row) * kernel(x - column)
                    out[i, j] += share * pixels[min(max(row, 0), 60), min(max(column, 0), 82)]
    return out


def test_files_and_images_of_pillow_are_framed_alike(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(file)
    framing = Framing(height=20, width=30, resize=Resize(filter="bicubic", fit="letterbox", fill=(1, 2, 3)))
    wanted = resize(PICTURE, framing)
    assert np.array_equal(read_picture(file, framing), wanted)
    assert np.array_equal(read_image(Image.fromarray(PICTURE), framing), wanted)
    assert np.array_equal(read_picture(file, (20, 30)), resize(PICTURE, Framing(height=20, width=30)))


@pytest.mark.parametrize("size", [(30_000, 4), (4, 30_000)])
def test_a_strip_that_would_be_blown_up_to_be_cropped_is_refused(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """A file of 429 bytes must not take gigabytes."""
    file = tmp_path / "strip.png"
    Image.new("RGB", size).save(file)
    framing = Framing(height=224, width=224, resize=Resize(fit="crop", scale=0.875))
    with pytest.raises(
        PictureError, match=r"strip\.png is not a readable picture: .* pixels before it is cropped"
    ):
        read_picture(file, framing)
    assert read_picture(file, (224, 224)).shape == (224, 224, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "webp", "jpg"])
def test_a_box_is_of_the_picture_as_it_is_stored(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"turned.{kind}"
    Image.fromarray(stored).save(file, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    kept = open_picture(file, box=(0, 0, 16, 8))
    assert kept.shape == ((16, 8, 3) if orientation > 4 else (8, 16, 3))
    assert kept.min() > 200
    with Image.open(file) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(open_picture(file), upright)


@pytest.mark.parametrize("kind", ["tif", "gif", "png", "webp"])
def test_the_frame_at_which_an_image_stands_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (grey, grey, grey)) for grey in (10, 120, 240)]
    file = tmp_path / f"frames.{kind}"
    lossless = {"lossless": True} if kind == "webp" else {}
    frames[0].save(file, save_all=True, append_images=frames[1:], **lossless)
    framing = Framing(height=8, width=8)
    with Image.open(file) as opened:
        found = [int(read_image(frame, framing)[0, 0, 0]) for frame in ImageSequence.Iterator(opened)]
    assert found == [10, 120, 240]


def test_the_values_are_those_of_every_pillow_that_was_tried() -> None:
    """One sum for Pillow 9.5, 11.3, 12.3 and 13.0 on x86-64, and for 12.3 and 13.0 on emulated Arm."""
    rng, digest = np.random.default_rng(5), hashlib.sha256()
    for size in ((48, 48), (51, 77), (240, 161), (480, 640), (640, 480), (100, 100), (17, 300)):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        for (height, width), kernel, fit in itertools.product(
            ((48, 48), (33, 65), (65, 33), (224, 224)), KERNELS, ("stretch", "crop", "letterbox")
        ):
            rule = Resize.model_validate({"filter": kernel, "fit": fit})
            digest.update(resize(pixels, Framing(height=height, width=width, resize=rule)).tobytes())
    assert digest.hexdigest().startswith("b9a95c58150ec9ce")


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({"scale": 0.5}, "scale goes with fit: crop"),
        ({"fill": (1, 2, 3), "scale": 0.5, "fit": "stretch"}, "scale goes.*; fill goes with fit: letterbox"),
        ({"scale": 0.0, "fit": "crop"}, "greater than or equal to 0.1"),
        ({"fill": (1, 2, 300), "fit": "letterbox"}, "less than or equal to 255"),
        ({"filter": "nearest"}, "'bilinear' or 'bicubic'"),
    ],
)
def test_what_means_nothing_is_refused(stated: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Resize.model_validate(stated)
