"""Gives memory back to the system when a worker rests after work.

A busy worker moves hundreds of megabytes a second through buffers, and the C library keeps what they leave behind for
the next ones: right while there is work, and half a gigabyte too much for a worker that lies beside the agents it
governs. So a lane that ticks, which it does only when it has caught up, has the free pages returned once.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import Executor

ENOUGH_BYTES = 64 << 20
"""Work after which it is worth while."""


class Thrift:
    """Counts work, and has the memory of it given back in `pool`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._worked = ENOUGH_BYTES  # recovery was work too

    def worked(self, size: int) -> None:
        """`size` bytes of records were decided."""
        self._worked += size

    def rests(self) -> None:
        """A lane has nothing to do."""
        if self._worked >= ENOUGH_BYTES:
            self._worked = 0
            self._pool.submit(give_back)


def give_back() -> bool:
    """Return free pages of the heap to the system; whether there were any. Only the GNU C library can be asked to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
