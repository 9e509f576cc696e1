"""What is known of every agent right now, as the public topics tell it: its trust and whether it is throttled.

Fed by `following.Follower`, asked by `checking`; it does no I/O and knows no clock. Time is told it, in ms since 1970.

Trust is read as everywhere: the stored points with the decay of the idle days since (`streams.reading`). The tier in
force is the stored one, or the one that the trust stage would step down to if an event came now: an agent that was
trusted half a year ago is not admitted at the tier of then. It never steps up here, for only an event earns that. The
functions are those of the stages, uncompiled: for one agent at a time they are quicker than arrays.

How old the view is, is known per partition: the newest tick of the partition's lane whose decisions, and all before
them, are in the view. A lane ticks every few seconds once it has decided all its sources hold.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedSet

from streams import ratelimit, trust
from streams.policy import Policy
from streams.reading import decay_table, decayed

TIER_NAMES: Final = ("T0", "T1", "T2", "T3", "T4", "T5")


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent at the time it was asked for; times in ms, points in thousandths of a score.

    `tier` is the one in force, `stored_tier` the one last decided. `throttled_until_us` is 0 when it is not throttled.
    """

    partition: int
    status: str
    points: int
    tier: int
    stored_points: int
    stored_tier: int
    since: int
    last_activity: int
    observability: str
    why: str
    throttled_until_us: int

    @property
    def score(self) -> int:
        """0 to 1000."""
        return self.points // 1000


@dataclass(frozen=True, slots=True)
class _Tiers:
    """The numbers of a policy that `trust.tier_of` asks for, as Python's: those of an array cost ten times as much."""

    lower: tuple[int, ...]
    hysteresis: int

    @classmethod
    def of(cls, policy: Policy) -> _Tiers:
        made = trust.compile_policy(policy)[0]
        return cls(tuple(map(int, made["lower"])), int(made["hysteresis"]))


@dataclass(frozen=True, slots=True)
class _Level:
    partition: int
    points: int
    last: int
    tier: int
    since: int
    status: str
    observability: str
    why: str


class View:
    """The agents of all `partitions`, read by the numbers of `policy`. One thread feeds it, any may ask."""

    def __init__(self, partitions: int, policy: Policy) -> None:
        self.partitions, self.policy = partitions, policy
        self._levels: dict[bytes, _Level] = {}
        self._throttled: dict[bytes, int] = {}
        self._ticks: dict[int, int] = {}
        self._versions: dict[int, str] = {}
        self._tiers = _Tiers.of(policy)
        self._decay = decay_table(policy)
        self._names: defaultdict[str, SortedSet] = defaultdict(SortedSet)
        self._naming = threading.Lock()
        self._burst = [int(us) for us in ratelimit.compile_policy(policy)[0]["burst"]]

    def __len__(self) -> int:
        return len(self._levels)

    def take_level(self, key: bytes, partition: int, level: Mapping[str, Any] | None) -> None:
        """A record of `trust.levels`; None: nothing is known of the agent (any more)."""
        if (level is None) == (key in self._levels):
            self._name(key, known=level is not None)
        if level is None:
            self._levels.pop(key, None)
            return
        self._levels[key] = _Level(
            partition,
            level["points"],
            level["last_activity"],
            TIER_NAMES.index(level["tier"]),
            level["since"],
            level["status"],
            level["observability"],
            level["why"],
        )

    def take_decision(self, key: bytes, time_ms: int, decision: Mapping[str, Any]) -> None:
        """A record of `ratelimit.decisions`, decided at `time_ms`: does a throttle go on, begin, or is there none?

        A denial begins one when it asks for a longer wait than the bucket alone would.
        """
        wait = decision["retry_after_us"] or 0
        bucket_wait = max(0, decision["reset_us"] - self._burst[TIER_NAMES.index(decision["tier"])])
        denied = decision["decision"] == "deny" and decision["limit"] == "bucket"
        if decision["decision"] == "throttle" or (denied and wait > bucket_wait):
            self._throttled[key] = time_ms * 1000 + wait
        elif decision["decision"] == "allow":
            self._throttled.pop(key, None)

    def take_tick(self, partition: int, tick_ms: int, policy_version: str) -> None:
        """All that the partition had decided at `tick_ms` is in the view."""
        self._ticks[partition] = max(tick_ms, self._ticks.get(partition, 0))
        self._versions[partition] = policy_version
        over = [key for key, until in self._throttled.items() if until <= tick_ms * 1000]
        for key in over:
            del self._throttled[key]

    def of(self, key: bytes, now_ms: int) -> Standing | None:
        """The agent with that key at `now_ms`, None when nobody ever told of it."""
        level = self._levels.get(key)
        if level is None:
            return None
        points = int(decayed.py_func(level.points, now_ms - level.last, self._decay))
        until = self._throttled.get(key, 0)
        return Standing(
            partition=level.partition,
            status=level.status,
            points=points,
            tier=min(level.tier, trust.tier_of.py_func(level.tier, points, self._tiers)),
            stored_points=level.points,
            stored_tier=level.tier,
            since=level.since,
            last_activity=level.last,
            observability=level.observability,
            why=level.why,
            throttled_until_us=until if until > now_ms * 1000 else 0,
        )

    def keys(self, tenant: str, after: bytes, most: int) -> list[bytes]:
        """At most so many keys of a tenant's agents that come after `after` in the order of their bytes."""
        with self._naming:
            found = self._names[tenant].irange(minimum=after, inclusive=(False, True)) if tenant in self._names else ()
            return list(islice(found, most))

    def _name(self, key: bytes, *, known: bool) -> None:
        tenant = key.partition(b"/")[0].decode(errors="replace")
        with self._naming:
            (self._names[tenant].add if known else self._names[tenant].discard)(key)

    def age_ms(self, now_ms: int, partition: int | None = None) -> int | None:
        """How old the view of `partition` is, or (None) of the oldest; None when no tick was seen yet."""
        asked = range(self.partitions) if partition is None else [partition]
        ticks = [self._ticks.get(number) for number in asked]
        known = [tick for tick in ticks if tick is not None]
        return max(0, now_ms - min(known)) if known and len(known) == len(ticks) else None

    def other_policies(self) -> set[str]:
        """Versions of policies that workers decide by and this view does not read by."""
        return set(self._versions.values()) - {self.policy.version}
