"""Rate limits: how much an agent of a tier gets, what it is told when it gets nothing, and how insisting costs it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event_types import EventType
from streams import ratelimit
from streams.policy import Policy
from streams.ratelimit import ALLOW, BUCKET_LIMIT, DENY, SUSPENSION_LIMIT, THROTTLE, THROTTLE_LIMIT

from .event_cases import histories
from .stages import HOUR, SECOND, T0, VERIFIED, Event, Fleet

REQUEST = EventType.REQUEST_SUBMITTED
ASKING = {EventType.INTENT_DECLARED, EventType.EXECUTION_STARTED, EventType.REQUEST_SUBMITTED}
US = 1_000


def fleet_of(tier: int) -> Fleet:
    """One active agent of a tier, with a full bucket, seen at T0."""
    fleet = Fleet()
    fleet.decide(Event(EventType.AGENT_REGISTERED, T0, observability=VERIFIED))
    fleet.trust[0].points = fleet.trust[0].told = int(Policy().trust.tiers.lower[tier] * 1000)
    fleet.decide(Event(EventType.POLICY_EVALUATED, T0))
    return fleet


def requests(*at: int) -> list[Event]:
    return [Event(REQUEST, T0 + after) for after in at]


@pytest.mark.parametrize("kind", list(EventType))
def test_only_what_wants_to_run_asks_for_capacity(kind: EventType) -> None:
    decided = Fleet().decide(Event(kind))
    assert decided.asked.tolist() == [int(kind in ASKING)]


@pytest.mark.parametrize(("tier", "capacity"), list(enumerate((2, 5, 10, 20, 50, 100))))
def test_a_full_bucket_gives_its_capacity_at_once(tier: int, capacity: int) -> None:
    decided = fleet_of(tier).decide(*requests(*[0] * (capacity + 1)))
    assert decided.decision.tolist() == [ALLOW] * capacity + [DENY]
    assert decided.remaining.tolist() == [*range(capacity - 1, -1, -1), 0]
    assert set(decided.limit.tolist()) == {BUCKET_LIMIT}


@pytest.mark.parametrize(("tier", "refill"), list(enumerate((1, 2, 5, 10, 20, 50))))
def test_an_empty_bucket_earns_one_request_per_interval(tier: int, refill: int) -> None:
    fleet = fleet_of(tier)
    capacity = int(Policy().limits.capacity[tier])
    fleet.decide(*requests(*[0] * capacity))
    interval = SECOND // refill
    decided = fleet.decide(*requests(interval - 1, interval, interval))
    assert decided.decision.tolist() == [DENY, ALLOW, DENY]
    assert decided.retry_after.tolist() == [US, 0, interval * US]
    assert decided.retry_known.tolist() == [1, 1, 1]


def test_waiting_as_told_is_enough() -> None:
    fleet = fleet_of(1)
    denied = fleet.decide(*requests(*[0] * 6))
    wait = int(denied.retry_after[-1])
    assert wait == 500_000
    assert fleet.decide(*requests(wait // US)).decision.tolist() == [ALLOW]


def test_reset_is_when_the_bucket_is_full() -> None:
    fleet = fleet_of(0)
    assert fleet.decide(*requests(0, 0)).reset.tolist() == [1_000_000, 2_000_000]
    decided = fleet.decide(*requests(2_000))
    assert (decided.remaining.tolist(), decided.reset.tolist()) == ([1], [1_000_000])


def test_from_the_third_denial_in_an_hour_on_each_throttle_is_twice_as_long() -> None:
    fleet = fleet_of(0)
    fleet.decide(*requests(0, 0, 0, 0))
    now, insisting, waits, started = 0, [0], [], []
    for _ in range(7):
        decided = fleet.decide(*requests(*insisting))
        waits.append(int(decided.retry_after[-1]) // 10**6)
        started.append(int(decided.started[-1]))
        now += waits[-1] * SECOND
        insisting = [now] * 3
    assert waits == [30, 60, 120, 240, 480, 960, 1920]
    assert started == [3, 4, 5, 6, 7, 8, 9]
    assert fleet.decide(*requests(*insisting)).started.tolist() == [0, 0, 0]
    assert fleet.limit[0].violations == 1


def test_throttled_requests_cost_and_count_nothing() -> None:
    fleet = fleet_of(0)
    fleet.decide(*requests(*[0] * 5))
    row = fleet.limit[0].copy()
    decided = fleet.decide(*requests(1, SECOND, 29_999))
    assert decided.decision.tolist() == [THROTTLE] * 3
    assert decided.limit.tolist() == [THROTTLE_LIMIT] * 3
    assert decided.remaining.tolist() == [0, 0, 0]
    assert decided.retry_after.tolist() == [29_999_000, 29_000_000, 1_000]
    assert fleet.limit[0] == row
    assert fleet.decide(*requests(30_000)).decision.tolist() == [ALLOW]


def test_violations_count_in_an_hour_that_the_first_one_opens() -> None:
    fleet = fleet_of(0)
    fleet.decide(*requests(0, 0, 0, 0))
    assert fleet.limit[0].violations == 2
    fleet.decide(*requests(*[HOUR] * 3))
    assert (fleet.limit[0].violations, fleet.limit[0].opened) == (1, T0 + HOUR)
    fleet = fleet_of(0)
    fleet.decide(*requests(0, 0, 0, 0))
    decided = fleet.decide(*requests(*[HOUR - 1] * 3))
    assert decided.started.tolist() == [0, 0, 3]


def test_no_throttle_is_longer_than_the_policys() -> None:
    fleet = fleet_of(0)
    fleet.decide(*requests(0, 0))
    for violations in (9, 40, 2**30):
        fleet.limit[0].violations, fleet.limit[0].opened, fleet.limit[0].throttled_until_us = violations, T0, 0
        assert fleet.decide(*requests(0)).retry_after.tolist() == [min(30 * 2 ** min(violations - 2, 20), 3600) * 10**6]


@pytest.mark.parametrize("order", [EventType.AGENT_SUSPENDED, EventType.AGENT_RETIRED])
def test_who_is_suspended_or_retired_gets_nothing(order: EventType) -> None:
    fleet = fleet_of(3)
    decided = fleet.decide(Event(order, T0), *requests(0, 0, 0, 0))
    assert decided.decision.tolist()[1:] == [DENY] * 4
    assert decided.limit.tolist()[1:] == [SUSPENSION_LIMIT] * 4
    assert decided.retry_known.tolist()[1:] == [0] * 4
    assert fleet.limit[0].violations == 0


def test_a_change_of_tier_turns_what_is_owed_to_the_new_speed() -> None:
    fleet = fleet_of(1)
    fleet.decide(*requests(*[0] * 5))
    assert fleet.limit[0].tat_us == T0 * US + 5 * 500_000
    fleet.trust[0].points = fleet.trust[0].told = 700_000
    fleet.decide(Event(EventType.POLICY_EVALUATED, T0))
    assert (fleet.limit[0].tier, fleet.limit[0].tat_us) == (4, T0 * US + 5 * 50_000)


def test_a_bucket_not_in_debt_stays_so_at_a_change_of_tier() -> None:
    fleet = fleet_of(1)
    fleet.trust[0].points = fleet.trust[0].told = 700_000
    fleet.decide(Event(EventType.POLICY_EVALUATED, T0 + 50))
    assert fleet.limit[0].tat_us == (T0 + 50) * US


def test_without_a_table_all_tiers_get_the_same() -> None:
    fleet = Fleet(policy=Policy.parse("[limits]\nby_tier = false"))
    decided = fleet.decide(*requests(*[0] * 51))
    assert decided.decision.tolist() == [ALLOW] * 50 + [DENY]
    assert decided.retry_after.tolist()[-1] == 100_000


def test_intervals_are_rounded_half_to_even() -> None:
    policy = Policy.parse("[limits]\nrefill_per_s = [3, 6, 7, 0.3, 400000, 1000000]")
    assert ratelimit.compile_policy(policy)[0].interval.tolist() == [333_333, 166_667, 142_857, 3_333_333, 2, 1]


@given(histories(agents=2, most=40, kinds=[REQUEST, REQUEST, REQUEST, *EventType]))
@settings(max_examples=100, deadline=None)
def test_compiled_and_plain_agree_to_the_bit(events: list[Event]) -> None:
    compiled, plain = Fleet(2), Fleet(2, plain=True)
    ours, theirs = compiled.decide(*events), plain.decide(*events)
    assert compiled.limit.tobytes() == plain.limit.tobytes()
    for name in ("decision", "asked", "limit", "remaining", "retry_after", "retry_known", "reset", "started"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()


@given(st.integers(0, 5), st.lists(st.integers(0, 3_000), min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_span_of_time_gets_more_than_a_bucket_and_its_refill(tier: int, gaps: list[int]) -> None:
    at = [sum(gaps[:i]) for i in range(1, len(gaps) + 1)]
    decided = fleet_of(tier).decide(*requests(*at))
    allowed = [when for when, decision in zip(at, decided.decision.tolist(), strict=True) if decision == ALLOW]
    limits = Policy().limits
    for first in range(len(allowed)):
        span = allowed[-1] - allowed[first]
        assert len(allowed) - first <= limits.capacity[tier] + float(limits.refill_per_s[tier]) * span / 1000


@given(st.integers(0, 5), st.lists(st.integers(0, 3_000), min_size=1, max_size=100))
@settings(max_examples=100, deadline=None)
def test_remaining_is_what_would_be_allowed_now(tier: int, gaps: list[int]) -> None:
    fleet = fleet_of(tier)
    at = sum(gaps)
    decided = fleet.decide(*requests(*[sum(gaps[:i]) for i in range(1, len(gaps) + 1)]))
    if decided.decision[-1] != THROTTLE and fleet.limit[0].throttled_until_us <= (T0 + at) * US:
        more = fleet.decide(*requests(*[at] * (int(decided.remaining[-1]) + 1)))
        assert more.decision.tolist() == [ALLOW] * int(decided.remaining[-1]) + [DENY]
