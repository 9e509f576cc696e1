"""The publisher process of a scenario: the demo's, with a ledger, with repeats that come late, and with transactions.

A demo repeats an event at once, in the same record batch. Here some repeats follow seconds later, so that a worker may
die between an event and its repeat. With `aborts` everything is sent in transactions, that share of which is aborted
half way; the ledger then holds only what was committed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.demo.publisher import Cut, Orders, Publisher, Told, main
from connectors.traffic.batches import Packed, Packer, SourceBatch
from connectors.traffic.stretch import SOURCES, Part
from schemas.columns import ColumnBatch
from schemas.errors import CognistreamError
from schemas.reasons import Reason
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.topics import full_name

from . import ledger
from .evolving import Evolving
from .ledger import Ledger, Rows

Place = tuple[str, int]
LATEST_S = 20.0
"""A late repeat follows its event within this."""
PATIENCE_MS = 600_000
"""How long a record batch may wait for a broker that is away."""
EVOLVES_AFTER = 1000
"""Events under one schema before others come in."""
CUTS_TOGETHER = 4
"""Sends that share a transaction."""


class ChaosOrders(Orders):
    """What the process is told on standard input."""

    ledger: Path
    late: float = 0.0
    """Share of events that are sent again seconds later."""
    aborts: float | None = None
    """Share of transactions to abort; None: no transactions."""
    registry: str = ""
    """Where writers' schemas are registered that the events take turns under; empty: all under one."""
    skip: int = 0
    """Events of the traffic that a predecessor has sent."""


