"""May this agent do that now? Every answer with its reason, and that nothing unknown ever admits."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.demo.processes import free_port
from connectors.gateway.capabilities import DEFAULT, ActionError
from connectors.gateway.checking import Checker, Decision, Question, Reason, Verdict
from connectors.gateway.limits import Admission, Bound, Demand, Limits, LimitsAway, LimitStore
from connectors.gateway.redis_limits import RedisLimits
from connectors.gateway.rules import Rules, RulesError
from connectors.gateway.view import View
from connectors.publisher import PublishError
from streams.policy import Policy

from .test_gateway_view import KEY, NOW, VERSION, decision, level

SECOND, DAY = 1_000, 86_400_000
ACTIONS = ("sandbox:run", "data:read/public", "data:read/internal", "data:read/sensitive", "financial:pay",
           "admin:write/x", "root:shell")  # fmt: skip
DEGRADED = Rules.parse("[freshness]\ndegraded = true")


class Away:
    """Limits that do not answer, or worse."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def admit(self, _: Demand) -> Admission:
        raise self._error

    async def leave(self, *_: str) -> None:
        raise self._error

    async def ping(self) -> None:
        raise self._error


def checker(
    *, age_s: int | None = 1, rules: Rules | None = None, limits: LimitStore | None = None, **told: Any
) -> Checker:
    """One agent, acme/agent-7, of the level that is told, at NOW."""
    view = View(1, Policy())
    view.take_level(KEY, 0, level(**told))
    if age_s is not None:
        view.take_tick(0, NOW - age_s * SECOND, VERSION)
    rules = rules or Rules()
    return Checker(view, limits or Limits(rules.slots, lambda: NOW * 1000), rules, lambda: NOW)


async def ask(asked: Checker, action: str = "data:read/internal", agent: str = "agent-7", **more: Any) -> Verdict:
    return await asked.check(Question("acme", agent, action, **more))


async def test_what_the_tier_opens_is_allowed_and_the_answer_says_what_is_left() -> None:
    told = await ask(checker(points=600_000, tier="T3"))
    assert (told.decision, told.reason, told.tier, told.score) == (Decision.ALLOW, Reason.ALLOWED, "T3", 600)
    assert (told.bound, told.limit, told.remaining, told.retry_after_s, told.reset_s) == (Bound.BUCKET, 20, 19, 0, 0.1)


@pytest.mark.parametrize(
    ("action", "expected", "needs"),
    [
        ("data:read/internal", Decision.ALLOW, None),
        ("data:read/sensitive", Decision.ESCALATE, "T3"),
        ("financial:pay", Decision.DENY, "T4"),
        ("root:shell", Decision.DENY, None),
    ],
)
async def test_a_person_may_approve_what_the_next_tier_opens_and_no_more(
    action: str, expected: Decision, needs: str | None
) -> None:
    told = await ask(checker(points=400_000, tier="T2"), action)
    assert (told.decision, told.needs) == (expected, needs)


async def test_what_was_escalated_or_denied_was_not_charged() -> None:
    asked = checker(points=50_000, tier="T0")
    for action in ("data:read/public", "admin:write/x", "root:shell"):
        for _ in range(10):
            await ask(asked, action)
    assert (await ask(asked, "sandbox:run")).remaining == 1


async def test_the_tier_of_half_a_year_ago_admits_nobody() -> None:
    told = await ask(checker(points=800_000, tier="T4", last=NOW - 182 * DAY), "financial:pay")
    assert (told.decision, told.score, told.tier) == (Decision.DENY, 400, "T2")


@pytest.mark.parametrize("status", ["suspended", "retired"])
async def test_who_is_suspended_or_retired_is_denied_everything(status: str) -> None:
    told = await ask(checker(points=1_000_000, tier="T5", status=status), "sandbox:run")
    assert (told.decision, told.reason, told.retry_after_s) == (Decision.DENY, Reason(status), None)


async def test_who_was_never_registered_gets_the_sandbox() -> None:
    asked = checker(points=0, tier="T0", status="unregistered")
    assert (await ask(asked, "sandbox:run")).decision is Decision.ALLOW
    assert (await ask(asked, "data:read/public")).decision is Decision.ESCALATE


