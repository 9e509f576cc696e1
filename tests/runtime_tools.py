"""What the tests of the runtime share: records to publish, what a read-committed consumer sees, what must hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiokafka

from agents.settings import Settings
from connectors.admin import TopicAdmin
from schemas.topics import SOURCE_TOPICS

SOURCES = [topic.name for topic in SOURCE_TOPICS]
PARTITIONS = 2

Sent = tuple[str, int, bytes, bytes]
"""Source, partition, key, value."""
Seen = tuple[int, bytes, bytes]
"""Partition, key, value."""


def with_topics(kafka: str, prefix: str, state: Path, **more: Any) -> Settings:
    """Settings of a worker on topics of its own, which exist; nothing ticks unless a test says so."""
    chosen = {"port": 0, "tick_seconds": 60.0, **more}
    settings = Settings.read({}, bootstrap_servers=kafka, prefix=prefix, state=state, **chosen)
    TopicAdmin(settings.confluent(), prefix).create(partitions=PARTITIONS)
    return settings


def events(each: int, keys: int = 7, value: bytes = b"value") -> list[Sent]:
    """`each` records for each source and partition."""
    return [
        (name, partition, b"%d-key-%d" % (partition, i % keys), value)
        for i in range(each)
        for partition in range(PARTITIONS)
        for name in SOURCES
    ]


async def publish(settings: Settings, records: list[Sent]) -> None:
    """Write the records and wait until the broker has them."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        sent = [
            await producer.send(settings.topic(name), key=key, value=value, partition=partition)
            for name, partition, key, value in records
        ]
        await asyncio.gather(*sent)


async def committed(settings: Settings, topic: str, count: int) -> list[Seen]:
    """The first `count` records that a read-committed consumer sees, and whatever follows at once."""
    found: list[Seen] = []
    async with aiokafka.AIOKafkaConsumer(
        settings.topic(topic), bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as consumer:  # fmt: skip
        async with asyncio.timeout(60):
            while len(found) < count:
                for part, records in (await consumer.getmany(timeout_ms=200)).items():
                    found += [(part.partition, record.key, record.value) for record in records]
        for part, records in (await consumer.getmany(timeout_ms=300)).items():
            found += [(part.partition, record.key, record.value) for record in records]
    return found


def assert_counted_once(found: list[Seen], each: int) -> None:
    """Every source offset was told once, and the counts of a key rise by one, in order."""
    places = Counter((partition, *value.split(b"/")[:2]) for partition, _, value in found)
    assert set(places.values()) == {1}
    assert len(places) == each * PARTITIONS * len(SOURCES)
    last: Counter[bytes] = Counter()
    for _, key, value in found:
        last[key] += 1
        assert int(value.split(b"/")[2]) == last[key]
