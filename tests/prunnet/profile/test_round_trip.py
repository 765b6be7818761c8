"""A profile that is dumped and loaded again is the same profile."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.profile import (
    OFFERED,
    Budgets,
    DeviceProfile,
    FittedRow,
    Hardware,
    LatencyModel,
    Rates,
    dump_profile,
    load_profile,
    shipped_profiles,
)
from prunnet.profile.units import exact_bytes, parse_bytes
from runtime_py.bundle.tolerances import StatedTolerances

SIZES = st.integers(1, 10**12).map(exact_bytes)
POSITIVE = st.floats(1e-6, 1e8)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30
)


@st.composite
def profiles(draw: st.DrawFn) -> DeviceProfile:
    targets = draw(
        st.lists(
            st.sampled_from(["executorch", "executorch-coreml", "coreml", "tflite", "onnx"]),
            min_size=1,
            unique=True,
        )
    )
    precision = {t: draw(st.sampled_from(OFFERED[t])) for t in targets if draw(st.booleans())}
    rates = Rates(
        conv=draw(POSITIVE), pointwise=draw(POSITIVE), depthwise=draw(POSITIVE), matmul=draw(POSITIVE)
    )
    row = FittedRow(
        model=draw(TEXTS),
        macs_g=draw(POSITIVE),
        measured_ms=1.0,
        fitted_ms=2.0,
        device="d",
        match="exact",
        source="s",
    )
    model = LatencyModel(
        runs_on=draw(TEXTS),
        t0_ms=draw(st.floats(0, 1e3)),
        per_op_ms=draw(st.floats(0, 1e3)),
        gmacs_per_s=rates,
        bandwidth_gb_per_s=draw(POSITIVE),
        calibrated=draw(st.booleans()),
        median_error=1.0,
        worst_error=1.0,
        source=draw(TEXTS),
        rows=(row,),
    )
    return DeviceProfile(
        schema_version=1,
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)),
        targets=targets,
        hardware=Hardware(
            soc=draw(TEXTS), threads=draw(st.integers(1, 64)), ram=draw(SIZES), isa=draw(st.lists(TEXTS))
        ),
        budgets=Budgets(
            max_artifact=draw(st.none() | SIZES),
            max_peak_memory=draw(st.none() | SIZES),
            max_mflops=draw(st.none() | POSITIVE),
            max_latency_ms=draw(st.none() | POSITIVE),
        ),
        precision=precision,
        channel_multiple=draw(st.integers(1, 256)),
        latency={t: {precision.get(t, "fp32"): model} for t in targets},
        compatibility=StatedTolerances(min_cosine=draw(st.floats(-1, 1))),
        sources={fact: draw(TEXTS) for fact in Hardware.model_fields},
    )


@settings(max_examples=60, deadline=None)
@given(profiles())
def test_random_profiles(profile: DeviceProfile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.yaml"
        path.write_text(dump_profile(profile), encoding="utf-8")
        assert load_profile(path) == profile


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles(name: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    path.write_text(dump_profile(load_profile(name)), encoding="utf-8")
    assert load_profile(path) == load_profile(name)


@given(st.integers(1, 10**14))
def test_exact_bytes(size: int) -> None:
    assert parse_bytes(exact_bytes(size)) == size
