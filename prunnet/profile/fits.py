"""Latency fits in files of their own: a profile names one, so each fit is written down once."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from prunnet.errors import ProfileError
from prunnet.profile.latency import LatencyModel
from prunnet.profile.sources import problems_of_fit
from prunnet.yaml.document import Document, FieldPath, read_document
from prunnet.yaml.validation import validate

FOLDER = "latency"
"""Folder of the fits, beside the profile that names them or beside the shipped ones."""
KEY = "fit"
"""Key of a mapping that takes over a fit and states some of its fields anew."""


def with_fits(document: Document) -> Document:
    """Return a profile's document with the fits that it names written out.

    `latency.<target>.<precision>` may be the name of a fit, `latency/<name>.yaml` beside the profile or shipped; or a
    mapping with the key `fit` and fields that differ from it; or, as ever, all of a latency model's fields. A shipped
    fit was not measured on the device of a profile elsewhere with another chip: there it is not calibrated, unless the
    profile says so.

    Args:
        document: A profile, not yet validated.

    Raises:
        ProfileError: No such fit, one that is not what a latency model must be, or one of another precision that does
            not say that it only stands in. All problems at once.
    """
    latency = document.values.get("latency")
    if not isinstance(latency, dict):
        return document
    whole: dict[Any, Any] = {}
    problems: dict[str, ProfileError] = {}  # by their text: two entries may name one damaged fit
    for target, models in latency.items():
        whole[target] = dict(models) if isinstance(models, dict) else models
        for precision, model in models.items() if isinstance(models, dict) else ():
            try:
                whole[target][precision] = _written_out(document, ("latency", target, precision), model)
            except ProfileError as problem:
                problems[str(problem)] = problem
    if problems:
        raise ProfileError.of(list(problems.values()))
    return replace(document, values={**document.values, "latency": whole})


def _written_out(document: Document, at: FieldPath, model: Any) -> Any:
    stated = model if isinstance(model, dict) else {}
    if isinstance(model, str):
        fit = fields = _fit(document, at, model)
    elif KEY in stated:
        fit = _fit(document, (*at, KEY), stated[KEY])
        fields = {**fit, **{key: value for key, value in stated.items() if key != KEY}}
    else:
        fit, fields = stated, model
    measured, wanted = fit.get("precision"), at[-1]
    # A fit of fp32 must not predict int8 as if that had been measured.
    if measured not in (None, wanted) and stated.get("calibrated") is not False:
        raise _problem(
            document,
            at,
            f"the fit was measured in {measured}, not in {wanted}",
            given=measured,
            allowed=f"a fit of {wanted}; or, if that one is to stand in, calibrated: false beside it: "
            f"{{{KEY}: ..., calibrated: false}}",
        )
    return fields


def _fit(document: Document, at: FieldPath, name: object) -> dict[str, Any]:
    folders = [document.path.parent / FOLDER, Path(str(files("device_profiles"))) / FOLDER]
    # A name is looked up among the files that are there: it never becomes a path itself.
    known = {file.stem: file for folder in reversed(folders) for file in folder.glob("*.yaml")}
    if isinstance(name, str) and name in known:
        fit = read_document(known[name], ProfileError)
        validate(fit, LatencyModel, problems_of_fit(fit))
        hardware = document.values.get("hardware")
        soc = hardware.get("soc") if isinstance(hardware, dict) else None
        elsewhere = known[name].parent != folders[0] and fit.values.get("soc") != soc
        return {**fit.values, **({"calibrated": False} if elsewhere else {})}
    raise _problem(
        document,
        at,
        f"no latency fit of that name in {folders[0]} or among the shipped ones",
        given=name,
        allowed=f"one of {', '.join(sorted(known))}, or the fields of a latency model",
    )


def _problem(document: Document, at: FieldPath, problem: str, *, given: object, allowed: str) -> ProfileError:
    field = ".".join(map(str, at))
    return ProfileError(
        document.path, problem, line=document.line_of(at), field=field, given=given, allowed=allowed
    )
