"""The view behind a check: trust with its decay, throttles, and how old it is; fed by hand, then by a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from connectors.admin import TopicAdmin
from connectors.gateway.following import Follower
from connectors.gateway.view import View
from schemas.catalog import LocalIds
from schemas.topics import full_name
from schemas.wire import encode
from streams import audit
from streams.policy import Policy
from streams.reading import level_now

NOW = 1_767_225_600_000
DAY = 86_400_000
SECOND = 1_000
KEY = b"acme/agent-7"
IDS = LocalIds()
VERSION = Policy().version


def level(points: int = 600_000, tier: str = "T3", last: int = NOW, status: str = "active") -> dict[str, Any]:
    who = {"tenant_id": "acme", "agent_id": "agent-7", "points": points, "last_activity": last, "tier": tier}
    return {**who, "since": last, "status": status, "observability": "white_box", "why": "trust_signal"}


def decision(what: str, wait: int | None, reset: int = 0, limit: str = "bucket", tier: str = "T0") -> dict[str, Any]:
    who = {"tenant_id": "acme", "agent_id": "agent-7", "event_id": "e", "event_type": "intent_declared"}
    place = {"source": "kaizen", "offset": 1, "occurred_at": NOW, "correlation_id": None}
    told = {"decision": what, "limit": limit, "tier": tier, "remaining": 0, "retry_after_us": wait, "reset_us": reset}
    return {**who, **place, **told}


def view_of(partitions: int = 1, **told: Any) -> View:
    view = View(partitions, Policy())
    view.take_level(KEY, 0, level(**told))
    return view


def test_nobody_told_of_an_agent_and_it_is_unknown() -> None:
    assert view_of().of(b"acme/other", NOW) is None


def test_the_score_is_that_of_the_stored_points_with_the_decay_of_the_idle_days() -> None:
    view = view_of(points=600_000)
    assert [view.of(KEY, NOW + days * DAY).score for days in (0, 7, 14, 182, 4_000)] == [600, 564, 528, 300, 300]  # type: ignore[union-attr]


def test_the_tier_in_force_is_lost_with_the_score_that_decays() -> None:
    view = view_of(points=600_000, tier="T3")
    tiers = [view.of(KEY, NOW + days * DAY).tier for days in (0, 28, 42, 182)]  # type: ignore[union-attr]
    assert tiers == [3, 3, 2, 2]  # 600, 492 (within the hysteresis), 456, 300


@given(st.integers(0, 1_000_000), st.integers(-DAY, 400 * DAY))
def test_decay_is_the_same_as_everywhere(points: int, idle: int) -> None:
    standing = view_of(points=points).of(KEY, NOW + idle)
    assert standing is not None
    assert standing.points == level_now(np.array([points]), np.array([NOW]), NOW + idle, Policy())[0]


@given(st.integers(0, 1_000_000), st.integers(0, 5), st.integers(0, 400 * DAY))
def test_reading_never_lifts_an_agent_and_changes_nothing(points: int, tier: int, idle: int) -> None:
    view = view_of(points=points, tier=f"T{tier}")
    standing = view.of(KEY, NOW + idle)
    assert standing is not None
    assert standing.points <= points
    assert standing.tier <= tier
    assert (standing.stored_points, standing.stored_tier) == (points, tier)
    assert view.of(KEY, NOW + idle) == standing


@pytest.mark.parametrize(
    ("told", "throttled_ms"),
    [
        (decision("throttle", 20_000_000, limit="throttle"), 20_000),
        (decision("deny", 30_000_000, reset=2_000_000), 30_000),
        (decision("deny", 1_000_000, reset=2_000_000), 0),
        (decision("deny", None, limit="suspension"), 0),
        (decision("allow", 0, reset=1_000_000), 0),
    ],
    ids=["throttled", "denied, and throttled from now on", "denied by the bucket alone", "suspended", "allowed"],
)
def test_a_throttle_is_known_from_the_decision_that_begins_it(told: dict[str, Any], throttled_ms: int) -> None:
    view = view_of()
    view.take_decision(KEY, NOW, told)
    until = view.of(KEY, NOW).throttled_until_us  # type: ignore[union-attr]
    assert until == ((NOW + throttled_ms) * 1000 if throttled_ms else 0)
    assert view.of(KEY, NOW + throttled_ms).throttled_until_us == 0  # type: ignore[union-attr]


def test_an_allowed_request_ends_a_throttle() -> None:
    view = view_of()
    view.take_decision(KEY, NOW, decision("throttle", 20_000_000, limit="throttle"))
    view.take_decision(KEY, NOW + 1, decision("allow", 0))
    assert view.of(KEY, NOW + 1).throttled_until_us == 0  # type: ignore[union-attr]


def test_the_age_of_a_view_is_that_of_its_oldest_partition() -> None:
    view = view_of(partitions=2)
    assert view.age_ms(NOW) is None
    view.take_tick(0, NOW - 1_000, VERSION)
    assert (view.age_ms(NOW), view.age_ms(NOW, 0), view.age_ms(NOW, 1)) == (None, 1_000, None)
    view.take_tick(1, NOW - 9_000, "p-other")
    assert (view.age_ms(NOW), view.age_ms(NOW, 0), view.age_ms(NOW, 1)) == (9_000, 1_000, 9_000)
    view.take_tick(0, NOW - 5_000, VERSION)
    assert view.age_ms(NOW, 0) == 1_000
    assert view.other_policies() == {"p-other"}


class Lane:
    """Writes what a lane writes, in transactions, on two partitions."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._prefix = prefix
        self._producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{prefix}-lane"})
        self._producer.init_transactions(30)

    def commit(self, *records: tuple[str, int, dict[str, Any]], time_ms: int = 0, abort: bool = False) -> None:
        self._producer.begin_transaction()
        for name, partition, value in records:
            at = time_ms or int(time.time() * 1000)
            key = b"partition" if name == "audit.log" else f"{value['tenant_id']}/{value['agent_id']}".encode()
            self._producer.produce(
                full_name(self._prefix, name), encode(name, value, IDS), key, partition=partition, timestamp=at
            )
        self._producer.flush()
        if abort:
            self._producer.abort_transaction(30)
        else:
            self._producer.commit_transaction(30)


