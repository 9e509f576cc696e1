"""How far partitions that a breaker stopped are to be decided all the same: written by a person, read by workers.

A topic of its own says it, so that nobody needs the address of a worker, and a worker that starts later knows it too.
The record for partition p lies in partition p.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from aiokafka import AIOKafkaProducer

from agents.column_reader import column_reader
from agents.settings import Settings
from schemas.catalog import LocalIds, schema_of
from schemas.wire import WireError, decode, encode

_log = logging.getLogger(__name__)

TOPIC: Final = "breaker.resumes"
_IDS: Final = LocalIds()
"""Ids of the committed table are understood by everybody, with a registry and without."""


async def resume(settings: Settings, source: str, partition: int, until: int) -> None:
    """Say that the records of a source partition before the offset `until` are to be decided."""
    value = encode(TOPIC, {"source": source, "partition": partition, "until": until}, _IDS)
    async with AIOKafkaProducer(**settings.aiokafka(), enable_idempotence=True) as producer:
        await producer.send_and_wait(settings.topic(TOPIC), value, f"{source}/{partition}".encode(), partition)


async def resumes(settings: Settings, partitions: Collection[int]) -> dict[tuple[str, int], int]:
    """What was said of these partitions: (source topic, partition) -> offset."""
    found: dict[tuple[str, int], int] = {}
    async with column_reader(settings) as reader:
        async for batch in reader.whole([(TOPIC, partition) for partition in partitions]):
            for i in range(batch.n):
                try:
                    says = decode(batch.value(i), _IDS, schema_of(TOPIC))[1]
                except WireError as error:
                    _log.warning("%s[%d]: no resume at offset %d: %s", TOPIC, batch.partition, batch.off[i], error)
                    continue
                place = says["source"], says["partition"]
                found[place] = max(says["until"], found.get(place, 0))
    return found
