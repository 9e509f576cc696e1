"""What becomes of an event while cognistream is behind: sent, left out, paced, or kept until later.

The controller says in the compacted topic `pressure` how far each source partition and each pool is behind. An event is
concerned by its own partition and by the pool that its like end up in: `priority.background` for what is background,
`priority.normal` for what is normal. What is vital is concerned by nothing.

| | background | normal | vital |
|---|---|---|---|
| soft | one in ten is sent | sent; paced if it was before | sent |
| hard | waits | paced | sent |
| stop | waits | waits | sent |

Nothing here reads a clock or touches Kafka; times are milliseconds since 1970.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from enum import Enum, IntEnum
from functools import lru_cache
from typing import Final

from .consequence import Consequence
from .records import Pressure

Place = tuple[str, int | None]
"""Topic without prefix, and partition; None while nobody knows it."""

SAMPLE: Final = 0.1
"""Part of the background events that is sent under soft pressure."""


class Level(IntEnum):
    """As the controller says it."""

    NONE = 0
    SOFT = 1
    HARD = 2
    STOP = 3


class Verdict(Enum):
    """What becomes of an event."""

    SEND = "send"
    LEAVE_OUT = "leave out"
    PACE = "pace"
    WAIT = "wait"


_POOLS: Final = {Consequence.BACKGROUND: "priority.background", Consequence.NORMAL: "priority.normal"}
_OPENS_AT: Final = {Consequence.BACKGROUND: Level.NONE, Consequence.NORMAL: Level.SOFT}
"""Highest level at which what waited is sent."""


def verdict(consequence: Consequence, level: Level, event_id: str, *, paced: bool = False) -> Verdict:
    """What becomes of an event; which samples are sent follows from their ids, so a repeat shares the fate.

    `paced`: events like it were paced before. That ends with all pressure, else senders would swing between both.
    """
    if consequence is Consequence.VITAL or level is Level.NONE:
        return Verdict.SEND
    if level is Level.SOFT:
        if consequence is Consequence.NORMAL:
            return Verdict.PACE if paced else Verdict.SEND
        return Verdict.SEND if _is_sample(event_id) else Verdict.LEAVE_OUT
    return Verdict.PACE if level is Level.HARD and consequence is Consequence.NORMAL else Verdict.WAIT


def _is_sample(event_id: str) -> bool:
    return zlib.crc32(event_id.encode()) < SAMPLE * 2**32


class Situation:
    """What is known of pressure. Read by every thread, changed by the one that follows the topic."""

    def __init__(self) -> None:
        self._told: dict[str, Pressure] = {}
        self._highest: dict[str, Pressure] = {}
        self.on = False
        """Whether there is any; the first look, which costs nothing."""

    def take(self, told: Pressure) -> Pressure | None:
        """Take note of what the controller says; what it said before."""
        before = self._told.get(told.concern)
        self._set({**self._told, told.concern: told})
        return before

    def forget(self, concern: str) -> None:
        """Nothing is said of `concern` any more."""
        self._set({name: told for name, told in self._told.items() if name != concern})

    def expire(self, now_ms: int) -> list[Pressure]:
        """Forget levels that nobody confirmed in time; those that this ended."""
        gone = [told for told in self._told.values() if now_ms >= told.expires_at]
        if gone:
            self._set({name: told for name, told in self._told.items() if now_ms < told.expires_at})
        return [told for told in gone if told.level != "none"]

    def pressing(self, now_ms: int) -> tuple[Pressure, ...]:
        """All levels that count."""
        return tuple(told for told in self._told.values() if told.level != "none" and now_ms < told.expires_at)

    def worst(self, consequence: Consequence, place: Place, now_ms: int) -> Pressure | None:
        """What presses most on events of this consequence at this place; None for nothing."""
        if consequence is Consequence.VITAL:
            return None
        topic, partition = place
        source = self._highest.get(topic) if partition is None else self._told.get(f"{topic}/{partition}")
        pool = self._told.get(_POOLS[consequence])
        pressing = [told for told in (source, pool) if told and told.level != "none" and now_ms < told.expires_at]
        return max(pressing, key=level_of, default=None)

    def holds(self, consequence: Consequence, places: Iterable[Place], now_ms: int) -> bool:
        """Whether what waits at `places` has to go on waiting."""
        pressing = (self.worst(consequence, place, now_ms) for place in places)
        return any(told is not None and level_of(told) > _OPENS_AT[consequence] for told in pressing)

    def _set(self, told: dict[str, Pressure]) -> None:
        highest: dict[str, Pressure] = {}
        for one in sorted(told.values(), key=level_of):
            highest[one.concern.partition("/")[0]] = one
        self._told, self._highest = told, highest
        self.on = any(one.level != "none" for one in told.values())


def level_of(told: Pressure) -> Level:
    """The level of a record as a number."""
    return Level[told.level.upper()]


def partitioner(partitions: Callable[[str], int | None]) -> Callable[[str, bytes], Place]:
    """What tells the place of a key in a topic (without prefix), of which `partitions` knows how many there are."""

    def place(topic: str, key: bytes) -> Place:
        count = partitions(topic)
        return topic, None if count is None else _hash(key) % count

    return place


@lru_cache(65_536)
def _hash(key: bytes) -> int:
    """murmur2, as Java's clients send by it: `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`."""
    full = len(key) & ~3
    value = 0x9747B28C ^ len(key)
    for at in range(0, full, 4):
        value = value * _M & _MASK ^ _mixed(int.from_bytes(key[at : at + 4], "little"))
    if full < len(key):
        value = (value ^ int.from_bytes(key[full:], "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return (value ^ value >> 15) & 0x7FFFFFFF


def _mixed(word: int) -> int:
    word = word * _M & _MASK
    return (word ^ word >> 24) * _M & _MASK


_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
