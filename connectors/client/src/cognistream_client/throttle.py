"""Adaptive throttling: a sender that holds itself back by what becomes of its own requests.

From "Handling Overload" of Google's Site Reliability Engineering book: over a window a client counts its requests and
how many of them were accepted, and holds back the part (requests - K accepts) / (requests + 1) of what comes. Kafka
accepts whatever it has room for; so an acknowledged event counts as accepted by the part that the controller of
pressure says can be taken (`accepts`). Instead of refusing, the throttle spaces events: their rate is that of the
answers, less the part that is held back.

With K a little above one a sender always tries a little more than is taken, and so finds out by itself when there is
room again. Pure: `now` is in seconds, of any clock that does not go back.
"""

from __future__ import annotations

from math import exp
from typing import Final

K: Final = 1.1
WINDOW: Final = 4.0
"""Seconds after which what was counted is worth 1/e."""
LEAST: Final = 1.0
"""Events per second that pass in any case: somebody must find out that there is room again."""
LEARN: Final = 1.0
"""Seconds in which a sender learns its own rate before it holds itself back."""
BURST: Final = 0.05
"""Seconds by which somebody who slept may catch up."""


class Throttle:
    """Of one concern. Counts fade with time instead of leaving a window at once."""

    _requests: float
    _accepts: float
    _seconds: float
    _now: float
    _next: float

    def __init__(self, now: float) -> None:
        self._begin(now)

    def passes(self, now: float) -> bool:
        """Whether one more event may pass now; if so, it takes its place in the row."""
        if now - self._now > WINDOW:  # silent for long: what was counted says nothing of now
            self._begin(now)
        self._fade(now)
        if now < self._next:
            return False
        self._next = max(self._next, now - BURST) + self._gap()
        return True

    def answered(self, now: float, share: float) -> None:
        """Kafka answered an event; `share` of what comes can be taken now (0 for an event that it refused)."""
        self._fade(now)
        self._requests += 1
        self._accepts += share

    @property
    def held_back(self) -> float:
        """The part of what comes that is too much (the book's formula)."""
        return max(0.0, (self._requests - K * self._accepts) / (self._requests + 1))

    def _begin(self, now: float) -> None:
        self._requests = 0.0
        self._accepts = 0.0
        self._seconds = 0.0
        self._now = now
        self._next = now

    def _gap(self) -> float:
        """Seconds between two events: none while nothing is too much."""
        if self.held_back == 0 or self._seconds < LEARN:
            return 0.0
        return 1 / max(LEAST, self._requests * (1 - self.held_back) / self._seconds)

    def _fade(self, now: float) -> None:
        passed, self._now = max(0.0, now - self._now), max(now, self._now)
        left = exp(-passed / WINDOW)
        self._requests *= left
        self._accepts *= left
        self._seconds = self._seconds * left + WINDOW * (1 - left)
