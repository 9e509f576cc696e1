"""May this agent do that now? The answer, and why: what a service asks before it acts.

- **ALLOW**: go on; the limits have been charged.
- **DENY**: do not; `retry_after_s` says when to ask again, if waiting alone can help.
- **ESCALATE**: the next tier may do it and this one may not: a person can approve it. Nothing was charged.
- **DEGRADE**: go on with the least that helps. Only in the degraded mode, which is off unless a person turned it on.

Looked at in this order, and the first that does not admit is the answer: the age of the view, the agent, its status,
its throttle, its capabilities, its limits. What is not known denies: an agent nobody told of, a view older than the
rules allow, limits that do not answer. So does all that this program did not foresee.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from connectors.gateway.capabilities import Capabilities, check_action
from connectors.gateway.gcra import Bucket
from connectors.gateway.limits import Admission, Bound, Demand, Limits, LimitsAway, LimitStore
from connectors.gateway.rules import Rules
from connectors.gateway.view import TIER_NAMES, Standing, View
from connectors.publisher import agent_key
from streams import ratelimit
from streams.policy_model import TIERS

log = logging.getLogger(__name__)

Clock = Callable[[], int]
"""Milliseconds since 1970."""


class Decision(StrEnum):
    """What a service is told."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    ESCALATE = "ESCALATE"
    DEGRADE = "DEGRADE"


class Reason(StrEnum):
    """Why; names that programs may go by."""

    ALLOWED = "allowed"
    VIEW_STALE = "view_stale"
    LIMITS_AWAY = "limits_away"
    UNKNOWN_AGENT = "unknown_agent"
    SUSPENDED = "suspended"
    RETIRED = "retired"
    THROTTLED = "throttled"
    UNKNOWN_ACTION = "unknown_action"
    TIER_TOO_LOW = "tier_too_low"
    BUCKET_EMPTY = "bucket_empty"
    PLAN_EXHAUSTED = "plan_exhausted"
    COST_TOO_HIGH = "cost_too_high"
    RUN_WAITS = "run_waits"
    QUEUE_FULL = "queue_full"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Question:
    """May `tenant`/`agent` take `action`, which costs so many requests, in a run of the caller's naming or in none?"""

    tenant: str
    agent: str
    action: str
    cost: int = 1
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. `limit` is the capacity of the limit `bound` with `remaining` requests left; times in seconds.

    `needs` is the tier that opens the action. What is not known is None.
    """

    decision: Decision
    reason: Reason
    told: str
    tier: str | None = None
    score: int | None = None
    needs: str | None = None
    bound: Bound | None = None
    limit: int | None = None
    remaining: int | None = None
    retry_after_s: float | None = None
    reset_s: float | None = None
    place: int | None = None


class Checker:
    """Answers questions from a view and a store of limits. `clock` gives ms since 1970."""

    def __init__(self, view: View, limits: LimitStore, rules: Rules, clock: Clock) -> None:
        self.view, self.rules = view, rules
        self._limits, self._clock = limits, clock
        self._capabilities = Capabilities(rules.capabilities)
        numbers, policy = ratelimit.compile_policy(view.policy)[0], view.policy.limits
        capacity = policy.capacity if policy.by_tier else (policy.flat_capacity,) * TIERS
        self._buckets = [Bucket(int(us), size) for us, size in zip(numbers["interval"], capacity, strict=True)]
        self._without_redis = Limits(rules.slots)

    async def check(self, question: Question) -> Verdict:
        """The answer. Raises ActionError and PublishError for names that are not written as such."""
        check_action(question.action)
        key = agent_key(question.tenant, question.agent)
        try:
            return await self._answer(key, question)
        except Exception:  # a fault of ours must not admit anybody, nor stop the next question
            log.exception("a check failed")
            return Verdict(Decision.DENY, Reason.FAULT, "the gateway met a fault of its own; its log says which")

    async def leave(self, tenant: str, agent: str, run: str) -> None:
        """A run has ended. Raises LimitsAway."""
        await self._without_redis.leave(tenant, agent, run)
        await self._limits.leave(tenant, agent, run)

    async def ping(self) -> None:
        """Returns when the limits answer. Raises LimitsAway."""
        await self._limits.ping()

    async def _answer(self, key: bytes, question: Question) -> Verdict:
        now = self._clock()
        standing = self.view.of(key, now)
        age = self.view.age_ms(now, None if standing is None else standing.partition)
        fresh = self.rules.freshness
        if age is not None and age <= fresh.oldest_s * 1000:
            return await self._judge(standing, question, now)
        stale = _deny(Reason.VIEW_STALE, _how_old(age))
        if fresh.degraded and age is not None and age <= fresh.degraded_oldest_s * 1000:
            return await self._degrade(standing, question, now, stale)
        return stale

    async def _judge(self, standing: Standing | None, question: Question, now: int) -> Verdict:
        refused = self._refused(standing, question, now)
        if refused is not None or standing is None:
            return refused or _unknown(question)
        try:
            return self._limited(standing, await self._limits.admit(self._demand(question, standing.tier)))
        except LimitsAway as error:
            log.error("%s", error)
            away = _deny(Reason.LIMITS_AWAY, "what the agent used of its limits cannot be looked up now", standing)
            return await self._degrade(standing, question, now, away) if self.rules.freshness.degraded else away

    def _refused(
        self, standing: Standing | None, question: Question, now: int, most: int = TIERS - 1
    ) -> Verdict | None:
        """Who is refused whatever the limits say; `most` is the highest tier that counts."""
        if standing is None:
            return _unknown(question)
        if standing.status in (Reason.SUSPENDED, Reason.RETIRED):
            return _deny(Reason(standing.status), f"the agent is {standing.status}", standing)
        if standing.throttled_until_us:
            wait = standing.throttled_until_us / 1e6 - now / 1e3
            return _deny(Reason.THROTTLED, "the agent went on asking for more than it may", standing, wait)
        return self._closed(standing, question.action, min(standing.tier, most))

    def _closed(self, standing: Standing, action: str, tier: int) -> Verdict | None:
        needs = self._capabilities.tier_for(action)
        if needs is None:
            return _deny(Reason.UNKNOWN_ACTION, "no tier opens this action", standing)
        if needs <= tier:
            return None
        decision = Decision.ESCALATE if needs == tier + 1 else Decision.DENY
        told = f"{TIER_NAMES[needs]} opens this action, the agent has {TIER_NAMES[tier]}"
        name, low = TIER_NAMES[standing.tier], Reason.TIER_TOO_LOW
        return Verdict(decision, low, told, name, standing.score, needs=TIER_NAMES[needs])

    async def _degrade(self, standing: Standing | None, question: Question, now: int, instead: Verdict) -> Verdict:
        """Little instead of nothing: low tiers' actions, by limits of this process; for all else, `instead`."""
        most = self.rules.freshness.degraded_tier
        if standing is None or self._refused(standing, question, now, most) is not None:
            return instead
        admitted = await self._without_redis.admit(self._demand(question, min(standing.tier, most)))
        verdict = self._limited(standing, admitted)
        if verdict.decision is not Decision.ALLOW:
            return verdict
        told = f"go on with the least that helps: {instead.told}"
        return _limits(Decision.DEGRADE, instead.reason, told, standing, admitted)

    def _demand(self, question: Question, tier: int) -> Demand:
        plan = self.rules.plan(question.tenant)
        return Demand(question.tenant, question.agent, self._buckets[tier], plan, question.cost, question.run)

    def _limited(self, standing: Standing, admitted: Admission) -> Verdict:
        if admitted.admitted:
            return _limits(Decision.ALLOW, Reason.ALLOWED, "within its tier and its limits", standing, admitted)
        reason, told = _BOUNDS[admitted.bound]
        if admitted.retry_after_us is None and admitted.bound in (Bound.BUCKET, Bound.PLAN):
            reason, told = Reason.COST_TOO_HIGH, f"the cost is more than the {admitted.bound} ever holds"
        return _limits(Decision.DENY, reason, told, standing, admitted)


