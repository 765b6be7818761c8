"""Which capacity and precision to export, and which next when the artifact breaks a budget or loses too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporters.targets.registry import get_exporter
from prunnet.errors import InfeasibleError
from prunnet.profile import Budgets, DeviceProfile
from prunnet.solver import Plan, solve
from prunnet.solver.choose import Refusal, choose
from prunnet.solver.explain import written
from runtime_py.bundle.manifest import BudgetCheck, Precision, Target

if TYPE_CHECKING:
    from prunnet.package.package import EncoderPackage


def plan_export(package: EncoderPackage, profile: DeviceProfile, target: Target) -> Plan:
    """Return the plan that is expected to retrieve best, in precisions that the target offers.

    Raises:
        UnknownNameError: No such target.
        ProfileError: The profile does not list the target, or has a latency budget without coefficients.
        UnsupportedHostError: The target's converter is not built for this computer.
        MissingExtraError: The target's toolchain is not installed.
        InfeasibleError: No capacity fits.
    """
    get_exporter(target)  # without its toolchain there is nothing to plan
    return solve(package, profile, target)


def plan_again(
    package: EncoderPackage,
    profile: DeviceProfile,
    plan: Plan,
    known: Mapping[Precision, Plan | Refusal],
) -> Plan:
    """Return the best plan that is left, after exports have shown what predictions did not.

    Args:
        package: The encoder.
        profile: Its budgets and precisions.
        plan: The plan whose artifact was not good enough.
        known: For precisions that were exported, the next smaller plan, or why there is none.

    Raises:
        InfeasibleError: Nothing is left that fits.
        IncompatibleError: Nothing is left, and what did fit loses too much.
    """
    found = dict[Precision, Plan | Refusal]()
    for precision in dict.fromkeys((*profile.precisions_of(plan.target), *known)):
        try:
            found[precision] = known.get(precision) or solve(
                package, profile, plan.target, precision=precision
            )
        except InfeasibleError as error:
            found[precision] = error
    return choose(found)


def step_down(
    package: EncoderPackage, profile: DeviceProfile, plan: Plan, checks: tuple[BudgetCheck, ...]
) -> Plan | InfeasibleError:
    """Return the next smaller plan in the same precision worth exporting; the error if no smaller capacity exists.

    Passes over capacities that would break a budget again if their prediction erred by the same factor, so
    that few exports are needed; the smallest is always worth a try, because the factor is only an estimate.

    Args:
        package: The encoder.
        profile: Its budgets.
        plan: The plan whose artifact broke a budget.
        checks: Its budgets with what was measured.
    """
    error_factors = {
        check.budget: check.measured / check.predicted for check in checks if check.measured is not None
    }
    best = None
    below = plan.capacity_asked
    while True:
        try:
            candidate = solve(package, profile, plan.target, precision=plan.precision, below=below)
        except InfeasibleError:
            break
        best, below = candidate, candidate.capacity_asked
        if all(check.predicted * error_factors.get(check.budget, 1) <= check.limit for check in best.budgets):
            break
    if best is None:
        return measured_infeasible(plan, checks, profile.budgets)
    return best


def measured_infeasible(plan: Plan, checks: tuple[BudgetCheck, ...], budgets: Budgets) -> InfeasibleError:
    """Return the error for a smallest capacity whose artifact was measured to break a budget."""
    check = next(check for check in checks if not check.fits)
    assert check.measured is not None
    remedy = (
        f"That was measured on the artifact at capacity {plan.capacity:.4f}, the smallest "
        f"({_amount(check.predicted, check.unit)} were predicted). What would help: a larger budget, a smaller "
        "input, a smaller backbone"
    )
    unit = written(budgets, check.budget)
    return InfeasibleError(plan.profile, check.budget, check.limit, check.measured, check.unit, remedy, unit)


def broken(checks: tuple[BudgetCheck, ...]) -> str:
    """Return what the measured artifact breaks, for people; empty if every budget holds."""
    return "; ".join(
        f"{check.budget}: measured {_amount(check.measured, check.unit)}, "
        f"predicted {_amount(check.predicted, check.unit)}, the limit is {_amount(check.limit, check.unit)}"
        for check in checks
        if not check.fits and check.measured is not None
    )


def _amount(value: float, unit: str) -> str:
    """Return a figure for people; bytes one by one, since a limit is often missed by less than a tenth of a MiB."""
    return f"{value:,.0f} bytes" if unit == "bytes" else f"{value:.4g} {unit}"
