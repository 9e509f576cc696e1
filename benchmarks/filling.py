"""Fills source topics with the generator's traffic, once for all rounds: the same events for every codec.

Big record batches (all that a stretch of about 17,000 events has for a partition) go through an idempotent aiokafka
producer. Tiny ones go through librdkafka, which sends several at once: as many records in each as were asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from agents.settings import CODECS, Compression
from connectors.traffic.batches import Packed, Packer, SourceBatch
from connectors.traffic.flaws import Flaws
from connectors.traffic.generator import Generator, Tasks
from schemas.catalog import LocalIds
from schemas.columns import Longs
from schemas.recordbatch import read
from schemas.recordbatch_write import frame_batch

from .rig import PARTITIONS, Rig

TASK_EVENTS = 4.0
DAYS = 30.0
IN_FLIGHT = 48
_NONE = Flaws(0.0, 0.0)


class RollCall(Generator):
    """A generator in whose traffic every agent has a task before any has a second one."""

    _called = 0

    def _draw(self, rng: np.random.Generator, work: float, span: float, number: int) -> tuple[Tasks, int]:
        tasks, until = super()._draw(rng, work, span, number)
        agents: Longs = (self._called + np.arange(len(tasks.agent))) % len(self.fleet)
        self._called += len(agents)
        return replace(tasks, agent=agents), until


def generator(agents: int, events: int) -> Generator:
    """Popularity by Zipf's law; `events` span 30 invented days."""
    return Generator(agents=agents, tasks_per_day=events / TASK_EVENTS / agents / DAYS)


def packs(traffic: Generator, events: int) -> Iterator[Packed]:
    """The first `events` events, a stretch at a time, without flaws."""
    packer, left = Packer(traffic.fleet, LocalIds(), PARTITIONS, _NONE), events
    for stretch in traffic.stretches():
        yield packer.pack(stretch, 0, min(stretch.n, left))
        left -= min(stretch.n, left)
        if not left:
            return


async def fill(rig: Rig, codecs: dict[str, Compression], found: Iterator[Packed]) -> int:
    """Write to the sources of every prefix in `codecs`, with its codec; the number of events."""
    settings = {prefix: rig.settings(prefix, codec) for prefix, codec in codecs.items()}
    waiting: set[asyncio.Future[object]] = set()
    events = 0
    async with AIOKafkaProducer(bootstrap_servers=rig.broker.bootstrap, enable_idempotence=True) as producer:
        for packed in found:
            events += packed.events
            for prefix, codec in codecs.items():
                for (topic, partition), body in packed.bodies.items():
                    waiting = await _settle(waiting, IN_FLIGHT)
                    batch = SourceBatch(body, CODECS[codec])
                    sent = await producer.send_batch(batch, settings[prefix].topic(topic), partition=partition)
                    waiting.add(sent)
        await _settle(waiting, 0)
    return events


def fill_tiny(rig: Rig, prefix: str, found: Iterator[Packed], records: int) -> int:
    """Write to the sources of `prefix` in record batches of `records` records; the number of events."""
    settings = rig.settings(prefix)
    producer = Producer({
        **settings.confluent(), "enable.idempotence": True, "batch.num.messages": records, "linger.ms": 1000,
        "batch.size": 1_000_000, "queue.buffering.max.messages": 1_000_000, "log_level": 2,
    })  # fmt: skip
    events = 0
    for packed in found:
        events += packed.events
        for (topic, partition), body in packed.bodies.items():
            (batch,) = read(frame_batch(body), topic=topic, partition=partition, start=0)
            name = settings.topic(topic)
            for i, ms in enumerate(batch.ts.tolist()):
                _produce(producer, name, partition, batch.key(i), batch.value(i), ms)
    while producer.flush(1.0):
        pass
    return events


def _produce(producer: Producer, topic: str, partition: int, key: bytes | None, value: bytes | None, ms: int) -> None:
    while True:
        try:
            return producer.produce(topic, value, key, partition, timestamp=ms)
        except BufferError:
            producer.poll(0.05)


async def _settle(waiting: set[asyncio.Future[object]], most: int) -> set[asyncio.Future[object]]:
    """Until fewer than `most` wait, or none; raises what went wrong with any."""
    while len(waiting) >= max(most, 1):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()
    return waiting
