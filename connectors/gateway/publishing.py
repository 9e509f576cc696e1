"""Puts events into Kafka for callers: who may, how many a minute, and an answer only when Kafka has them all.

Nothing is spooled here. A 202 means that every event is acknowledged on all replicas; when Kafka does not take one in
time the answer is 503, and the caller sends the same again. What Kafka did take then comes twice, and is recognised as
a repeat when it has the same ids, which the caller gave or an idempotency key makes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cognistream_client import ClientError, Event, Publisher
from connectors import metrics
from connectors.gateway.drafts import Draft
from connectors.gateway.gcra import Bucket
from connectors.gateway.idempotency import Turns
from connectors.gateway.keys import ApiKey
from connectors.gateway.limits import Admission, Demand, LimitsAway, LimitStore
from connectors.gateway.problems import Problem

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Requests that publish at the same time; each holds a body, or a part of a stream."""
OF_A_KEY: Final = 16
"""Those of one key."""
KAFKA_S: Final = 20.0
"""Seconds within which Kafka acknowledges all events of a request."""

_AGAIN: Final = {"Retry-After": "1"}
_POLICY: Final = "events"


class Place(NamedTuple):
    """Where Kafka keeps an event; `topic` without prefix."""

    event_id: str
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Publishing:
    """What the routes of events need; `bucket` is each key's, in events."""

    publisher: Publisher
    limits: LimitStore
    bucket: Bucket
    turns: Turns
    _busy: Counter[str] = field(default_factory=Counter, init=False)

    @contextmanager
    def entered(self, key: ApiKey) -> Iterator[None]:
        """One of the requests at once, of which no key has all. Raises Problem: 429, 503."""
        if self._busy[key.number] >= OF_A_KEY:
            raise Problem(429, "busy", f"a key may have {OF_A_KEY} requests that publish at once", headers=_AGAIN)
        if self._busy.total() >= AT_ONCE:
            raise Problem(503, "busy", "as many requests publish as the gateway serves at once", headers=_AGAIN)
        self._busy[key.number] += 1
        try:
            yield
        finally:
            self._busy -= Counter((key.number,))

    async def charge(self, key: ApiKey, events: int) -> dict[str, str]:
        """Take `events` from the key's bucket; the headers that tell what is left. Raises Problem: 413, 429, 503."""
        # A name that no tenant can have: the buckets of keys are not those of agents.
        demand = Demand(f"key:{key.number}", "events", self.bucket, self.bucket, events)
        try:
            told = await self.limits.admit(demand)
        except LimitsAway as error:
            log.error("%s", error)
            raise Problem(503, "limits-away", "the limits of the key cannot be looked up now", headers=_AGAIN) from None
        headers = _headers(told)
        if told.admitted:
            return headers
        if told.retry_after_us is None:
            raise Problem(413, "too-many", f"the key may send {told.capacity} events a minute, never {events} at once")
        wait = {"Retry-After": str(_seconds(told.retry_after_us))}
        raise Problem(429, "too-fast", f"the key may send {told.capacity} events a minute", headers=headers | wait)

    async def send(self, events: Sequence[Event], drafts: Sequence[Draft]) -> list[Place]:
        """Publish, and wait until Kafka has acknowledged all. Raises Problem 503."""
        try:
            async with asyncio.timeout(KAFKA_S):
                handles = await self.publisher.publish_many_async(events, [draft.origin for draft in drafts])
                await handles
        except (ClientError, TimeoutError) as error:
            log.error("events were not acknowledged: %s", error)
            told = "Kafka did not acknowledge every event; send the request again, with the same event ids"
            raise Problem(503, "kafka-away", told, headers=_AGAIN) from None
        for event in events:
            metrics.EVENTS_TAKEN.labels(event.SOURCE).inc()
        rows = zip(events, handles, strict=True)
        return [Place(event.event_id, event.TOPIC, one.partition or 0, one.offset or 0) for event, one in rows]


def _headers(told: Admission) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers."""
    left, reset = told.remaining, _seconds(told.reset_us)
    policy = f'"{_POLICY}";q={told.capacity};w=60'
    return {"RateLimit-Policy": policy, "RateLimit": f'"{_POLICY}";r={left};t={reset}'}


def _seconds(us: int) -> int:
    return math.ceil(us / 1_000_000)
