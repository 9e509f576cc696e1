"""Priority: what surprises, what matters, and in which pool it ends."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event_types import EventType
from streams.half_life import HALF_LIFE
from streams.priority import BACKGROUND, KEPT_TYPES, MOST, NORMAL, ONE, URGENT
from streams.rounding import half_even, nearest

from .event_cases import histories
from .stages import HOUR, SECOND, T0, Event, Fleet

DONE = EventType.EXECUTION_COMPLETED


def micro(value: float) -> int:
    """A share of 1e-6, which a double carries exactly enough to be told from its neighbours."""
    assert value == round(value * 1e6) / 1e6
    return round(value * 1e6)


def test_the_first_event_of_an_agent_is_all_new() -> None:
    """F = 1/32 rounded half to even, t = 1, so 0.7 (1 - f) + 0.3."""
    decided = Fleet().decide(Event(DONE))
    assert micro(decided.surprise[0]) == 978_125
    assert micro(decided.impact[0]) == 500_000
    assert micro(decided.score[0]) == 786_875
    assert decided.pool.tolist() == [NORMAL]


def test_the_second_event_of_a_type_sets_the_gap_and_is_on_time() -> None:
    """One event a second ago weighs T[1] of an event: f = (w + 1) / (w + 32)."""
    fleet = Fleet()
    fleet.decide(Event(DONE))
    decided = fleet.decide(Event(DONE, T0 + SECOND))
    weight = ONE * int(HALF_LIFE[1]) >> 24
    f = round(Fraction((weight + ONE) * 10**6, weight + 32 * ONE))
    assert micro(decided.surprise[0]) == round(Fraction(7 * (10**6 - f), 10))
    assert fleet.habit[0]["mean"][0] == SECOND


@pytest.mark.parametrize(
    ("gap", "t"), [(1000, 0), (1250, 250_000), (500, 500_000), (2000, 10**6), (9_999, 10**6), (0, 10**6)]
)
def test_an_unusual_gap_surprises(gap: int, t: int) -> None:
    fleet = Fleet()
    fleet.decide(Event(DONE), Event(DONE, T0 + SECOND))
    decided = fleet.decide(Event(DONE, T0 + SECOND + gap))
    weight = int(fleet.habit[0].weight[0]) - ONE
    f = round(Fraction((weight + ONE) * 10**6, weight + 32 * ONE))
    assert micro(decided.surprise[0]) == round(Fraction(7 * (10**6 - f) + 3 * t, 10))
    assert fleet.habit[0]["mean"][0] == max(1, 1000 + (gap - 1000) // 8)


def test_events_at_the_same_moment_have_a_gap_of_1() -> None:
    fleet = Fleet()
    fleet.decide(Event(DONE), Event(DONE), Event(DONE))
    assert fleet.habit[0]["mean"][0] == 1


def test_weights_halve_in_an_hour() -> None:
    fleet = Fleet()
    fleet.decide(Event(DONE), Event(DONE))
    fleet.decide(Event(EventType.POLICY_EVALUATED, T0 + HOUR))
    assert fleet.habit[0].weight[:2].tolist() == [ONE, ONE]


def test_weights_decay_in_whole_seconds_and_forget_no_rest() -> None:
    fleet = Fleet()
    fleet.decide(Event(DONE), Event(DONE, T0 + 999), Event(DONE, T0 + 1_999))
    assert fleet.habit[0].ref == T0 + SECOND
    assert fleet.habit[0].weight[0] == (2 * ONE * int(HALF_LIFE[1]) >> 24) + ONE


def test_weights_die_in_the_end_and_never_overflow() -> None:
    fleet = Fleet()
    fleet.decide(Event(DONE))
    fleet.habit[0].weight[0] = MOST
    fleet.decide(Event(DONE))
    assert fleet.habit[0].weight[0] == MOST
    fleet.decide(Event(EventType.POLICY_EVALUATED, T0 + 80 * 365 * 24 * HOUR))
    assert fleet.habit[0].weight[:2].tolist() == [0, ONE]


def test_a_ninth_type_takes_the_place_of_the_lightest() -> None:
    fleet = Fleet()
    kinds = list(EventType)[1:9]
    fleet.decide(*(Event(kind) for kind in kinds), *(Event(kind) for kind in kinds if kind != kinds[3]))
    fleet.decide(Event(EventType.SESSION_ENDED))
    assert fleet.habit[0].type.tolist() == [*kinds[:3], EventType.SESSION_ENDED, *kinds[4:]]
    assert fleet.habit[0]["mean"][3] == 0


def test_of_equally_light_types_the_higher_number_goes() -> None:
    fleet = Fleet()
    kinds = [8, 3, 12, 1, 5, 2, 7, 4]
    fleet.decide(*(Event(EventType(kind)) for kind in kinds))
    decided = fleet.decide(Event(EventType.UNKNOWN))
    assert fleet.habit[0].type.tolist() == [8, 3, 0, 1, 5, 2, 7, 4]
    assert micro(decided.surprise[0]) == round(Fraction(7 * (10**6 - 25_000), 10)) + 300_000


def test_an_unknown_type_is_a_habit_like_any_other() -> None:
    fleet = Fleet()
    fleet.decide(Event(EventType.UNKNOWN), Event(EventType.UNKNOWN))
    assert (fleet.habit[0].kept, fleet.habit[0].weight[0]) == (1, 2 * ONE)


@pytest.mark.parametrize(
    ("event", "impact"),
    [
        (Event(DONE), 500_000),
        (Event(DONE, user_facing=True), 800_000),
        (Event(DONE, security_relevant=True), 700_000),
        (Event(DONE, user_facing=True, security_relevant=True), 1_000_000),
        (Event(DONE, revenue_usd=1_000.0), 501_000),
        (Event(DONE, revenue_usd=2.5), 500_002),
        (Event(DONE, revenue_usd=3.5), 500_004),
        (Event(DONE, revenue_usd=1e300), 800_000),
        (Event(DONE, revenue_usd=-100_000.0), 400_000),
        (Event(DONE, revenue_usd=-1e300), 0),
        (Event(EventType.SECURITY_VIOLATION), 1_000_000),
        (Event(EventType.SECURITY_INCIDENT, revenue_usd=-1e300), 1_000_000),
        (Event(EventType.AGENT_SUSPENDED, user_facing=True, security_relevant=True), 900_000),
    ],
)
def test_impact_is_what_is_at_stake(event: Event, impact: int) -> None:
    assert micro(Fleet().decide(event).impact[0]) == impact


def test_pools_begin_at_their_scores() -> None:
    assert Fleet().decide(Event(EventType.SECURITY_VIOLATION)).pool.tolist() == [URGENT]
    steady = [Event(DONE, T0 + step * SECOND, revenue_usd=-1e6) for step in range(600)]
    decided = Fleet().decide(*steady)
    assert set(decided.pool[-100:].tolist()) == {BACKGROUND}
    for score, pool in zip(decided.score, decided.pool, strict=True):
        assert pool == (URGENT if score >= 0.8 else NORMAL if score >= 0.4 else BACKGROUND)


def test_the_committed_table_is_2_to_the_minus_x() -> None:
    getcontext().prec = 60
    exact = [round(Decimal(2) ** (24 - Decimal(step) / 3600)) for step in range(3600)]
    assert HALF_LIFE.tolist() == exact


@given(st.integers(-(2**61), 2**61), st.integers(1, 2**61))
def test_integers_round_half_to_even(a: int, b: int) -> None:
    assert half_even.py_func(a, b) == round(Fraction(a, b))
    assert half_even(a, b) == round(Fraction(a, b))


@given(st.integers(-1000, 1000), st.integers(1, 20))
def test_small_fractions_round_half_to_even(a: int, b: int) -> None:
    assert half_even(a, b) == round(Fraction(a, b))


@given(st.one_of(st.floats(-1e6, 1e6), st.integers(-(10**7), 10**7).map(lambda n: n / 2)))
def test_doubles_round_half_to_even(x: float) -> None:
    assert nearest(x) == nearest.py_func(x) == round(x)


@given(histories(agents=2, most=40))
@settings(max_examples=100, deadline=None)
def test_compiled_and_plain_agree_to_the_bit(events: list[Event]) -> None:
    compiled, plain = Fleet(2), Fleet(2, plain=True)
    ours, theirs = compiled.decide(*events), plain.decide(*events)
    assert compiled.habit.tobytes() == plain.habit.tobytes()
    for name in ("score", "surprise", "impact", "pool"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


@given(histories(most=40))
@settings(max_examples=100, deadline=None)
def test_shares_are_shares_and_slots_are_in_order(events: list[Event]) -> None:
    fleet = Fleet()
    decided = fleet.decide(*events)
    for shares in (decided.score, decided.surprise, decided.impact):
        assert np.all((shares >= 0) & (shares <= 1))
    habit = fleet.habit[0]
    kept = habit.type[: habit.kept].tolist()
    assert max(Counter(kept).values()) == 1
    assert len(kept) == min(len({event.kind for event in events}), KEPT_TYPES)
    assert habit.weight[habit.kept :].tolist() == [0] * (KEPT_TYPES - habit.kept)
