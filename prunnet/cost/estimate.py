"""Predicts what one query costs on a device."""

from __future__ import annotations

from prunnet.cost.graph import CostGraph
from prunnet.cost.latency import latency_ms
from prunnet.cost.memory import peak_memory_bytes
from prunnet.cost.storage import STORAGE, artifact_bytes
from prunnet.cost.width import WIDTHS, width_of
from prunnet.errors import UnknownNameError
from prunnet.profile import DeviceProfile
from runtime_py.bundle.manifest import Cost, Precision, Target


def estimate(
    graph: CostGraph,
    profile: DeviceProfile,
    target: Target,
    precision: Precision,
) -> Cost:
    """Return the predicted cost of one query (batch 1).

    Masked weights (`Op.zeros`) are stored and multiplied as zeros by ExecuTorch, TFLite and ONNX Runtime:
    a masked subnetwork costs the dense encoder's bytes, memory, FLOPs and milliseconds. Core ML's file leaves the zeros
    out, which saves artifact and memory, and no time that was measured.

    Args:
        graph: What `trace` returned for the module that will be exported, and its masks.
        profile: Gives the latency coefficients; without any for target and precision the latency is None.
        target: Format of the artifact.
        precision: Of weights and arithmetic.

    Raises:
        UnknownNameError: No such target or precision.
    """
    if target not in STORAGE:
        raise UnknownNameError("target", target, STORAGE)
    if precision not in WIDTHS:
        raise UnknownNameError("precision", precision, WIDTHS)
    width = width_of(target, precision)
    size = artifact_bytes(graph, target, width)
    model = profile.latency_of(target, precision)
    return Cost(
        parameters=graph.parameters,
        mflops=2 * graph.macs / 1e6,
        artifact_bytes=size,
        peak_memory_bytes=peak_memory_bytes(graph, target, precision, size),
        latency_ms=latency_ms(graph, model, width) if model else None,
        latency_calibrated=bool(model and model.calibrated),
    )
