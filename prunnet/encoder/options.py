"""Options of a timm backbone: what an `encoder.json` or a recipe may hand to `timm.create_model`.

An encoder package comes from others. timm takes files to load, addresses to fetch and devices among the same keywords
as the shape of a network, so only arguments of the network's own class pass, with plain values of a sane size.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from prunnet.errors import EncoderError

LARGEST = 2**16
"""Of a whole number in the options: channels, blocks, pixels."""

MOST_ENTRIES = 256
"""Of a list or mapping in the options."""

DEEPEST = 4
_NAME = re.compile(r"[A-Za-z0-9_.+-]{0,64}")
_RATE = re.compile(r"(^|_)(drop|dropout)(_path|_block)?(_rate)?$")
_NOT_ARCHITECTURE = frozenset(
    ["self", "args", "kwargs", "cfg", "device", "dtype", "num_classes", "in_chans", "features_only"]
)
_NOT_ARCHITECTURE |= frozenset(
    ["out_indices", "feature_cfg", "model_cfg", "checkpoint_path", "cache_dir", "kwargs_filter"]
)
_NOT_ARCHITECTURE |= frozenset(["file", "url", "hf_hub_id", "scriptable", "exportable", "no_jit"])
_BATCH_NORM = frozenset({"bn_eps", "bn_momentum", "bn_tf"})
"""Taken by timm's builders of efficientnets, not by the class."""

ALLOWED = (
    f"plain values: true, false, numbers of at most {LARGEST}, short names, lists and mappings of them of at most "
    f"{MOST_ENTRIES} entries"
)


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options if their names and values are of a kind that may reach timm.

    Needs no timm; `check_for` says whether a backbone knows them.

    Raises:
        ValueError: A line for each option that is wrong: its name, what is wrong, what is allowed.
    """
    problems = [said for name, value in options.items() if (said := _said(name, value))]
    if problems:
        raise ValueError("\n".join(problems))
    return options


Options = Annotated[dict[str, Any], AfterValidator(check_options), Field(max_length=64)]
"""Further keyword arguments of `timm.create_model`, as a file says them."""


def check_for(backbone: str, options: dict[str, Any]) -> None:
    """Refuse options that a backbone of timm does not have, and layers that timm does not know.

    Args:
        backbone: Name of a model that timm knows.
        options: Of any origin.

    Raises:
        EncoderError: Names the option, what is wrong with it and what is allowed.
    """
    try:
        check_options(options)
    except ValueError as error:
        raise EncoderError(f"backbone {backbone!r}: options: {'; '.join(str(error).splitlines())}") from error
    known = _arguments_of(backbone)
    for name, value in options.items():
        if known and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise EncoderError(
                f"backbone {backbone!r}: options.{name}: its class has no such argument{hint} "
                f"Known: {', '.join(sorted(known))}"
            )
        if name in ("act_layer", "norm_layer") and isinstance(value, str):
            _check_layer(backbone, name, value)


def _said(name: str, value: Any) -> str | None:
    if not _is_architecture(name):
        return (
            f"{name[:64]}: does not shape a network; allowed: arguments of the backbone's own class in timm, such as "
            "channels, depth, act_layer"
        )
    problem = _problem(value, DEEPEST)
    if problem:
        return f"{name}: {problem}; allowed: {ALLOWED}"
    rates = value if isinstance(value, list | tuple) else [value]
    if _RATE.search(name) and not all(rate is None or _is_rate(rate) for rate in rates):
        return f"{name}: no rate; allowed: a number of at least 0 and less than 1"
    return None


def _is_architecture(name: str) -> bool:
    return (
        name not in _NOT_ARCHITECTURE
        and not name.startswith(("pretrained", "_"))
        and name.isidentifier()
        and len(name) <= 64
    )


def _problem(value: Any, levels: int) -> str | None:
    """Say what is wrong with a value, None if nothing is."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return None if abs(value) <= LARGEST else f"{value!r:.20} is too large"
    if isinstance(value, str):
        return None if _NAME.fullmatch(value) else f"{value[:40]!r} is not a short name"
    if isinstance(value, list | tuple | dict):
        if levels == 0 or len(value) > MOST_ENTRIES:
            return "is nested too deeply" if levels == 0 else f"has {len(value)} entries"
        if isinstance(value, dict) and not all(isinstance(k, str) and _is_architecture(k) for k in value):
            return "has a key that is not an argument of a layer"
        inner = value.values() if isinstance(value, dict) else value
        return next((said for each in inner if (said := _problem(each, levels - 1))), None)
    return f"is a {type(value).__name__}"


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _arguments_of(backbone: str) -> set[str]:
    """Return what the constructors of the model's own module take; empty if that cannot be seen."""
    from timm.models import get_arch_name, model_entrypoint
    from torch import nn

    module = sys.modules[model_entrypoint(get_arch_name(backbone)).__module__]
    own = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, nn.Module) and hasattr(each, "forward_features")
    ]
    if not own:
        return set()
    taken = {name for each in own for base in each.__mro__ for name in _parameters(base)}
    return {name for name in taken if _is_architecture(name)} | _BATCH_NORM


def _parameters(each: type) -> list[str]:
    constructor = vars(each).get("__init__")
    if constructor is None or each.__module__.startswith(("torch.", "builtins")):
        return []
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in inspect.signature(constructor).parameters.items() if p.kind in plain]


def _check_layer(backbone: str, option: str, name: str) -> None:
    from timm.layers import create_act, create_norm, create_norm_act

    known = {
        "act_layer": set(create_act._ACT_LAYER_DEFAULT),
        "norm_layer": set(create_norm._NORM_MAP) | set(create_norm_act._NORM_ACT_MAP),
    }[option]
    plain = name.replace("_", "").lower().split("-")[0] if option == "norm_layer" else name.lower()
    if plain and plain not in known:
        near = difflib.get_close_matches(plain, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise EncoderError(
            f"backbone {backbone!r}: options.{option}: timm has no layer {name!r}{hint} "
            f"Known: {', '.join(sorted(known))}"
        )