async def test_a_throttle_of_the_stream_is_kept_to_its_end() -> None:
    asked = checker()
    asked.view.take_decision(KEY, NOW - 1, decision("throttle", 20_000_000, limit="throttle"))
    told = await ask(asked)
    assert (told.decision, told.reason, told.retry_after_s) == (Decision.DENY, Reason.THROTTLED, pytest.approx(19.999))


async def test_nobody_told_of_an_agent_and_it_is_denied() -> None:
    told = await ask(checker(), agent="nobody")
    assert (told.decision, told.reason) == (Decision.DENY, Reason.UNKNOWN_AGENT)


@pytest.mark.parametrize(
    ("age", "expected"), [(0, Decision.ALLOW), (15, Decision.ALLOW), (16, Decision.DENY), (None, Decision.DENY)]
)
async def test_an_old_view_admits_nobody_and_says_so(age: int | None, expected: Decision) -> None:
    told = await ask(checker(age_s=age))
    assert told.decision is expected
    if expected is Decision.DENY:
        assert told.reason is Reason.VIEW_STALE
        assert "do workers run" in told.told


async def test_an_unknown_agent_is_not_called_so_by_an_old_view() -> None:
    assert (await ask(checker(age_s=16), agent="nobody")).reason is Reason.VIEW_STALE


async def test_a_redis_that_is_away_admits_nobody_and_says_so() -> None:
    async with RedisLimits(f"redis://127.0.0.1:{free_port()}") as nowhere:
        told = await ask(checker(limits=nowhere))
    assert (told.decision, told.reason, told.tier) == (Decision.DENY, Reason.LIMITS_AWAY, "T3")
    assert "127.0.0.1" not in told.told


async def test_a_fault_of_ours_admits_nobody() -> None:
    told = await ask(checker(limits=Away(ZeroDivisionError("by zero"))))
    assert (told.decision, told.reason) == (Decision.DENY, Reason.FAULT)
    assert "zero" not in told.told


@pytest.mark.parametrize(("cost", "reason", "wait"), [(20, Reason.ALLOWED, 0), (21, Reason.COST_TOO_HIGH, None)])
async def test_a_cost_beyond_the_bucket_is_not_helped_by_waiting(cost: int, reason: Reason, wait: float | None) -> None:
    told = await ask(checker(), cost=cost)
    assert (told.reason, told.retry_after_s) == (reason, wait)


async def test_an_empty_bucket_and_an_exhausted_plan_say_when_to_ask_again() -> None:
    asked = checker(points=1_000_000, tier="T5", rules=Rules.parse('[plans]\ntenants = {acme = "core"}'))
    assert (await ask(asked, cost=100)).decision is Decision.ALLOW
    told = await ask(asked)
    assert (told.reason, told.bound, told.retry_after_s) == (Reason.BUCKET_EMPTY, Bound.BUCKET, 0.02)
    asked = checker(rules=Rules.parse('[plans]\ndefault = "small"\nper_minute = {small = 6}'))
    for _ in range(6):
        assert (await ask(asked)).decision is Decision.ALLOW
    told = await ask(asked)
    assert (told.reason, told.bound, told.limit, told.retry_after_s) == (Reason.PLAN_EXHAUSTED, Bound.PLAN, 6, 10)


async def test_ten_runs_go_on_a_hundred_wait_and_one_more_is_sent_away() -> None:
    asked = checker(points=1_000_000, tier="T5")
    told = [await ask(asked, run=f"run-{number}") for number in range(111)]
    assert [one.reason for one in told] == [Reason.ALLOWED] * 10 + [Reason.RUN_WAITS] * 100 + [Reason.QUEUE_FULL]
    assert [one.place for one in told[10:110]] == list(range(100))
    await asked.leave("acme", "agent-7", "run-3")
    assert (await ask(asked, run="run-10")).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("age", "action", "expected"),
    [
        (16, "data:read/public", Decision.DEGRADE),
        (300, "sandbox:run", Decision.DEGRADE),
        (16, "data:read/internal", Decision.DENY),
        (301, "sandbox:run", Decision.DENY),
        (None, "sandbox:run", Decision.DENY),
    ],
)
async def test_in_the_degraded_mode_an_old_view_admits_little(age: int | None, action: str, expected: Decision) -> None:
    told = await ask(checker(age_s=age, rules=DEGRADED), action)
    assert (told.decision, told.reason) == (expected, Reason.VIEW_STALE)


