"""What a device profile says: facts of a device and what the application may spend there for one query."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from prunnet.errors import ProfileError
from prunnet.profile.latency import LatencyModel
from prunnet.profile.units import Bytes, exact_bytes, parse_bytes
from prunnet.yaml.numbers import NoBoolean, Pixels
from runtime_py.bundle.manifest import BudgetName, Precision, Target
from runtime_py.bundle.tolerances import StatedTolerances
from runtime_py.record import Record

Size = Annotated[
    int,
    PlainValidator(parse_bytes),
    PlainSerializer(exact_bytes, return_type=str),
    WithJsonSchema({"type": "string", "format": "size with a unit", "examples": ["12MiB"]}),
]
"""Bytes; written with a unit, which they remember."""


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _shortest(precisions: tuple[Precision, ...]) -> str | list[str]:
    return precisions[0] if len(precisions) == 1 else list(precisions)


OFFERED: dict[Target, tuple[Precision, ...]] = {
    "executorch": ("fp32", "int8", "mixed", "int8-dynamic"),
    "executorch-coreml": ("fp16", "fp32"),
    "coreml": ("fp16", "fp32", "int8-weights", "palette6", "palette4"),
    "tflite": ("fp32", "fp16", "int8", "mixed", "int8-dynamic", "int8-weights"),
    "onnx": ("fp32", "fp16", "int8", "mixed"),
}
"""What each target can be exported in."""
_NAMED = {"enum": list(get_args(Precision))}
Precisions = Annotated[
    tuple[Precision, ...],
    Field(min_length=1),
    BeforeValidator(_several),
    PlainSerializer(_shortest),
    WithJsonSchema({"anyOf": [_NAMED, {"type": "array", "items": _NAMED, "minItems": 1}]}),
]
"""One precision, or several that are allowed."""
Limit = Annotated[float, Field(gt=0, strict=True)]
BUDGET_UNITS: dict[BudgetName, Literal["bytes", "MFLOPs", "ms"]] = {
    "max_artifact": "bytes",
    "max_peak_memory": "bytes",
    "max_mflops": "MFLOPs",
    "max_latency_ms": "ms",
}
"""Every budget and its unit, in the order in which tables show them."""


class Hardware(Record):
    """Facts of the device. Each needs an entry in `sources`."""

    soc: str = Field(min_length=1)
    """Name of the chip."""
    threads: int = Field(gt=0, le=1024, strict=True)
    """CPU threads that one query may use."""
    ram: Size
    """Memory of the device."""
    isa: tuple[str, ...]
    """Instruction set extensions that matter to kernels: neon, fp16, dotprod, i8mm, sve2."""


class Budgets(Record):
    """Limits for one query. A budget that is absent is unlimited."""

    max_artifact: Size | None = None
    """Size of the artifact, file or folder."""
    max_peak_memory: Size | None = None
    """Weights, live activations and workspace together, at their peak."""
    max_mflops: Limit | None = None
    """Millions of floating point operations, 2 x MACs."""
    max_latency_ms: Limit | None = None
    """Milliseconds; needs `latency` for every target."""

    def items(self) -> tuple[tuple[BudgetName, float], ...]:
        """Return name and limit of every budget that is set, in `BUDGET_UNITS`' order."""
        limits = ((name, getattr(self, name)) for name in BUDGET_UNITS)
        return tuple((name, limit) for name, limit in limits if limit is not None)

    def unit_of(self, name: BudgetName) -> str | None:
        """Return the unit in which a budget of bytes was written, None for any other."""
        limit = getattr(self, name)
        return limit.unit if isinstance(limit, Bytes) else None


class Frame(Record):
    """The size of a camera's frames, upright."""

    height: Pixels
    """Pixels."""
    width: Pixels
    """Pixels."""


