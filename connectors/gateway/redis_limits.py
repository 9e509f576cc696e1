"""Limits that several gateways share, remembered in Redis: one script, run by the server, decides each request.

The server's clock is the only one, so gateways whose clocks differ agree. Keys of a tenant carry its name as hash tag:
they lie on one node of a cluster, as a script needs them. Give Redis room (`maxmemory-policy noeviction`): a bucket
that is evicted is a full one. Whatever keeps Redis from answering in time is LimitsAway; the caller then denies.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Self

from connectors.gateway.limits import Admission, Bound, Clock, Demand, LimitsAway, Slots
from connectors.gateway.redis_link import ANSWER_S, answered, connect

_SCRIPT: Final = Path(__file__).with_name("admit.lua").read_text(encoding="utf-8")
_BOUNDS: Final = (Bound.BUCKET, Bound.PLAN, Bound.RUNNING, Bound.QUEUE)
_RUN_KEYS: Final = ("running", "waiting", "waiting-until")


class RedisLimits:
    """The limits of all gateways that use this Redis and this prefix.

    `clock` stands in for the server's, for those who follow another time. Close it when it is not needed any more.
    """

    def __init__(
        self,
        url: str,
        slots: Slots | None = None,
        *,
        prefix: str = "",
        clock: Clock | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._slots, self._clock, self._answer_s = slots or Slots(), clock, answer_s
        self._prefix = f"{prefix}." if prefix else ""
        self._redis = connect(url, answer_s)
        self._script = self._redis.register_script(_SCRIPT)

    async def admit(self, demand: Demand) -> Admission:
        """Look at all limits and charge them if all admit."""
        own, plan, slots = demand.bucket, demand.plan, self._slots
        now = self._clock() if self._clock else 0
        buckets = (own.interval_us, own.capacity, plan.interval_us, plan.capacity)
        runs = (slots.running, slots.queue, slots.lease_us, slots.wait_us)
        arguments: list[int | str] = [now, demand.cost, *buckets, demand.run or "", *runs]
        async with self._answered():
            told = await self._script(self._keys(demand.tenant, demand.agent), arguments)
        return self._admission(demand, told)

    async def leave(self, tenant: str, agent: str, run: str) -> None:
        """The run has ended or waits no longer."""
        async with self._answered(), self._redis.pipeline() as both:
            for key in self._keys(tenant, agent)[2:]:
                both.zrem(key, run)
            await both.execute()

    async def ping(self) -> None:
        """Returns when Redis answers."""
        async with self._answered():
            await self._redis.ping()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _answered(self) -> AbstractAsyncContextManager[None]:
        return answered(self._answer_s, LimitsAway, "the limits")

    def _keys(self, tenant: str, agent: str) -> list[str]:
        """Keys of the script; a tenant has no slash and no brace, so none of them can be another's."""
        of_tenant = f"{self._prefix}cognistream:{{{tenant}}}"
        of_agent = f"{of_tenant}/{agent}"
        return [f"{of_agent}:bucket", f"{of_tenant}:plan", *(f"{of_agent}:{kind}" for kind in _RUN_KEYS)]

    def _admission(self, demand: Demand, told: list[int]) -> Admission:
        admitted, number, remaining, retry, reset, place = told
        bound = _BOUNDS[number - 1]
        capacity = {
            Bound.BUCKET: demand.bucket.capacity,
            Bound.PLAN: demand.plan.capacity,
            Bound.RUNNING: self._slots.running,
            Bound.QUEUE: self._slots.queue,
        }[bound]
        wait, ahead = (None if number < 0 else number for number in (retry, place))
        return Admission(bool(admitted), bound, capacity, remaining, wait, reset, ahead)
