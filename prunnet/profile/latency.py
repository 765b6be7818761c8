"""The latency coefficients of one device, target and precision, and what they were fitted to."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from runtime_py.bundle.manifest import Precision
from runtime_py.record import Record

Rate = Annotated[float, Field(gt=0, lt=1e9)]
Milliseconds = Annotated[float, Field(ge=0, lt=1e9)]


class _Strict(Record):
    model_config = ConfigDict(strict=True)


class Rates(_Strict):
    """Throughput by kind of op, in 10**9 multiply-accumulates per second."""

    conv: Rate
    """Convolutions of a kernel larger than 1."""
    pointwise: Rate
    """Convolutions of kernel size 1."""
    depthwise: Rate
    """Convolutions with one channel per group."""
    matmul: Rate
    """Linear layers and attention."""


class FittedRow(_Strict):
    """One measurement that the coefficients were fitted to."""

    model: str
    """The network and its input size, such as "resnet18 224x224"."""
    macs_g: Rate
    """10**9 multiply-accumulates, as the cost graph counts them."""
    measured_ms: Rate
    """Milliseconds, as published."""
    fitted_ms: Rate
    """What the coefficients give for the same network, divided by `scaled_by`."""
    device: str
    """The device that was measured."""
    match: str
    """How the measured device relates to this one: exact, same_soc, same_core(...), proxy(...)."""
    source: str
    """Where the measurement was published."""


class LatencyModel(_Strict):
    """Roofline coefficients: t0 + the sum over operations of (max(compute, memory traffic) + overhead)."""

    runs_on: str
    """The runtime, delegate and unit that the measurements ran on."""
    precision: Precision | None = None
    """The precision that was measured; the fit stands for another one only where `calibrated: false` says so."""
    t0_ms: Milliseconds
    """Milliseconds of a call, whatever the network."""
    per_op_ms: Milliseconds
    """Milliseconds that each operation costs on top."""
    gmacs_per_s: Rates
    """How fast each kind of operation computes."""
    bandwidth_gb_per_s: Rate
    """How fast weights and activations are read and written, 10**9 bytes per second."""
    calibrated: bool
    """False if only similar devices were measured."""
    soc: str = ""
    """The chip that was measured, as `hardware.soc` names it; a shipped fit calibrates no profile of another chip."""
    scaled_by: Rate = 1.0
    """Factor on the measured milliseconds before the fit; `source` gives the reason."""
    median_error: Annotated[float, Field(ge=0)]
    """Median of |fitted - measured| / measured over the rows."""
    worst_error: Annotated[float, Field(ge=0)]
    """Largest |fitted - measured| / measured of any row."""
    source: str
    """How the coefficients were fitted."""
    rows: tuple[FittedRow, ...] = Field(min_length=1, strict=False)
    """The measurements."""
