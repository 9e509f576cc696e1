"""What the client makes of an event under pressure: the table, its laws, and the throttle that paces."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognistream_client import AgentAnchorEvent, AuraisEvent, Event, KaizenEvent, Pressure
from cognistream_client.consequence import BACKGROUND, VITAL, Consequence, consequence_of
from cognistream_client.pressure import Level, Situation, Verdict, level_of, partitioner, verdict
from cognistream_client.throttle import LEAST, K, Throttle
from schemas.event_types import SOURCE_TYPES
from schemas.murmur import partition_of

NOW = 1_767_225_600_000
LIFE = 60_000


def said(concern: str, level: str, accepts: float = 1.0) -> Pressure:
    return Pressure(
        concern=concern, level=level, reason="", since=NOW, expires_at=NOW + LIFE, lag=0, drain_ms=None,  # type: ignore[arg-type]
        accepts=accepts, said_by="test",
    )  # fmt: skip


ids = st.text(min_size=1, max_size=40)
consequences = st.sampled_from(Consequence)
levels = st.sampled_from(Level)
HARDNESS = [Verdict.SEND, Verdict.LEAVE_OUT, Verdict.PACE, Verdict.WAIT]


@pytest.mark.parametrize(
    ("level", "background", "normal"),
    [
        (Level.NONE, Verdict.SEND, Verdict.SEND),
        (Level.HARD, Verdict.WAIT, Verdict.PACE),
        (Level.STOP, Verdict.WAIT, Verdict.WAIT),
    ],
)
def test_what_becomes_of_an_event(level: Level, background: Verdict, normal: Verdict) -> None:
    assert verdict(Consequence.BACKGROUND, level, "e") == background
    assert verdict(Consequence.NORMAL, level, "e") == normal


def test_under_soft_pressure_one_background_event_in_ten_is_sent() -> None:
    sent = sum(verdict(Consequence.BACKGROUND, Level.SOFT, f"e-{i}") is Verdict.SEND for i in range(10_000))
    assert 900 < sent < 1_100
    assert all(verdict(Consequence.NORMAL, Level.SOFT, f"e-{i}") is Verdict.SEND for i in range(100))


@given(levels, ids)
def test_what_is_vital_always_passes(level: Level, event_id: str) -> None:
    assert verdict(Consequence.VITAL, level, event_id) is Verdict.SEND


@given(consequences, levels, ids)
def test_nothing_but_background_is_ever_left_out(consequence: Consequence, level: Level, event_id: str) -> None:
    found = verdict(consequence, level, event_id)
    assert found is not Verdict.LEAVE_OUT or consequence is Consequence.BACKGROUND
    assert found is verdict(consequence, level, event_id), "the same event has the same fate"


@given(levels, levels, ids)
def test_a_higher_level_never_lets_a_normal_event_pass_more_easily(one: Level, other: Level, event_id: str) -> None:
    lower, higher = sorted((one, other))
    harder = [HARDNESS.index(verdict(Consequence.NORMAL, level, event_id)) for level in (lower, higher)]
    assert harder == sorted(harder)


def test_every_type_has_one_consequence_and_no_word_of_them_is_unknown() -> None:
    symbols = {kind.symbol for kinds in SOURCE_TYPES.values() for kind in kinds}
    assert symbols >= BACKGROUND | VITAL
    assert not BACKGROUND & VITAL


KEPT: list[Event] = [
    KaizenEvent(tenant_id="a", agent_id="b", event_type="security_violation"),
    KaizenEvent(tenant_id="a", agent_id="b", event_type="policy_evaluated", security_relevant=True),
    AgentAnchorEvent(tenant_id="a", agent_id="b", event_type="agent_suspended"),
    AuraisEvent(tenant_id="a", agent_id="b", event_type="approval_denied"),
]


@pytest.mark.parametrize("event", KEPT, ids=lambda event: event.event_type)
def test_violations_approvals_and_what_ends_rights_are_vital(event: Event) -> None:
    assert consequence_of(event) is Consequence.VITAL


def test_what_a_person_waits_for_is_not_background() -> None:
    event = KaizenEvent(tenant_id="a", agent_id="b", event_type="policy_evaluated")
    assert consequence_of(event) is Consequence.BACKGROUND
    assert consequence_of(replace(event, user_facing=True)) is Consequence.NORMAL
    assert consequence_of(replace(event, decision="DENY")) is Consequence.VITAL


def test_an_event_is_concerned_by_its_partition_and_by_its_pool() -> None:
    situation = Situation()
    for told in (said("kaizen.events/3", "soft"), said("kaizen.events/1", "none"), said("priority.background", "hard")):
        situation.take(told)
    worst = {
        (consequence, place): found.concern if (found := situation.worst(consequence, place, NOW)) else None
        for consequence in Consequence
        for place in (("kaizen.events", 3), ("kaizen.events", 1), ("kaizen.events", None))
    }
    assert worst == {
        (Consequence.BACKGROUND, ("kaizen.events", 3)): "priority.background",
        (Consequence.BACKGROUND, ("kaizen.events", 1)): "priority.background",
        (Consequence.BACKGROUND, ("kaizen.events", None)): "priority.background",
        (Consequence.NORMAL, ("kaizen.events", 3)): "kaizen.events/3",
        (Consequence.NORMAL, ("kaizen.events", 1)): None,
        (Consequence.NORMAL, ("kaizen.events", None)): "kaizen.events/3",
        (Consequence.VITAL, ("kaizen.events", 3)): None,
        (Consequence.VITAL, ("kaizen.events", 1)): None,
        (Consequence.VITAL, ("kaizen.events", None)): None,
    }


concerns = st.sampled_from(["kaizen.events/0", "kaizen.events/1", "priority.normal", "priority.background"])
words = st.lists(st.builds(said, concerns, st.sampled_from(["none", "soft", "hard", "stop"])), max_size=12)


@given(words, consequences)
def test_levels_expire(told: list[Pressure], consequence: Consequence) -> None:
    situation = Situation()
    for one in told:
        situation.take(one)
    place = ("kaizen.events", 1)
    assert situation.worst(consequence, place, NOW + LIFE) is None
    before = {one.concern: one for one in told if one.level != "none"}
    last = {one.concern: one for one in told}
    assert situation.expire(NOW + LIFE - 1) == []
    assert {one.concern for one in situation.expire(NOW + LIFE)} == {
        concern for concern in before if last[concern].level != "none"
    }
    assert situation.expire(NOW + LIFE) == [], "said once"
    assert not situation.on


@given(words)
def test_on_says_whether_there_is_any_pressure(told: list[Pressure]) -> None:
    situation = Situation()
    for one in told:
        situation.take(one)
    last = {one.concern: one for one in told}
    assert situation.on == any(one.level != "none" for one in last.values())
    for concern in last:
        situation.forget(concern)
    assert not situation.on


def test_background_goes_on_waiting_until_there_is_no_pressure_and_normal_until_it_is_soft() -> None:
    situation, place = Situation(), ("aurais.events", 2)
    for level, background, normal in (("stop", True, True), ("hard", True, True), ("soft", True, False)):
        situation.take(said("aurais.events/2", level))
        assert situation.holds(Consequence.BACKGROUND, [("aurais.events", 0), place], NOW) == background
        assert situation.holds(Consequence.NORMAL, [("aurais.events", 0), place], NOW) == normal
    situation.take(said("aurais.events/2", "none"))
    assert not situation.holds(Consequence.BACKGROUND, [place], NOW)


@settings(deadline=None)  # the first key compiles the kernel that is asked
@given(st.binary(max_size=64), st.integers(1, 300))
def test_the_place_of_a_key_is_where_kafka_puts_it(key: bytes, partitions: int) -> None:
    assert partitioner({"kaizen.events": partitions}.get)("kaizen.events", key) == (
        "kaizen.events",
        partition_of(key, partitions),
    )


def test_levels_are_in_the_order_of_the_topic() -> None:
    assert [level_of(said("x", name)) for name in ("none", "soft", "hard", "stop")] == list(Level)


def passed(share: float, seconds: float, gap: float = 0.001) -> list[float]:
    """When events pass of a sender that tries every `gap` seconds and whose answers come at once."""
    throttle, times = Throttle(0.0), []
    for step in range(int(seconds / gap)):
        now = step * gap
        if throttle.passes(now):
            times.append(now)
            throttle.answered(now, share)
    return times


def test_what_is_accepted_passes_unhindered() -> None:
    assert len(passed(1.0, 5)) == 5_000
    assert len(passed(1 / K, 5)) == 5_000


def test_what_is_too_much_is_spaced_until_it_fits() -> None:
    times = passed(0.5, 30)
    tenth = [sum(first <= at < first + 3 for at in times) for first in range(0, 30, 3)]
    assert all(later < earlier for earlier, later in pairwise(tenth))
    assert tenth[-1] < 1_500


def test_a_throttle_settles_where_k_times_what_is_taken_comes() -> None:
    """A worker that takes 100 a second, and says of what came in the last second which part that is."""
    throttle, times, recent = Throttle(0.0), [], deque[float]()
    for step in range(50_000):
        now = step / 500
        while recent and recent[0] < now - 1:
            recent.popleft()
        if throttle.passes(now):
            throttle.answered(now, min(1.0, 100 / max(1, len(recent))))
            recent.append(now)
            times.append(now)
    assert 90 < sum(at > 80 for at in times) / 20 < 130


@given(st.floats(0, 1), st.floats(0.0005, 0.1))
def test_something_always_passes(share: float, gap: float) -> None:
    times = passed(share, 20 * gap + 5, gap)
    assert all(later - earlier <= 1 / LEAST + 2 * gap for earlier, later in pairwise(times))


def test_who_was_silent_begins_anew() -> None:
    throttle = Throttle(0.0)
    for step in range(1_000):
        throttle.passes(step / 1_000)
        throttle.answered(step / 1_000, 0.0)
    assert throttle.held_back > 0.9
    assert [throttle.passes(200.0) for _ in range(50)] == [True] * 50
