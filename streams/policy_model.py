"""What a policy may say: every number that decides, with its default, its bounds and what it means.

Scores and factors are decimals here, as people write them, and become integers when a stage compiles the policy. The
descriptions are the policy reference (docs/policy.md) and the comments of a printed policy.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

TIERS = 6
LAST_DECAY_DAY = 3_650
LONGEST_YEARS = 100
"""A gap in ms times 1e6, doubled by rounding, must stay below 2^63."""
DIGITS = 30
"""Digits before and behind the point of any number: 1e999999999 takes hours to be refused for its size."""


def _number(value: object) -> object:
    """Numbers only: a text that looks like one, or a truth value, is a mistake in a policy."""
    if isinstance(value, str | bool):
        raise ValueError("write a number, without quotes")
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) > DIGITS:
        raise ValueError(f"write a number of at most {DIGITS} digits before and behind the point")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Thousandths = Annotated[Decimal, BeforeValidator(_number), Field(decimal_places=3, ge=-1000, le=1000)]
Score = Annotated[Decimal, BeforeValidator(_number), Field(decimal_places=3, ge=0, le=1000)]
Gain = Score
Loss = Annotated[Decimal, BeforeValidator(_number), Field(decimal_places=3, ge=-1000, le=0)]
Share = Annotated[Decimal, BeforeValidator(_number), Field(decimal_places=6, ge=0, le=1)]


Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z -]{0,31}$")]


class Section(BaseModel):
    """A table of the policy file: unknown names are refused, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Admission(Section):
    """What is decided at all; the rest goes to the dead letters."""

    from_year: Whole = Field(
        default=2000, ge=1971, le=2200, description="record timestamps before this year are refused"
    )
    to_year: Whole = Field(
        default=2090, ge=1972, le=2200, description="record timestamps from this year on are refused"
    )
    max_unregistered: Whole = Field(
        default=100_000,
        ge=0,
        le=1_000_000_000,
        description="agents per partition that were never registered; more are refused",
    )

    @model_validator(mode="after")
    def _years_in_order(self) -> Admission:
        if self.to_year <= self.from_year:
            raise ValueError("to_year must be later than from_year")
        if self.to_year - self.from_year > LONGEST_YEARS:
            raise ValueError(f"at most {LONGEST_YEARS} years, for gaps between events to fit exact arithmetic")
        return self


