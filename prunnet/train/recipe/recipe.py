"""Recipes: all that a training run needs, in one YAML file."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from prunnet.encoder.options import Options
from prunnet.errors import RecipeError, TrainingError
from prunnet.train.recipe.data_spec import DataSpec
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.recipe.schedule import FollowSpec, ScheduleSpec
from prunnet.train.recipe.validation_spec import ValidationSpec
from prunnet.yaml.document import read_document
from prunnet.yaml.numbers import Features, Flag, NoBoolean, Pixels, Seed
from prunnet.yaml.validation import validate
from runtime_py.framing import Framing, Resize
from runtime_py.record import Record

__all__ = [
    "DataSpec",
    "EncoderSpec",
    "FollowSpec",
    "MethodSpec",
    "Recipe",
    "ScheduleSpec",
    "ValidationSpec",
    "load_recipe",
    "shipped_recipes",
]


class EncoderSpec(Record):
    """The network to train."""

    backbone: str = Field(strict=True, max_length=200, pattern=r"^[A-Za-z0-9._:/-]+$")
    """Name of a timm model (docs/reference/backbones.md)."""
    options: Options = Field(default_factory=dict)
    """Further arguments of the timm model's class, such as `channels` or `depth`, with plain values."""
    image_size: tuple[Pixels, Pixels]
    """[height, width] of the input, pixels."""
    resize: Resize = Field(default_factory=Resize)
    """How pictures are brought to that size, in training, on the server and on devices."""
    dimension: Features = 256
    """Length of the embedding."""
    pretrained: Flag = False
    """Start from timm's published weights, which timm downloads."""

    @property
    def framing(self) -> Framing:
        """What a picture is brought to."""
        return Framing(height=self.image_size[0], width=self.image_size[1], resize=self.resize)


class Recipe(Record):
    """One training run."""

    schema_version: Annotated[Literal[1], NoBoolean]
    """Version of this layout."""
    name: str = Field(strict=True, min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    """Names the run and the encoder package: letters, digits, `.`, `_` and `-`."""
    seed: Seed = 0
    """Seed of weights, batches and draws. The same seed on the same machine gives the same run."""
    data: DataSpec
    """The pictures."""
    encoder: EncoderSpec
    """The network."""
    method: MethodSpec = MethodSpec()
    """How its subnetworks are trained."""
    schedule: ScheduleSpec
    """How long and how fast."""
    validation: ValidationSpec | None = None
    """Measures retrieval during training, on classes held out for that. Without it every class is trained on."""

    @property
    def _follows(self) -> bool:
        return self.method.subnetworks == "after" and bool(self.method.capacities)

    @model_validator(mode="after")
    def _second_round_has_subnetworks(self) -> Recipe:
        if self.schedule.follow and not self._follows:
            raise ValueError(
                "schedule.follow: nothing learns in it; allowed: with method.subnetworks: after, and with capacities"
            )
        return self

    def for_items(self, items: int) -> Recipe:
        """Return this recipe with its length in steps and its second round; see `ScheduleSpec`."""
        schedule = self.schedule.for_items(items)
        return self.model_copy(update={"schedule": schedule.followed() if self._follows else schedule})

    def require_one_network(self) -> None:
        """Refuse methods that train a network of its own for each capacity, which are no prunable encoder.

        Raises:
            TrainingError: Says what trains them.
        """
        if self.method.networks != "one" and self.method.capacities:
            raise TrainingError(
                f"recipe {self.name!r}: method {self.method.name} (networks: {self.method.networks}) trains a network "
                "for each capacity, and an encoder package holds one network for all; name another method, such as "
                "prunnet, or train them for comparison with prunnet.train.separate.train_separately, as "
                "python -m benchmarks.methods does"
            )

    def dense_alone(self) -> Recipe:
        """Return the control of this recipe: the same network and as many steps, no subnetworks.

        Raises:
            TrainingError: As `ScheduleSpec.first_round`, for a recipe with a second round.
        """
        nothing = {
            "capacities": (),
            "per_step": None,
            "draw": "listed",
            "smallest_share": 1.0,
            "adapters": "none",
            "dense_share": 0.0,
        }
        method = self.method.model_copy(update=nothing)
        update = {"name": f"{self.name}-control", "method": method, "schedule": self.schedule.alone()}
        return self.model_copy(update=update)


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with prunnet."""
    return sorted(
        f.name.removesuffix(".yaml")
        for f in files("prunnet.shipped.recipes").iterdir()
        if f.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: Name of a shipped recipe, with or without .yaml, or path of a YAML file.

    Raises:
        RecipeError: There is no such file and no shipped recipe of that name; or it does not say what it must.
    """
    path = Path(name_or_path)
    if not path.is_file():
        name, known = name_or_path.removesuffix(".yaml"), shipped_recipes()
        if name not in known:
            nearest = difflib.get_close_matches(path.stem, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            problem = "is a folder" if path.is_dir() else "no such file or shipped recipe"
            allowed = f"the path of a YAML file, or one of {', '.join(known)}"
            raise RecipeError(path, problem + hint, allowed=allowed)
        path = Path(str(files("prunnet.shipped.recipes"))) / f"{name}.yaml"
    return validate(read_document(path, RecipeError), Recipe)
