"""The gateway's limits: what an agent may ask for; the same in one process and in a Redis that gateways share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.gateway import gcra
from connectors.gateway.gcra import Bucket, Level
from connectors.gateway.limits import Admission, Bound, Demand, Limits, LimitsAway, LimitStore, Slots
from connectors.gateway.redis_limits import RedisLimits
from schemas.errors import CognistreamError
from schemas.event_types import EventType
from streams import ratelimit
from streams.policy import Policy
from streams.ratelimit import ALLOW

from .redis_server import RedisServer, redis_server
from .stages import T0, VERIFIED, Event, Fleet

SECOND = 1_000_000
START = T0 * 1000
NUMBERS = ratelimit.compile_policy(Policy())[0]
TIERS = [Bucket(int(NUMBERS["interval"][t]), int(Policy().limits.capacity[t])) for t in range(6)]
CORE, PRO, EXEC = Bucket.per_minute(100), Bucket.per_minute(1_000), Bucket.per_minute(10_000)
ASK = Demand("acme", "agent-7", TIERS[0], EXEC)
SLOTS = Slots(running=2, queue=3, lease_us=10 * SECOND, wait_us=5 * SECOND)


class Clock:
    """A time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Gate:
    """A store with the time it follows."""

    store: LimitStore
    clock: Clock

    async def ask(self, demand: Demand = ASK, times: int = 1) -> list[Admission]:
        return [await self.store.admit(demand) for _ in range(times)]

    async def one(self, demand: Demand = ASK) -> Admission:
        return await self.store.admit(demand)

    def after(self, us: int) -> Gate:
        self.clock.now += us
        return self


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["process", "redis"])
async def gate(request: pytest.FixtureRequest, redis: RedisServer, prefix: str) -> AsyncIterator[Gate]:
    """An empty store of either kind: every test holds for both."""
    clock = Clock()
    if request.param == "process":
        yield Gate(Limits(SLOTS, clock), clock)
        return
    async with RedisLimits(redis.url, SLOTS, prefix=prefix, clock=clock, answer_s=10) as store:
        yield Gate(store, clock)


@pytest.mark.parametrize("bucket", TIERS)
async def test_a_full_bucket_gives_its_capacity_at_once(gate: Gate, bucket: Bucket) -> None:
    told = await gate.ask(replace(ASK, bucket=bucket), bucket.capacity + 1)
    assert [one.admitted for one in told] == [True] * bucket.capacity + [False]
    assert [one.remaining for one in told] == [*range(bucket.capacity - 1, -1, -1), 0]
    assert {(one.bound, one.capacity) for one in told} == {(Bound.BUCKET, bucket.capacity)}


@pytest.mark.parametrize("bucket", TIERS)
async def test_waiting_as_told_is_enough_and_less_is_not(gate: Gate, bucket: Bucket) -> None:
    ask = replace(ASK, bucket=bucket)
    refused = (await gate.ask(ask, bucket.capacity + 1))[-1]
    assert refused.retry_after_us == bucket.interval_us
    assert not (await gate.after(bucket.interval_us - 1).one(ask)).admitted
    assert (await gate.after(1).one(ask)).admitted
    assert not (await gate.one(ask)).admitted


async def test_a_cost_is_as_many_requests_at_once(gate: Gate) -> None:
    ask = replace(ASK, bucket=TIERS[2])
    assert (await gate.one(replace(ask, cost=7))).remaining == 3
    refused = await gate.one(replace(ask, cost=5))
    assert (refused.admitted, refused.remaining, refused.retry_after_us) == (False, 3, 2 * TIERS[2].interval_us)
    assert (await gate.one(replace(ask, cost=3))).admitted


async def test_a_cost_that_no_full_bucket_holds_is_not_helped_by_waiting(gate: Gate) -> None:
    refused = await gate.one(replace(ASK, cost=3))
    assert (refused.admitted, refused.bound, refused.retry_after_us, refused.remaining) == (
        False,
        Bound.BUCKET,
        None,
        2,
    )


async def test_reset_is_when_the_bucket_is_full(gate: Gate) -> None:
    assert [one.reset_us for one in await gate.ask(times=2)] == [SECOND, 2 * SECOND]
    assert (await gate.after(5 * SECOND).one()).reset_us == SECOND


async def test_agents_have_buckets_of_their_own_and_share_their_tenants_plan(gate: Gate) -> None:
    asks = [Demand("acme", f"agent-{number}", TIERS[5], CORE) for number in range(3)]
    admitted = [(await gate.one(ask)).admitted for ask in asks for _ in range(40)]
    assert admitted == [True] * 100 + [False] * 20
    refused = await gate.one(asks[0])
    assert (refused.bound, refused.capacity, refused.retry_after_us) == (Bound.PLAN, 100, 600_000)
    assert (await gate.one(replace(asks[0], tenant="other"))).admitted


