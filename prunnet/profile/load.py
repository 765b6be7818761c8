"""Finds device profiles by name, path or glob."""

from __future__ import annotations

import difflib
import fnmatch
from importlib.resources import files
from pathlib import Path

from prunnet.errors import ProfileError
from prunnet.profile.fits import with_fits
from prunnet.profile.schema import DeviceProfile
from prunnet.profile.sources import FILE as SOURCES
from prunnet.profile.sources import problems_of_profile
from prunnet.yaml.document import read_document
from prunnet.yaml.validation import validate

_WILDCARDS = frozenset("*?[")


def shipped_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that come with the package, sorted."""
    names = (entry.name for entry in files("device_profiles").iterdir())
    return tuple(
        sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and name != SOURCES)
    )


def load_profile(name_or_path: str | Path) -> DeviceProfile:
    """Return one device profile.

    Args:
        name_or_path: A shipped name ("pixel8" or "pixel8.yaml") or the path of a YAML file.

    Raises:
        ProfileError: No such profile, or one that does not say what it must, or names sources that the `sources.yaml`
            beside it does not have.
    """
    document = with_fits(read_document(find_profile(name_or_path), ProfileError))
    return validate(document, DeviceProfile, problems_of_profile(document))


def load_profiles(pattern: str | Path) -> tuple[DeviceProfile, ...]:
    """Return the profiles of a fleet.

    Args:
        pattern: As for `load_profile`, or a glob: over shipped names first if it looks like a name ("pixel*"), over
            files first if it looks like a path ("fleet/*.yaml").

    Raises:
        ProfileError: Nothing matches, one of them is wrong, or two have the same name.
    """
    if not _WILDCARDS & set(str(pattern)):
        return (load_profile(pattern),)
    anchor = Path(Path(pattern).anchor)
    try:
        found = sorted(anchor.glob(str(Path(pattern).relative_to(anchor))))
    except ValueError as error:  # Python before 3.13 takes ** only as a whole part of a path
        raise ProfileError(pattern, f"no valid glob: {error}", allowed=_known()) from error
    # As in a shell, a file whose name starts with a dot is meant only where the pattern says so.
    hidden = Path(pattern).name.startswith(".")
    suited = [path for path in found if path.suffix in {".yaml", ".yml"} and path.name != SOURCES]
    paths = [path for path in suited if hidden or not path.name.startswith(".")]
    shipped = [
        _shipped(name) for name in fnmatch.filter(shipped_profiles(), str(pattern).removesuffix(".yaml"))
    ]
    like_a_name = Path(pattern).name == str(pattern) and not Path(pattern).suffix
    paths = shipped or paths if like_a_name else paths or shipped
    if not paths:
        raise ProfileError(pattern, "no profile matches", allowed=_known())
    profiles: dict[str, DeviceProfile] = {}
    for path in paths:
        profile = load_profile(path)
        if profile.name in profiles:
            problem = "another profile of the fleet has that name"
            raise ProfileError(path, problem, field="name", given=profile.name)
        profiles[profile.name] = profile
    return tuple(profiles.values())


def find_profile(name_or_path: str | Path) -> Path:
    """Return the file that a name or path means.

    Args:
        name_or_path: As for `load_profile`.

    Raises:
        ProfileError: There is no such file and no shipped profile of that name.
    """
    path = Path(name_or_path)
    is_name = path.name == str(name_or_path)
    if is_name and path.suffix == "" and str(path) in shipped_profiles():
        return _shipped(str(path))
    if path.is_file():
        return path
    if is_name and path.suffix == ".yaml" and path.stem in shipped_profiles():
        return _shipped(path.stem)
    nearest = difflib.get_close_matches(path.stem, shipped_profiles(), n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    problem = "is a folder" if path.is_dir() else "no such file or shipped profile"
    raise ProfileError(path, problem + hint, allowed=_known())


def _shipped(name: str) -> Path:
    return Path(str(files("device_profiles") / f"{name}.yaml"))


def _known() -> str:
    return f"the path of a YAML file, or one of {', '.join(shipped_profiles())}"
