"""Reads partitions back as columns, read-committed and in no group: for checks, redriving and recovery.

The worker's own fetcher does the work, so what is read back is parsed by the code that decided it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.finishing import finished
from agents.runtime.records import ColumnFetcher
from agents.settings import Settings
from schemas.columns import ColumnBatch
from schemas.errors import FormatError
from schemas.recordbatch import Limits
from schemas.topics import bare_name

Place = tuple[str, int]
"""Topic without prefix, partition."""

_POLL_MS = 500
_WAIT_MS = 50
"""A broker holds a fetch that finds nothing as long, and with it the next one, which may be for other places."""


class ColumnReader:
    """One connection; one `read` at a time."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings, self._consumer = settings, consumer

    async def spans(self, places: Collection[Place]) -> dict[Place, tuple[int, int]]:
        """First offset that is kept, and the one behind the last committed record, of each place."""
        parts = {self._part(place): place for place in places}
        first = await self._consumer.beginning_offsets(list(parts))
        ends = await self._consumer.end_offsets(list(parts))
        return {place: (first[part], ends[part]) for part, place in parts.items()}

    async def since(self, times: Mapping[Place, int]) -> dict[Place, int]:
        """Offset of the first record at each place that is not older than the time there (ms); its end if none is."""
        parts = {self._part(place): place for place in times}
        found = await self._consumer.offsets_for_times({part: times[place] for part, place in parts.items()})
        ends = await self._consumer.end_offsets(list(parts))
        told = ((place, part, found.get(part)) for part, place in parts.items())
        return {place: ends[part] if at is None else at.offset for place, part, at in told}

    async def held(self, names: Collection[str], partition: int) -> dict[str, list[ColumnBatch]]:
        """All batches that these topics hold of a partition, by topic."""
        found: dict[str, list[ColumnBatch]] = {name: [] for name in names}
        async for batch in self.whole([(name, partition) for name in names]):
            found[batch.topic].append(batch)
        return found

    async def whole(self, places: Collection[Place]) -> AsyncGenerator[ColumnBatch, None]:
        """All batches that these places hold, to the ends that there are when the call begins."""
        spans = await self.spans(places)
        async for batch in self.read({place: first for place, (first, _) in spans.items()}):
            yield batch

    async def read(self, starts: Mapping[Place, int]) -> AsyncGenerator[ColumnBatch, None]:
        """All batches from these offsets, which must be kept, to the ends that there are when the call begins."""
        parts = {self._part(place): start for place, start in starts.items()}
        self._consumer.assign(list(parts))
        left = await self._consumer.end_offsets(list(parts))
        for part, start in parts.items():
            self._consumer.seek(part, start)
        while left := {part: end for part, end in left.items() if await self._consumer.position(part) < end}:
            for batches in (await self._consumer.getmany(*left, timeout_ms=_POLL_MS)).values():
                for batch in batches:
                    yield batch

    def _part(self, place: Place) -> TopicPartition:
        return TopicPartition(self._settings.topic(place[0]), place[1])


@asynccontextmanager
async def column_reader(settings: Settings) -> AsyncIterator[ColumnReader]:
    """A reader of the topics under the settings' prefix; a record batch with a wrong checksum raises `BadCrc`."""
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=settings.fetch_bytes,
        fetch_max_wait_ms=_WAIT_MS,
    )
    try:
        await finished(consumer.start())  # aiokafka never closes a connection whose making was cancelled
        await asyncio.sleep(0)  # a task of aiokafka's that is cancelled before its first step cancels who stops it
        ColumnFetcher.adopt(consumer._fetcher, lambda topic: bare_name(settings.prefix, topic), Limits(), _broken)
        yield ColumnReader(settings, consumer)
    finally:
        await finished(consumer.stop())


def _broken(_topic: str, _partition: int, error: FormatError) -> None:
    raise error
