"""Opens a bundle, and refuses whatever is not exactly what was exported."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime_py.backends import Backend, artifact_errors, open_backend
from runtime_py.backends.weights import expect_precision
from runtime_py.bundle.manifest import SCHEMA_VERSION, Manifest
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import is_quantised
from runtime_py.bundle.write import manifest_text
from runtime_py.disk.files import MANIFEST, is_inside, list_files, sha256
from runtime_py.disk.scratch import is_unfinished
from runtime_py.encoder import QueryEncoder
from runtime_py.errors import BundleError

MOST_MANIFEST_BYTES = 4 * 2**20
"""A manifest has some kilobytes; what is much larger is refused before it is parsed."""


def load(path: str | Path) -> QueryEncoder:
    """Open the bundle at `path` for embedding.

    The manifest's schema and seal, the hash of every file, the identity inside the artifact and the probes
    are verified first; a bundle with one file more or less is refused.

    That tells accidents from originals, not who made the bundle. An artifact is a program that runs in this
    process: one that was made to do harm, or damaged and sealed again, can end it. ExecuTorch checks the
    structure of a program, not what the program hands to XNNPACK. Check bundles of unknown origin in a process
    of their own first: `prunnet-check`, or `runtime_py.cli.isolation.check_bundles`.

    Raises:
        BundleError: Something about it is not as exported; names the file, the problem and the remedy.
        MissingExtraError: The bundle's runtime is not installed.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    _verify_files(folder, manifest)
    probes = Probes.load(folder / manifest.probes)
    _verify_probes(folder / manifest.probes, manifest, probes)
    artifact = folder / manifest.artifact
    backend = open_backend(manifest.target, artifact, manifest.input, manifest.output)
    _verify_identity(artifact, manifest, backend)
    with artifact_errors(artifact):
        expect_precision(artifact, manifest.precision, backend.weights())
    return QueryEncoder(manifest, probes, backend)


def read_manifest(folder: Path) -> Manifest:
    """Read and verify `manifest.json` alone; the files that it lists are not looked at.

    Raises:
        BundleError: It is absent, not of a known schema, or its seal is broken.
    """
    path = folder / MANIFEST
    text = _manifest_text(folder)
    try:
        body = json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise BundleError(path, f"is not JSON ({error})") from error
    _expect_schema(path, body)
    try:
        manifest = Manifest.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleError(path, f"field {field!r}: {first['msg']}") from error
    if manifest.seal != manifest.expected_seal():
        raise BundleError(path, "its seal is broken: it was edited after the export")
    if text != manifest_text(manifest):
        raise BundleError(path, "it is not spelled as the export wrote it")
    _expect_consistent(path, manifest)
    return manifest


def _manifest_text(folder: Path) -> str:
    path = folder / MANIFEST
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise BundleError(folder, "is not a folder, so it is not a bundle", "give the bundle's folder")
        if is_unfinished(folder.resolve().name):
            raise BundleError(folder, "is an export that was not finished", "remove it and export again")
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise BundleError(path, "is not a plain file", "export the bundle again")
        if about.st_size > MOST_MANIFEST_BYTES:
            raise BundleError(
                path, f"has {about.st_size:,} bytes; a manifest has at most {MOST_MANIFEST_BYTES:,}"
            )
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        if not folder.exists():
            raise BundleError(folder, "does not exist", "give the bundle's folder") from error
        problem = "does not exist, so its folder is not a bundle"
        raise BundleError(path, problem, "give the folder of a bundle, or export it again") from error
    except OSError as error:
        raise BundleError(
            path, f"cannot be read ({error.strerror})", "give yourself the right to read it"
        ) from error
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(path, f"is not JSON ({error})") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key occurs twice")
    return body


def _expect_schema(path: Path, body: object) -> None:
    version = body.get("schema_version") if isinstance(body, dict) else None
    if version not in range(1, SCHEMA_VERSION + 1) or isinstance(version, bool):
        raise BundleError(
            path,
            f"has schema version {version!r}; this runtime knows 1 to {SCHEMA_VERSION}",
            "install the prunnet that exported it, or export again",
        )


def _expect_consistent(path: Path, manifest: Manifest) -> None:
    """Check what the fields say about each other."""
    for name in (*manifest.files, manifest.artifact, manifest.probes):
        if not is_inside(name) or name == MANIFEST:
            raise BundleError(
                path, f"lists {name!r}, which is not a file of the bundle", "do not use the bundle"
            )
    if manifest.probes not in manifest.files:
        raise BundleError(path, f"its probes {manifest.probes!r} are not among its files")
    if not any(
        name == manifest.artifact or name.startswith(manifest.artifact + "/") for name in manifest.files
    ):
        raise BundleError(path, f"its artifact {manifest.artifact!r} is not among its files")
    shape, stated = manifest.input.shape, manifest.preprocessing.size
    if (
        len(shape) != 4
        or min(shape) < 1
        or (not manifest.resize_inside and manifest.input.image_size != stated)
    ):
        wanted = "an image" if manifest.resize_inside else f"an image of {stated} pixels"
        raise BundleError(path, f"its input {list(shape)} is not {wanted}")
    if len(manifest.output.shape) != 2:
        raise BundleError(path, f"its output {list(manifest.output.shape)} is not an embedding [1, D]")


def _verify_files(folder: Path, manifest: Manifest) -> None:
    found = list_files(folder)
    del found[MANIFEST]
    for name in sorted(set(manifest.files) - set(found)):
        raise BundleError(
            folder / name, "is listed in the manifest and missing", "copy the whole bundle again"
        )
    for name in sorted(set(found) - set(manifest.files)):
        raise BundleError(folder / name, "is not listed in the manifest", "remove it, or export again")
    for name, expected in manifest.files.items():
        if sha256(found[name]) != expected:
            raise BundleError(found[name], "is not what was exported (its sha256 differs)", "copy it again")


def _verify_probes(path: Path, manifest: Manifest, probes: Probes) -> None:
    height, width = manifest.preprocessing.height, manifest.preprocessing.width
    if probes.images.shape[1:3] != (height, width):
        raise BundleError(path, f"its images are {probes.images.shape[1:3]}, not ({height}, {width}) pixels")
    if probes.dimension != manifest.output.shape[-1]:
        raise BundleError(
            path, f"its embeddings have {probes.dimension} dimensions, not {manifest.output.shape[-1]}"
        )
    if (probes.parity is not None) != (manifest.schema_version > 1):
        found = "no parity pictures" if probes.parity is None else "parity pictures"
        raise BundleError(path, f"holds {found}, and its manifest is of schema {manifest.schema_version}")
    if (probes.originals is not None) != (manifest.schema_version > 3):
        found = "no pictures" if probes.originals is None else "pictures"
        raise BundleError(
            path, f"holds {found} of original size, and its manifest is of schema {manifest.schema_version}"
        )
    quantised = manifest.schema_version > 2 and is_quantised(manifest.precision)
    if (probes.recorded is not None) != quantised:
        found = "none" if probes.recorded is None else "some"
        raise BundleError(
            path,
            f"holds {found} of the embeddings that a quantised artifact gave at the export, and its manifest is of "
            f"schema {manifest.schema_version} and {manifest.precision}",
        )


def _verify_identity(artifact: Path, manifest: Manifest, backend: Backend) -> None:
    with artifact_errors(artifact):
        inside = backend.identity()
    for difference in inside.differences(manifest.identity):
        raise BundleError(artifact, difference)
