"""The laws of trust: what holds for every history of an agent, whatever it does and whoever watches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.event_types import EventType
from streams import reading, trust
from streams.policy import Policy

from .event_cases import gaps, histories, maybe, timed, weights
from .stages import CLONED, DAY, FRESH, IMPORTED, VERIFIED, Event, Fleet

law = settings(max_examples=100, deadline=None)

DONE, FAILED = EventType.EXECUTION_COMPLETED, EventType.EXECUTION_FAILED
OUTCOMES = (
    DONE, FAILED, EventType.SECURITY_VIOLATION, EventType.SECURITY_INCIDENT, EventType.TRUST_SIGNAL,
    EventType.FEEDBACK_POSITIVE, EventType.FEEDBACK_NEGATIVE, EventType.APPROVAL_GRANTED, EventType.APPROVAL_DENIED,
    EventType.POLICY_EVALUATED,
)  # fmt: skip
"""Types that carry a delta, and one that carries none: what can be better or worse."""


def outcomes() -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        kind=st.sampled_from(OUTCOMES),
        at=gaps,
        risk=maybe(3),
        severity=maybe(2),
        escalation=maybe(1),
        signal_weight=st.none() | weights,
    )


def delta(event: Event) -> int:
    """What the event is worth to an agent that is neither near 0 nor near a ceiling."""
    fleet = Fleet()
    fleet.decide(Event(EventType.AGENT_REGISTERED, observability=VERIFIED))
    fleet.trust[0].points = 950_000
    return fleet.play([replace(event, at=0)])[0] - 950_000


@given(histories(most=60))
@law
def test_points_are_bounded_by_the_ceiling(events: list[Event]) -> None:
    fleet = Fleet()
    ceilings = trust.compile_policy(Policy())[0].ceiling
    for event in events:
        points = fleet.play([event])[0]
        assert 0 <= points <= ceilings[fleet.trust[0].observability] <= 1_000_000


@st.composite
def better_by_one(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """A history, and the same with one outcome replaced by a better one at the same time."""
    events = draw(st.lists(outcomes(), min_size=1, max_size=12))
    others = draw(histories(most=12))
    first = draw(
        st.sampled_from(
            [[], [Event(EventType.AGENT_REGISTERED)], [Event(EventType.AGENT_REGISTERED, 0, creation=IMPORTED)]]
        )
    )
    place = draw(st.integers(0, len(events) - 1))
    one, other = sorted((events[place], replace(draw(outcomes()), at=events[place].at)), key=delta)
    orders = [event for event in others if event.kind not in OUTCOMES]
    later = [*events[place + 1 :], *orders]
    later = draw(st.permutations([replace(event, at=draw(gaps)) for event in later]))
    start = [*first, *events[:place]]
    return timed([*start, one, *later]), timed([*start, other, *later])


@given(better_by_one())
@settings(max_examples=150, deadline=None)
@example(
    tuple(
        timed(
            [
                replace(Event(kind, 1), creation=IMPORTED)
                for kind in (EventType.AGENT_REGISTERED, first, FAILED, DONE, DONE)
            ]
        )
        for first in (FAILED, DONE)
    )
)
@example(
    tuple(
        timed(
            [
                Event(kind, 1)
                for kind in (EventType.AGENT_REGISTERED, DONE, FAILED, second, EventType.AGENT_REINSTATED, FAILED, DONE)
            ]
        )
        for second in (FAILED, DONE)
    )
)
def test_a_better_event_never_lowers_a_later_score(pair: tuple[list[Event], list[Event]]) -> None:
    worse, better = pair
    for lower, higher in zip(Fleet().play(worse), Fleet().play(better), strict=True):
        assert lower <= higher


@given(
    st.lists(st.tuples(st.booleans(), gaps), min_size=1, max_size=40),
    st.integers(0, 3),
    st.integers(0, 4),
    st.integers(1, 1_000_000),
)
@law
def test_one_failure_in_ten_is_no_net_gain(
    draws: list[tuple[bool, int]], risk: int, observability: int, points: int
) -> None:
    """At equal risk and 0 never touched; more failures only make it worse."""
    successes = [gap for good, gap in draws if good]
    failures = [gap for good, gap in draws if not good] or [0]
    kept = successes[: 9 * len(failures)]
    events = [Event(DONE, gap, risk=risk) for gap in kept] + [Event(FAILED, gap, risk=risk) for gap in failures]
    fleet, start = registered(points, observability)
    played = fleet.play(timed(sorted(events, key=lambda event: event.at)))
    assert played[-1] <= start or 0 in played


def registered(points: int, observability: int = VERIFIED) -> tuple[Fleet, int]:
    """An active agent with these points, cut to its ceiling."""
    fleet = Fleet()
    fleet.decide(Event(EventType.AGENT_REGISTERED, 1, observability=observability))
    fleet.trust[0].points = points
    return fleet, fleet.play([Event(EventType.POLICY_EVALUATED, 1)])[0]


@given(st.integers(0, 3), st.integers(1, 9), st.integers(1, 12), st.integers(0, 20 * DAY))
@law
def test_an_on_off_attacker_ends_below_an_honest_agent(risk: int, good: int, rounds: int, gap: int) -> None:
    cycle = [Event(DONE, gap, risk=risk)] * good
    attacker = timed(([*cycle, Event(FAILED, gap, risk=risk)]) * rounds)
    honest = timed(([*cycle, Event(DONE, gap, risk=risk)]) * rounds)
    assert registered(500_000)[0].play(attacker)[-1] < registered(500_000)[0].play(honest)[-1]


@given(histories(), st.integers(0, 40), maybe(4), maybe(4))
@law
def test_registering_again_changes_nothing(
    events: list[Event], place: int, creation: int | None, observability: int | None
) -> None:
    """A second registration is to trust what any event without a delta is: only time passes."""
    events = [Event(EventType.AGENT_REGISTERED, events[0].at), *events]
    place = 1 + place % len(events)
    at = events[place - 1].at
    again = Event(EventType.AGENT_REGISTERED, at, creation=creation, observability=observability)
    quiet = Event(EventType.POLICY_EVALUATED, at)
    rows = []
    for between in (again, quiet):
        fleet = Fleet()
        fleet.decide(*events[:place], between, *events[place:])
        rows.append(fleet.trust.tobytes())
    assert rows[0] == rows[1]


@given(histories(agents=1), histories(agents=1), maybe(4))
@law
def test_a_clone_starts_below_a_fresh_agent_whatever_its_parent(
    parent: list[Event], losses: list[Event], observability: int | None
) -> None:
    """Agent 0 is the parent, 1 the clone, 2 the fresh one; losses before registration are the same for both."""
    fleet = Fleet(3)
    fleet.decide(*parent)
    for agent in (1, 2):
        early = [replace(event, agent=agent) for event in losses if event.kind in (DONE, EventType.POLICY_EVALUATED)]
        if early:
            fleet.decide(*early)
    clone = Event(EventType.AGENT_REGISTERED, agent=1, creation=CLONED, observability=observability)
    fresh = Event(EventType.AGENT_REGISTERED, agent=2, creation=FRESH, observability=observability)
    lower, higher = fleet.play([clone, fresh])
    assert lower < higher


@given(histories(most=20), st.lists(st.integers(-DAY, 400 * DAY), min_size=1, max_size=5))
@law
def test_reading_changes_nothing(events: list[Event], reads: list[int]) -> None:
    watched, alone = Fleet(), Fleet()
    for event in events:
        watched.decide(event)
        for gap in reads:
            reading.level_now(watched.trust["points"], watched.trust["last"], event.at + gap, Policy())
    alone.decide(*events)
    assert watched.trust.tobytes() == alone.trust.tobytes()


@given(st.integers(0, 1_000_000), st.lists(st.integers(0, 500 * DAY), min_size=2, max_size=10))
@law
def test_idle_points_only_fall_as_time_passes(points: int, idle: list[int]) -> None:
    levels: list[Any] = [reading.level_now(points, 1, 1 + gap, Policy()) for gap in sorted(idle)]  # type: ignore[arg-type]
    assert levels == sorted(levels, reverse=True)
    assert all(points // 2 <= level <= points for level in levels)


@pytest.mark.parametrize("identities", [1, 2, 5])
def test_a_whitewasher_gains_nothing_by_registering_again(identities: int) -> None:
    failing = [Event(FAILED, 1, risk=0)]
    fleet = Fleet()
    fleet.decide(Event(EventType.AGENT_REGISTERED, 1), *failing)
    washed = fleet.play([Event(EventType.AGENT_REGISTERED, 1, creation=3)] * identities)
    assert set(washed) == {55_000}
