"""What travels over HTTP, typed once at the edge: requests that are refused when they say more or other than this."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

from connectors.gateway.capabilities import ACTION, LONGEST_ACTION
from connectors.gateway.checking import Decision, Question, Reason, Verdict
from connectors.gateway.limits import Bound
from connectors.gateway.view import TIER_NAMES, Standing

AGENT: str = r"^[a-z0-9-]{1,64}/[^\x00-\x1f\x7f-\x9f]{1,128}$"
Agent = Annotated[str, Field(pattern=AGENT, description="tenant/agent, as in the key of its events")]
Run = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,128}$", description="a run of the caller's naming")]


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Tier = Literal["T0", "T1", "T2", "T3", "T4", "T5"]


class CheckRequest(BaseModel):
    """May this agent take this action now?"""

    model_config = ConfigDict(strict=True, extra="forbid")

    agent: Agent
    action: str = Field(
        min_length=1,
        max_length=LONGEST_ACTION,
        description="domain:verb or domain:verb/scope",
        examples=["comm:internal/chat"],
        json_schema_extra={"pattern": f"^{ACTION}$"},
    )
    cost: Annotated[int, BeforeValidator(_whole)] = Field(
        default=1, ge=1, le=10_000, description="how many requests it counts as"
    )
    run: Run | None = Field(
        default=None,
        description="counts among the runs that an agent may have at once, and waits in line when it has them",
    )

    def question(self) -> Question:
        """As the checker takes it."""
        tenant, _, agent = self.agent.partition("/")
        return Question(tenant, agent, self.action, self.cost, self.run)


class CheckAnswer(BaseModel):
    """The answer. What is not known, or does not apply, is null; times in seconds."""

    decision: Decision
    reason: Reason
    detail: str = Field(description="the reason for people")
    tier: Tier | None = Field(description="tier in force")
    score: int | None = Field(ge=0, le=1000)
    needs: Tier | None = Field(description="tier that opens the action")
    bound: Bound | None = Field(description="the limit that decided, or that has the least left")
    limit: int | None = Field(description="capacity of that limit")
    remaining: int | None = Field(description="requests that it would admit now")
    retry_after: float | None = Field(
        description="when to ask again; null: waiting alone does not help, or nobody knows"
    )
    reset: float | None = Field(description="until the limit is as if unused")
    place: int | None = Field(description="runs that wait before this one")

    @staticmethod
    def json_of(verdict: Verdict) -> bytes:
        """The answer that tells a verdict, written at once: a verdict has nothing that needs to be checked."""
        told = {
            "decision": verdict.decision,
            "reason": verdict.reason,
            "detail": verdict.told,
            "tier": verdict.tier,
            "score": verdict.score,
            "needs": verdict.needs,
            "bound": verdict.bound,
            "limit": verdict.limit,
            "remaining": verdict.remaining,
            "retry_after": verdict.retry_after_s,
            "reset": verdict.reset_s,
            "place": verdict.place,
        }
        return to_json(told)


class AgentAnswer(BaseModel):
    """What is known of an agent; times in ms since 1970, scores 0 to 1000."""

    agent: str
    status: Literal["active", "unregistered", "suspended", "retired"]
    score: int = Field(ge=0, le=1000, description="after the decay of the idle days")
    tier: Tier = Field(description="tier in force")
    stored_score: int = Field(ge=0, le=1000, description="at the last event")
    stored_tier: Tier
    since: int = Field(description="when the stored tier began")
    last_activity: int
    observability: str
    why: str = Field(description="cause of the last change of the score")
    throttled_until: int | None
    age_s: float | None = Field(description="how old this is; null: nobody knows")

    @classmethod
    def of(cls, agent: str, known: Standing, age_ms: int | None) -> AgentAnswer:
        """What is told of an agent."""
        return cls.model_construct(
            agent=agent,
            status=known.status,
            score=known.score,
            tier=TIER_NAMES[known.tier],
            stored_score=known.stored_points // 1000,
            stored_tier=TIER_NAMES[known.stored_tier],
            since=known.since,
            last_activity=known.last_activity,
            observability=known.observability,
            why=known.why.replace("_", "."),
            throttled_until=known.throttled_until_us // 1000 or None,
            age_s=None if age_ms is None else age_ms / 1000,
        )


class AgentsPage(BaseModel):
    """Agents of a tenant in the order of their names. A page may be short, also empty, while there is a next one."""

    agents: list[AgentAnswer]
    next: str | None = Field(description="cursor of the next page; null: this was the last")


class Health(BaseModel):
    """Whether the gateway can answer, and what it waits for if not."""

    ready: bool
    waits_for: list[str]
    view_age_s: float | None
    agents: int
    other_policies: list[str] = Field(description="policies that workers decide by and this gateway does not read by")
