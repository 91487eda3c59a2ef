"""Candidates for one user from the whole catalogue, before the student is asked."""

from __future__ import annotations

from typing import Final

import numpy as np

from reasoningrec.data.timeline import Ints, Timeline

WIDEST: Final = 2000
"""Items at most whose evidence is counted; of a larger catalogue, those with the most reactions."""


def unseen(timeline: Timeline, user: int) -> Ints:
    """Codes of items the user has no reaction to, at most `WIDEST`, those with the most reactions first."""
    reactions = np.bincount(timeline.item, minlength=len(timeline.items))
    seen = timeline.item[timeline.start[user] : timeline.start[user + 1]]
    reactions[seen] = -1
    order = np.argsort(-reactions, kind="stable")
    return np.asarray(order[reactions[order] >= 0][:WIDEST])
