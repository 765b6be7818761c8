"""Looking at every picture of a tree before it is used: by its header, which is quick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from prunnet.data.folders.walk import LeftOut, Walk, walk
from prunnet.data.pictures import Pictures
from prunnet.errors import DatasetError
from runtime_py.errors import PictureError
from runtime_py.picture_files import Facts, inspect_picture

_OFTEN = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SELDOM = (".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".pbm", ".pgm", ".ppm", ".qoi")
SUFFIXES = frozenset(_OFTEN + _SELDOM)
"""Names that promise a picture; a file of another name is used if it holds one, and is no picture otherwise."""
MOST_DAMAGED = 0.1
"""Share of a tree's pictures that may be left out as unreadable."""
FEW_DAMAGED = 3
"""As many are left out of the smallest tree."""
_CHUNK = 128
_NOTED = {
    "transparent": "transparent, composed on white",
    "profile": "with a colour profile other than sRGB, which is not applied",
    "frames": "of several frames or pages, the first of which is used",
    "reduced": "decoded at a smaller size",
}


@dataclass(frozen=True)
class Scan:
    """The pictures of `FOLDER/CLASS/**` that can be used, and what is left out.

    Attributes:
        folder: The tree.
        classes: Names of the class folders.
        names: Pictures, relative to the tree, by class, then by name.
        labels: The class number of each.
        sizes: Bytes of each file.
        left_out: What is not used.
        noted: How many pictures are read in a way that is worth saying.
    """

    folder: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    sizes: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
    noted: tuple[str, ...]

    @property
    def pictures(self) -> Pictures:
        """The pictures that can be used."""
        return Pictures(self.folder, self.names)

    def without(self, failed: Sequence[tuple[int, PictureError]]) -> Scan:
        """Return this scan without pictures whose pixels turned out to be damaged.

        Raises:
            DatasetError: Too much is left out.
        """
        if not failed:
            return self
        bad = {number for number, _ in failed}
        keep = [number for number in range(len(self.names)) if number not in bad]
        new = [LeftOut(self.names[number], error.kind, error.problem) for number, error in failed]
        return _checked(
            replace(
                self,
                names=tuple(self.names[n] for n in keep),
                labels=tuple(self.labels[n] for n in keep),
                sizes=tuple(self.sizes[n] for n in keep),
                left_out=(*self.left_out, *new),
            )
        )

    def lines(self, what: str) -> list[str]:
        """Say what was found: pictures, classes, what is left out and why.

        Args:
            what: What the pictures are for, e.g. "train".
        """
        lines = [f"{what}: {len(self.names):,} pictures of {len(self.classes):,} classes in {self.folder}"]
        if self.left_out:
            lines.append(f"  left out: {summary(self.left_out)}")
        return lines + [f"  {text}" for text in self.noted]


def scan(folder: Path) -> Scan:
    """Look at all pictures of `folder/CLASS/**`.

    Raises:
        DatasetError: As `walk`; a class folder without a picture; or more are damaged than may be left out.
    """
    found = walk(folder)
    chunks = [range(at, min(at + _CHUNK, len(found.names))) for at in range(0, len(found.names), _CHUNK)]
    with ThreadPoolExecutor() as pool:
        looked = list(pool.map(lambda numbers: [_look(folder / found.names[n]) for n in numbers], chunks))
    facts = [each for chunk in looked for each in chunk]
    keep = [number for number, each in enumerate(facts) if isinstance(each, Facts)]
    bad = [
        _left_out(n, each)
        for n, each in zip(found.names, facts, strict=True)
        if isinstance(each, PictureError)
    ]
    return _checked(
        Scan(
            folder,
            tuple(found.classes),
            tuple(found.names[n] for n in keep),
            tuple(found.labels[n] for n in keep),
            tuple(found.sizes[n] for n in keep),
            (*found.left_out, *bad),
            _noted(found, [each for each in facts if isinstance(each, Facts)]),
        )
    )


def summary(left_out: Iterable[LeftOut]) -> str:
    """Say what is left out by kind, with an example of each: "3 damaged (a/1.jpg: cut short; ...), 2 hidden (.git)"."""
    kinds: dict[str, list[LeftOut]] = {}
    for each in left_out:
        kinds.setdefault(each.kind, []).append(each)
    parts = []
    for kind, of_kind in kinds.items():
        shown = "; ".join(
            f"{each.name}: {each.problem}" if each.problem else each.name for each in of_kind[:2]
        )
        parts.append(f"{len(of_kind):,} {kind} ({shown}{'; ...' if len(of_kind) > 2 else ''})")
    return ", ".join(parts)


def check_damaged(left_out: Sequence[LeftOut], pictures: int, folder: Path) -> None:
    """Raise DatasetError if more pictures are unreadable than may be left out in passing."""
    if len(left_out) > max(FEW_DAMAGED, MOST_DAMAGED * (pictures + len(left_out))):
        raise DatasetError(
            f"{len(left_out):,} of {pictures + len(left_out):,} pictures in {folder} cannot be read, more than "
            f"{MOST_DAMAGED:.0%}: {summary(left_out)}; mend or remove them"
        )


def _look(file: Path) -> Facts | PictureError:
    try:
        return inspect_picture(file)
    except PictureError as error:
        return error


def _left_out(name: str, error: PictureError) -> LeftOut:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES and error.kind in ("damaged", "empty"):
        return LeftOut(name, "not a picture")
    return LeftOut(name, error.kind, error.problem)


def _noted(found: Walk, facts: Sequence[Facts]) -> tuple[str, ...]:
    counts = Counter({name: sum(getattr(each, name) for each in facts) for name in _NOTED})
    noted = [f"{counts[name]:,} {text}" for name, text in _NOTED.items() if counts[name]]
    if found.nested:
        noted.append(f"{found.nested:,} in folders below their class folder, taken as pictures of that class")
    return tuple(noted)


def _checked(found: Scan) -> Scan:
    """Drop classes that only damaged pictures leave empty; refuse what is not passed over.

    Raises:
        DatasetError: A class folder holds no picture at all, or too many pictures cannot be read.
    """
    unreadable = [each for each in found.left_out if each.problem]
    check_damaged(unreadable, len(found.names), found.folder)
    filled = set(found.labels)
    tried = {each.name.split("/")[0] for each in unreadable}
    without = [name for number, name in enumerate(found.classes) if number not in filled]
    if empty := [name for name in without if name not in tried]:
        folders = ", ".join(str(found.folder / name) for name in empty[:5])
        raise DatasetError(
            f"{folders}{', ...' if len(empty) > 5 else ''} holds no picture ({len(empty):,} of "
            f"{len(found.classes):,} classes); remove the folder or fill it"
        )
    if not without:
        return found
    kept = [name for name in found.classes if name not in without]
    number = {name: i for i, name in enumerate(kept)}
    return replace(
        found,
        classes=tuple(kept),
        labels=tuple(number[found.classes[label]] for label in found.labels),
        left_out=(*found.left_out, *(LeftOut(name, "class without a readable picture") for name in without)),
    )
