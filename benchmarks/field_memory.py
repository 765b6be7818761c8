"""Does a service that embeds for weeks keep its memory? 10,000 calls of `embed()`, then 50 times load and close.

    python -m benchmarks.field_memory [--target onnx] [--calls 10000] [--loads 50]

For each runtime, in a process of its own: the built-in encoder is exported to a bundle, loaded, and embeds one picture
at a time. Resident memory (VmRSS, Linux) is read after a tenth of the calls, when every buffer exists, and at the end;
likewise after a fifth of the loads and at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np

from runtime_py.bundle.manifest import Target
from runtime_py.loading import load


def resident_mib() -> float:
    """Return what this process holds in memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def measure(bundle: Path, calls: int, loads: int) -> dict[str, float]:
    """Embed and load in this process; return MiB at the four moments, by name."""
    found = {}
    with load(bundle) as encoder:
        image = encoder.probes.images[:1]
        first = encoder.embed(image)
        for call in range(1, calls + 1):
            last = encoder.embed(image)
            if call == max(1, calls // 10):
                found["warm"] = resident_mib()
        np.testing.assert_allclose(last, first, atol=1e-6)
        found["embedded"] = resident_mib()
    for number in range(1, loads + 1):
        with load(bundle) as encoder:
            encoder.embed(image)
        if number == max(1, loads // 5):
            found["loaded"] = resident_mib()
    found["closed"] = resident_mib()
    return found


def export(target: Target, folder: Path) -> Path:
    """Export the built-in encoder, cut to 20 MFLOPs."""
    from exporters import export_bundle
    from prunnet import load_encoder, load_profile

    profile = folder / "any.yaml"
    profile.write_text(
        f"schema_version: 1\nname: any\ntargets: [{target}]\n"
        "hardware: {soc: any, threads: 1, ram: 1GiB, isa: []}\nbudgets: {max_mflops: 20}\n"
        "sources: {soc: this benchmark, threads: this benchmark, ram: this benchmark, isa: this benchmark}\n"
    )
    return export_bundle(load_encoder("glyphs"), load_profile(profile), target, folder / "build").path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=50)
    parser.add_argument("--target", action="append", choices=get_args(Target))
    parser.add_argument("--bundle", type=Path, help="measure this one in this process, and print JSON")
    options = parser.parse_args()
    if options.bundle is not None:
        print(json.dumps(measure(options.bundle, options.calls, options.loads)))
        return
    for target in options.target or get_args(Target):
        with tempfile.TemporaryDirectory() as folder:
            bundle = export(target, Path(folder))
            numbers = ["--calls", str(options.calls), "--loads", str(options.loads)]
            command = [sys.executable, "-m", "benchmarks.field_memory", "--bundle", str(bundle), *numbers]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        of = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{target:10} {options.calls} calls: {of['warm']:.1f} -> {of['embedded']:.1f} MiB   "
            f"{options.loads} loads: {of['loaded']:.1f} -> {of['closed']:.1f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
