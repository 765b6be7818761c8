"""What a recipe says about its data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from prunnet.data.augment import Augment
from prunnet.errors import DatasetError
from runtime_py.record import Record

_EVALUATION_ONLY = ("roxford5k", "rparis6k")


def _a_path(path: str) -> str:
    if not path.strip() or "\0" in path:
        raise ValueError("names no folder; allowed: the path of one")
    return path


class DataSpec(Record):
    """The pictures to train on and to test with."""

    name: Literal["glyphs", "folder", "cub200", "gldv2", "inshop", "roxford5k", "rparis6k", "sop", "veri776"]
    """The built-in glyphs, a folder of your own pictures, or an official data set (docs/reference/datasets.md)."""
    path: Annotated[str, Field(strict=True), AfterValidator(_a_path)] | None = None
    """Folder with `train/CLASS/*` and `test/CLASS/*`, or the unpacked archive of an official data set. Relative paths
    start where the command runs. For an official data set, `prunnet-train --data` may give it instead."""
    augment: Augment | None = None
    """Random changes of training pictures. Pictures get the defaults if it is absent; glyphs take none."""

    @model_validator(mode="before")
    @classmethod
    def _pictures_are_augmented(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("name") != "glyphs" and given.get("augment") is None:
            return {**given, "augment": {}}
        return given

    @field_validator("name")
    @classmethod
    def _can_be_trained_on(cls, name: str) -> str:
        if name in _EVALUATION_ONLY:
            raise ValueError(
                f"has no training pictures; allowed: gldv2, the usual training set of this benchmark, and afterwards "
                f"prunnet-eval ENCODER --dataset {name}=ROOT"
            )
        return name

    @model_validator(mode="after")
    def _path_goes_with_pictures(self) -> DataSpec:
        wrong = []
        if (self.name == "glyphs" and self.path is not None) or (self.name == "folder" and self.path is None):
            wrong.append(
                "path: goes with name folder or a benchmark, not with glyphs; allowed: name: folder with a path"
            )
        if self.name == "glyphs" and self.augment is not None:
            wrong.append("augment: goes with pictures; glyphs are seen through camera views of their own")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def at(self, path: str) -> DataSpec:
        """Return the same data at another place.

        Raises:
            DatasetError: Glyphs are nowhere: they are rendered.
        """
        if self.name == "glyphs":
            raise DatasetError(f"glyphs are built in and take no folder; --data {path} goes with pictures")
        return self.model_copy(update={"path": path})
