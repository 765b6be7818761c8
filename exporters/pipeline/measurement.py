"""What an artifact really costs, as far as this host can tell, against the budgets of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.pipeline.memory import peak_memory_bytes
from exporters.targets.base import stage
from exporters.targets.spec import Artifact
from prunnet.cost import trace_exported
from prunnet.solver import Plan
from runtime_py.bundle.manifest import BudgetCheck, Cost, Target

if TYPE_CHECKING:
    from torch import nn


def measured_cost(
    module: nn.Module, artifact: Artifact, target: Target, input_shape: tuple[int, int, int]
) -> Cost:
    """Return the cost of one query: of the exported graph, the file and the runtime on this host.

    Args:
        module: What was converted.
        artifact: What came out.
        target: Whose runtime is measured.
        input_shape: (3, H, W) in pixels.

    Returns:
        Latency is None, because a host's milliseconds are not a device's; memory where it cannot be read.

    Raises:
        ExportError: The graph or the runtime's process fails.
    """
    with stage(target, "measure"):
        graph = trace_exported(module, input_shape)
        return Cost(
            parameters=graph.parameters,
            mflops=2 * graph.macs / 1e6,
            artifact_bytes=artifact.size,
            peak_memory_bytes=peak_memory_bytes(target, artifact),
        )


def against_budgets(plan: Plan, measured: Cost) -> tuple[BudgetCheck, ...]:
    """Return the plan's budgets with their measured figures filled in, where there are any."""
    return tuple(check.model_copy(update={"measured": measured.of(check.budget)}) for check in plan.budgets)
