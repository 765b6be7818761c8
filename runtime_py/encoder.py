"""The query encoder: a verified bundle on its runtime."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import Backend, Closable
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.probes import Probes
from runtime_py.check.drift import Embed, examine, held_to
from runtime_py.check.frames import behind_frames
from runtime_py.check.originals import with_preprocessing
from runtime_py.check.report import DriftReport
from runtime_py.errors import ClosedError, InferenceError, PictureError, PrunnetError

if TYPE_CHECKING:
    from PIL import Image


_FORKED = "was loaded before this process was forked, and its runtime's threads are not here"


class QueryEncoder:
    """Embeds images for one server's index. Made by `runtime_py.load`, which verifies everything first.

    Threads may share one: `embed` and `check` may run at the same time, in any number. LiteRT and ExecuTorch
    compute one image at a time, so that threads wait for each other there; for more throughput than one
    interpreter gives, load one encoder for each thread.

    In a process that is forked every use is a ClosedError: the threads of the runtime are not there, and it could wait
    for them for ever.

    It is a context manager: at the end of `with load(path) as encoder:` it is closed.

    Args:
        manifest: The bundle's manifest.
        probes: The bundle's probes.
        backend: Its artifact, opened.
    """

    def __init__(self, manifest: Manifest, probes: Probes, backend: Backend) -> None:
        self.manifest = manifest
        self.probes = probes
        self._backend: Backend | None = backend
        self._runtime = backend.runtime
        self._used = threading.Condition()
        self._users: dict[int, int] = {}  # thread -> uses; none at zero
        self._left: Backend | None = None  # closed, and still in use
        self._checking = threading.Lock()
        self._checked: float | None = None
        self._process = os.getpid()

    @property
    def runtime(self) -> str:
        """Sentence that names the device runtime and its version."""
        return self._runtime

    def close(self) -> None:
        """Give the artifact's memory back, when whoever uses it now has finished. Twice is once.

        In a signal handler that interrupts an embedding of this very thread it returns at once: the embedding ends
        after the handler, and gives the memory back.
        """
        if self._is_forked():
            return  # its runtime could wait, and its memory is the parent's
        with self._used:
            if self._backend is not None:
                self._left, self._backend = self._backend, None
            if threading.get_ident() in self._users:
                return
            self._used.wait_for(lambda: not self._users)
            self._give_back()

    def _give_back(self) -> None:
        """End what nobody uses any more; the caller holds `_used`."""
        backend, self._left = self._left, None
        if isinstance(backend, Closable):
            backend.close()

    def __enter__(self) -> Self:
        with self._opened():
            return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _opened(self) -> Iterator[Backend]:
        here = threading.get_ident()
        self._expect_own_process()
        with self._used:
            backend = self._backend
            if backend is None:
                raise ClosedError(self._name)
            self._users[here] = self._users.get(here, 0) + 1
        try:
            yield backend
        finally:
            with self._used:
                self._users[here] -= 1
                if not self._users[here]:
                    del self._users[here]
                    self._used.notify_all()
                if self._backend is None and not self._users:
                    self._give_back()

    @property
    def _name(self) -> str:
        return f"{self.manifest.encoder} for {self.manifest.target}"

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def _expect_own_process(self) -> None:
        """Refuse in a forked process, before any lock: a thread of the parent may have held it for ever."""
        if self._is_forked():
            raise ClosedError(self._name, _FORKED)

    def embed(self, images: Pixels) -> Floats:
        """Embed images.

        Args:
            images: uint8 [N, H, W, 3], RGB, 0..255, resized to the manifest's `preprocessing`; where the manifest
                says `resize_inside`, frames of the size of its `input`. N may be 0.

        Returns:
            float32 [N, D], unit length.

        Raises:
            TypeError: Not a uint8 array.
            ValueError: Not of that shape.
            InferenceError: The runtime failed.
            ClosedError: The encoder was closed.
        """
        wanted = self.manifest.takes
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            given = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
            raise TypeError(
                f"images are {given}, not a uint8 array: give raw RGB pixels 0..255; "
                "the artifact normalises them itself"
            )
        if images.ndim != 4 or images.shape[3] != 3:
            hint = "; add an axis for one image: images[None]" if images.shape[-1:] == (3,) else ""
            raise ValueError(f"images have shape {list(images.shape)}, not [N, H, W, 3] in RGB{hint}")
        if images.shape[1:3] != (wanted.height, wanted.width):
            remedy = (
                "give the camera's frames as they are, the artifact resizes them (embed_probes takes probes)"
                if self.manifest.resize_inside
                else "use embed_pictures, or resize them with "
                f"runtime_py.picture_files.resize(image, manifest.preprocessing) ({wanted.resize})"
            )
            raise ValueError(
                f"images are {images.shape[1]} x {images.shape[2]} pixels (H x W), this encoder takes "
                f"{wanted.height} x {wanted.width}: {remedy}"
            )
        try:
            with self._opened() as backend:
                return backend.run(images)
        except PrunnetError:
            raise
        except Exception as error:  # each runtime has its own, ONNX Runtime's share no base but Exception
            raise InferenceError(self.runtime, error) from error

    def embed_probes(self, images: Pixels) -> Floats:
        """Embed the bundle's probes; where the artifact resizes by itself, each is enlarged to a frame first.

        Args:
            images: uint8 [N, H, W, 3], RGB, of the size that the manifest's `preprocessing` states; N may be 0.

        Returns:
            float32 [N, D], unit length.

        Raises:
            TypeError: `images` is not a uint8 array.
            ValueError: `images` has another shape.
            InferenceError: The runtime failed.
            ClosedError: The encoder was closed.
        """
        if not self.manifest.resize_inside:
            return self.embed(images)
        return behind_frames(self.embed, self.manifest.takes.size)(images)

    def embed_pictures(self, pictures: Iterable[str | Path | Image.Image]) -> Floats:
        """Embed files or Pillow's images, each read, turned upright and resized as the server's training reads them.

        One picture is in memory at a time, whatever their number. An artifact that resizes by itself takes only
        pictures of its input's size: any other would be resized twice.

        Args:
            pictures: Paths; or images of Pillow's, as `runtime_py.picture_files.read_image` takes them.

        Returns:
            float32 [N, D], unit length.

        Raises:
            TypeError: One picture is given, not several in a list; or something that is not a picture.
            PictureError: A file is not a readable picture, or an image is of a mode without a stated meaning; or the
                artifact resizes by itself, and a picture is not of its input's size.
            MissingExtraError: Pillow is not installed.
            InferenceError: The runtime failed.
            ClosedError: The encoder was closed.
        """
        from runtime_py.picture_files import read_image, read_picture

        if isinstance(pictures, np.ndarray):
            raise TypeError("an array is given, not pictures: embed takes arrays of the encoder's own size")
        if isinstance(pictures, str | bytes | Path) or not hasattr(pictures, "__iter__"):
            raise TypeError(
                f"one {type(pictures).__name__} is given, not several pictures: put it into a list"
            )
        size = self.manifest.takes.size
        into = None if self.manifest.resize_inside else self.manifest.preprocessing
        rows = [self.embed(np.zeros((0, *size, 3), np.uint8))]
        for each in pictures:
            pixels = read_picture(each, into) if isinstance(each, str | Path) else read_image(each, into)
            if pixels.shape[:2] != size:
                raise _not_a_frame(each, pixels, size)
            rows.append(self.embed(pixels[None]))
        return np.concatenate(rows)

    def self_check(self, *, every: timedelta) -> DriftReport | None:
        """Check against the bundle's own probes, but no oftener than `every`: for a loop or a timer of the application.

        Nothing calls it by itself, so that no query waits for a check. Of several threads one checks, and the others
        go on. A check that raised does not count.

        Args:
            every: Least time between two checks; on Linux the time that a device sleeps counts. The first call checks
                at once.

        Returns:
            The report of a check that was due, None otherwise.

        Raises:
            TypeError: `every` is not a timedelta.
            ValueError: It is negative.
            ClosedError: The encoder was closed.
        """
        if not isinstance(every, timedelta):
            raise TypeError(f"every is {every!r}, not a timedelta: give for example timedelta(hours=6)")
        if every < timedelta(0):
            raise ValueError(f"every is {every}; allowed: zero or more")
        self._expect_own_process()
        if not self._checking.acquire(blocking=False):
            return None
        try:
            with self._opened():
                if self._checked is not None and _clock() - self._checked < every.total_seconds():
                    return None
            report = self.check()
            self._checked = _clock()
            return report
        finally:
            self._checking.release()

    def field_report(self, report: DriftReport) -> dict[str, Any]:
        """Return a report with what it is about, as plain JSON types, for a service that collects them.

        It holds the bundle's identity and seal, the time of this call (UTC), the figures and the reasons, and of a
        server's path its last part alone. It holds no picture and no embedding.
        """
        stated = self.manifest
        return {
            "bundle": {
                **stated.identity.entries(),
                "target": stated.target,
                "precision": stated.precision,
                "profile": stated.profile,
                "seal": stated.seal,
            },
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "report": {
                **report.to_json(),
                "server": None if report.server is None else Path(report.server).name,
            },
        }

    def check(self, server: str | Path | None = None, *, embed: Embed | None = None) -> DriftReport:
        """Measure drift on this machine's own kernels, from the bundle's probes.

        Args:
            server: What embeds or holds the server's index: an encoder package, an ONNX model, a TensorFlow
                SavedModel, or a stored gallery (.npz). None: the dense embeddings stored in the bundle.
            embed: Called for the probes instead of `embed_probes`, for a caller that needs what that returns too.

        Returns:
            The verdict with its figures; `not verified` if the server does not say which space it embeds in,
            or if the artifact or the server failed while it ran.

        Raises:
            IncompatibleError: The server's space is another one; nothing was computed.
            BundleError: The server's file cannot be used.
            MissingExtraError: A package that opens the server is not installed.
        """
        from runtime_py.check.against_server import check_server

        exported = self.manifest.drift
        tolerances = held_to(exported, self.runtime, exported.figures)
        embed = embed or self.embed_probes
        try:
            if server is not None:
                report = check_server(self.manifest, self.probes, embed, tolerances, self.runtime, server)
            else:
                record = examine(embed, self.probes, tolerances, self.runtime, exported.figures)
                report = DriftReport.of(record, exported.figures)
            return with_preprocessing(report, self.embed, self.probes, self.manifest.takes)
        except InferenceError as error:
            where = None if server is None else str(server)
            reasons = (str(error),)
            return DriftReport("not verified", reasons, None, tolerances, self.runtime, server=where)


def _not_a_frame(picture: str | Path | Image.Image, pixels: Pixels, size: tuple[int, int]) -> PictureError:
    name = (
        picture if isinstance(picture, str | Path) else getattr(picture, "filename", "") or "the given image"
    )
    height, width = pixels.shape[:2]
    return PictureError(
        Path(name),
        "of another size",
        f"upright it is {height} x {width} pixels (H x W), and this artifact takes frames of {size[0]} x {size[1]}, "
        "which it resizes by itself; for pictures of any size export without raw_input",
    )


def _clock() -> float:
    """Return seconds since the machine started, its sleep included where the system tells."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