async def test_in_the_degraded_mode_limits_that_are_away_are_those_of_a_low_tier() -> None:
    asked = checker(rules=DEGRADED, limits=Away(LimitsAway("away")))
    told = [await ask(asked, "data:read/public") for _ in range(6)]
    assert [one.decision for one in told] == [Decision.DEGRADE] * 5 + [Decision.DENY]
    assert [one.reason for one in told[4:]] == [Reason.LIMITS_AWAY, Reason.BUCKET_EMPTY]
    assert (await ask(asked, "data:read/sensitive")).decision is Decision.DENY


@pytest.mark.parametrize("status", ["suspended", "retired"])
async def test_the_degraded_mode_pardons_nobody(status: str) -> None:
    told = await ask(checker(age_s=20, rules=DEGRADED, status=status), "sandbox:run")
    assert told.decision is Decision.DENY


async def test_names_that_are_none_are_refused_before_anything_is_looked_up() -> None:
    with pytest.raises(ActionError):
        await ask(checker(), "Data:Read")
    with pytest.raises(PublishError):
        await checker().check(Question("Acme", "agent-7", "sandbox:run"))


@given(
    age=st.none() | st.integers(0, 400),
    points=st.integers(0, 1_000_000),
    tier=st.integers(0, 5),
    idle=st.integers(0, 400 * DAY),
    status=st.sampled_from(("active", "unregistered", "suspended", "retired")),
    throttle=st.booleans(),
    action=st.sampled_from(ACTIONS),
    degraded=st.booleans(),
    limits=st.sampled_from((None, Away(LimitsAway("away")), Away(KeyError("x")))),
)
def test_only_what_is_known_fresh_open_and_free_is_allowed(
    age: int | None, points: int, tier: int, idle: int, status: str, throttle: bool, action: str, degraded: bool,
    limits: LimitStore | None,
) -> None:  # fmt: skip
    rules = DEGRADED if degraded else Rules()
    asked = checker(
        age_s=age, points=points, tier=f"T{tier}", last=NOW - idle, status=status, rules=rules, limits=limits
    )
    if throttle:
        asked.view.take_decision(KEY, NOW - 1, decision("throttle", 20_000_000, limit="throttle"))
    told = asyncio.run(ask(asked, action))
    needs = ACTIONS.index(action)
    free = status in ("active", "unregistered") and not throttle
    in_force = asked.view.of(KEY, NOW).tier  # type: ignore[union-attr]
    if told.decision is Decision.ALLOW:
        assert limits is None
        assert free
        assert needs <= in_force <= tier
        assert age is not None
        assert age <= 15
    if told.decision is Decision.DEGRADE:
        assert degraded
        assert free
        assert needs <= min(1, in_force)
        assert age is not None
        assert age <= 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[runs]\nat_one = 3", "rules:2: runs.at_one: there is no such field; did you mean at_once?"),
        ('[plans]\ndefault = "gold"', "there is no plan 'gold'; there are: core, pro, exec"),
        ('capabilities = [["*"], [], [], [], [], []]', "'*' is no capability"),
        ("[freshness]\noldest_s = 0", "rules:2: freshness.oldest_s"),
        ("nonsense", "rules: not TOML"),
    ],
)
def test_rules_with_a_mistake_are_refused_with_line_and_field(text: str, said: str) -> None:
    with pytest.raises(RulesError) as refused:
        Rules.parse(text)
    assert said in str(refused.value)


def test_the_rules_of_a_tenant_are_its_plan() -> None:
    rules = Rules.parse('[plans]\ntenants = {acme = "pro", big = "exec"}')
    assert [rules.plan(tenant).capacity for tenant in ("acme", "big", "else")] == [1_000, 10_000, 100]


def test_the_page_shows_the_default_rules_and_the_default_table() -> None:
    page = (Path(__file__).parents[1] / "docs" / "gateway.md").read_text()
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    rules, default = Rules.parse(shown), Rules()
    assert (rules.runs, rules.freshness, rules.plans.per_minute) == (
        default.runs, default.freshness, default.plans.per_minute,
    )  # fmt: skip
    for tier, opens in enumerate(DEFAULT):
        assert f"| T{tier} | {', '.join(f'`{name}`' for name in opens)} |" in page
    assert all(f"`{reason}`" in page for reason in Reason if reason is not Reason.ALLOWED)
