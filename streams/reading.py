"""Trust at read: an idle agent's points decay, and whoever shows them applies that decay itself.

The stored points are those after the agent's last event. Card, demo and check call `level_now`; the trust stage applies
the same function to the stored base at the next event. So reading changes nothing, and decay is never applied twice.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np

from schemas.columns import Longs
from schemas.kernels import helper

from .policy import Policy
from .policy_model import LAST_DECAY_DAY, DecayPoint

DAY_MS = 86_400_000
MICRO = 1_000_000


def decay_table(policy: Policy) -> Longs:
    """Factor of each whole day idle as a fraction: shape (LAST_DECAY_DAY + 1, 2), numerators and denominators.

    Straight lines between the policy's points, 1.0 at day 0, flat from the last point on; a row is the rule's
    (f0 (d1 - d0) + (f1 - f0) (d - d0)) / (1,000,000 (d1 - d0)) with factors in 1e-6.
    """
    return _table(policy.trust.decay)


@lru_cache(maxsize=8)
def _table(decay: tuple[DecayPoint, ...]) -> Longs:
    points = [(0, MICRO), *((point.days, int(point.factor * MICRO)) for point in decay)]
    table = np.ones((LAST_DECAY_DAY + 1, 2), np.int64)
    for (d0, f0), (d1, f1) in pairwise(points):
        for day in range(d0 + 1, d1 + 1):
            factor = Fraction(f0 * (d1 - d0) + (f1 - f0) * (day - d0), MICRO * (d1 - d0))
            table[day:] = factor.numerator, factor.denominator
    table.flags.writeable = False
    return table


@helper
def decayed(points, idle_ms, table):  # type: ignore[no-untyped-def]
    """Points after `idle_ms` without an event, floored once."""
    if idle_ms < DAY_MS:
        return points
    day = min(idle_ms // DAY_MS, LAST_DECAY_DAY)
    return points * table[day, 0] // table[day, 1]


def level_now(points: Longs, last_ms: Longs, now_ms: int, policy: Policy) -> Longs:
    """Points at `now_ms` of levels with base `points` and last event at `last_ms` (ms); arrays of one shape."""
    table = decay_table(policy)
    idle = np.clip((now_ms - np.asarray(last_ms)) // DAY_MS, 0, LAST_DECAY_DAY)
    level: Longs = np.asarray(points, np.int64) * table[idle, 0] // table[idle, 1]
    return level
