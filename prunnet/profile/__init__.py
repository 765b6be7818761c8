"""Device profiles: facts of a device, and what the application may spend there for one query."""

from prunnet.profile.dump import dump_profile
from prunnet.profile.latency import FittedRow, LatencyModel, Rates
from prunnet.profile.load import find_profile, load_profile, load_profiles, shipped_profiles
from prunnet.profile.schema import BUDGET_UNITS, OFFERED, Budgets, DeviceProfile, Hardware
from prunnet.profile.units import format_bytes, parse_bytes

__all__ = [
    "BUDGET_UNITS",
    "OFFERED",
    "Budgets",
    "DeviceProfile",
    "FittedRow",
    "Hardware",
    "LatencyModel",
    "Rates",
    "dump_profile",
    "find_profile",
    "format_bytes",
    "load_profile",
    "load_profiles",
    "parse_bytes",
    "shipped_profiles",
]
