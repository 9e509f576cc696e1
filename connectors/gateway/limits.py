"""What an agent and its tenant may ask for now: the limits of the gateway, and where they are remembered.

Three limits bind in this order. **Running**: of the runs of an agent at most 10 go on at once and 100 wait their turn.
**Bucket**: the agent's, filled by its tier. **Plan**: the tenant's, per minute. All are looked at and charged in one
atomic step, and only a request that all of them admit is charged. A run that waits asks again and keeps its place while
it does; a run that ends is left, or forgotten when its lease is over, so that a caller that died holds nothing.

`Limits` is one process's memory. `redis_limits.RedisLimits` is the memory of several gateways; the same tests hold both
to the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from connectors.gateway import gcra
from connectors.gateway.gcra import Bucket, Level
from schemas.errors import CognistreamError

Clock = Callable[[], int]
"""Microseconds since 1970."""

SWEEP: Final = 100_000
"""What one process remembers at least before it looks for what it may forget."""


class LimitsAway(CognistreamError):
    """The memory of the limits does not answer: nobody can say whether a request is within them."""


class Bound(StrEnum):
    """The limit that decided."""

    BUCKET = "bucket"
    PLAN = "plan"
    RUNNING = "running"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Slots:
    """Runs of one agent: how many at once, how many wait, how long a run and a wait are remembered unasked."""

    running: int = 10
    queue: int = 100
    lease_us: int = 300_000_000
    wait_us: int = 30_000_000


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for: `cost` requests for an agent of a tenant, in a `run` of the caller's naming or in none."""

    tenant: str
    agent: str
    bucket: Bucket
    plan: Bucket
    cost: int = 1
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer: `bound` is the limit that refused, or of an admitted request the one with the least left.

    `capacity` is that limit's; `remaining` requests would be admitted now; `retry_after_us` is None when waiting alone
    does not help; `reset_us` until the limit is as if unused (0 for runs). `place` of a run that waits counts from 0.
    """

    admitted: bool
    bound: Bound
    capacity: int
    remaining: int
    retry_after_us: int | None
    reset_us: int
    place: int | None = None


class LimitStore(Protocol):
    """Where limits are remembered. All methods raise LimitsAway."""

    async def admit(self, demand: Demand) -> Admission:
        """Look at all limits and charge them if all admit."""
        ...

    async def leave(self, tenant: str, agent: str, run: str) -> None:
        """The run has ended or waits no longer; nothing happens when it is not known."""
        ...

    async def ping(self) -> None:
        """Returns when the memory answers."""
        ...


@dataclass(slots=True)
class _Runs:
    """Run -> when it is forgotten (us); both in the order of arrival."""

    running: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    def forget(self, now_us: int) -> None:
        self.running = {run: end for run, end in self.running.items() if end > now_us}
        self.waiting = {run: end for run, end in self.waiting.items() if end > now_us}

    def place(self, run: str) -> int:
        """How many wait before it."""
        return list(self.waiting).index(run) if run in self.waiting else len(self.waiting)


def now_us() -> int:
    """Microseconds since 1970 by the clock of the machine."""
    return time.time_ns() // 1000


class Limits:
    """The limits of one process, in its memory."""

    def __init__(self, slots: Slots | None = None, clock: Clock = now_us) -> None:
        self._slots, self._clock = slots or Slots(), clock
        self._levels: dict[str, Level] = {}
        self._runs: dict[str, _Runs] = {}
        self._sweep_at = SWEEP

    async def admit(self, demand: Demand) -> Admission:
        """Look at all limits and charge them if all admit."""
        now = self._clock()
        if len(self._levels) + len(self._runs) >= self._sweep_at:
            self._sweep(now)
        refused = self._wait(demand, now)
        if refused is not None:
            return refused
        admission = self._charge(demand, now)
        if admission.admitted and demand.run is not None:
            runs = self._runs[_key(demand)]
            runs.waiting.pop(demand.run, None)
            runs.running[demand.run] = now + self._slots.lease_us
        return admission

    async def leave(self, tenant: str, agent: str, run: str) -> None:
        """The run has ended or waits no longer."""
        key = f"{tenant}/{agent}"
        runs = self._runs.get(key)
        if runs is not None:
            runs.running.pop(run, None)
            runs.waiting.pop(run, None)
            if not (runs.running or runs.waiting):
                del self._runs[key]

    async def ping(self) -> None:
        """Memory of one's own always answers."""

    def _wait(self, demand: Demand, now: int) -> Admission | None:
        """Whether the run has to wait or may not even do that; None: it may go on."""
        if demand.run is None:
            return None
        runs, slots = self._runs.setdefault(_key(demand), _Runs()), self._slots
        runs.forget(now)
        if demand.run in runs.running:
            return None
        place = runs.place(demand.run)
        free = slots.running - len(runs.running)
        if place >= slots.queue and place >= free:
            return Admission(False, Bound.QUEUE, slots.queue, 0, None, 0)
        if place < free and demand.run not in runs.waiting:
            return None
        runs.waiting[demand.run] = now + slots.wait_us
        return None if place < free else Admission(False, Bound.RUNNING, slots.running, 0, None, 0, place)

    def _charge(self, demand: Demand, now: int) -> Admission:
        own, shared = _key(demand), demand.tenant
        tat = gcra.at(self._levels.get(own), demand.bucket, now)
        plan_tat = gcra.at(self._levels.get(shared), demand.plan, now)
        for bound, arrival, bucket in ((Bound.BUCKET, tat, demand.bucket), (Bound.PLAN, plan_tat, demand.plan)):
            if gcra.slack(arrival, bucket, demand.cost, now) < 0:
                return refusal(bound, arrival, bucket, demand.cost, now)
        tat = gcra.taken(tat, demand.bucket, demand.cost, now)
        plan_tat = gcra.taken(plan_tat, demand.plan, demand.cost, now)
        self._levels[own] = Level(tat, demand.bucket.interval_us)
        self._levels[shared] = Level(plan_tat, demand.plan.interval_us)
        return admission(demand, tat, plan_tat, now)

    def _sweep(self, now: int) -> None:
        """Forget full buckets and agents without runs; the next time when twice as much is remembered."""
        self._levels = {key: level for key, level in self._levels.items() if level.tat_us > now}
        for runs in self._runs.values():
            runs.forget(now)
        self._runs = {key: runs for key, runs in self._runs.items() if runs.running or runs.waiting}
        self._sweep_at = max(SWEEP, 2 * (len(self._levels) + len(self._runs)))


def refusal(bound: Bound, tat_us: int, bucket: Bucket, cost: int, now: int) -> Admission:
    """What is told when a bucket does not hold `cost` requests."""
    wait = -gcra.slack(tat_us, bucket, cost, now) if cost <= bucket.capacity else None
    left = gcra.remaining(tat_us, bucket, now)
    return Admission(False, bound, bucket.capacity, left, wait, max(0, tat_us - now))


def admission(demand: Demand, tat_us: int, plan_tat_us: int, now: int) -> Admission:
    """What is told when both buckets were charged: of the one that has less left, the agent's when they are equal."""
    left, plan_left = gcra.remaining(tat_us, demand.bucket, now), gcra.remaining(plan_tat_us, demand.plan, now)
    if plan_left < left:
        return Admission(True, Bound.PLAN, demand.plan.capacity, plan_left, 0, plan_tat_us - now)
    return Admission(True, Bound.BUCKET, demand.bucket.capacity, left, 0, tat_us - now)


def _key(demand: Demand) -> str:
    return f"{demand.tenant}/{demand.agent}"
