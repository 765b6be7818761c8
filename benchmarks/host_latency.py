"""Does pruning pay? Latency of a subnetwork over the dense encoder, beside the ratio of their MACs.

    python -m benchmarks.host_latency [--encoder DIR] [--capacities 0.2 1.0] [--json results.json]

Exports each capacity to ExecuTorch, TFLite and ONNX at fp32 and times the artifacts on this host:
batch 1, one core, median over interleaved rounds. Where the latency ratio exceeds the MAC ratio,
the runtime does not pay back all that was cut.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

TARGETS = ("executorch", "tflite", "onnx")


def main() -> None:
    options = _options()
    from exporters.quiet import quiet
    from exporters.targets.registry import get_exporter
    from exporters.targets.spec import ExportSpec
    from exporters.timing import interleave, one_core
    from prunnet.cost import trace
    from prunnet.package.load import load_encoder
    from runtime_py.backends import open_backend
    from runtime_py.table import align

    package = load_encoder(options.encoder)
    prunable, image = package.prunable, package.probes.images[:1]
    rows, macs = [], {}
    with tempfile.TemporaryDirectory() as scratch, one_core():
        backends = {}
        for asked in options.capacities:
            capacity = prunable.at(asked).achieved
            module = package.subnetwork(asked)
            macs[asked] = trace(module, prunable.input_shape).macs
            spec = ExportSpec.of(package, capacity, "fp32")
            for target in TARGETS:
                folder = Path(scratch) / f"{target}-{asked}"
                folder.mkdir()
                with quiet(Path(os.devnull)):
                    made = get_exporter(target).convert(module, spec, folder)
                    backends[target, asked] = open_backend(target, made.path, made.input, made.output)
        calls = [lambda backend=backend: backend.run(image) for backend in backends.values()]
        timings = dict(zip(backends, interleave(calls, options.rounds), strict=True))
    dense = max(options.capacities)
    for target in TARGETS:
        for asked in options.capacities:
            timing, whole = timings[target, asked], timings[target, dense]
            rows.append(
                {
                    "runtime": backends[target, asked].runtime,
                    "capacity_asked": asked,
                    "capacity": prunable.at(asked).achieved,
                    "mmacs": macs[asked] / 1e6,
                    **asdict(timing),
                    "latency_ratio": timing.median_ms / whole.median_ms,
                    "mac_ratio": macs[asked] / macs[dense],
                }
            )
    header = ("runtime", "capacity", "MMACs", "median ms", "latency ratio", "MAC ratio")
    cells = [
        (
            row["runtime"],
            f"{row['capacity']:.4f}",
            f"{row['mmacs']:.2f}",
            f"{row['median_ms']:.3f}",
            f"{row['latency_ratio']:.3f}",
            f"{row['mac_ratio']:.3f}",
        )
        for row in rows
    ]
    print("\n".join(align([header, *cells], left=1)))
    if options.json:
        options.json.write_text(json.dumps({"encoder": package.name, "rows": rows}, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="glyphs", help="folder or built-in name (%(default)s)")
    parser.add_argument("--capacities", type=float, nargs="+", default=[0.2, 1.0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
