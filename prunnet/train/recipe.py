"""Recipes: all that a training run needs, in one YAML file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prunnet.errors import UnknownNameError
from prunnet.profile.document import read_document
from prunnet.profile.validation import validate
from runtime_py.manifest import Granularity

Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSpec(_Part):
    """What to train on."""

    name: Literal["glyphs", "folder"]
    path: str | None = None
    """Folder with `train/CLASS/*` and `test/CLASS/*`, for name folder; relative to where the command runs."""

    @model_validator(mode="after")
    def _path_goes_with_folder(self) -> DataSpec:
        if (self.name == "folder") != (self.path is not None):
            raise ValueError(
                "path: goes with name folder, and only with it; allowed: name: folder with a path"
            )
        return self


class EncoderSpec(_Part):
    """What to train."""

    backbone: str
    """A timm model name."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of `timm.create_model`."""
    image_size: tuple[int, int]
    """(height, width), pixels."""
    dimension: int = Field(default=256, gt=0)
    pretrained: bool = False


class MethodSpec(_Part):
    """How capacities are trained together. METHOD.md section 3; `docs/method.md` says what each choice was worth."""

    granularity: Granularity = "channel"
    channel_multiple: int = Field(default=8, ge=1)
    capacities: tuple[Fraction, ...] = (0.2, 0.4, 0.6, 0.8)
    """Capacities beside the dense one, ascending; empty trains the dense encoder alone."""
    per_step: int | None = Field(default=None, ge=1)
    """Subnetworks drawn for one step, all alike probable. None trains all of them in every step."""
    adapters: bool = False
    """Give the subnetworks corrections of their own (`prunnet.adapters`)."""
    dense_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps, at the start, that trains the dense encoder alone."""
    objective: Literal["labels", "embedding"] = "labels"
    """What a subnetwork learns: the labels through the dense classifier, or the dense encoder's embedding."""
    subnetwork_weight: float = Field(default=1.0, gt=0)
    """Factor on each subnetwork's loss."""
    project: bool = True
    """Remove conflicts between the gradients of the capacities."""
    protect_dense: bool = False
    """The dense gradient is never projected; the subnetworks' yield to it."""
    alpha: float = Field(default=0.5, ge=0)
    """Exponent of the cosine weights; 0 weighs all gradients alike."""
    balance: float | None = Field(default=None, gt=0)
    """Largest length of a subnetwork's gradient, in lengths of the dense one, tensor by tensor; None: no limit."""
    scores: Literal["magnitude", "random"] = "magnitude"
    """Where the ranking starts; with `dense_share`, magnitude is that of the weights at the end of it."""

    @model_validator(mode="after")
    def _ascending(self) -> MethodSpec:
        if list(self.capacities) != sorted(set(self.capacities)):
            raise ValueError("capacities: not ascending; allowed: each capacity once, ascending, without 1.0")
        return self


class SettleSpec(_Part):
    """A short second round at a small learning rate, after the first has come to rest.

    The dense encoder hardly moves any more, so subnetworks may pull harder, and capacities between the first round's
    are trained too.
    """

    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    capacities: tuple[Fraction, ...]
    per_step: int = Field(ge=1)
    balance: float = Field(gt=0)


class ScheduleSpec(_Part):
    """How long and how fast."""

    steps: int = Field(gt=0)
    """Steps of the first round."""
    settle: SettleSpec | None = None
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    warmup_steps: int = Field(default=200, ge=0)
    clip: float = Field(default=10.0, gt=0)
    """Largest norm of the joint gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the passes; weights and gradients stay float32. Auto is bf16 on a GPU and fp32 on a CPU."""
    classifier: Literal["linear", "cosine"] = "linear"
    """Logits are an affine map of the embedding, or scaled cosines with the class vectors."""
    scale: float = Field(default=16.0, gt=0)
    """Scale of the cosine logits."""

    @property
    def total(self) -> int:
        """Steps of both rounds."""
        return self.steps + (self.settle.steps if self.settle else 0)


class Recipe(_Part):
    """One training run."""

    schema_version: Literal[1]
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    seed: int = 0
    data: DataSpec
    encoder: EncoderSpec
    method: MethodSpec = MethodSpec()
    schedule: ScheduleSpec

    def dense_alone(self) -> Recipe:
        """Return the control of this recipe: the same network and steps, no subnetworks."""
        method = self.method.model_copy(update={"capacities": ()})
        schedule = self.schedule
        if schedule.settle:
            alone = schedule.settle.model_copy(update={"capacities": ()})
            schedule = schedule.model_copy(update={"settle": alone})
        update = {"name": f"{self.name}-control", "method": method, "schedule": schedule}
        return self.model_copy(update=update)


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with prunnet."""
    return sorted(
        f.name.removesuffix(".yaml") for f in files("prunnet.recipes").iterdir() if f.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: Name of a shipped recipe, or path of a YAML file.

    Raises:
        ProfileError: The file does not say what it must.
        UnknownNameError: Neither a file nor a shipped recipe.
    """
    path = Path(name_or_path)
    if not path.is_file():
        if name_or_path not in shipped_recipes():
            raise UnknownNameError("recipe", name_or_path, shipped_recipes())
        path = Path(str(files("prunnet.recipes"))) / f"{name_or_path}.yaml"
    return validate(read_document(path), Recipe)