def tick(entry: int, time_ms: int) -> dict[str, Any]:
    empty = {"reads": [], "tick": time_ms, "policy_version": VERSION, "build": "b", "schemas": [], "window_oldest": []}
    hashes = dict.fromkeys(("previous_hash", "records_hash", "outputs_hash"), audit.NO_HASH)
    return {"kind": "step", "entry": entry, "step": {**empty, **hashes}, "decision": None}


@pytest.fixture
def lane(kafka: str, prefix: str) -> Lane:
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create(partitions=2)
    return Lane(kafka, prefix)


@pytest.fixture
def followed(kafka: str, prefix: str, lane: Lane) -> Iterator[View]:
    """A view that follows what the lane writes; there is one level before it starts."""
    lane.commit(("trust.levels", 0, level(points=100_000, tier="T1")))
    view = View(2, Policy())
    connection = {"bootstrap.servers": kafka}
    with Follower(connection, lambda name: full_name(prefix, name), IDS, view, int(time.time() * 1000) - 3_600_000):
        until(lambda: view.of(KEY, NOW) is not None)
        yield view


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def score(view: View) -> int | None:
    standing = view.of(KEY, NOW)
    return None if standing is None else standing.score


@pytest.mark.kafka
def test_a_view_follows_what_lanes_commit(followed: View, lane: Lane) -> None:
    assert score(followed) == 100
    lane.commit(
        ("trust.levels", 0, level(points=700_000, tier="T4")), ("ratelimit.decisions", 0, decision("throttle", 10**10))
    )
    until(lambda: score(followed) == 700)
    until(lambda: followed.of(KEY, NOW).throttled_until_us > 0)  # type: ignore[union-attr]


@pytest.mark.kafka
def test_what_was_not_committed_is_not_seen(followed: View, lane: Lane) -> None:
    lane.commit(("trust.levels", 0, level(points=900_000)), ("audit.log", 0, tick(1, NOW)), abort=True)
    lane.commit(("trust.levels", 0, level(points=200_000)), ("audit.log", 0, tick(1, NOW - 7)))
    until(lambda: followed.age_ms(NOW, 0) is not None)
    assert (score(followed), followed.age_ms(NOW, 0)) == (200, 7)


@pytest.mark.kafka
def test_a_tick_makes_its_own_partition_fresh_once_all_before_it_is_in_the_view(followed: View, lane: Lane) -> None:
    for number in range(1, 21):
        lane.commit(*(("trust.levels", 0, level(points=number * 1_000)) for _ in range(200)))
        lane.commit(("audit.log", 0, tick(number, NOW + number)))
        until(lambda: followed.age_ms(NOW + 1_000, 0) is not None and followed.age_ms(NOW + 1_000, 0) <= 1_000 - number)  # type: ignore[operator]  # noqa: B023
        assert score(followed) == number
    assert followed.age_ms(NOW + 1_000, 1) is None
    lane.commit(("audit.log", 1, tick(1, NOW)))
    until(lambda: followed.age_ms(NOW + 1_000) == 1_000)


@pytest.mark.kafka
def test_a_level_that_cannot_be_read_makes_its_agent_unknown(followed: View, kafka: str, prefix: str) -> None:
    writer = Producer({"bootstrap.servers": kafka})
    writer.produce(full_name(prefix, "trust.levels"), b"\x00\x00\x00\x00\x01?", KEY, partition=0)
    writer.flush()
    until(lambda: score(followed) is None)
