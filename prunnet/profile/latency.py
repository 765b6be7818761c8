"""The latency coefficients of one device, target and precision, and what they were fitted to."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0, lt=1e9)]
Milliseconds = Annotated[float, Field(ge=0, lt=1e9)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Rates(_Record):
    """Throughput by kind of op, in 10**9 multiply-accumulates per second."""

    conv: Rate
    """Convolutions of a kernel larger than 1."""
    pointwise: Rate
    """Convolutions of kernel size 1."""
    depthwise: Rate
    matmul: Rate
    """Linear layers and attention."""


class FittedRow(_Record):
    """One measurement that the coefficients were fitted to."""

    model: str
    """The network and its input size, e.g. "resnet18 224x224"."""
    macs_g: Rate
    """10**9 multiply-accumulates, as the cost graph counts them."""
    measured_ms: Rate
    fitted_ms: Rate
    """What the coefficients say for the same network, divided by `scaled_by`."""
    device: str
    match: str
    """How the measured device relates to the profile's: exact, same_soc, same_core(...), proxy(...)."""
    source: str


class LatencyModel(_Record):
    """Roofline coefficients: t0 + sum over ops of (max(compute, memory traffic) + overhead)."""

    runs_on: str
    """The runtime, delegate and unit that the measurements ran on."""
    t0_ms: Milliseconds
    per_op_ms: Milliseconds
    gmacs_per_s: Rates
    bandwidth_gb_per_s: Rate
    calibrated: bool
    """False if only stand-in devices were measured."""
    scaled_by: Rate = 1.0
    """The coefficients are for the measured milliseconds times this; `source` says why."""
    median_error: Annotated[float, Field(ge=0)]
    """Median of |fitted - measured| / measured over the rows."""
    worst_error: Annotated[float, Field(ge=0)]
    source: str
    """How the coefficients came about."""
    rows: tuple[FittedRow, ...] = Field(min_length=1, strict=False)
