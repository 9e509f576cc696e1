"""The publisher process: packs traffic and sends it at a pace, telling on standard output how far it is.

It gets its `Plan` and its connection on standard input as JSON, and ends when the time is over, the trace has ended,
or SIGTERM says so: always after everything it sent was acknowledged. Each line it prints is a `Told` as JSON; the
last one has `done` set.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from pydantic import BaseModel

from agents.demo.plan import Plan
from agents.settings import CODECS, Settings
from connectors.traffic.batches import Packed, Packer, SourceBatch
from connectors.traffic.stretch import Stretch
from schemas.catalog import LocalIds
from schemas.errors import CognistreamError
from schemas.recordbatch_write import RecordsBody
from schemas.topics import full_name

BEAT = 0.02
"""Seconds between two sends when a rate is kept."""
AT_ONCE = 16_384
"""Events packed at a time at most: the record batches stay below the limit of the source topics."""
IN_FLIGHT = 48
"""Record batches that may wait for their acknowledgement."""
TELL_EVERY = 0.25


class Orders(BaseModel):
    """What the publisher process is told on standard input."""

    plan: Plan
    bootstrap: str
    prefix: str


class Told(BaseModel):
    """What was sent so far, all of it acknowledged when `done` is set without an `error`.

    `published` records = `events` + `repeats` + `poison` (by reason); `time_ms` is the traffic's own time;
    `began_ns` and `seconds` tell on the wall clock when and how long was sent.
    """

    published: int = 0
    events: int = 0
    repeats: int = 0
    poison: dict[str, int] = {}
    agents: int = 0
    time_ms: int = 0
    began_ns: int = 0
    seconds: float = 0.0
    done: bool = False
    error: str = ""


@dataclass(slots=True)
class Cut:
    """Events `first`..`last` of a stretch."""

    stretch: Stretch
    first: int
    last: int


class _Flow:
    """The traffic, cut into pieces of any size."""

    def __init__(self, stretches: Iterator[Stretch]) -> None:
        self._stretches = stretches
        self._stretch: Stretch | None = None
        self._at = 0

    def take(self, most: int) -> Cut | None:
        """The next events, `most` at most; None when there are no more."""
        while self._stretch is None or self._at == self._stretch.n:
            self._stretch, self._at = next(self._stretches, None), 0
            if self._stretch is None:
                return None
        first = self._at
        self._at = min(first + most, self._stretch.n)
        return Cut(self._stretch, first, self._at)


class Publisher:
    """Sends the traffic of `orders` through an idempotent producer."""

    packs: type[Packer] = Packer
    """What packs its traffic."""

    def __init__(self, orders: Orders, stop: asyncio.Event) -> None:
        self._plan, self._prefix, self._stop = orders.plan, orders.prefix, stop
        traffic = orders.plan.traffic()
        self.flow = _Flow(traffic.stretches())
        self.packer = self.packs(
            traffic.fleet, LocalIds(), orders.plan.partitions, orders.plan.flaws, orders.plan.probe_every
        )
        self._waiting: set[asyncio.Future[object]] = set()
        self._seen = np.zeros(len(traffic.fleet), np.bool_)
        self.told = Told()

    async def run(self, producer: AIOKafkaProducer) -> None:
        """Send until the end; returns when all is acknowledged."""
        began = time.monotonic()
        self.told.began_ns = time.time_ns()
        sent = 0
        while not self._stop.is_set() and (elapsed := time.monotonic() - began) < self._plan.seconds:
            due = AT_ONCE if self._plan.rate is None else int(elapsed * self._plan.rate) - sent
            if due > 0:
                cut = self.flow.take(min(due, AT_ONCE))
                if cut is None:
                    break
                await self.send(producer, cut)
                sent += cut.last - cut.first
            await self._pause(began, behind=due > AT_ONCE)
        await self.settle(0)
        self.told.seconds = round(time.monotonic() - began, 3)

    async def _pause(self, began: float, *, behind: bool) -> None:
        """Until the next beat; without a rate, or behind it, only as long as others need to run."""
        rest = BEAT - (time.monotonic() - began) % BEAT
        await asyncio.sleep(0 if behind or self._plan.rate is None else rest)

    async def send(self, producer: AIOKafkaProducer, cut: Cut) -> None:
        """Pack the events of a cut and hand them to the producer."""
        packed = self.packer.pack(cut.stretch, cut.first, cut.last, time.time_ns())
        for (topic, partition), body in packed.bodies.items():
            await self.settle(IN_FLIGHT - 1)
            self._waiting.add(await self.post(producer, topic, partition, body))
        self._count(cut, packed)

    async def post(
        self, producer: AIOKafkaProducer, topic: str, partition: int, body: RecordsBody
    ) -> asyncio.Future[object]:
        """Hand a record batch to the producer; the future is done when it is acknowledged."""
        batch = SourceBatch(body, CODECS[self._plan.compression])
        sent: asyncio.Future[object] = await producer.send_batch(
            batch, full_name(self._prefix, topic), partition=partition
        )
        return sent

    def _count(self, cut: Cut, packed: Packed) -> None:
        told = self.told
        told.published += packed.records
        told.events += packed.events
        told.repeats += packed.repeats
        told.poison = dict(Counter(told.poison) + packed.poison)
        for part in cut.stretch.parts:
            low, high = np.searchsorted(part.place, (cut.first, cut.last))
            self._seen[part.agent[low:high]] = True
            if high > low:
                told.time_ms = max(told.time_ms, int(part.ts[high - 1]))

    async def settle(self, most: int) -> None:
        """Until at most `most` batches wait; raises what went wrong with any of them."""
        while len(self._waiting) > most:
            done, self._waiting = await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()

    async def tell(self) -> None:
        """Print progress now and then; never returns."""
        while True:
            await asyncio.sleep(TELL_EVERY)
            self.say()

    def say(self, **more: object) -> None:
        """Print what was done so far."""
        self.told.agents = int(self._seen.sum())
        print(self.told.model_copy(update=more).model_dump_json(), flush=True)  # noqa: T201  read by the demo


async def main(orders: Orders, kind: type[Publisher] = Publisher, **options: Any) -> None:
    """Publish as told, by a publisher of that kind; `options` are more arguments of the producer."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    publisher = kind(orders, stop)
    settings = Settings.read(bootstrap_servers=orders.bootstrap, prefix=orders.prefix)
    producer = AIOKafkaProducer(**settings.aiokafka(), enable_idempotence=True, linger_ms=0, **options)
    await producer.start()
    telling = asyncio.create_task(publisher.tell())
    try:
        await publisher.run(producer)
    finally:
        telling.cancel()
        await producer.stop()
    publisher.say(done=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(Orders.model_validate_json(sys.stdin.read())))
    except CognistreamError as problem:
        print(Told(done=True, error=str(problem)).model_dump_json(), flush=True)  # noqa: T201  read by the demo
        sys.exit(1)
