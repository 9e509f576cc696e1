"""The trust card: all that is known of one agent, read from its row of `agent.state` and the newest derived records.

The level is the one of now: the stored points with the decay of the idle days since, as every reader applies it. Under
a prefix time may run faster than the clock, so there "now" is the newest time that the agent's partition tells of.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from pydantic import BaseModel

from agents.settings import Settings
from connectors.topic_reader import TopicReader
from schemas.catalog import SchemaIds
from schemas.errors import CognistreamError
from schemas.event_types import CAUSES, EventType
from schemas.murmur import partition_of
from schemas.topics import POSITION_KEY
from schemas.wire import decode
from streams import ratelimit
from streams.policy import Policy
from streams.reading import DAY_MS, level_now
from streams.trust import CLASSES, REGISTERED, RETIRED, SUSPENDED

RECENT: Final = 100_000
"""Offsets of a topic to look back over for the newest records of an agent."""
POOLS: Final = ("priority.urgent", "priority.normal", "priority.background")
LISTED: Final = 5
"""Newest records of each kind on a card."""


class UnknownAgent(CognistreamError):
    """No event of the agent was ever decided."""


class Level(BaseModel):
    """Trust now; times in ms since 1970, scores 0 to 1000."""

    score: int
    stored_score: int
    tier: str
    tier_name: str
    since: int
    why: str
    observability: str
    ceiling: float
    last_activity: int
    idle_days: int


class Bucket(BaseModel):
    """Capacity now: requests that would be allowed at once, and the bucket that they come from."""

    available: int
    capacity: int
    refill_per_s: float
    violations: int
    throttled_until: int | None


class Habit(BaseModel):
    """An event type that the agent is known for: its share of what it did lately, and how often it comes."""

    event_type: str
    share: float
    every_s: float | None
    last: int


class Card(BaseModel):
    """Everything about one agent at `as_of` (ms), under the policy `policy_version` that this reader was given."""

    tenant_id: str
    agent_id: str
    as_of: int
    partition: int
    status: str
    level: Level
    bucket: Bucket
    habits: list[Habit]
    limits: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    events: list[dict[str, Any]]
    policy_version: str
    decided_under: str


def card(settings: Settings, agent: str, policy: Policy, ids: SchemaIds) -> Card:
    """The card of `agent` ("tenant/agent"). Raises UnknownAgent, BrokerUnreachable, TopicsUnfit."""
    key = agent.encode()
    with TopicReader(settings.confluent(), settings.topic("agent.state")) as reader:
        partition = partition_of(key, reader.partitions)
        state, position = _newest(reader, partition, (key, POSITION_KEY))
    if state is None:
        raise UnknownAgent(
            f"no event of {agent} was decided yet (partition {partition} of {settings.topic('agent.state')})"
        )
    row = decode(state, ids)[1]
    limits, seen = _recent(settings, ("ratelimit.decisions",), key, partition, ids)
    changes, changed = _recent(settings, ("trust.changes",), key, partition, ids)
    events, decided = _recent(settings, POOLS, key, partition, ids)
    now = int(time.time() * 1000) if settings.live else max(seen, changed, decided, row["trust"]["last"])
    tenant, _, name = agent.partition("/")
    return Card(
        tenant_id=tenant,
        agent_id=name,
        as_of=now,
        partition=partition,
        status=_status(row["trust"]["flags"]),
        level=_level(row["trust"], now, policy),
        bucket=_bucket(row["limit"], row["trust"]["tier"], now, policy),
        habits=_habits(row["habits"]),
        limits=limits,
        changes=changes,
        events=events,
        policy_version=policy.version,
        decided_under="" if position is None else decode(position, ids)[1]["position"]["policy_version"],
    )


def _newest(reader: TopicReader, partition: int, keys: Iterable[bytes]) -> list[bytes | None]:
    """The newest value of each of `keys` in one partition."""
    found: dict[bytes | None, bytes | None] = dict.fromkeys(keys)
    first = reader.spans([partition])[partition][0]
    for record in reader.read_to_end({partition: first}):
        if record.key in found:
            found[record.key] = record.value
    return list(found.values())


def _recent(
    settings: Settings, topics: Iterable[str], key: bytes, partition: int, ids: SchemaIds
) -> tuple[list[dict[str, Any]], int]:
    """The newest records of `key`, newest first, and the newest time of all records looked at."""
    found, newest = [], 0
    for topic in topics:
        with TopicReader(settings.confluent(), settings.topic(topic)) as reader:
            first, following = reader.spans([partition])[partition]
            for record in reader.read_to_end({partition: max(first, following - RECENT)}):
                newest = max(newest, record.timestamp)
                if record.key == key and record.value is not None:
                    found.append((record.timestamp, record.offset, topic, record.value))
    found.sort(reverse=True)
    return [{"time": at, "topic": topic, **decode(value, ids)[1]} for at, _, topic, value in found[:LISTED]], newest


def _status(flags: int) -> str:
    if flags & RETIRED:
        return "retired"
    if flags & SUSPENDED:
        return "suspended"
    return "active" if flags & REGISTERED else "unregistered"


def _level(trust: dict[str, Any], now: int, policy: Policy) -> Level:
    rules = policy.trust
    points = level_now(np.array([trust["points"]]), np.array([trust["last"]]), now, policy)[0]
    symbol = CLASSES[trust["observability"]]
    return Level(
        score=int(points) // 1000,
        stored_score=trust["points"] // 1000,
        tier=f"T{trust['tier']}",
        tier_name=rules.tiers.names[trust["tier"]],
        since=trust["since"],
        why=CAUSES[trust["why"]].replace("_", "."),
        observability=symbol,
        ceiling=float(getattr(rules.ceiling, symbol)),
        last_activity=trust["last"],
        idle_days=max(0, now - trust["last"]) // DAY_MS,
    )


def _bucket(limit: dict[str, Any], tier: int, now: int, policy: Policy) -> Bucket:
    """The bucket as the rate limiter would see it at `now` (docs/rules.md, "Rate limits")."""
    rules, numbers = policy.limits, ratelimit.compile_policy(policy)[0]
    interval, now_us = int(numbers["interval"][tier]), now * 1000
    slack = int(numbers["burst"][tier]) - max(0, limit["tat_us"] - now_us)
    throttled = limit["throttled_until_us"] > now_us
    in_window = limit["violations"] and now < limit["opened"] + rules.window_s * 1000
    return Bucket(
        available=0 if throttled or slack < 0 else slack // interval + 1,
        capacity=rules.capacity[tier] if rules.by_tier else rules.flat_capacity,
        refill_per_s=float(rules.refill_per_s[tier] if rules.by_tier else rules.flat_refill_per_s),
        violations=limit["violations"] if in_window else 0,
        throttled_until=limit["throttled_until_us"] // 1000 if throttled else None,
    )


def _habits(habits: dict[str, Any]) -> list[Habit]:
    """The types that the row keeps, the most usual first. Their shares do not change while time passes."""
    kept = sorted(habits["types"], key=lambda habit: -habit["weight"])
    total = sum(habit["weight"] for habit in kept) or 1
    return [
        Habit(
            event_type=EventType(habit["type"]).label,
            share=habit["weight"] / total,
            every_s=habit["mean"] / 1000 if habit["mean"] else None,
            last=habits["ref"] - habit["gap_since"],
        )
        for habit in kept
    ]
