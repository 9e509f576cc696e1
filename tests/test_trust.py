"""Trust, rule by rule: what each kind of event does to points, tier and status, and what is told of it."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings

from schemas.event_types import CAUSE_CEILING, CAUSE_DECAY, CAUSE_NONE, CAUSE_OF_EVENT, EventType
from streams import reading, trust
from streams.policy import Policy

from .event_cases import histories
from .stages import (
    ATTESTED,
    BLACK_BOX,
    CLONED,
    CRITICAL,
    DAY,
    EVOLVED,
    FRESH,
    GRAVE,
    GRAY_BOX,
    HIGH,
    IMPORTED,
    LOW,
    MAJOR,
    MEDIUM,
    MINOR,
    NEEDLESS,
    PROMOTED,
    RIGHT,
    T0,
    VERIFIED,
    WHITE_BOX,
    Event,
    Fleet,
)  # fmt: skip

REGISTER = Event(EventType.AGENT_REGISTERED)
QUIET = Event(EventType.POLICY_EVALUATED)


def fleet_at(points: int, observability: int = VERIFIED) -> Fleet:
    """One active agent with these points, seen at T0."""
    fleet = Fleet()
    fleet.decide(Event(EventType.AGENT_REGISTERED, observability=observability))
    row = fleet.trust[0]
    row.points = row.told = points
    tier = max(tier for tier, lower in enumerate(Policy().trust.tiers.lower) if points >= lower * 1000)
    row.tier = tier
    return fleet


def after(event: Event, points: int = 500_000) -> int:
    return fleet_at(points).play([event])[0]


@pytest.mark.parametrize(
    ("creation", "points"),
    [(None, 100), (FRESH, 100), (CLONED, 50), (EVOLVED, 125), (PROMOTED, 150), (IMPORTED, 0)],
)
def test_registration_starts_by_creation(creation: int | None, points: int) -> None:
    assert Fleet().play([Event(EventType.AGENT_REGISTERED, creation=creation)]) == [points * 1000]


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        (Event(EventType.EXECUTION_COMPLETED, risk=LOW), 5),
        (Event(EventType.EXECUTION_COMPLETED, risk=MEDIUM), 10),
        (Event(EventType.EXECUTION_COMPLETED), 10),
        (Event(EventType.EXECUTION_COMPLETED, risk=HIGH), 20),
        (Event(EventType.EXECUTION_COMPLETED, risk=CRITICAL), 30),
        (Event(EventType.EXECUTION_FAILED, risk=LOW), -45),
        (Event(EventType.EXECUTION_FAILED, risk=MEDIUM), -90),
        (Event(EventType.EXECUTION_FAILED), -90),
        (Event(EventType.EXECUTION_FAILED, risk=HIGH), -180),
        (Event(EventType.EXECUTION_FAILED, risk=CRITICAL), -300),
        (Event(EventType.SECURITY_VIOLATION), -150),
        (Event(EventType.SECURITY_VIOLATION, severity=MINOR), -150),
        (Event(EventType.SECURITY_VIOLATION, severity=MAJOR), -450),
        (Event(EventType.SECURITY_VIOLATION, severity=GRAVE), -500),
        (Event(EventType.SECURITY_INCIDENT, severity=MINOR), -500),
        (Event(EventType.FEEDBACK_POSITIVE), 2),
        (Event(EventType.FEEDBACK_NEGATIVE), -6),
        (Event(EventType.APPROVAL_GRANTED, escalation=RIGHT), 2),
        (Event(EventType.APPROVAL_DENIED, escalation=RIGHT), 2),
        (Event(EventType.APPROVAL_GRANTED, escalation=NEEDLESS), -15),
        (Event(EventType.APPROVAL_DENIED, escalation=NEEDLESS), -15),
        (Event(EventType.APPROVAL_GRANTED), 0),
        (Event(EventType.TRUST_SIGNAL), 0),
        (Event(EventType.TRUST_SIGNAL, signal_weight=0.5), 5),
        (Event(EventType.TRUST_SIGNAL, signal_weight=7.0), 10),
        (Event(EventType.TRUST_SIGNAL, signal_weight=-7.0), -30),
        (Event(EventType.SECURITY_ANOMALY), 0),
        (Event(EventType.ATTESTATION_ADDED), 0),
        (Event(EventType.UNKNOWN), 0),
    ],
)  # fmt: skip
def test_an_event_is_worth_its_delta(event: Event, delta: int) -> None:
    assert after(event) == 500_000 + delta * 1000


@pytest.mark.parametrize(
    ("weight", "delta"),
    [
        (0.00005, 0),
        (0.00015, 1),
        (0.00025, 2),
        (0.00035, 4),
        (-0.00005, 0),
        (-0.00035, -12),
        (0.12345, 1_234),
        (0.5, 5_000),
    ],
)
def test_signals_round_half_to_even_before_the_penalty(weight: float, delta: int) -> None:
    """0.00015 is no tie: ten thousand times the double is a little less than 1.5."""
    assert after(Event(EventType.TRUST_SIGNAL, signal_weight=weight)) == 500_000 + delta


def test_points_stay_between_0_and_1000() -> None:
    assert after(Event(EventType.EXECUTION_COMPLETED, risk=CRITICAL), 990_000) == 1_000_000
    assert after(Event(EventType.SECURITY_INCIDENT), 100_000) == 0


def test_a_null_signal_of_a_source_without_the_field_is_worth_nothing() -> None:
    fleet = fleet_at(500_000)
    one = np.zeros(1, np.int64)
    out = [np.zeros(1, np.int64) for _ in range(4)]
    nowhere = np.full(len(trust.FIELDS), -1, np.int64)
    kind = np.array([EventType.TRUST_SIGNAL], np.int64)
    facts, changes = np.zeros((0, 1), np.int64), np.zeros((7, 4), np.int64)
    policy = trust.compile_policy(Policy())
    assert trust.decide(fleet.trust, one, one + T0, kind, facts, nowhere, policy, *out, changes) == 0
    assert out[1].tolist() == [500_000]


def test_an_unregistered_agent_gains_nothing_and_starts_with_its_losses() -> None:
    fleet = Fleet()
    done = Event(EventType.EXECUTION_COMPLETED, risk=CRITICAL)
    failed = Event(EventType.EXECUTION_FAILED, risk=LOW)
    decided = fleet.decide(done, failed, done)
    assert decided.points.tolist() == [0, 0, 0]
    assert set(decided.status.tolist()) == {trust.UNREGISTERED_STATUS}
    assert fleet.play([REGISTER]) == [55_000]


def test_losses_before_registration_never_suspend() -> None:
    decided = Fleet().decide(*[Event(EventType.SECURITY_INCIDENT)] * 3, REGISTER)
    assert decided.points.tolist() == [0, 0, 0, 0]
    assert decided.status.tolist() == [trust.UNREGISTERED_STATUS] * 3 + [trust.ACTIVE_STATUS]


def test_a_loss_that_leaves_0_suspends_even_at_0() -> None:
    failed = Event(EventType.EXECUTION_FAILED)
    assert fleet_at(50_000).decide(failed).status.tolist() == [trust.SUSPENDED_STATUS]
    fleet = Fleet()
    imported = Event(EventType.AGENT_REGISTERED, creation=IMPORTED)
    assert fleet.decide(imported, failed).status.tolist() == [trust.ACTIVE_STATUS, trust.SUSPENDED_STATUS]


def test_a_suspended_agent_earns_nothing_until_reinstated_at_0() -> None:
    fleet = fleet_at(500_000)
    suspended, done = Event(EventType.AGENT_SUSPENDED), Event(EventType.EXECUTION_COMPLETED)
    failed, again = Event(EventType.SECURITY_INCIDENT), Event(EventType.AGENT_REINSTATED)
    assert fleet.play([suspended, done, failed, again, done]) == [500_000, 500_000, 500_000, 0, 10_000]


def test_retired_is_for_good() -> None:
    retired, again = Event(EventType.AGENT_RETIRED), Event(EventType.AGENT_REINSTATED)
    suspended, done = Event(EventType.AGENT_SUSPENDED), Event(EventType.EXECUTION_COMPLETED)
    decided = fleet_at(500_000).decide(retired, again, suspended, again, done)
    assert set(decided.status.tolist()) == {trust.RETIRED_STATUS}
    assert set(decided.points.tolist()) == {500_000}


def test_reinstating_an_active_agent_does_nothing() -> None:
    assert after(Event(EventType.AGENT_REINSTATED)) == 500_000


@pytest.mark.parametrize(
    ("days", "thousandths"),
    [(0, 1000), (1, None), (7, 940), (14, 880), (28, 820), (42, 760), (56, 700), (84, 650), (112, 600), (140, 550),
     (182, 500), (183, 500), (5_000, 500)],
)  # fmt: skip
def test_idle_days_decay_the_points(days: int, thousandths: int | None) -> None:
    start = 700_000
    expected = start * (7 * 1000 - 60) // 7000 if thousandths is None else start * thousandths // 1000
    assert after(Event(EventType.POLICY_EVALUATED, at=T0 + days * DAY), start) == expected
    assert after(Event(EventType.POLICY_EVALUATED, at=T0 + (days + 1) * DAY - 1), start) == expected


def test_gaps_under_a_day_never_decay() -> None:
    fleet = fleet_at(700_000)
    quiet = [Event(EventType.POLICY_EVALUATED, at=T0 + step * (DAY - 1)) for step in range(400)]
    assert set(fleet.play(quiet)) == {700_000}


@pytest.mark.parametrize(
    ("observability", "ceiling"),
    [(BLACK_BOX, 600), (GRAY_BOX, 750), (WHITE_BOX, 900), (ATTESTED, 950), (VERIFIED, 1000)],
)
def test_the_class_bounds_the_points(observability: int, ceiling: int) -> None:
    fleet = fleet_at(1_000_000)
    seen = Event(EventType.OBSERVABILITY_CHANGED, observability=observability)
    higher = Event(EventType.AGENT_UPDATED, observability=VERIFIED)
    unsaid = Event(EventType.AGENT_UPDATED)
    assert fleet.play([seen, unsaid, higher]) == [ceiling * 1000] * 3


def test_an_unknown_class_is_a_black_box() -> None:
    fleet = Fleet()
    done = Event(EventType.EXECUTION_COMPLETED, risk=CRITICAL)
    assert fleet.play([REGISTER, *[done] * 20])[-1] == 600_000


@pytest.mark.parametrize(
    ("points", "tier", "now"),
    [(275_000, 2, 2), (274_999, 2, 1), (300_000, 1, 2), (299_999, 1, 1), (0, 5, 0), (1_000_000, 0, 5), (875_000, 5, 5)],
)
def test_a_tier_is_lost_later_than_it_is_reached(points: int, tier: int, now: int) -> None:
    fleet = fleet_at(points)
    fleet.trust[0].tier = tier
    assert fleet.decide(QUIET).tier.tolist() == [now]


def test_since_is_when_the_tier_began() -> None:
    fleet = Fleet()
    fleet.decide(QUIET)
    assert fleet.trust[0].since == T0
    fleet.decide(Event(EventType.AGENT_REGISTERED, at=T0 + 5))
    assert (fleet.trust[0].tier, fleet.trust[0].since) == (1, T0 + 5)
    fleet.decide(Event(EventType.POLICY_EVALUATED, at=T0 + 9))
    assert fleet.trust[0].since == T0 + 5


def test_time_never_runs_backwards() -> None:
    fleet = Fleet()
    assert fleet.decide(REGISTER, Event(EventType.POLICY_EVALUATED, at=T0 - DAY)).time.tolist() == [T0, T0]


def test_changes_are_told_from_5_on() -> None:
    fleet = fleet_at(500_000)
    liked = Event(EventType.FEEDBACK_POSITIVE)
    decided = fleet.decide(liked, liked, liked, liked)
    cause = CAUSE_OF_EVENT + EventType.FEEDBACK_POSITIVE
    assert decided.told(trust.SCORE_CHANGED) == [(500_000, 506_000, cause)]
    assert decided.changes[trust.EVENT].tolist() == [2]


def test_decay_is_told_apart_from_the_event() -> None:
    fleet = fleet_at(500_000)
    decided = fleet.decide(Event(EventType.EXECUTION_FAILED, at=T0 + 7 * DAY))
    cause = CAUSE_OF_EVENT + EventType.EXECUTION_FAILED
    assert decided.told(trust.SCORE_CHANGED) == [(500_000, 470_000, CAUSE_DECAY), (470_000, 380_000, cause)]
    assert decided.told(trust.TIER_CHANGED) == [(500_000, 380_000, cause)]
    assert decided.changes[trust.TIER_BEFORE].tolist() == [3, 3, 3]
    assert decided.changes[trust.TIER_AFTER].tolist() == [2, 2, 2]


def test_a_suspension_is_told_once() -> None:
    fleet = fleet_at(50_000)
    decided = fleet.decide(Event(EventType.EXECUTION_FAILED), Event(EventType.AGENT_SUSPENDED))
    assert decided.told(trust.BECAME_SUSPENDED) == [(50_000, 0, CAUSE_OF_EVENT + EventType.EXECUTION_FAILED)]


def test_why_is_the_cause_of_the_last_change_of_points() -> None:
    fleet = Fleet()
    fleet.decide(Event(EventType.EXECUTION_FAILED))
    assert fleet.trust[0].why == CAUSE_NONE
    fleet.decide(REGISTER, QUIET)
    assert fleet.trust[0].why == CAUSE_OF_EVENT + EventType.AGENT_REGISTERED
    fleet.decide(Event(EventType.POLICY_EVALUATED, at=T0 + DAY))
    assert fleet.trust[0].why == CAUSE_DECAY
    fleet = fleet_at(700_000)
    fleet.decide(Event(EventType.AGENT_UPDATED, observability=BLACK_BOX))
    assert fleet.trust[0].why == CAUSE_CEILING


def test_an_event_not_to_decide_leaves_no_trace() -> None:
    fleet = fleet_at(500_000)
    before = fleet.trust.copy()
    decided = fleet.decide(Event(EventType.SECURITY_INCIDENT, agent=-1))
    assert fleet.trust.tobytes() == before.tobytes()
    assert decided.points.tolist() == [-7]


def test_no_events_are_no_trouble() -> None:
    assert Fleet().decide().points.tolist() == Fleet(plain=True).decide().points.tolist() == []


def test_another_table_of_tiers_is_met_at_the_next_event() -> None:
    fleet = fleet_at(500_000)
    policy = Policy.parse("[trust.tiers]\nlower = [0, 100, 200, 300, 400, 500]")
    fleet.follow(policy)
    assert fleet.trust[0].tier == 3
    assert fleet.decide(QUIET).tier.tolist() == [5]


def test_the_penalty_is_the_policys() -> None:
    fleet = fleet_at(500_000)
    fleet.follow(Policy().model_copy(update={"trust": Policy().trust.model_copy(update={"penalty": Decimal("1.5")})}))
    assert fleet.play([Event(EventType.EXECUTION_FAILED)]) == [455_000]


@given(histories(agents=3))
@settings(max_examples=100, deadline=None)
def test_compiled_and_plain_agree_to_the_bit(events: list[Event]) -> None:
    compiled, plain = Fleet(3), Fleet(3, plain=True)
    ours, theirs = compiled.decide(*events), plain.decide(*events)
    assert compiled.trust.tobytes() == plain.trust.tobytes()
    for name in ("time", "points", "tier", "status", "changes"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()


@given(histories(agents=3))
@settings(max_examples=50, deadline=None)
def test_how_events_are_cut_into_batches_changes_nothing(events: list[Event]) -> None:
    whole, single = Fleet(3), Fleet(3)
    points = whole.play(events)
    assert [single.play([event])[0] for event in events] == points
    for ours, theirs in ((whole.trust, single.trust), (whole.limit, single.limit), (whole.habit, single.habit)):
        assert ours.tobytes() == theirs.tobytes()


@given(histories())
@settings(max_examples=100, deadline=None)
def test_reading_says_what_the_next_event_will_find(events: list[Event]) -> None:
    fleet = Fleet()
    *earlier, last = events
    if earlier:
        fleet.decide(*earlier)
    row = fleet.trust[0]
    level = reading.level_now(row.points, row.last, last.at, Policy())
    assert fleet.play([Event(EventType.POLICY_EVALUATED, at=last.at)]) == [level]