class NotingPacker(Packer):
    """A packer that remembers for which reasons the last records of each body must be refused."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reasons: defaultdict[Place, list[int]] = defaultdict(list)

    def pack(self, *args: Any) -> Packed:
        """As `Packer.pack`; `reasons` are those of this call."""
        self.reasons.clear()
        return super().pack(*args)

    def _spoil(self, packed: Packed, part: Part, *args: Any) -> None:
        before, sizes = packed.poison.copy(), {place: body.count for place, body in packed.bodies.items()}
        super()._spoil(packed, part, *args)
        (label,) = packed.poison - before
        (place,) = (place for place, body in packed.bodies.items() if body.count != sizes.get(place, 0))
        self.reasons[place].append(Reason[label.upper()])


class TransactionalBatch(SourceBatch):
    """A source batch that belongs to a transaction."""

    def _build(self) -> bytes:
        return frame_batch(self._body, codec=self._codec, producer=self._owner, transactional=True)


@dataclass(slots=True)
class Echoes:
    """Good events to be sent again, each at its own time."""

    share: float
    chance: random.Random
    _due: defaultdict[Place, list[tuple[float, bytes, bytes, int]]] = field(default_factory=lambda: defaultdict(list))

    def keep(self, place: Place, batch: ColumnBatch, good: int, now: float) -> None:
        """Choose some of the first `good` records of `batch`."""
        for i in range(good):
            if self.chance.random() < self.share:
                due = now + self.chance.uniform(0.1, LATEST_S)
                self._due[place].append((due, batch.key(i) or b"", batch.value(i) or b"", int(batch.ts[i])))

    def add(self, place: Place, body: RecordsBody, now: float) -> int:
        """Put those that are due into `body`; how many."""
        due = [one for one in self._due[place] if one[0] <= now]
        self._due[place] = [one for one in self._due[place] if one[0] > now]
        for _, key, value, ts in due:
            body.append(key, value, ts)
        return len(due)


class ChaosPublisher(Publisher):
    """Sends as the demo's publisher, and writes down what became of it."""

    packs = NotingPacker
    packer: NotingPacker

    def __init__(self, orders: ChaosOrders, stop: asyncio.Event) -> None:
        super().__init__(orders, stop)
        self._orders, self._files = orders, Ledger(orders.ledger)
        chance = random.Random(orders.plan.seed)
        self._chance, self._echoes = chance, Echoes(orders.late, chance)
        self._evolving = Evolving(orders.registry, orders.prefix) if orders.registry else None
        self._open: list[tuple[Rows, asyncio.Future[Any]]] = []
        self._cuts = 0

    async def send(self, producer: AIOKafkaProducer, cut: Cut) -> None:
        """Send a cut; with transactions, every `CUTS_TOGETHER` of them are one."""
        if self._orders.aborts is None:
            return await super().send(producer, cut)
        if not self._cuts:
            await producer.begin_transaction()
        await super().send(producer, cut)
        self._cuts += 1
        if self._cuts == CUTS_TOGETHER:
            await self._end(producer)
        return None

    async def post(
        self, producer: AIOKafkaProducer, topic: str, partition: int, body: RecordsBody
    ) -> asyncio.Future[object]:
        """As the demo, late repeats added, and noted in the ledger."""
        if self._evolving is not None and self.told.events > EVOLVES_AFTER:
            body = self._evolving.evolved(
                topic, body, body.count - len(self.packer.reasons.get((topic, partition), []))
            )
        rows = self._rows(topic, partition, body)
        if self._orders.aborts is None:
            ledger.append(self._files.sent, rows)
            sent = await super().post(producer, topic, partition, body)
            sent.add_done_callback(lambda done: self._acknowledged(rows, done))
        else:
            name = full_name(self._orders.prefix, topic)
            sent = await producer.send_batch(TransactionalBatch(body), name, partition=partition)
            self._open.append((rows, sent))
        return sent

    async def run(self, producer: AIOKafkaProducer) -> None:
        """Send until the end; a transaction that is open then is committed."""
        skipped = 0
        while skipped < self._orders.skip and (cut := self.flow.take(self._orders.skip - skipped)):
            skipped += cut.last - cut.first
        await super().run(producer)
        if self._cuts:
            await self._end(producer, abort=False)

    def _rows(self, topic: str, partition: int, body: RecordsBody) -> Rows:
        place, now = (topic, partition), asyncio.get_running_loop().time()
        reasons: Sequence[int] = self.packer.reasons.get(place, [])
        good = body.count - len(reasons)
        late = self._echoes.add(place, body, now)
        self.told.repeats += late
        self.told.published += late
        (batch,) = read(frame_batch(body), topic=topic, partition=partition, start=0)
        if self._orders.aborts is None:
            self._echoes.keep(place, batch, good, now)
        return ledger.rows_of(SOURCES.index(topic), partition, ledger.digests(batch), [*reasons, *[0] * late])

    def _acknowledged(self, rows: Rows, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            first = done.result().offset
            if first >= 0:
                rows["offset"] = range(first, first + len(rows))
            ledger.append(self._files.acknowledged, rows)

    async def _end(self, producer: AIOKafkaProducer, *, abort: bool | None = None) -> None:
        """Commit or abort; half of the aborted ones before all of it was acknowledged."""
        parts, self._open, self._cuts = self._open, [], 0
        if (self._chance.random() < (self._orders.aborts or 0)) if abort is None else abort:
            await producer.abort_transaction()
            for rows, _ in parts:
                ledger.append(self._files.aborted, rows)
            return
        await self.settle(0)
        for rows, _ in parts:
            ledger.append(self._files.sent, rows)
        await producer.commit_transaction()
        for rows, sent in parts:
            self._acknowledged(rows, sent)


def producer_options(orders: ChaosOrders) -> dict[str, Any]:
    """What the producer needs beside the connection."""
    options: dict[str, Any] = {"request_timeout_ms": PATIENCE_MS}
    if orders.aborts is not None:
        options["transactional_id"] = f"{orders.prefix}.publisher"
    return options


if __name__ == "__main__":
    try:
        told = ChaosOrders.model_validate_json(sys.stdin.read())
        asyncio.run(main(told, ChaosPublisher, **producer_options(told)))
    except CognistreamError as problem:
        print(Told(done=True, error=str(problem)).model_dump_json(), flush=True)
        sys.exit(1)
