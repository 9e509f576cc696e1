"""When things happen: the week's rhythm of work, and incidents that hit many agents at once.

Traffic is drawn in "work time", in which its rate is constant, and mapped to the calendar through the running sum of
the week's activity: days are busier than nights, weekends quieter. Incidents hold one model for half an hour to three
hours; all agents that run on it fail together meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Doubles, Longs

WEEK_MS = 7 * 86_400_000
_MINUTES = 7 * 1440
_CYCLE = 512
_EVERY_MS = 36 * 3_600_000


class Rhythm:
    """Maps work time (ms, constant rate) to calendar time (ms since a Monday, 00:00)."""

    def __init__(self) -> None:
        minute = np.arange(_MINUTES)
        day = 0.15 + np.clip(np.sin((minute % 1440 - 420) * np.pi / 780), 0, 1) * 2.2
        weekend = np.where(minute >= 5 * 1440, 0.35, 1.0)
        running = np.concatenate([[0.0], np.cumsum(day * weekend)])
        self._work: Doubles = np.asarray(running / running[-1] * WEEK_MS, np.float64)
        self._calendar: Doubles = np.arange(_MINUTES + 1, dtype=np.float64) * 60_000

    def calendar(self, work: Doubles) -> Doubles:
        """Calendar time of work time; ascending, equal at every full week."""
        weeks = np.floor(work / WEEK_MS)
        inside: Doubles = np.interp(work - weeks * WEEK_MS, self._work, self._calendar)
        return weeks * WEEK_MS + inside


@dataclass(frozen=True, slots=True)
class Incidents:
    """An incident every 36 hours, repeated after 512. Arrays of shape (512,): `start` and `end` in ms, `model`."""

    start: Longs
    end: Longs
    model: Longs

    @classmethod
    def drawn(cls, rng: np.random.Generator, models: int) -> Incidents:
        """Incidents of a seed, over `models` models."""
        start = np.arange(_CYCLE) * _EVERY_MS + rng.integers(0, _EVERY_MS - 3 * 3_600_000, _CYCLE)
        return cls(start, start + rng.integers(1_800_000, 3 * 3_600_000, _CYCLE), rng.integers(0, models, _CYCLE))

    def hold(self, ms: Longs, model: Longs) -> NDArray[np.bool_]:
        """Whether an incident holds `model` at `ms` (since the start of the traffic); shapes (n,)."""
        inside = ms % (_CYCLE * _EVERY_MS)
        number = inside // _EVERY_MS
        held: NDArray[np.bool_] = (
            (inside >= self.start[number]) & (inside < self.end[number]) & (self.model[number] == model)
        )
        return held
