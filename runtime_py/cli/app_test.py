"""An app's own test of its decoding and resizing: the pictures it takes, and the gate on what it made of them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py.arrays import Floats
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.originals import Originals
from runtime_py.bundle.probes import Probes
from runtime_py.check.originals import preprocess_gates, with_gates
from runtime_py.cli.outcome import Outcome
from runtime_py.cli.report_file import write_report
from runtime_py.errors import BundleError, PrunnetError
from runtime_py.loading import read_manifest

LIST = "originals.json"
"""Beside the pictures: what the app's test must say which bundle it took, how they are to be resized, and by whom."""
_MOST_BYTES = 2**24
_AS_WRITTEN = "write {seal: ..., embeddings: {original_00.png: [...], ...}}, as docs/guide/pictures.md shows"


def write_originals(bundle: Path, folder: Path) -> tuple[str, ...]:
    """Write a bundle's pictures of original size, and `originals.json`, for the tests of an app.

    Returns:
        The names of the pictures.

    Raises:
        BundleError: The bundle cannot be read, holds no such pictures, or the disk refuses.
    """
    manifest, originals = _of(bundle)
    for name, content in zip(originals.names, originals.files, strict=True):
        write_report(folder / name, content)
    about = {
        "seal": manifest.seal,
        "preprocessing": manifest.preprocessing.model_dump(mode="json"),
        "resize_inside": manifest.resize_inside,
        "files": list(originals.names),
    }
    write_report(folder / LIST, (json.dumps(about, indent=1) + "\n").encode())
    return originals.names


def judge_app(outcome: Outcome, file: Path) -> Outcome:
    """Add the gates `preprocess.app.*`: an app's embeddings of the pictures against those they must have.

    Args:
        outcome: Of the bundle that the app holds; one without a report stays as it is.
        file: JSON that the app's test wrote: the bundle's seal, and an embedding for each picture.

    Returns:
        The outcome with the gates; its error instead, if the file is not what it must be.
    """
    if outcome.report is None:
        return outcome
    try:
        manifest, originals = _of(outcome.bundle)
        embeddings = read_embeddings(file, manifest, originals)
    except PrunnetError as error:
        return replace(outcome, report=None, error=error)
    judged = preprocess_gates(embeddings, originals, manifest.drift.tolerances, "preprocess.app")
    return replace(outcome, report=with_gates(outcome.report, judged))


def read_embeddings(file: Path, manifest: Manifest, originals: Originals) -> Floats:
    """Read what an app's test wrote: float32 [K, D], in the order of the originals.

    Raises:
        BundleError: It cannot be read or is not that; lists everything that is wrong.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        stated = json.loads(content)
    except OSError as error:
        raise BundleError(file, f"cannot be read ({error.strerror})", "run the app's test first") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(file, f"is not JSON ({error})", _AS_WRITTEN) from error
    if not isinstance(stated, dict) or not isinstance(stated.get("embeddings"), dict):
        raise BundleError(file, "has no object `embeddings`", _AS_WRITTEN)
    if "seal" not in stated:
        raise BundleError(file, "has no `seal`", "copy that of originals.json into it")
    if stated["seal"] != manifest.seal:
        raise BundleError(
            file,
            f"is of the bundle with seal {stated['seal']!r}, and this one has {manifest.seal!r}",
            "run the app's test with this bundle",
        )
    dimension, given = manifest.output.shape[-1], stated["embeddings"]
    wrong = [f"{name!r} is not a picture of the bundle" for name in sorted(set(given) - set(originals.names))]
    rows = [_row(given.get(name), name, dimension, wrong) for name in originals.names]
    if wrong:
        raise BundleError(file, "; ".join(wrong), _AS_WRITTEN)
    return np.array(rows, np.float32)


def _row(given: Any, name: str, dimension: int, wrong: list[str]) -> list[float]:
    """Return an embedding, or add to `wrong` what speaks against it."""
    if given is None:
        wrong.append(f"{name} has no embedding")
    elif not isinstance(given, list) or not all(type(value) in (int, float) for value in given):
        wrong.append(f"{name} is not a list of numbers")
    elif len(given) != dimension:
        wrong.append(f"{name} has {len(given)} numbers, not {dimension}")
    else:
        with suppress(OverflowError):  # a whole number that no float holds
            return [float(value) for value in given]
        wrong.append(f"{name} has a number that is too large")
    return []


def _of(bundle: Path) -> tuple[Manifest, Originals]:
    manifest = read_manifest(bundle)
    originals = Probes.load(bundle / manifest.probes).originals
    if originals is None:
        raise BundleError(
            bundle, "holds no pictures of original size: it is from an older version", "export it again"
        )
    return manifest, originals
