"""A small fleet for tests: events as plain objects in, the three stages over real state rows, their results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Column, Layout, Longs
from schemas.event_types import EventType
from streams import facts, priority, ratelimit, trust
from streams.policy import Policy

T0 = 1_700_000_000_000
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
LOW, MEDIUM, HIGH, CRITICAL = range(4)
MINOR, MAJOR, GRAVE = range(3)
RIGHT, NEEDLESS = range(2)
FRESH, CLONED, EVOLVED, PROMOTED, IMPORTED = range(5)
BLACK_BOX, GRAY_BOX, WHITE_BOX, ATTESTED, VERIFIED = range(5)

CHOICES = ("risk", "severity", "escalation", "creation", "observability")
AMOUNTS = ("signal_weight", "revenue_usd")
FLAGS = ("user_facing", "security_relevant")
BY_TRUST = ("time", "points", "tier", "status")
BY_LIMIT = ("decision", "asked", "limit", "remaining", "retry_after", "retry_known", "reset", "started")
SHARES = ("score", "surprise", "impact")
BY_PRIORITY = (*SHARES, "pool")
RESULTS = (*BY_TRUST, *BY_LIMIT, *BY_PRIORITY)

LAYOUT = Layout(
    [
        *(Column(name, "long", nullable=True) for name in CHOICES),
        *(Column(name, "double", nullable=True) for name in AMOUNTS),
        *(Column(name, "long") for name in FLAGS),
    ]
)


@dataclass(frozen=True)
class Event:
    """One event at `at` (record timestamp, ms) of agent number `agent`; enums as their index, None for null."""

    kind: EventType
    at: int = T0
    agent: int = 0
    risk: int | None = None
    severity: int | None = None
    escalation: int | None = None
    creation: int | None = None
    observability: int | None = None
    signal_weight: float | None = None
    revenue_usd: float | None = None
    user_facing: bool = False
    security_relevant: bool = False


@dataclass
class Decided:
    """What the stages said of n events: a column each, and the used part of the changes."""

    time: Longs
    points: Longs
    tier: Longs
    status: Longs
    changes: NDArray[np.int64]
    decision: Longs
    asked: Longs
    limit: Longs
    remaining: Longs
    retry_after: Longs
    retry_known: Longs
    reset: Longs
    started: Longs
    score: NDArray[np.float64]
    surprise: NDArray[np.float64]
    impact: NDArray[np.float64]
    pool: Longs

    def told(self, kind: int) -> list[tuple[int, int, int]]:
        """(before, after, cause) of the changes of a kind, in order."""
        rows = self.changes[:, self.changes[trust.KIND] == kind]
        picked = rows[[trust.BEFORE, trust.AFTER, trust.CAUSE]]
        return [(int(before), int(after), int(cause)) for before, after, cause in picked.T]


@lru_cache
def compiled(policy: Policy) -> list[NDArray[np.void]]:
    """What the three stages make of a policy."""
    return [stage.compile_policy(policy) for stage in (trust, ratelimit, priority)]


class Fleet:
    """State rows of some agents, and the stages over them; `plain` runs the kernels uncompiled."""

    def __init__(self, agents: int = 1, policy: Policy | None = None, *, plain: bool = False) -> None:
        self.trust = np.zeros(agents, trust.TRUST)
        self.limit = np.zeros(agents, ratelimit.LIMIT)
        self.habit = np.zeros(agents, priority.HABIT)
        self._run = [stage.decide.py_func if plain else stage.decide for stage in (trust, ratelimit, priority)]
        self.follow(policy or Policy())

    def follow(self, policy: Policy) -> None:
        """From now on decide by `policy`."""
        self._policies = compiled(policy)

    def decide(self, *events: Event) -> Decided:
        """Decide events as one batch."""
        n = len(events)
        row = np.array([event.agent for event in events], np.int64)
        kind = np.array([event.kind for event in events], np.int64)
        at = np.array([event.at for event in events], np.int64)
        said = matrix(events)
        out: dict[str, Any] = {name: np.full(n, -7, np.float64 if name in SHARES else np.int64) for name in RESULTS}
        time, points, tier, status = (out[name] for name in BY_TRUST)
        changes = np.zeros((7, trust.CHANGES_PER_EVENT * n), np.int64)
        by_trust, by_limit, by_priority = self._policies
        decide_trust, decide_limit, decide_priority = self._run
        where = facts.where(LAYOUT, trust.FIELDS)
        used = decide_trust(self.trust, row, at, kind, said, where, by_trust, time, points, tier, status, changes)
        decide_limit(self.limit, row, time, kind, tier, status, by_limit, *(out[name] for name in BY_LIMIT))
        where = facts.where(LAYOUT, priority.FIELDS)
        decide_priority(self.habit, row, time, kind, said, where, by_priority, *(out[name] for name in BY_PRIORITY))
        return Decided(changes=changes[:, :used], **out)

    def play(self, events: Sequence[Event]) -> list[int]:
        """Points after each event."""
        return [int(points) for points in self.decide(*events).points]


def matrix(events: Sequence[Event]) -> NDArray[np.int64]:
    """The facts of `events` as a frame's matrix."""
    frame = LAYOUT.frame(len(events), np.zeros(0, np.uint8))
    for name in (*CHOICES, *AMOUNTS):
        values: list[Any] = [getattr(event, name) for event in events]
        column = frame.doubles(name) if name in AMOUNTS else frame[name]
        column[:] = [0 if value is None else value for value in values]
        frame.second(name)[:] = [value is not None for value in values]
    for name in FLAGS:
        frame[name][:] = [getattr(event, name) for event in events]
    return frame.matrix
