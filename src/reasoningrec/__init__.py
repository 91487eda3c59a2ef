"""Recommendations with a reason: whether, how sure, and why, with citations a person and a program can check."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Corpus",
    "Evidence",
    "Explanation",
    "Prediction",
    "Query",
    "ReasoningRecError",
    "Recommendation",
    "Recommender",
    "read_config",
    "run_line",
]

_HOMES = {
    "Config": ("config", "Config"),
    "Corpus": ("data.corpus", "Corpus"),
    "Evidence": ("records", "Evidence"),
    "Explanation": ("records", "Explanation"),
    "Prediction": ("records", "Prediction"),
    "Query": ("records", "Query"),
    "ReasoningRecError": ("errors", "ReasoningRecError"),
    "Recommendation": ("records", "Recommendation"),
    "Recommender": ("recommender", "Recommender"),
    "read_config": ("config", "read"),
    "run_line": ("pipeline.line", "run_line"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that importing the package stays quick and brings no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
