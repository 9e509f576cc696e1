"""Laws of the controller of pressure, and its steps as a table."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import schema_of
from streams.pressure import Level, Pressure, Reading, Rules, judge

RULES = Rules()
LIMIT = 100_000
START = 1_767_225_600_000

lags = st.integers(0, 200_000)
rates = st.one_of(st.just(0.0), st.floats(0.1, 1e6))
shares = st.floats(0, 1)
readings = st.builds(Reading, lags, rates, rates, shares, shares)
steps = st.lists(st.tuples(st.integers(1, 12_000), readings), min_size=1, max_size=40)
"""Readings with the milliseconds since the one before."""


def told(series: list[tuple[int, Reading]], rules: Rules = RULES) -> list[tuple[int, Pressure]]:
    """What a controller says, with the times of saying it."""
    now, before, said = START, None, []
    for gap, reading in series:
        now += gap
        before = judge(before, reading, LIMIT, now, rules)
        said.append((now, before))
    return said


def level(lag: int, out: float, *, rate_in: float = 0.0, cpu: float = 0.0, memory: float = 0.0) -> Level:
    """The first level that is said of one reading."""
    return judge(None, Reading(lag, rate_in, out, cpu, memory), LIMIT, START, RULES).level


@pytest.mark.parametrize(
    ("lag", "out", "expected"),
    [
        (0, 0, Level.NONE),
        (69_999, 1_000, Level.NONE),
        (70_000, 1_000, Level.SOFT),
        (85_000, 1_000, Level.HARD),
        (95_000, 1_000, Level.STOP),
        (200_000, 0, Level.STOP),
        (200_000, 200_000, Level.NONE),
        (200_000, 100_000, Level.SOFT),
        (200_000, 10_000, Level.HARD),
    ],
)
def test_a_level_asks_for_much_and_for_long(lag: int, out: float, expected: Level) -> None:
    assert level(lag, out) == expected


def test_growth_counts_before_the_limit_is_reached() -> None:
    assert level(50_000, 1_000) == Level.NONE
    assert level(50_000, 1_000, rate_in=5_000) == Level.SOFT
    assert level(50_000, 1_000, rate_in=10_000) == Level.STOP


def test_a_busy_processor_gives_soft_at_most_and_a_full_memory_more() -> None:
    assert level(10_000, 100, cpu=1.0) == Level.SOFT
    assert level(10_000, 100, memory=0.96) == Level.STOP
    assert level(10, 100, cpu=1.0, memory=1.0) == Level.NONE


@given(st.none() | steps.map(lambda series: told(series)[-1][1]), st.integers(0, 90_000), readings, lags)
def test_more_lag_never_gives_a_lower_level(before: Pressure | None, gap: int, reading: Reading, more: int) -> None:
    now = (before.expires_at - RULES.lifetime_ms if before else START) + gap
    worse = replace(reading, lag=reading.lag + more)
    assert judge(before, reading, LIMIT, now, RULES).level <= judge(before, worse, LIMIT, now, RULES).level


@given(steps, st.lists(lags, min_size=40, max_size=40))
def test_without_hold_times_a_series_with_more_lag_is_nowhere_lower(
    series: list[tuple[int, Reading]], more: list[int]
) -> None:
    rules = replace(RULES, hold_ms=0)
    worse = [
        (gap, replace(reading, lag=reading.lag + extra)) for (gap, reading), extra in zip(series, more, strict=False)
    ]
    for (_, lower), (_, higher) in zip(told(series, rules), told(worse, rules), strict=True):
        assert lower.level <= higher.level


@given(steps)
def test_a_level_never_changes_faster_than_its_hold_time(series: list[tuple[int, Reading]]) -> None:
    said = [(START, Level.NONE), *((now, pressure.level) for now, pressure in told(series))]
    changes = [now for (_, old), (now, new) in pairwise(said) if old != new]
    assert all(later - earlier >= RULES.hold_ms for earlier, later in pairwise(changes))


@given(steps)
def test_a_level_falls_by_one_step_at_a_time(series: list[tuple[int, Reading]]) -> None:
    assert all(old.level - new.level <= 1 for (_, old), (_, new) in pairwise(told(series)))


@given(readings, st.integers(0, 10_000))
def test_the_same_reading_again_and_again_changes_nothing(reading: Reading, gap: int) -> None:
    assert len({pressure.level for _, pressure in told([(gap, reading)] * 10)}) == 1


@given(steps)
def test_a_level_ends_by_itself(series: list[tuple[int, Reading]]) -> None:
    for now, pressure in told(series):
        assert pressure.level_at(now) == pressure.level
        assert pressure.level_at(now + RULES.lifetime_ms) == Level.NONE


def test_what_expired_is_judged_as_if_nothing_had_been_said() -> None:
    stop = judge(None, Reading(LIMIT, 0, 0), LIMIT, START, RULES)
    assert judge(stop, Reading(10, 0, 10), LIMIT, START + RULES.lifetime_ms, RULES).level == Level.NONE
    again = judge(stop, Reading(LIMIT, 0, 0), LIMIT, START + 1, RULES)
    assert (again.level, again.since, again.expires_at) == (Level.STOP, START, START + 1 + RULES.lifetime_ms)


def test_after_the_load_the_level_is_gone_within_half_a_minute() -> None:
    said = told([(1, Reading(LIMIT, 1_000, 500)), *[(1_000, Reading(0, 100, 500))] * 16])
    assert [said[0][1].level, said[-1][1].level] == [Level.STOP, Level.NONE]


@given(steps, st.integers(1, 10**9))
def test_a_clock_that_is_set_back_holds_nothing_for_longer(series: list[tuple[int, Reading]], back: int) -> None:
    now, last = told(series)[-1]
    now -= back
    for _ in range(5):
        last = judge(last, Reading(0, 0, 1), LIMIT, now, RULES)
        now += RULES.hold_ms
    assert last.level == Level.NONE
    assert last.expires_at <= now + RULES.lifetime_ms


@given(readings)
def test_what_is_accepted_is_a_share(reading: Reading) -> None:
    assert 0 <= judge(None, reading, LIMIT, START, RULES).accepts <= 1


def test_what_is_accepted_leaves_room_to_drain() -> None:
    assert judge(None, Reading(0, 500, 1_000), LIMIT, START, RULES).accepts == 1
    assert judge(None, Reading(40_000, 2_000, 1_000), LIMIT, START, RULES).accepts == pytest.approx(0.5)
    assert judge(None, Reading(80_000, 2_000, 1_000), LIMIT, START, RULES).accepts == pytest.approx(0.5 / 1.2)
    assert judge(None, Reading(1, 1_000, 0), LIMIT, START, RULES).accepts == 0


def test_levels_are_those_of_the_topic() -> None:
    kinds = {part["name"]: part["type"] for part in schema_of("pressure")["fields"]}
    assert [one.symbol for one in Level] == kinds["level"]["symbols"]


def test_a_reason_says_what_was_seen() -> None:
    said = judge(None, Reading(88_000, 10_200, 9_000, cpu=0.9), LIMIT, START, RULES)
    assert said.reason == "88,000 wait, of 100,000 that may; 9.8 s of work; growing by 1,200 a second; processor at 90%"