async def test_who_is_refused_by_one_bucket_is_not_charged_by_the_other(gate: Gate) -> None:
    plan = Bucket(10 * SECOND, 3)
    told = await gate.ask(replace(ASK, plan=plan), times=50)
    assert [one.bound for one in told if not one.admitted] == [Bound.BUCKET] * 48
    other = replace(ASK, agent="other", plan=plan)
    assert [(one.admitted, one.bound) for one in await gate.ask(other, 2)] == [(True, Bound.PLAN), (False, Bound.PLAN)]
    assert (await gate.one(replace(other, plan=EXEC))).remaining == 0


async def test_of_an_admitted_request_the_limit_with_less_left_is_told(gate: Gate) -> None:
    told = await gate.one(replace(ASK, bucket=TIERS[5], plan=Bucket(600_000, 5)))
    assert (told.bound, told.capacity, told.remaining) == (Bound.PLAN, 5, 4)


async def test_a_change_of_tier_turns_what_is_owed_to_the_new_speed(gate: Gate) -> None:
    await gate.ask(replace(ASK, bucket=TIERS[1]), 5)
    told = await gate.one(replace(ASK, bucket=TIERS[4]))
    assert told.reset_us == 6 * TIERS[4].interval_us


async def test_debts_beyond_what_a_product_of_doubles_holds_are_turned_exactly(gate: Gate) -> None:
    slow, odd = Bucket(9_999_991, 10_000), Bucket(9_999_973, 10_000)
    plan = Bucket(1, 100_000)
    told = await gate.one(replace(ASK, bucket=slow, plan=plan, cost=9_998))
    owed = told.reset_us - 1_234_567
    told = await gate.after(1_234_567).one(replace(ASK, bucket=odd, plan=plan))
    assert told.reset_us == owed * odd.interval_us // slow.interval_us + odd.interval_us


async def test_only_so_many_runs_of_an_agent_go_on_at_once_and_the_others_wait_in_turn(gate: Gate) -> None:
    ask = replace(ASK, bucket=TIERS[5])
    told = [await gate.one(replace(ask, run=f"run-{number}")) for number in range(6)]
    assert [one.admitted for one in told] == [True, True, False, False, False, False]
    assert [one.bound for one in told[2:]] == [Bound.RUNNING] * 3 + [Bound.QUEUE]
    assert [one.place for one in told[2:]] == [0, 1, 2, None]
    await gate.store.leave("acme", "agent-7", "run-0")
    assert (await gate.one(replace(ask, run="run-4"))).place == 2
    assert (await gate.one(replace(ask, run="run-5"))).bound == Bound.QUEUE
    assert (await gate.one(replace(ask, run="run-2"))).admitted
    assert (await gate.one(replace(ask, run="run-3"))).place == 0
    assert (await gate.one(replace(ask, run="run-5"))).place == 2


async def test_a_run_that_goes_on_may_ask_again_and_pays_each_time(gate: Gate) -> None:
    asks = [await gate.one(replace(ASK, run="run-1")) for _ in range(3)]
    assert [one.admitted for one in asks] == [True, True, False]
    assert asks[-1].bound == Bound.BUCKET


async def test_a_wait_costs_nothing(gate: Gate) -> None:
    ask = replace(ASK, bucket=TIERS[1])
    for run in ("a", "b"):
        await gate.one(replace(ask, run=run))
    for _ in range(20):
        assert (await gate.one(replace(ask, run="c"))).bound == Bound.RUNNING
    assert (await gate.one(ask)).remaining == 2


async def test_a_run_whose_turn_has_come_keeps_its_place_while_the_bucket_is_empty(gate: Gate) -> None:
    for run in ("a", "b", "c"):
        await gate.one(replace(ASK, run=run))
    await gate.store.leave("acme", "agent-7", "a")
    assert (await gate.one(replace(ASK, run="c"))).bound == Bound.BUCKET
    assert (await gate.one(replace(ASK, run="d"))).place == 1
    assert (await gate.after(SECOND).one(replace(ASK, run="c"))).admitted


async def test_a_caller_that_died_holds_nothing_for_ever(gate: Gate) -> None:
    ask = replace(ASK, bucket=TIERS[5])
    for run in ("a", "b", "c", "d"):
        await gate.one(replace(ask, run=run))
    assert (await gate.after(SLOTS.wait_us - 1).one(replace(ask, run="d"))).place == 1
    assert (await gate.after(1).one(replace(ask, run="d"))).place == 0
    gate.after(SLOTS.lease_us)
    assert [(await gate.one(replace(ask, run=run))).admitted for run in ("e", "f", "g")] == [True, True, False]


async def test_leaving_what_is_not_known_changes_nothing(gate: Gate) -> None:
    await gate.store.leave("acme", "nobody", "run-1")
    assert (await gate.one()).admitted


