"""Which capacity to export, and which one next when the measured artifact breaks a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.targets.registry import get_exporter
from prunnet.errors import InfeasibleError
from prunnet.profile import Budgets, DeviceProfile
from prunnet.solver import Plan, solve
from prunnet.solver.explain import written
from runtime_py.bundle.manifest import BudgetCheck, Target

if TYPE_CHECKING:
    from prunnet.package.package import EncoderPackage


def plan_export(package: EncoderPackage, profile: DeviceProfile, target: Target) -> Plan:
    """Return the largest capacity that is predicted to fit and whose precision the target offers.

    Raises:
        UnknownNameError: No such target, or none of the profile's.
        MissingExtraError: The target's toolchain is not installed.
        ExportError: The target does not offer the profile's precision.
        InfeasibleError: No capacity fits.
    """
    get_exporter(target).check_precision(profile.precision_of(target))
    return solve(package, profile, target)


def step_down(
    package: EncoderPackage, profile: DeviceProfile, plan: Plan, checks: tuple[BudgetCheck, ...]
) -> Plan:
    """Return the next smaller plan worth exporting.

    Passes over capacities that would break a budget again if their prediction erred by the same factor, so
    that few exports are needed; the smallest is always worth a try, because the factor is only an estimate.

    Args:
        package: The encoder.
        profile: Its budgets.
        plan: The plan whose artifact broke a budget.
        checks: Its budgets with what was measured.

    Raises:
        InfeasibleError: No smaller capacity exists; says what was measured at the smallest.
    """
    error_factors = {
        check.budget: check.measured / check.predicted for check in checks if check.measured is not None
    }
    best = None
    below = plan.capacity_asked
    while True:
        try:
            candidate = solve(package, profile, plan.target, below=below)
        except InfeasibleError:
            break
        best, below = candidate, candidate.capacity_asked
        if all(check.predicted * error_factors.get(check.budget, 1) <= check.limit for check in best.budgets):
            break
    if best is None:
        raise measured_infeasible(plan, checks, profile.budgets)
    return best


def measured_infeasible(plan: Plan, checks: tuple[BudgetCheck, ...], budgets: Budgets) -> InfeasibleError:
    """Return the error for a smallest capacity whose artifact was measured to break a budget."""
    check = next(check for check in checks if not check.fits)
    assert check.measured is not None
    remedy = (
        f"That was measured on the artifact at capacity {plan.capacity:.4f}, the smallest "
        f"({check.predicted:g} {check.unit} were predicted). What would help: a larger budget, a smaller "
        "input, a smaller backbone"
    )
    unit = written(budgets, check.budget)
    return InfeasibleError(plan.profile, check.budget, check.limit, check.measured, check.unit, remedy, unit)


def broken(checks: tuple[BudgetCheck, ...]) -> str:
    """Return what the measured artifact breaks, for people; empty if every budget holds."""
    return "; ".join(
        f"{check.budget} measured {check.measured:g} {check.unit}, "
        f"predicted {check.predicted:g}, limit {check.limit:g}"
        for check in checks
        if not check.fits
    )
