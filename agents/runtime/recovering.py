"""How far recovery is, and how long it will still take: from what is left, and how fast that falls."""

from __future__ import annotations

import time
from collections.abc import Callable


class Recovering:
    """`left` offsets of `total` are still to read; told by `take`, whenever somebody looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.left = self.total = 0
        self._begun = 0.0

    def take(self, left: int) -> None:
        """What is left now. What is found on the way (the sources, behind the state) adds to the total."""
        if not left or not self.left:
            self.total, self._begun = left, self._clock()
        else:
            self.total += max(0, left - self.left)
        self.left = left

    @property
    def seconds(self) -> float | None:
        """Until nothing is left, at the pace so far; None when that cannot be told yet, 0 when nothing is left."""
        if not self.left:
            return 0.0
        done = self.total - self.left
        return (self._clock() - self._begun) * self.left / done if done else None
