"""Budgets to capacity: the largest subnetwork that a device affords, and why not a larger one."""

from prunnet.solver.costs import subnetwork_graph
from prunnet.solver.plan import Plan
from prunnet.solver.protocol import Prunable
from prunnet.solver.solve import solve

__all__ = ["Plan", "Prunable", "solve", "subnetwork_graph"]
