"""Who an event is: its own id, the key of its agent, and the time.

Ids are UUIDs of version 7 (RFC 9562, section 5.7): they sort by the time of their making, also among those of one
millisecond, so that logs and indexes keep neighbours together.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_COUNTER_BITS: Final = 42
"""Bits below the version: counted up from a random start within a millisecond (RFC 9562, section 6.2, method 2)."""
_RANDOM_BITS: Final = 32
_LOW_BITS: Final = 30
"""Of the counter, behind the variant; the others stand behind the version."""
_LOW: Final = (1 << _LOW_BITS) - 1

_DRAWS: Final = 1024
"""Random numbers fetched from the system at once: a call for each id costs more than the rest of it."""

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_head = ""


def now_ms() -> int:
    """Milliseconds since 1970, as all times of events are."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUID of version 7 that sorts behind all that this process made before."""
    with _lock:
        ms = now_ms()
        if ms > _last_ms:
            _begin(ms, next(_chance) << 9 | next(_chance) >> 23)  # 41 bits: the counter has room to count
        else:  # the same millisecond, or a clock that was set back
            _count()
        tail = f"{1 << 63 | (_counter & _LOW) << _RANDOM_BITS | next(_chance):016x}"
        return f"{_head}-{tail[:4]}-{tail[4:]}"


def _begin(ms: int, counter: int) -> None:
    """Count from `counter` on in the millisecond `ms`; what begins its ids is written once."""
    global _last_ms, _counter, _head
    _last_ms, _counter = ms, counter
    _head = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-{0x7000 | counter >> _LOW_BITS:04x}"


def _count() -> None:
    global _counter
    _counter += 1
    if _counter >> _COUNTER_BITS:
        _begin(_last_ms + 1, 0)
    elif not _counter & _LOW:
        _begin(_last_ms, _counter)


def _draws() -> Iterator[int]:
    """Random numbers of 32 bits, without end."""
    while True:
        yield from struct.unpack(f">{_DRAWS}I", os.urandom(4 * _DRAWS))


def _after_fork() -> None:
    """A child must not draw what its parent draws."""
    global _chance, _lock
    _chance, _lock = _draws(), threading.Lock()


_chance = _draws()
os.register_at_fork(after_in_child=_after_fork)


@lru_cache(65_536)
def agent_key(tenant_id: str, agent_id: str) -> bytes:
    """The key of all topics that are keyed by agent: `tenant/agent` in UTF-8."""
    return f"{tenant_id}/{agent_id}".encode()
