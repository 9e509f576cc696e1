"""How hard those who publish must hold back: lags and rates in, a level out.

Each source partition and each pool has a level of its own. What waits there is told as a part of what may wait; four
steps divide that scale (40, 70, 85 and 95 %). A level begins at its own step and ends at the one below, so that it does
not flicker at an edge: soft begins at 70 % and ends under 40 %, stop begins at 95 % and ends under 85 %.

- It acts before a limit, not after: what would wait in a few seconds, if it goes on growing as it does, counts already.
- It asks for time, not only for numbers: however much waits, a level begins only when the work takes longer than its
  seconds (1, 5, 30). A fast worker may have much before it.
- A level stays for its hold time. It rises to where it must be at once, and falls step by step.
- A full memory counts as waiting work does. A busy processor is what a good worker has: alone it gives at most soft.
- It ends by itself: whoever reads it after `expires_at` sees none. A controller that died holds nobody for good.

Nothing here reads a clock; times are milliseconds since 1970 and may jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import Final

SECOND_MS: Final = 1_000


class Level(IntEnum):
    """What those who publish shall do; the higher, the more they hold back."""

    NONE = 0
    SOFT = 1
    """Larger batches; of what is background only samples."""
    HARD = 2
    """Background waits, all else is paced."""
    STOP = 3
    """Only what concerns security and audit passes."""

    @property
    def symbol(self) -> str:
        """Name in Avro: `soft`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the controller."""

    steps: tuple[float, float, float, float] = (0.40, 0.70, 0.85, 0.95)
    """Parts of what may wait, of memory and of processor time: a level begins at its step and ends at the one below."""
    drain_s: tuple[float, float, float] = (1, 5, 30)
    """Seconds that the waiting work must take for soft, hard and stop; a level ends under half of them."""
    ahead_s: float = 5
    """How far the present growth is thought on."""
    hold_ms: int = 5 * SECOND_MS
    """Least time between two changes."""
    lifetime_ms: int = 60 * SECOND_MS
    """How long a level holds unless it is said again."""
    relief: float = 0.5
    """How much less is accepted the more waits: of what may wait, the part above the lowest step counts so much."""
    source_limit: int = 100_000
    """Records that may wait in a source partition."""
    pool_limits: dict[str, int] = field(
        default_factory=lambda: {
            "priority.urgent": 10_000,
            "priority.normal": 50_000,
            "priority.background": 100_000,
        }
    )
    """Records that may wait in a pool, all partitions together."""

    def limit(self, concern: str) -> int:
        """How many records may wait for `concern`: a pool, or a source partition."""
        return self.pool_limits.get(concern, self.source_limit)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured of a concern. Rates are records per second; processor and memory parts of what there is."""

    lag: int
    rate_in: float
    rate_out: float
    cpu: float = 0.0
    memory: float = 0.0

    @property
    def drain_s(self) -> float:
        """Seconds that the waiting records take at the present rate."""
        if self.lag <= 0:
            return 0.0
        return self.lag / self.rate_out if self.rate_out > 0 else inf

    @property
    def growth(self) -> float:
        """Records per second that come and are not taken; never negative: what shrinks is judged by what is there."""
        return max(0.0, self.rate_in - self.rate_out)


@dataclass(frozen=True, slots=True)
class Pressure:
    """The level of a concern since `since`, with why; `accepts` is the part of what comes that lets it drain."""

    level: Level
    since: int
    expires_at: int
    reason: str
    lag: int
    drain_ms: int | None
    accepts: float

    def level_at(self, now_ms: int) -> Level:
        """The level that counts at `now_ms`."""
        return self.level if now_ms < self.expires_at else Level.NONE


def judge(before: Pressure | None, reading: Reading, limit: int, now_ms: int, rules: Rules) -> Pressure:
    """What is to be said of a concern of which `before` was said last, by whichever controller.

    Of two readings that differ only in lag, the one with more never gives the lower level.
    """
    old = before.level_at(now_ms) if before else Level.NONE
    since = min(before.since, now_ms) if before else now_ms  # a clock that was set back begins the hold time anew
    held = before is not None and before.level == old and now_ms - since < rules.hold_ms
    level = old if held else _next(old, reading, limit, rules)
    return Pressure(
        level,
        since if before and level == before.level else now_ms,
        now_ms + rules.lifetime_ms,
        _reason(reading, limit, rules),
        max(0, reading.lag),
        None if reading.drain_s == inf else round(reading.drain_s * SECOND_MS),
        _accepts(reading, limit, rules),
    )


def _next(old: Level, reading: Reading, limit: int, rules: Rules) -> Level:
    rising = _asked(reading, limit, rules, rules.steps[1:], 1.0)
    if rising > old:
        return rising
    staying = _asked(reading, limit, rules, rules.steps[:-1], 0.5)
    return Level(old - 1) if staying < old else old


def _asked(reading: Reading, limit: int, rules: Rules, steps: tuple[float, ...], share: float) -> Level:
    """The highest level whose step is reached, and whose seconds (`share` of them) the work takes."""
    full = max((reading.lag + reading.growth * rules.ahead_s) / limit, reading.memory)
    seconds = [share * least for least in rules.drain_s]
    highest = Level.NONE
    for level, step, least in zip((Level.SOFT, Level.HARD, Level.STOP), steps, seconds, strict=True):
        reached = full >= step or (level is Level.SOFT and reading.cpu >= step)
        if reached and reading.drain_s > least:
            highest = level
    return highest


def _accepts(reading: Reading, limit: int, rules: Rules) -> float:
    """Out / in, and less the more waits.

    Senders keep to 1.1 times what is accepted. So they settle where something always waits and the worker is never
    idle, instead of swinging between free and held.
    """
    if reading.rate_out <= 0:
        return 0.0 if reading.lag > 0 else 1.0
    excess = max(0.0, reading.lag / limit - rules.steps[0])
    return 1 / max(1.0, reading.rate_in / reading.rate_out * (1 + rules.relief * excess))


def _reason(reading: Reading, limit: int, rules: Rules) -> str:
    parts = [f"{max(0, reading.lag):,} wait, of {limit:,} that may"]
    if reading.drain_s == inf:
        parts.append("nothing is worked on")
    elif reading.drain_s:
        parts.append(f"{reading.drain_s:.1f} s of work")
    if reading.growth >= 1:
        parts.append(f"growing by {reading.growth:,.0f} a second")
    parts += [
        f"{name} at {share:.0%}"
        for name, share in (("memory", reading.memory), ("processor", reading.cpu))
        if share >= rules.steps[0]
    ]
    return "; ".join(parts)
