"""Gives memory back to the system when a worker rests after work.

A busy worker moves hundreds of megabytes a second through buffers, and the C library keeps what they leave behind for
the next ones: right while there is work, and half a gigabyte too much for a worker that lies beside the agents it
governs. So a lane that ticks, which it does only when it has caught up, has the free pages returned.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import Executor

ENOUGH_BYTES = 64 << 20
"""Work after which it is worth while."""
TIMES = 2
"""How often memory is given back after that: lanes let go of their widest step only in the steps that follow."""
PAUSE_SECONDS = 5.0


class Thrift:
    """Counts work, and has the memory of it given back in `pool`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._worked, self._owed = 0, TIMES  # recovery was work too
        self._not_before = 0.0

    def worked(self, size: int) -> None:
        """`size` bytes of records were decided."""
        self._worked += size
        if self._worked >= ENOUGH_BYTES:
            self._worked, self._owed = 0, TIMES

    def rests(self, now: float) -> None:
        """A lane has nothing to do at this moment (seconds of any clock)."""
        if self._owed and now >= self._not_before:
            self._owed -= 1
            self._not_before = now + PAUSE_SECONDS
            self._pool.submit(give_back)


def give_back() -> bool:
    """Return free pages of the heap to the system; whether there were any. Only the GNU C library can be asked to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
