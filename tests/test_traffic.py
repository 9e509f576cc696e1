"""Invented traffic: the same for the same seed, popular as Zipf says, every character true to its description."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from connectors.traffic.characters import CHARACTERS, DAY_MS, cast, compile_mixes
from connectors.traffic.fill import MONDAY
from connectors.traffic.flaws import Flaws
from connectors.traffic.generator import ZIPF, Generator
from connectors.traffic.rhythm import WEEK_MS, Incidents, Rhythm
from connectors.traffic.scenarios import NAMES, SCENARIOS, compile_steps
from connectors.traffic.stretch import SOURCES, Part, Stretch, index_of, symbols_of
from schemas.columns import Longs

AGENTS = 400


def taken(generator: Generator, blocks: int) -> list[Stretch]:
    return list(islice(generator.stretches(), blocks))


@pytest.fixture(scope="module")
def month() -> tuple[Generator, list[Stretch]]:
    """Some 30 days of 400 agents: 500,000 events."""
    generator = Generator(seed=7, agents=AGENTS)
    return generator, taken(generator, 30)


def parts(stretches: list[Stretch], topic: str) -> Iterator[Part]:
    return (stretch.parts[SOURCES.index(topic)] for stretch in stretches)


def counted(generator: Generator, stretches: list[Stretch], topic: str, event: str) -> Longs:
    """How often each agent has an event of a type."""
    index = index_of(topic, "event_type", event)
    agents = [part.agent[part.frame["event_type"] == index] for part in parts(stretches, topic)]
    return np.bincount(np.concatenate(agents), minlength=len(generator.fleet))


def by_character(generator: Generator, counts: Longs) -> dict[str, float]:
    return {one.name: float(counts[generator.character == i].sum()) for i, one in enumerate(CHARACTERS)}


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (taken(Generator(seed=3, agents=50), 3) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert (one.first, one.n) == (two.first, two.n)
        for left, right in zip(one.parts, two.parts, strict=True):
            assert left.frame.matrix.tobytes() == right.frame.matrix.tobytes()
            assert left.frame.aux.tobytes() == right.frame.aux.tobytes()
            assert left.frame.buf.tobytes() == right.frame.buf.tobytes()
            assert left.ts.tobytes() == right.ts.tobytes()


def test_another_seed_gives_another_fleet_history() -> None:
    one, two = (taken(Generator(seed=seed, agents=50), 1)[0] for seed in (1, 2))
    assert one.parts[0].ts.tobytes() != two.parts[0].ts.tobytes()


def test_events_are_in_time_order_and_numbered_without_gaps(month: tuple[Generator, list[Stretch]]) -> None:
    expected, last = 0, MONDAY
    for stretch in month[1]:
        assert stretch.first == expected
        times = np.empty(stretch.n, np.int64)
        for part in stretch.parts:
            times[part.place] = part.ts
        assert (np.diff(times, prepend=last) >= 0).all()
        expected, last = expected + stretch.n, int(times[-1])


def test_event_ids_never_repeat(month: tuple[Generator, list[Stretch]]) -> None:
    ids = [part.frame.bytes("event_id", i) for s in month[1][:3] for part in s.parts for i in range(part.frame.n)]
    assert len(set(ids)) == len(ids)


def test_key_and_fields_name_the_same_agent(month: tuple[Generator, list[Stretch]]) -> None:
    generator, stretches = month
    for part in stretches[0].parts:
        for i in range(0, part.frame.n, 97):
            tenant, agent = part.frame.bytes("tenant_id", i), part.frame.bytes("agent_id", i)
            assert generator.fleet.key(int(part.agent[i])) == (tenant or b"") + b"/" + (agent or b"")


def test_every_event_type_happens_in_a_scenario() -> None:
    steps = compile_steps()
    for number, topic in enumerate(SOURCES):
        types = set(steps.event[steps.source == number].tolist())
        assert types == set(range(1, len(symbols_of(topic, "event_type")))), topic


def test_every_scenario_is_somebodys() -> None:
    assert {name for one in CHARACTERS for name in (*one.mix, *one.other)} == set(SCENARIOS)


def test_popularity_follows_zipf() -> None:
    generator = Generator(seed=5, agents=2000)
    agents = np.concatenate([part.agent for s in taken(generator, 20) for part in s.parts])
    counts = np.bincount(agents, minlength=2000)
    steady = np.flatnonzero(generator.character == [one.name for one in CHARACTERS].index("steady"))[:200]
    slope = np.polyfit(np.log(steady + 1), np.log(counts[steady]), 1)[0]
    assert slope == pytest.approx(-ZIPF, abs=0.08)


def test_every_hand_of_25_agents_holds_each_character_by_its_share() -> None:
    characters = cast(100, np.random.default_rng(1)).reshape(4, 25)
    for hand in characters:
        assert [int((hand == i).sum()) for i in range(len(CHARACTERS))] == [one.share for one in CHARACTERS]


def test_draws_fit_the_mixes() -> None:
    mixes, rng = compile_mixes(), np.random.default_rng(1)
    for number, one in enumerate(CHARACTERS):
        drawn = mixes.draw(np.full(50_000, 2 * number), rng.random(50_000))
        found = np.bincount(drawn, minlength=len(NAMES)) / 50_000
        total = sum(one.mix.values())
        assert found == pytest.approx([one.mix.get(name, 0.0) / total for name in NAMES], abs=0.012)


def test_failing_agents_fail_more_than_one_time_in_ten_and_steady_ones_far_less(
    month: tuple[Generator, list[Stretch]],
) -> None:
    failed = by_character(month[0], counted(*month, "kaizen.events", "execution.failed"))
    done = by_character(month[0], counted(*month, "kaizen.events", "execution.completed"))
    assert failed["failing"] / (failed["failing"] + done["failing"]) > 0.2
    assert failed["steady"] / (failed["steady"] + done["steady"]) < 0.08


def test_bursty_agents_declare_intents_faster_than_any_tier_refills(month: tuple[Generator, list[Stretch]]) -> None:
    generator, stretches = month
    bursty = [one.name for one in CHARACTERS].index("bursty")
    index = index_of("kaizen.events", "event_type", "intent.declared")
    most = {True: 0, False: 0}
    for part in parts(stretches[:8], "kaizen.events"):
        intent = part.frame["event_type"] == index
        for agent in np.unique(part.agent[intent]):
            seconds = part.ts[intent & (part.agent == agent)] // 2000
            is_bursty = bool(generator.character[agent] == bursty)
            most[is_bursty] = max(most[is_bursty], int(np.unique(seconds, return_counts=True)[1].max()))
    assert most[True] > 10


def test_attackers_attack_only_in_their_phase(month: tuple[Generator, list[Stretch]]) -> None:
    generator, stretches = month
    hurt = by_character(generator, counted(generator, stretches, "kaizen.events", "security.violation"))
    assert hurt["steady"] == hurt["bursty"] == hurt["idle"] == 0
    attacker = [one.name for one in CHARACTERS].index("on-off attacker")
    worst = int(np.flatnonzero(generator.character == attacker)[0])
    index = index_of("kaizen.events", "event_type", "security.violation")
    times = np.concatenate(
        [part.ts[(part.agent == worst) & (part.frame["event_type"] == index)] for part in parts(stretches, SOURCES[0])]
    )
    days = np.unique((times - MONDAY) // DAY_MS)
    whole = np.arange(days[0], days[-1] + 1)
    assert 1 < len(days) < 0.7 * len(whole), "there are days of rest between days of attack"


def test_whitewashers_register_again_and_nobody_else(month: tuple[Generator, list[Stretch]]) -> None:
    generator, stretches = month
    registered = counted(generator, stretches, "agentanchor.events", "agent.registered")
    whitewasher = [one.name for one in CHARACTERS].index("whitewasher")
    assert registered[generator.character != whitewasher].max() == 1
    assert registered[generator.character == whitewasher].max() > 3


def test_others_register_before_anything_else(month: tuple[Generator, list[Stretch]]) -> None:
    generator, stretches = month
    seen = {i for i in range(AGENTS) if not compile_mixes().registers[generator.character[i]]}
    index = index_of("agentanchor.events", "event_type", "agent.registered")
    for stretch in stretches[:4]:
        first: dict[int, tuple[int, int, int]] = {}
        for number, part in enumerate(stretch.parts):
            for agent, kind, place in zip(part.agent, part.frame["event_type"], part.place, strict=True):
                if agent not in first or place < first[agent][0]:
                    first[agent] = (place, number, int(kind))
        for agent in set(first) - seen:
            assert first[agent][1:] == (SOURCES.index("agentanchor.events"), index)
        seen |= set(first)


def test_idle_agents_are_silent_for_more_than_a_week(month: tuple[Generator, list[Stretch]]) -> None:
    generator, stretches = month
    idle = [one.name for one in CHARACTERS].index("idle")
    busiest = int(np.flatnonzero(generator.character == idle)[0])
    times = np.sort(np.concatenate([p.ts[p.agent == busiest] for s in stretches for p in s.parts]))
    assert np.diff(times).max() > 7 * DAY_MS


def test_days_are_busier_than_nights_and_weekends_quieter() -> None:
    times = Rhythm().calendar(np.arange(0, WEEK_MS * 2, WEEK_MS / 20_000))
    assert (np.diff(times) >= 0).all()
    assert times[20_000] == pytest.approx(WEEK_MS)
    day, hour = (times // DAY_MS).astype(int) % 7, (times // 3_600_000).astype(int) % 24
    assert (hour == 13).sum() > 4 * (hour == 3).sum()
    assert (day == 2).sum() > 2 * (day == 6).sum()


def test_an_incident_makes_the_agents_of_one_model_fail_together(month: tuple[Generator, list[Stretch]]) -> None:
    steps = {name: index_of(SOURCES[0], "event_type", f"execution.{name}") for name in ("completed", "failed")}
    rates: dict[tuple[int, int], list[int]] = {}
    for part in parts(month[1], SOURCES[0]):
        event, model = part.frame["event_type"], part.frame["model"]
        ended = (event == steps["completed"]) | (event == steps["failed"])
        for hour, word, failed in zip(
            part.ts[ended] // 3_600_000, model[ended], event[ended] == steps["failed"], strict=True
        ):
            tally = rates.setdefault((int(hour), int(word)), [0, 0])
            tally[int(failed)] += 1
    shares = sorted(bad / (good + bad) for good, bad in rates.values() if good + bad > 50)
    assert shares[len(shares) // 2] < 0.15
    assert shares[-1] > 0.4


def test_incidents_hold_one_model_at_a_time() -> None:
    incidents = Incidents.drawn(np.random.default_rng(1), 5)
    inside = (incidents.start + incidents.end) // 2
    assert incidents.hold(inside, incidents.model).all()
    assert not incidents.hold(inside, (incidents.model + 1) % 5).any()
    assert not incidents.hold(incidents.end, incidents.model).any()


def test_flaws_are_chosen_by_seed_and_in_their_share() -> None:
    numbers = np.arange(200_000)
    flaws = Flaws(repeats=0.01, poison=0.002, seed=4)
    assert (flaws.copies(numbers) == Flaws(0.01, 0.002, 4).copies(numbers)).all()
    assert flaws.copies(numbers).mean() == pytest.approx(1.01, abs=0.001)
    assert flaws.spoiled(numbers).mean() == pytest.approx(0.002, abs=0.0005)
    assert not Flaws(0.0, 0.0).spoiled(numbers).any()