async def test_names_with_colons_and_braces_are_agents_of_their_own(gate: Gate) -> None:
    names = ("a", "a:bucket", "a:running", "{acme}", "plan", "é/😀")
    for name in names:
        told = await gate.ask(replace(ASK, agent=name, run="r"), 3)
        assert [one.admitted for one in told] == [True, True, False]


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[int, Any]]:
    """Gaps in us, each with a demand or with a run to leave."""
    ask = st.builds(
        Demand,
        st.just("acme"),
        st.sampled_from(("a", "b")),
        st.sampled_from([*TIERS, Bucket(333_333, 3), Bucket(9_999_991, 4)]),
        st.sampled_from([Bucket(600_000, 8), CORE]),
        st.integers(1, 4),
        st.sampled_from([None, None, *"rstuvwx"]),
    )
    left = st.tuples(st.sampled_from(("a", "b")), st.sampled_from("rstuvwx"))
    return draw(st.lists(st.tuples(st.integers(0, 3 * SECOND), ask | left), max_size=40))


@given(steps())
@settings(max_examples=150, deadline=None)
def test_a_process_and_a_redis_give_the_same_answers(redis: RedisServer, history: list[tuple[int, Any]]) -> None:
    async def both() -> None:
        clock = Clock()
        async with RedisLimits(redis.url, SLOTS, prefix=uuid.uuid4().hex, clock=clock, answer_s=10) as shared:
            own = Limits(SLOTS, clock)
            for gap, what in history:
                clock.now += gap
                if isinstance(what, Demand):
                    assert await own.admit(what) == await shared.admit(what)
                else:
                    await own.leave("acme", *what)
                    await shared.leave("acme", *what)

    asyncio.run(both())


@given(st.integers(0, 5), st.lists(st.integers(0, 3_000), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_gateway_and_the_stream_keep_to_one_rule(tier: int, gaps: list[int]) -> None:
    """Compared up to the third denial: from there on the stream throttles, which the gateway reads from it."""
    fleet, bucket = Fleet(plain=True), TIERS[tier]
    fleet.decide(Event(EventType.AGENT_REGISTERED, T0, observability=VERIFIED))
    fleet.trust[0].points = fleet.trust[0].told = int(Policy().trust.tiers.lower[tier] * 1000)
    at = [T0 + sum(gaps[:i]) for i in range(1, len(gaps) + 1)]
    decided = fleet.decide(Event(EventType.POLICY_EVALUATED, T0), *(Event(EventType.REQUEST_SUBMITTED, t) for t in at))
    level, denied = None, 0
    for i, when in enumerate(at, 1):
        now = when * 1000
        tat = gcra.at(level, bucket, now)
        admitted = gcra.slack(tat, bucket, 1, now) >= 0
        assert admitted == (decided.decision[i] == ALLOW)
        denied += not admitted
        if denied == 3:
            return
        tat = gcra.taken(tat, bucket, 1, now) if admitted else tat
        level = Level(tat, bucket.interval_us)
        assert gcra.remaining(tat, bucket, now) == decided.remaining[i]


async def test_several_gateways_admit_no_more_than_one_together(redis: RedisServer, prefix: str) -> None:
    """By the server's clock; the interval is so long that nothing is earned meanwhile."""
    ask = replace(ASK, bucket=Bucket(3_600 * SECOND, 50))
    gateways = [RedisLimits(redis.url, prefix=prefix, answer_s=30) for _ in range(4)]
    told = await asyncio.gather(*(gateway.admit(ask) for gateway in gateways for _ in range(25)))
    for gateway in gateways:
        await gateway.aclose()
    assert sum(one.admitted for one in told) == 50


async def test_a_redis_that_went_away_is_said_to_be_away_and_found_again(redis: RedisServer, prefix: str) -> None:
    async with RedisLimits(redis.url, prefix=prefix, answer_s=5) as store:
        assert (await store.admit(ASK)).admitted
        redis.stop()
        with pytest.raises(LimitsAway, match="Redis of the limits does not answer"):
            await store.admit(ASK)
        with pytest.raises(LimitsAway):
            await store.ping()
        with pytest.raises(LimitsAway):
            await store.leave("acme", "agent-7", "run-1")
        redis.start()
        await store.ping()
        assert (await store.admit(ASK)).admitted


async def test_a_process_forgets_full_buckets_and_agents_without_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.gateway.limits.SWEEP", 10)
    clock = Clock()
    limits = Limits(SLOTS, clock)
    for number in range(500):
        clock.now += 20 * SECOND
        assert (await limits.admit(replace(ASK, agent=f"agent-{number}", run="r"))).admitted
    assert len(limits._levels) + len(limits._runs) < 20


@pytest.mark.parametrize("url", ["http://:hush@127.0.0.1", "redis://:hush@127.0.0.1:hush", "nonsense-hush"])
def test_an_address_that_is_none_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(CognistreamError, match="REDIS_URL is no address of a Redis") as refused:
        RedisLimits(url)
    assert "hush" not in str(refused.value)
