"""The words that part what a student is asked and what it answers."""

from typing import Final

CUE: Final = "\nPrediction:"
DECISIONS: Final = (" No", " Yes")
"""Indexed by the label."""
PLAN: Final = "\nCites:"
WHY: Final = "\nWhy:"
TASTE: Final = "\nTaste:"