class Tiers(Section):
    """Tiers T0 to T5, which open capabilities."""

    names: tuple[Name, ...] = Field(
        default=("Sandbox", "Provisional", "Standard", "Trusted", "Certified", "Autonomous"),
        min_length=TIERS,
        max_length=TIERS,
        description="names shown to people",
    )
    lower: tuple[Score, ...] = Field(
        default=tuple(Decimal(n) for n in (0, 100, 300, 500, 700, 900)),
        min_length=TIERS,
        max_length=TIERS,
        description="score at which each tier begins",
    )
    hysteresis: Score = Field(default=Decimal(25), description="a tier is lost only this far below its beginning")

    @field_validator("lower")
    @classmethod
    def _rising_from_0(cls, lower: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
        if lower[0] != 0 or any(high <= low for low, high in pairwise(lower)):
            raise ValueError("tiers must begin at 0 and rise")
        return lower


class Creation(Section):
    """Added to the base of a registration, by how the agent came to be."""

    fresh: Thousandths = Field(default=Decimal(0), description="made anew; also when not said")
    cloned: Thousandths = Field(default=Decimal(-50), description="copied from another agent")
    evolved: Thousandths = Field(default=Decimal(25), description="grown out of another agent")
    promoted: Thousandths = Field(default=Decimal(50), description="raised from a test stage")
    imported: Thousandths = Field(default=Decimal(-100), description="brought from elsewhere")

    @model_validator(mode="after")
    def _clone_below_fresh(self) -> Creation:
        if self.cloned >= self.fresh:
            raise ValueError("cloned must be below fresh, or a clone would be worth as much as a new agent")
        return self


class Registration(Section):
    """Score of an agent when it is first registered."""

    base: Score = Field(default=Decimal(100), description="score before the part for its creation")
    creation: Creation = Field(default_factory=Creation, description="added to the base")


class RiskGains(Section):
    """execution.completed, by risk (not said: medium)."""

    low: Gain = Field(default=Decimal(5), description="risk low")
    medium: Gain = Field(default=Decimal(10), description="risk medium")
    high: Gain = Field(default=Decimal(20), description="risk high")
    critical: Gain = Field(default=Decimal(30), description="risk critical")


class RiskLosses(Section):
    """execution.failed, by risk (not said: medium); before the penalty."""

    low: Loss = Field(default=Decimal(-15), description="risk low")
    medium: Loss = Field(default=Decimal(-30), description="risk medium")
    high: Loss = Field(default=Decimal(-60), description="risk high")
    critical: Loss = Field(default=Decimal(-100), description="risk critical")


class Violation(Section):
    """security.violation, by severity (not said: minor); before the penalty."""

    minor: Loss = Field(default=Decimal(-50), description="severity minor")
    major: Loss = Field(default=Decimal(-150), description="severity major")
    critical: Loss = Field(default=Decimal(-300), description="severity critical, and every security.incident")


class Escalation(Section):
    """approval.granted and approval.denied, by whether asking was right (not said: 0)."""

    right: Gain = Field(default=Decimal(2), description="the agent was right to ask")
    needless: Loss = Field(default=Decimal(-5), description="it asked without need; before the penalty")


class Deltas(Section):
    """What an event adds to the score; what is not listed adds nothing."""

    signal: Gain = Field(default=Decimal(10), description="trust.signal of weight 1; weights are clipped to -1..1")
    feedback_positive: Gain = Field(default=Decimal(2), description="feedback.positive")
    feedback_negative: Loss = Field(default=Decimal(-2), description="feedback.negative; before the penalty")
    completed: RiskGains = Field(default_factory=RiskGains, description="execution.completed")
    failed: RiskLosses = Field(default_factory=RiskLosses, description="execution.failed")
    violation: Violation = Field(default_factory=Violation, description="security.violation")
    escalation: Escalation = Field(default_factory=Escalation, description="approvals")


class DecayPoint(Section):
    """A point of the decay while idle."""

    days: Whole = Field(ge=1, le=LAST_DECAY_DAY, description="whole days since the last event")
    factor: Share = Field(description="part of the score that is left")


def _decay() -> tuple[DecayPoint, ...]:
    days = (7, 14, 28, 42, 56, 84, 112, 140, 182)
    factors = ("0.94", "0.88", "0.82", "0.76", "0.70", "0.65", "0.60", "0.55", "0.50")
    return tuple(DecayPoint(days=day, factor=Decimal(factor)) for day, factor in zip(days, factors, strict=True))


class Ceiling(Section):
    """Highest score by what can be observed of the agent."""

    black_box: Score = Field(default=Decimal(600), description="inputs and outputs only; also when not said")
    gray_box: Score = Field(default=Decimal(750), description="partly open")
    white_box: Score = Field(default=Decimal(900), description="open")
    attested: Score = Field(default=Decimal(950), description="open, with attestations")
    verified: Score = Field(default=Decimal(1000), description="open, with verified attestations")


class Trust(Section):
    """Score 0 to 1000 of an agent, and its tier."""

    penalty: Annotated[Decimal, BeforeValidator(_number)] = Field(
        default=Decimal(3), decimal_places=3, ge=1, le=1000, description="negative deltas are multiplied by it"
    )
    tell: Score = Field(default=Decimal(5), gt=0, description="a change of score is told from this size on")
    decay: tuple[DecayPoint, ...] = Field(
        default_factory=_decay,
        max_length=100,
        description="what is left of the score when idle: 1 at day 0, straight lines between the points, then flat",
    )
    tiers: Tiers = Field(default_factory=Tiers, description="tiers of the score")
    registration: Registration = Field(default_factory=Registration, description="first score")
    deltas: Deltas = Field(default_factory=Deltas, description="score per event")
    ceiling: Ceiling = Field(default_factory=Ceiling, description="highest score")

    @field_validator("decay")
    @classmethod
    def _falling(cls, decay: tuple[DecayPoint, ...]) -> tuple[DecayPoint, ...]:
        if any(b.days <= a.days or b.factor > a.factor for a, b in pairwise(decay)):
            raise ValueError("days must rise and factors must not")
        return decay


Refill = Annotated[Decimal, BeforeValidator(_number), Field(decimal_places=6, ge=Decimal("0.1"), le=1_000_000)]
Capacity = Annotated[Whole, Field(ge=1, le=10_000)]


class Limits(Section):
    """Capacity that an agent may ask for: a bucket that refills steadily, and a throttle for those who ignore it."""

    by_tier: bool = Field(default=True, description="buckets by tier; else the same for all")
    refill_per_s: tuple[Refill, ...] = Field(
        default=tuple(Decimal(n) for n in (1, 2, 5, 10, 20, 50)),
        min_length=TIERS,
        max_length=TIERS,
        description="requests per second, T0 to T5",
    )
    capacity: tuple[Capacity, ...] = Field(
        default=(2, 5, 10, 20, 50, 100), min_length=TIERS, max_length=TIERS, description="requests at once, T0 to T5"
    )
    flat_refill_per_s: Refill = Field(default=Decimal(10), description="requests per second when not by tier")
    flat_capacity: Capacity = Field(default=50, description="requests at once when not by tier")
    violations: Whole = Field(
        default=3, ge=1, le=1_000, description="denials by the bucket from which on an agent is throttled"
    )
    window_s: Whole = Field(
        default=3_600, ge=1, le=86_400, description="seconds in which denials count, opened by the first"
    )
    throttle_s: Whole = Field(
        default=30, ge=1, le=86_400, description="seconds of the first throttle; each further one doubles"
    )
    longest_throttle_s: Whole = Field(
        default=3_600, ge=1, le=86_400, description="seconds that a throttle lasts at most"
    )


class Pools(Section):
    """Score from which on an event belongs to a pool; what is below is background."""

    urgent: Share = Field(default=Decimal("0.8"), description="priority.urgent")
    normal: Share = Field(default=Decimal("0.4"), description="priority.normal")

    @model_validator(mode="after")
    def _in_order(self) -> Pools:
        if self.normal > self.urgent:
            raise ValueError("normal must not be above urgent")
        return self


class Surprise(Section):
    """How unlike the agent's habits an event is: a rare type, an unusual gap since the last of its type."""

    rarity: Share = Field(default=Decimal("0.7"), description="weight of 1 - frequency of the type")
    timing: Share = Field(default=Decimal("0.3"), description="weight of the deviation from the mean gap")
    prior_kinds: Whole = Field(
        default=32, ge=1, le=1_000, description="frequency = (weight + 1) / (all weights + this)"
    )
    step_ms: Whole = Field(
        default=1_000, ge=1, le=86_400_000, description="weights halve in 3,600 steps of so many milliseconds"
    )


class Impact(Section):
    """What is at stake, 0 to 1."""

    base: Share = Field(default=Decimal("0.5"), description="every event")
    user_facing: Share = Field(default=Decimal("0.3"), description="added when a person waits for it")
    security_relevant: Share = Field(default=Decimal("0.2"), description="added when security is concerned")
    revenue_scale: Annotated[Decimal, BeforeValidator(_number)] = Field(
        default=Decimal(1_000_000), gt=0, le=10**12, decimal_places=6, description="US dollars that would add 1"
    )
    revenue_most: Share = Field(default=Decimal("0.3"), description="added for revenue at most")
    violation: Share = Field(
        default=Decimal("1.0"), description="security.violation and security.incident, whatever the sum"
    )
    suspended: Share = Field(default=Decimal("0.9"), description="agent.suspended, whatever the sum")


class Priority(Section):
    """Which pool an event belongs to: score = surprise and impact, weighted."""

    surprise_weight: Share = Field(default=Decimal("0.6"), description="weight of surprise in the score")
    impact_weight: Share = Field(default=Decimal("0.4"), description="weight of impact in the score")
    surprise: Surprise = Field(default_factory=Surprise, description="unlike the agent's habits")
    impact: Impact = Field(default_factory=Impact, description="what is at stake")
    pools: Pools = Field(default_factory=Pools, description="pools of the score")

    @model_validator(mode="after")
    def _score_at_most_1(self) -> Priority:
        if self.surprise_weight + self.impact_weight > 1:
            raise ValueError("surprise_weight and impact_weight must not exceed 1 together")
        return self
