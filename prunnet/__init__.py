"""Train one encoder, cut a compatible subnetwork for every device, and plan what each device affords.

>>> import prunnet
>>> package = prunnet.load_encoder("glyphs")                  # doctest: +SKIP
>>> profile = prunnet.load_profile("pixel8")                  # doctest: +SKIP
>>> plan = prunnet.solve(package, profile, "tflite")          # doctest: +SKIP

Names are imported when they are first used, so `import prunnet` loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunnet.encoder.encoder import Encoder
    from prunnet.errors import (
        DatasetError,
        EncoderError,
        EvaluationError,
        InfeasibleError,
        MissingExtraError,
        ProfileError,
        PrunnetError,
        RecipeError,
        TrainingError,
        UnknownNameError,
    )
    from prunnet.evaluate.curve import measure_curve
    from prunnet.package.load import load_encoder
    from prunnet.package.package import EncoderPackage
    from prunnet.profile import DeviceProfile, load_profile, load_profiles
    from prunnet.pruning.prunable import PrunableEncoder
    from prunnet.pruning.rule import CutRule
    from prunnet.solver import Plan, solve
    from prunnet.train.recipe.recipe import Recipe, load_recipe
    from prunnet.train.run import train_package

    __version__: str

_HOMES = {
    "CutRule": "pruning.rule",
    "DeviceProfile": "profile",
    "Encoder": "encoder.encoder",
    "EncoderPackage": "package.package",
    "Plan": "solver",
    "PrunableEncoder": "pruning.prunable",
    "Recipe": "train.recipe.recipe",
    "load_encoder": "package.load",
    "load_profile": "profile",
    "load_profiles": "profile",
    "load_recipe": "train.recipe.recipe",
    "measure_curve": "evaluate.curve",
    "solve": "solver",
    "train_package": "train.run",
}

__all__ = [
    "CutRule",
    "DatasetError",
    "DeviceProfile",
    "Encoder",
    "EncoderError",
    "EncoderPackage",
    "EvaluationError",
    "InfeasibleError",
    "MissingExtraError",
    "Plan",
    "ProfileError",
    "PrunableEncoder",
    "PrunnetError",
    "Recipe",
    "RecipeError",
    "TrainingError",
    "UnknownNameError",
    "__version__",
    "load_encoder",
    "load_profile",
    "load_profiles",
    "load_recipe",
    "measure_curve",
    "solve",
    "train_package",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("prunnet")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
