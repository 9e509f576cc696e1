"""Reads partitions back and checks their journal: the proof that a cluster holds, asked for by a person or a test.

A partition is read read-committed as columns, in no group, and held in memory while `streams.verify` goes through it;
partitions are checked one after the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.runtime.records import ColumnFetcher
from agents.settings import Settings
from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch
from schemas.errors import FormatError
from schemas.recordbatch import Limits
from schemas.topics import TOPICS, bare_name
from streams.verify import Report, verify

READ = tuple(
    topic.name for topic in TOPICS if topic.role == "source" or (topic.role == "derived" and not topic.compacted)
)
"""What the journal's hashes speak of: sources and derived topics, compacted ones left out."""


async def check(settings: Settings, partition: int, ids: SchemaIds) -> Report:
    """Check the journal of `partition` against all that its topics hold now."""
    async with _reader(settings) as consumer:
        return verify(await _read(settings, consumer, partition), ids)


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=settings.fetch_bytes,
    )
    await consumer.start()
    try:
        ColumnFetcher.adopt(consumer._fetcher, lambda topic: bare_name(settings.prefix, topic), Limits(), _broken)
        yield consumer
    finally:
        await consumer.stop()


async def _read(settings: Settings, consumer: AIOKafkaConsumer, partition: int) -> dict[str, list[ColumnBatch]]:
    places = {TopicPartition(settings.topic(name), partition): name for name in READ}
    consumer.assign(list(places))
    left = await consumer.end_offsets(list(places))
    found: dict[str, list[ColumnBatch]] = {name: [] for name in READ}
    while left := {tp: end for tp, end in left.items() if await consumer.position(tp) < end}:
        for tp, batches in (await consumer.getmany(*left, timeout_ms=500)).items():
            found[places[tp]] += batches
    return found


def _broken(_topic: str, _partition: int, error: FormatError) -> None:
    raise error
