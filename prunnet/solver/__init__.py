"""Budgets to capacity: the largest subnetwork that a device affords, and why not a larger one."""

from prunnet.solver.costs import graph_of
from prunnet.solver.plan import Plan, PlanRow, PlanTable, plan_table
from prunnet.solver.protocol import Prunable
from prunnet.solver.solve import solve

__all__ = ["Plan", "PlanRow", "PlanTable", "Prunable", "graph_of", "plan_table", "solve"]
