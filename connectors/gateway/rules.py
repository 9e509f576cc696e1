"""What a gateway may be told: plans of tenants, runs at once, capabilities, and when it does not know enough to admit.

A TOML file, checked as a policy is; what it leaves out has the default. Buckets and tiers are not here: they are the
policy's (`streams/policy_model.py`), for the stream decides by the same numbers.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from connectors.gateway.capabilities import DEFAULT, ActionError, Capabilities
from connectors.gateway.gcra import Bucket
from connectors.gateway.limits import Slots
from schemas.errors import CognistreamError
from streams.policy_model import TIERS, Section, Whole
from streams.policy_text import complaint

PerMinute = Annotated[Whole, Field(ge=1, le=1_000_000)]
Seconds = Annotated[Whole, Field(ge=1, le=86_400)]
SECOND_US = 1_000_000


class RulesError(CognistreamError):
    """Rules of a gateway that cannot be taken; the message names file, line and field."""


class Plans(Section):
    """Requests per minute of a tenant, all its agents together."""

    per_minute: dict[str, PerMinute] = Field(
        default={"core": 100, "pro": 1_000, "exec": 10_000}, min_length=1, description="plan = requests per minute"
    )
    default: str = Field(default="core", description="plan of a tenant that is not named")
    tenants: dict[str, str] = Field(default={}, description="tenant = plan")

    @model_validator(mode="after")
    def _known(self) -> Plans:
        for plan in (self.default, *self.tenants.values()):
            if plan not in self.per_minute:
                raise ValueError(f"there is no plan {plan!r}; there are: {', '.join(self.per_minute)}")
        return self


class Runs(Section):
    """Runs of one agent."""

    at_once: Annotated[Whole, Field(ge=1, le=10_000)] = Field(default=10, description="runs that go on at once")
    queue: Annotated[Whole, Field(ge=0, le=10_000)] = Field(default=100, description="runs that wait for their turn")
    lease_s: Seconds = Field(default=300, description="seconds that a run goes on without asking again")
    wait_s: Seconds = Field(default=30, description="seconds that a wait is kept without asking again")


class Freshness(Section):
    """How old what is known may be."""

    oldest_s: Seconds = Field(default=15, description="seconds of age beyond which nobody is admitted")
    degraded: bool = Field(default=False, description="beyond that, and without Redis, admit little instead of nothing")
    degraded_oldest_s: Seconds = Field(default=300, description="seconds of age beyond which the degraded mode ends")
    degraded_tier: Annotated[Whole, Field(ge=0, lt=TIERS)] = Field(
        default=1, description="in the degraded mode no agent counts as more than this tier"
    )


class Publishing(Section):
    """Events that services publish over HTTP."""

    per_minute: Annotated[Whole, Field(ge=1, le=60_000_000)] = Field(
        default=60_000, description="events a minute of one key"
    )


class StreamLimits(Section):
    """Streams of decisions."""

    per_key: Annotated[Whole, Field(ge=0, le=10_000)] = Field(default=8, description="streams of one key at once")
    at_once: Annotated[Whole, Field(ge=0, le=10_000)] = Field(default=64, description="streams of this gateway at once")


class Rules(Section):
    """All that a gateway goes by beside the policy."""

    plans: Plans = Field(default_factory=Plans, description="requests of tenants")
    runs: Runs = Field(default_factory=Runs, description="runs of agents")
    freshness: Freshness = Field(default_factory=Freshness, description="age of what is known")
    publishing: Publishing = Field(default_factory=Publishing, description="events that services publish")
    streams: StreamLimits = Field(default_factory=StreamLimits, description="streams of decisions")
    capabilities: tuple[tuple[str, ...], ...] = Field(
        default=DEFAULT, min_length=TIERS, max_length=TIERS, description="actions that each tier adds, T0 to T5"
    )

    @model_validator(mode="after")
    def _written_well(self) -> Rules:
        try:
            Capabilities(self.capabilities)
        except ActionError as error:
            raise ValueError(str(error)) from None
        return self

    @classmethod
    def load(cls, path: Path | str) -> Rules:
        """The rules of a TOML file; RulesError when it cannot be read or taken."""
        try:
            return cls.parse(Path(path).read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as problem:
            raise RulesError(f"{path}: the gateway's rules cannot be read: {problem}") from problem

    @classmethod
    def parse(cls, text: str, name: str = "rules") -> Rules:
        """The rules that a TOML `text` says; `name` is the file that errors speak of."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except ValidationError as problem:
            told = "\n".join(complaint(error, cls, text, name) for error in problem.errors())
            raise RulesError(told) from problem
        except (ValueError, RecursionError) as problem:
            raise RulesError(f"{name}: not TOML: {problem}") from problem

    def plan(self, tenant: str) -> Bucket:
        """The bucket of a tenant's plan."""
        return self._buckets[self.plans.tenants.get(tenant, self.plans.default)]

    @cached_property
    def slots(self) -> Slots:
        """The runs as the limits take them."""
        runs = self.runs
        return Slots(runs.at_once, runs.queue, runs.lease_s * SECOND_US, runs.wait_s * SECOND_US)

    @cached_property
    def _buckets(self) -> dict[str, Bucket]:
        return {plan: Bucket.per_minute(requests) for plan, requests in self.plans.per_minute.items()}
