"""Reads the derived topics of a prefix read-committed, whole fetches as columns, and shows them to `Observations`."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.deciding import ids_of
from agents.runtime.records import ColumnFetcher
from agents.settings import Settings
from schemas.errors import FormatError
from schemas.recordbatch import Limits
from schemas.topics import SOURCE_TOPICS, bare_name

from .observations import OBSERVED, Observations
from .tally import Place

_WAIT_MS = 200


class Observer:
    """A reader from the first offset of every derived topic on; needs no group."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self.observations = Observations(ids_of(settings))
        self._settings, self._partitions = settings, partitions
        self._positions: dict[TopicPartition, int] = {}
        self._consumer = AIOKafkaConsumer(
            **settings.aiokafka(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=settings.fetch_bytes,
        )

    async def start(self) -> None:
        """Connect; the topics must exist."""
        await self._consumer.start()
        ColumnFetcher.adopt(self._consumer._fetcher, self._bare, Limits(), self._broken)
        self._consumer.assign(self._places(OBSERVED))

    async def stop(self) -> None:
        """Leave."""
        await self._consumer.stop()

    async def watch(self) -> None:
        """Read on and on; never returns. Raises what makes reading impossible."""
        while True:
            await self._read(_WAIT_MS)

    async def catch_up(self) -> None:
        """Read to the present end of every derived topic."""
        ends = await self._consumer.end_offsets(self._places(OBSERVED))
        while any(self._positions.get(tp, 0) < end for tp, end in ends.items()):
            await self._read(_WAIT_MS)

    async def source_ends(self) -> dict[Place, int]:
        """Next offset of each source and partition."""
        names = [topic.name for topic in SOURCE_TOPICS]
        ends = await self._consumer.end_offsets(self._places(tuple(names)))
        return {(names.index(self._bare(tp.topic)), tp.partition): end for tp, end in ends.items()}

    async def _read(self, wait_ms: int) -> None:
        fetched = await self._consumer.getmany(timeout_ms=wait_ms)
        now_ns = time.time_ns()
        for tp, batches in fetched.items():
            for batch in batches:
                self.observations.take(batch, now_ns)
                self._positions[tp] = batch.next
        await asyncio.sleep(0)

    def _bare(self, topic: str) -> str:
        return bare_name(self._settings.prefix, topic)

    def _places(self, names: tuple[str, ...]) -> list[TopicPartition]:
        return [TopicPartition(self._settings.topic(name), p) for name in names for p in range(self._partitions)]

    def _broken(self, _topic: str, _partition: int, error: FormatError) -> None:
        raise error