class DeviceProfile(Record):
    """One device and the budgets of an application on it."""

    schema_version: Annotated[Literal[1], NoBoolean]
    """Version of this layout."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)
    """Names the bundle's folder."""
    targets: tuple[Target, ...] = Field(min_length=1)
    """Formats to export, each once."""
    hardware: Hardware
    """Facts of the device."""
    budgets: Budgets = Budgets()
    """What one query may cost."""
    precision: dict[Target, Precisions] = Field(default_factory=dict)
    """Number format for each target; `fp32` for a target that is not named. Of several, such as `[fp32, int8]`, the
    plan takes the one that is expected to retrieve best within the budgets."""
    channel_multiple: int = Field(default=8, gt=0, le=256, strict=True)
    """Channel counts are rounded down to a multiple of this."""
    raw_input: Frame | None = None
    """If given, the artifact takes frames of exactly this size, and resizes them as the encoder's preprocessing states.
    The plan counts what that costs (docs/guide/pictures.md)."""
    latency: dict[Target, dict[Precision, LatencyModel]] = Field(default_factory=dict)
    """Coefficients that predict milliseconds, for each target and precision. Instead of a mapping, the name of a file
    in `latency/` beside the profile, or of a shipped one."""
    compatibility: StatedTolerances = StatedTolerances()
    """Your own tolerances; the others are those of the precision (docs/reference/gates.md)."""
    sources: dict[str, Annotated[str, Field(min_length=1)]]
    """Where each hardware fact comes from: any text, or keys of `sources.yaml` if that lies beside the profile."""

    @field_validator("targets")
    @classmethod
    def _distinct(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len(set(targets)) != len(targets):
            raise ValueError("a target is listed twice; allowed: each target once")
        return targets

    @field_validator("precision", "latency")
    @classmethod
    def _of_its_targets(cls, given: dict[Target, Any], info: ValidationInfo) -> dict[Target, Any]:
        targets: tuple[Target, ...] = info.data.get("targets", tuple(given))
        _refuse(
            f"{target}: not one of the profile's targets; allowed: {', '.join(targets)}"
            for target in given
            if target not in targets
        )
        return given

    @field_validator("precision")
    @classmethod
    def _offered_and_distinct(cls, precision: dict[Target, Precisions]) -> dict[Target, Precisions]:
        twice = (
            f"{target}: a precision is listed twice; allowed: each precision once"
            for target, precisions in precision.items()
            if len(set(precisions)) < len(precisions)
        )
        unknown = (
            f"{target}: {each} is not offered; allowed: {', '.join(OFFERED[target])}"
            for target, precisions in precision.items()
            for each in precisions
            if each not in OFFERED[target]
        )
        _refuse(chain(twice, unknown))
        return precision

    @field_validator("sources")
    @classmethod
    def _of_each_fact(cls, sources: dict[str, str]) -> dict[str, str]:
        facts = tuple(Hardware.model_fields)
        allowed = ", ".join(facts)
        missing = (
            f"the hardware fact {fact!r} names no source; allowed: one entry for each of {allowed}"
            for fact in facts
            if fact not in sources
        )
        unknown = (
            f"{fact}: no hardware fact of that name; allowed: {allowed}"
            for fact in sources
            if fact not in facts
        )
        _refuse(chain(missing, unknown))
        return sources

    @model_validator(mode="after")
    def _predicts_its_latency(self) -> Self:
        _refuse(
            f"budgets.max_latency_ms: needs latency coefficients for {target} at {precision}; "
            f"allowed: add latency.{target}.{precision}, or leave the budget out"
            for target in (self.targets if self.budgets.max_latency_ms is not None else ())
            for precision in self.precisions_of(target)
            if self.latency_of(target, precision) is None
        )
        return self

    def precisions_of(self, target: Target) -> tuple[Precision, ...]:
        """Return the precisions that are allowed for a target, in the profile's order; fp32 if it names none."""
        return self.precision.get(target, ("fp32",))

    def at_precision(self, precision: Precision, targets: Iterable[Target] = ()) -> DeviceProfile:
        """Return the profile with this precision alone.

        Args:
            precision: The precision.
            targets: For these of the profile's targets; for all if none is given.

        Raises:
            ProfileError: Some of these targets do not offer it.
        """
        chosen = [target for target in self.targets if target in (tuple(targets) or self.targets)]
        problems = [
            ProfileError(
                self.name,
                f"{precision} is not offered; leave the target out, or take another precision",
                field=f"precision.{target}",
                allowed=", ".join(OFFERED[target]),
            )
            for target in chosen
            if precision not in OFFERED[target]
        ]
        if problems:
            raise ProfileError.of(problems)
        return self.model_copy(
            update={"precision": {**self.precision, **dict.fromkeys(chosen, (precision,))}}
        )

    def latency_of(self, target: Target, precision: Precision) -> LatencyModel | None:
        """Return the latency coefficients, or None if the profile has none for that pair."""
        return self.latency.get(target, {}).get(precision)


def _refuse(problems: Iterable[str]) -> None:
    """Raise ValueError with a line for each problem, if there is one."""
    text = "\n".join(problems)
    if text:
        raise ValueError(text)
