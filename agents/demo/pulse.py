"""How a running demo stands at a moment: the publisher's word, what was observed, and the rates between two looks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .observations import Observations
from .publisher import Told

WINDOW = 3.0
"""Seconds that the rates on the screen are of."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """A moment: `elapsed` seconds since publishing began, rates in records a second, `lag` in records."""

    elapsed: float
    phase: str
    told: Told
    seen: Observations
    published_rate: float
    decided_rate: float
    worker_mb: float

    @property
    def lag(self) -> int:
        """Records published that have not come out yet."""
        return max(0, self.told.published - self.seen.tally.marked)


class Rates:
    """Rates over the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, int]] = deque()

    def look(self, now: float, published: int, decided: int) -> tuple[float, float]:
        """Take note of the counts at `now` (seconds); rates of both over the window."""
        self._looks.append((now, published, decided))
        while now - self._looks[0][0] > WINDOW and len(self._looks) > 2:
            self._looks.popleft()
        then, before, earlier = self._looks[0]
        span = now - then
        return ((published - before) / span, (decided - earlier) / span) if span > 0 else (0.0, 0.0)
