"""A stage: topics of its own on the broker, a publisher, a crew of workers, and a reader that watches all along.

1. `open`: topics are made, the reader is put before the first record, the first workers get ready, the publisher sends.
2. The scenario does its harm.
3. `settle`: the publisher ends, all that it sent is waited for, the workers are dismissed one and all.
4. `judge`: the topics are read back and compared with the ledger.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agents.column_reader import column_reader
from agents.deciding import ids_of
from agents.demo.observer import Observer
from agents.demo.plan import Plan
from agents.demo.processes import Child, ProcessFailed
from agents.demo.publisher import Told
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.local_kafka import Broker, LocalKafka
from schemas.catalog import SchemaIds
from schemas.topics import SOURCE_TOPICS, TOPICS, topic

from .comparison import PARTITIONS, Account, Verdict, compare
from .crew import Crew, NoProgress
from .ledger import Ledger
from .publisher import ChaosOrders

PUBLISHER = ("-m", "chaos.publisher")
PATIENCE = 90.0
"""Seconds without any progress after which the rest is called lost."""
POISON, REPEATS, LATE = 0.05, 0.01, 0.01
"""Shares of events: spoiled copies; sent again at once; sent again seconds later."""


@dataclass(slots=True)
class Load:
    """What the publisher of a scenario does."""

    rate: float = 2000.0
    agents: int = 500
    aborts: float | None = None


@dataclass(slots=True)
class Stage:
    """One scenario's; `chance` draws its moments and its victims, `counts` is what happened."""

    kafka: LocalKafka
    broker: Broker
    folder: Path
    prefix: str
    chance: random.Random
    seed: int
    say: Callable[[str], None]
    registry: str = ""
    """Address of a schema registry; empty: there is none."""
    counts: Counter[str] = field(default_factory=Counter)
    crew: Crew = field(init=False)
    told: Told = field(default_factory=Told)
    _observer: Observer = field(init=False)
    _publisher: Child | None = None
    _skip: int = 0
    _watching: asyncio.Task[None] | None = None
    _caring: asyncio.Task[None] | None = None
    _listening: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.crew = Crew(self.environment, self.folder, self.counts)

    @property
    def ids(self) -> SchemaIds:
        """What the schema ids in this stage's topics mean."""
        return ids_of(self.settings)

    @property
    def settings(self) -> Settings:
        """Settings of whoever works on this stage's topics."""
        return Settings.read(
            {}, bootstrap_servers=self.broker.bootstrap, prefix=self.prefix, state=self.folder,
            registry_url=self.registry or None,
        )  # fmt: skip

    def environment(self, port: int) -> dict[str, str]:
        """What a process of ours must know; `port` 0: any."""
        return {
            "BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "COGNISTREAM_PREFIX": self.prefix,
            "COGNISTREAM_STATE": str(self.folder),
            "COGNISTREAM_PORT": str(port),
            "SCHEMA_REGISTRY_URL": self.registry,
        }

    @asynccontextmanager
    async def open(self, load: Load, workers: int = 2) -> AsyncIterator[None]:
        """Everything running; nothing of it is left afterwards."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(TopicAdmin(self.settings.confluent(), self.prefix).create, partitions=PARTITIONS)
        self._observer = Observer(self.settings, PARTITIONS)
        await self._observer.start()
        try:
            self._watching = asyncio.create_task(self._observer.watch())
            for _ in range(workers):
                await self.crew.hire()
            await self.crew.ready()
            await self.publish(load)
            self._caring = asyncio.create_task(self.crew.look_after())
            yield
        finally:
            await self._end()

    async def _end(self) -> None:
        if self._publisher is not None:
            await self._publisher.stop()
        for task in (self._watching, self._caring, self._listening):
            await _cancelled(task)
        await self.crew.kill_all()
        await self._observer.stop()

    # ------------------------------------------------------------------ the publisher

    async def publish(self, load: Load) -> None:
        """Start the publisher; returns when it sends."""
        plan = Plan(
            seconds=86_400, rate=load.rate, agents=load.agents, seed=self.seed, repeats=REPEATS, poison=POISON,
            partitions=PARTITIONS,
        )  # fmt: skip
        orders = ChaosOrders(
            plan=plan, bootstrap=self.broker.bootstrap, prefix=self.prefix, ledger=self.folder, late=LATE,
            aborts=load.aborts, registry=self.registry, skip=self._skip,
        )  # fmt: skip
        child = await Child.start("publisher", PUBLISHER, {}, self.folder / "publisher.log", piped=True)
        assert child.process.stdin is not None  # noqa: S101  it is piped
        child.process.stdin.write(orders.model_dump_json().encode())
        child.process.stdin.close()
        self._publisher = child
        self.told = Told()
        self._listening = asyncio.create_task(self._listen(child))
        while not self.told.published:
            if not child.running:
                raise child.failure()
            await asyncio.sleep(0.05)

    async def _listen(self, publisher: Child) -> None:
        assert publisher.process.stdout is not None  # noqa: S101  it is piped
        while line := await publisher.process.stdout.readline():
            self.told = Told(**json.loads(line))

    async def replace_publisher(self, load: Load) -> None:
        """Kill the publisher at this moment; another goes on behind what it can have sent."""
        assert self._publisher is not None and self._listening is not None  # noqa: PT018, S101  it was opened with one
        self._publisher.process.kill()
        await self._publisher.process.wait()
        await self._listening
        self.counts["publishers killed"] += 1
        self._skip += self.told.events + int(10 * load.rate)
        await self.publish(load)

    # ------------------------------------------------------------------ the broker

    async def stop_broker(self) -> None:
        """Stop it in order."""
        await asyncio.to_thread(self.kafka.stop)
        self.counts["broker stopped"] += 1

    async def kill_broker(self) -> None:
        """End it by SIGKILL."""
        os.kill(self.broker.pid, signal.SIGKILL)
        while self.broker.alive:
            await asyncio.sleep(0.05)
        self.counts["broker killed"] += 1

    async def start_broker(self) -> None:
        """Start it on the same port and data."""
        self.broker = await asyncio.to_thread(self.kafka.start, self.broker.port)

    # ------------------------------------------------------------------ the end

    async def settle(self) -> None:
        """End the publisher, wait for what it sent, dismiss the workers."""
        publisher = self._publisher
        assert publisher is not None and self._listening is not None  # noqa: PT018, S101  it was opened with one
        if publisher.running:
            publisher.process.send_signal(signal.SIGTERM)
        await publisher.process.wait()
        await self._listening
        if not self.told.done or self.told.error:
            raise ProcessFailed(self.told.error or str(publisher.failure()))
        self.say(f"{self.told.published:,} records sent; waiting for the rest to come out")
        await self._drained()
        await _cancelled(self._caring)
        await self.crew.dismiss_all()

    async def _drained(self) -> None:
        ends, last, since = await self._observer.source_ends(), -1, time.monotonic()
        tally = self._observer.observations.tally
        while any(tally.read_to(place) < end for place, end in ends.items()):
            if self._watching is not None and self._watching.done():
                self._watching.result()
            if tally.marked != last:
                last, since = tally.marked, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                left = sum(end - tally.read_to(place) for place, end in ends.items())
                raise NoProgress(f"nothing came out for {PATIENCE:.0f} s, {left:,} offsets are left ({self.folder})")
            await asyncio.sleep(0.1)

    async def judge(self) -> Verdict:
        """Read all topics back and compare."""
        await _cancelled(self._watching)
        await self._observer.catch_up()
        verdict = Verdict(self.counts, self.crew.problems)
        ends = await self._observer.source_ends()
        forgetful = bool(self.counts["broker stopped"] or self.counts["broker killed"])
        account, written = Account.read(Ledger(self.folder), forgetful=forgetful), Counter[str]()
        for partition in range(PARTITIONS):
            async with column_reader(self.settings) as reader:
                batches = await reader.held([row.name for row in TOPICS], partition)
            written += Counter({name: sum(batch.n for batch in found) for name, found in batches.items()})
            last = [ends[number, partition] for number in range(len(SOURCE_TOPICS))]
            mine = account.of("partition", partition)
            await asyncio.to_thread(compare, verdict, partition, batches, mine, last, self.ids)
        self._seen(verdict, written)
        return verdict

    def _seen(self, verdict: Verdict, written: Counter[str]) -> None:
        """The reader that watched all along saw what the topics hold now, each record once; compaction may have taken
        some since.
        """
        for name, count in self._observer.observations.written.items():
            holds = written.get(name, count)
            if count < holds or (count > holds and not topic(name).compacted):
                verdict.problems.append(f"{name}: a reader saw {count:,} records, the topic holds {written[name]:,}")


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
