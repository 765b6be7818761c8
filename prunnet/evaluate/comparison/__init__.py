"""Methods side by side: AdvBCT's figures, quality at equal size, and the tax of sharing one network."""

from prunnet.evaluate.comparison.advbct import UpgradeScores, p_comp, p_up
from prunnet.evaluate.comparison.equal_size import Comparison, Reading, compare, tax

__all__ = ["Comparison", "Reading", "UpgradeScores", "compare", "p_comp", "p_up", "tax"]
