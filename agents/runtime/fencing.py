"""How often a worker may be fenced and go on.

A lane is fenced when another worker has its partition, of which the group has not told us yet, or when the broker was
away so long that it ended a transaction by itself. Nothing of the step under way is true then, and what the lane
remembers is ahead of what is: it is forgotten, and the worker joins its group anew, which says whose each partition is
now. Fences of several lanes that one cause brought count once. A worker that is fenced again and again has a rival that
the group does not know: it gives way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from schemas.errors import CognistreamError

TIMES = 3
WITHIN_SECONDS = 600.0


class FencedOften(CognistreamError):
    """Somebody outside the group writes what this worker owns."""


class Fencing:
    """`rejoining`: whether the group was asked to give out the partitions anew, and has not begun."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=TIMES)
        self.rejoining = False

    def rejoin(self, why: BaseException) -> None:
        """The worker was fenced and shall join its group anew. Raises `FencedOften` when it was so too often."""
        now = self._clock()
        if len(self._times) == TIMES and now - self._times[0] < WITHIN_SECONDS:
            raise FencedOften(
                f"{why} That was so {TIMES + 1} times within {WITHIN_SECONDS / 60:.0f} minutes: something outside the "
                "group writes under the same transactional ids. Look for workers of another installation with the "
                "same prefix, or a `cognistream state rebuild` that still runs; then start this worker again."
            ) from why
        self._times.append(now)
        self.rejoining = True
