"""Who an event is: its own id, the key of its agent, and the time.

Ids are UUIDs of version 7 (RFC 9562, section 5.7): they sort by the time of their making, also among those of one
millisecond, so that logs and indexes keep neighbours together.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Final

_COUNTER_BITS: Final = 42
"""Bits below the version: counted up from a random start within a millisecond (RFC 9562, section 6.2, method 2)."""
_RANDOM_BITS: Final = 32

_chance = random.SystemRandom()
_lock = threading.Lock()
_last_ms = 0
_counter = 0


def now_ms() -> int:
    """Milliseconds since 1970, as all times of events are."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUID of version 7 that sorts behind all that this process made before."""
    global _last_ms, _counter
    with _lock:
        chance = _chance.getrandbits(72)
        ms = now_ms()
        if ms > _last_ms:
            _last_ms, _counter = ms, chance >> _RANDOM_BITS & (1 << _COUNTER_BITS - 1) - 1
        else:  # the same millisecond, or a clock that was set back
            _counter += 1
            if _counter >> _COUNTER_BITS:
                _last_ms, _counter = _last_ms + 1, 0
        ms, counter = _last_ms, _counter
    high, low = counter >> 30, counter & (1 << 30) - 1
    tail = low << _RANDOM_BITS | chance & (1 << _RANDOM_BITS) - 1
    text = f"{ms << 16 | 0x7000 | high:016x}{1 << 63 | tail:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def agent_key(tenant_id: str, agent_id: str) -> bytes:
    """The key of all topics that are keyed by agent: `tenant/agent` in UTF-8."""
    return f"{tenant_id}/{agent_id}".encode()