_BOUNDS = {
    Bound.BUCKET: (Reason.BUCKET_EMPTY, "the agent asked for more than its tier may now"),
    Bound.PLAN: (Reason.PLAN_EXHAUSTED, "the tenant asked for more than its plan holds now"),
    Bound.RUNNING: (Reason.RUN_WAITS, "the agent has as many runs as it may: ask again to keep the place in line"),
    Bound.QUEUE: (Reason.QUEUE_FULL, "as many runs of the agent wait as may"),
}


def _limits(decision: Decision, reason: Reason, told: str, standing: Standing, admitted: Admission) -> Verdict:
    wait = None if admitted.retry_after_us is None else admitted.retry_after_us / 1e6
    limits = (admitted.bound, admitted.capacity, admitted.remaining, wait, admitted.reset_us / 1e6, admitted.place)
    return Verdict(decision, reason, told, TIER_NAMES[standing.tier], standing.score, None, *limits)


def _deny(reason: Reason, told: str, standing: Standing | None = None, wait_s: float | None = None) -> Verdict:
    tier, score = (None, None) if standing is None else (TIER_NAMES[standing.tier], standing.score)
    return Verdict(Decision.DENY, reason, told, tier, score, retry_after_s=wait_s)


def _unknown(question: Question) -> Verdict:
    return _deny(Reason.UNKNOWN_AGENT, f"no event of {question.tenant}/{question.agent} was decided yet")


def _how_old(age_ms: int | None) -> str:
    if age_ms is None:
        return "nothing is known yet of how old the view of the agents is: do workers run?"
    return f"the view of the agents is {age_ms / 1000:.0f} s old: do workers run, and is Kafka reached?"
