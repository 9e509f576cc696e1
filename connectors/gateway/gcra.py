"""A token bucket kept as one number: the arithmetic of the gateway's limits, in integer microseconds.

The number is the theoretical arrival time (GCRA, ITU-T I.371): when the bucket will be full again. A request of cost n
is n requests at once. The stream has its own limiter (`streams/ratelimit.py`), which judges what agents did; this one
admits what they ask for. They keep to the same rule and share no state.

Every number stays below 2^53, so that a Redis script, which calculates in doubles, comes to the same results.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """How a bucket fills: one request every `interval_us`, `capacity` requests when it is full."""

    interval_us: int
    capacity: int

    @classmethod
    def per_minute(cls, requests: int) -> Bucket:
        """A bucket that holds, and refills in a minute, so many requests; the interval is rounded half to even."""
        return cls(round(Fraction(MINUTE_US, requests)), requests)


@dataclass(frozen=True, slots=True)
class Level:
    """What is remembered of a bucket: its theoretical arrival time, and the interval in which that was reckoned."""

    tat_us: int
    interval_us: int


def at(level: Level | None, bucket: Bucket, now_us: int) -> int:
    """Theoretical arrival time for `bucket` at `now_us`; nothing remembered is a full bucket.

    A bucket of another interval (its agent changed tier) owes the same requests, at the new speed.
    """
    if level is None:
        return now_us
    if level.interval_us == bucket.interval_us:
        return level.tat_us
    owed = max(0, level.tat_us - now_us)
    return now_us + owed * bucket.interval_us // level.interval_us


def slack(tat_us: int, bucket: Bucket, cost: int, now_us: int) -> int:
    """Microseconds by which a request of `cost` fits the bucket; below 0: how long to wait until it does."""
    return (bucket.capacity - cost) * bucket.interval_us - max(0, tat_us - now_us)


def taken(tat_us: int, bucket: Bucket, cost: int, now_us: int) -> int:
    """Theoretical arrival time after an admitted request."""
    return max(tat_us, now_us) + cost * bucket.interval_us


def remaining(tat_us: int, bucket: Bucket, now_us: int) -> int:
    """Requests of cost 1 that would be admitted now."""
    left = slack(tat_us, bucket, 1, now_us)
    return left // bucket.interval_us + 1 if left >= 0 else 0
