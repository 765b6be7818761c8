"""What is fuzzed: each subject damages one kind of file, and opens it as a user's program does."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutations import damage_bytes, damage_json_text, damage_tree, damage_yaml

TARGETS = ("onnx", "tflite", "executorch", "coreml", "executorch-coreml")


def prepare(folder: Path) -> None:
    """Write the sound files: a bundle for each target and an encoder package."""
    from exporters.pipeline.export import export_bundle
    from prunnet.package.load import load_encoder
    from prunnet.profile import load_profile
    from tests.exporters.packages import write_package, write_profile

    package = load_encoder(write_package(folder / "encoder"))
    profile = load_profile(write_profile(folder, "bench", targets=", ".join(TARGETS)))
    for target in TARGETS:
        made = export_bundle(package, profile, target, folder / "build")  # type: ignore[arg-type]
        shutil.move(made.path, folder / target)


def manifest(sound: Path, work: Path, random: Random) -> str:
    bundle = _copy(sound / random.choice(TARGETS[:2]), work)
    text = (bundle / "manifest.json").read_text()
    if random.random() < 0.3:
        (bundle / "manifest.json").write_bytes(damage_json_text(text, random))
    else:
        tree = damage_tree(json.loads(text), random)
        if random.random() < 0.7 and isinstance(tree, dict):
            tree = _sealed(tree)
        (bundle / "manifest.json").write_bytes(_spelled(tree))
    return _check(bundle)


def probes(sound: Path, work: Path, random: Random) -> str:
    bundle = _copy(sound / random.choice(TARGETS[:2]), work)
    _damage_npz(bundle / "probes.npz", random)
    _reseal(bundle)
    return _check(bundle)


def artifact(sound: Path, work: Path, random: Random) -> str:
    bundle = _copy(sound / random.choice(TARGETS), work)
    inside = [
        path
        for path in bundle.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "probes.npz")
    ]
    path = random.choice(sorted(inside))
    content = path.read_bytes()
    if path.suffix == ".json" and random.random() < 0.7:
        path.write_bytes(_spelled(damage_tree(json.loads(content), random)))
    else:
        path.write_bytes(damage_bytes(content, random))
    _reseal(bundle)
    return _check(bundle)


def encoder(sound: Path, work: Path, random: Random) -> str:
    from prunnet.package.load import load_encoder

    package = _copy(sound / "encoder", work)
    file, kind = package / "encoder.json", random.random()
    if kind < 0.15:
        _damage_npz(package / "probes.npz", random)
    elif kind < 0.25:
        path = package / "model.safetensors"
        path.write_bytes(damage_bytes(path.read_bytes(), random))
    elif kind < 0.4:
        file.write_bytes(damage_json_text(file.read_text(), random))
    else:
        file.write_bytes(_spelled(damage_tree(json.loads(file.read_text()), random)))
    loaded = load_encoder(package)
    return f"loads with {len(loaded.probes.images)} probes"


def profile(sound: Path, work: Path, random: Random) -> str:
    from prunnet.profile import load_profile, shipped_profiles
    from prunnet.profile.load import find_profile

    text = find_profile(random.choice(shipped_profiles())).read_text()
    path = work / "profile.yaml"
    path.write_bytes(damage_yaml(text, random))
    load_profile(path)
    return "loads"


def recipe(sound: Path, work: Path, random: Random) -> str:
    from importlib.resources import files

    from prunnet.train.recipe.recipe import load_recipe

    shipped = sorted(
        entry.name for entry in files("prunnet.shipped.recipes").iterdir() if entry.name.endswith(".yaml")
    )
    text = (files("prunnet.shipped.recipes") / random.choice(shipped)).read_text()
    path = work / "recipe.yaml"
    path.write_bytes(damage_yaml(text, random))
    load_recipe(str(path))
    return "loads"


SUBJECTS: dict[str, tuple[Callable[[Path, Path, Random], str], float]] = {
    "manifest": (manifest, 0.25),
    "probes": (probes, 0.15),
    "artifact": (artifact, 0.2),
    "encoder": (encoder, 0.14),
    "profile": (profile, 0.13),
    "recipe": (recipe, 0.13),
}
"""Name -> function, and its share of a campaign."""


def _check(bundle: Path) -> str:
    from runtime_py.cli.outcome import check_bundle

    outcome = check_bundle(bundle)
    if outcome.error is not None:
        raise outcome.error
    return outcome.verdict


def _copy(sound: Path, work: Path) -> Path:
    return Path(shutil.copytree(sound, work / "copy"))


def _spelled(tree: Any) -> bytes:
    try:
        return (json.dumps(tree, indent=2, sort_keys=isinstance(tree, dict)) + "\n").encode()
    except RecursionError:  # deeper than Python's json writes
        return b'{"deep": ' * 2000 + b"0" + b"}" * 2000


def _sealed(tree: dict[str, Any]) -> dict[str, Any]:
    import hashlib

    body = {key: value for key, value in tree.items() if key != "seal"}
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    except RecursionError:  # deeper than Python's json writes, so that nobody can seal it
        return tree
    return {**body, "seal": hashlib.sha256(text.encode()).hexdigest()}


def _reseal(bundle: Path) -> None:
    """Make the hashes and the seal right again, as whoever damages a bundle on purpose would."""
    import hashlib

    tree = json.loads((bundle / "manifest.json").read_text())
    tree["files"] = {
        path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    } | {"manifest.json": None}
    del tree["files"]["manifest.json"]
    # Core ML packages hold a Manifest.json of their own, which is listed.
    (bundle / "manifest.json").write_bytes(_spelled(_sealed(tree)))


def _damage_npz(path: Path, random: Random) -> None:
    kind = random.randrange(6)
    if kind == 0:
        path.write_bytes(damage_bytes(path.read_bytes(), random))
    elif kind == 1:
        path.write_bytes(_bomb(random))
    else:
        with np.load(path) as stored:
            arrays = dict(stored)
        for _ in range(random.randint(1, 2)):
            name = random.choice(sorted(arrays))
            arrays[name] = _damaged_array(arrays[name], random)
        if kind == 2:
            arrays.pop(random.choice(sorted(arrays)))
        elif kind == 3:
            arrays[random.choice(("extra", "../escape", "a/b"))] = np.arange(3)
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _damaged_array(array: Any, random: Random) -> Any:
    kind = random.randrange(9) if array.ndim else 4  # a second damage may meet what the first one left
    if kind == 0:
        return array.astype(random.choice(("float64", "float16", "int8", "complex64", "U3", "bool", ">i8")))
    if kind == 1:
        return array[:0]
    if kind == 2:
        return array[..., :1]
    if kind == 3:
        return array.reshape(-1)
    if kind == 4:
        return np.array(random.choice((None, {}, "x", 3)), dtype=object)
    if kind == 5:
        return np.zeros_like(array)
    if kind == 6 and array.dtype.kind == "f" and array.size:
        spoiled = array.copy()
        spoiled.flat[random.randrange(spoiled.size)] = random.choice((np.nan, np.inf, 1e38))
        return spoiled
    if kind == 7:
        return np.concatenate([array] * random.choice((2, 30)))
    return array[::-1] * random.choice((0, 2))


def _bomb(random: Random) -> bytes:
    """An npz that would inflate to a gigabyte, or that says it would."""
    content = io.BytesIO()
    size = random.choice((2**28, 2**30, 2**44, -1))
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file, file.open("images.npy", "w") as entry:
        shape = (size // (48 * 48 * 3), 48, 48, 3) if size > 0 else (size,)
        np.lib.format.write_array_header_1_0(entry, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for _ in range(min(max(size, 0), 2**28) // 2**20):
            entry.write(bytes(2**20))
    return content.getvalue()
