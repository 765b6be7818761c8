"""The capacities that an encoder offers to one profile and target, with their predicted costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunnet.cost import estimate
from prunnet.cost.memory import frame_bytes
from prunnet.cost.width import width_of
from prunnet.profile import BUDGET_UNITS, DeviceProfile
from prunnet.solver.costs import raw_input_of, subnetwork_graph
from runtime_py.bundle.manifest import BudgetCheck, Cost, Granularity, Precision, Target

if TYPE_CHECKING:
    from prunnet.encoder.raw_input import RawInput
    from prunnet.solver.protocol import Prunable


@dataclass(frozen=True)
class Candidate:
    """One capacity against the budgets."""

    asked: float
    cost: Cost
    checks: tuple[BudgetCheck, ...]

    @property
    def fits(self) -> bool:
        """Whether every budget holds."""
        return all(check.fits for check in self.checks)

    @property
    def worst(self) -> BudgetCheck | None:
        """The budget that is used up most; None without budgets."""
        return max(self.checks, key=lambda check: check.predicted / check.limit, default=None)


class Candidates:
    """Looks costs up lazily: the solver asks for a few of many capacities."""

    def __init__(
        self, prunable: Prunable, profile: DeviceProfile, target: Target, precision: Precision
    ) -> None:
        self._prunable, self._profile = prunable, profile
        self._target, self._precision = target, precision
        self._raw = raw_input_of(prunable, profile)
        self.capacities = tuple(prunable.capacities(profile.channel_multiple))
        self.grow = not width_of(target, precision).whole
        """Whether every cost grows with the capacity: not where tensors are compressed from some size on."""
        self.granularity: Granularity = "weight" if prunable.granularity == "weight" else "channel"

    def at(self, capacity: float) -> Candidate:
        """Return the candidate of one of `capacities`."""
        cost = self._cost(capacity, self._raw)
        if self._raw is not None:
            alone = self._cost(capacity, None).peak_memory_bytes or 0
            peak = alone + frame_bytes(self._target, self._raw.size)
            cost = cost.model_copy(update={"peak_memory_bytes": peak})
        checks = tuple(
            BudgetCheck(budget=name, unit=BUDGET_UNITS[name], limit=limit, predicted=value)
            for name, limit in self._profile.budgets.items()
            if (value := cost.of(name)) is not None
        )
        return Candidate(capacity, cost, checks)

    def _cost(self, capacity: float, raw: RawInput | None) -> Cost:
        graph = subnetwork_graph(self._prunable, capacity, self._profile.channel_multiple, raw)
        return estimate(graph, self._profile, self._target, self._precision)
