"""The producers of the partitions that this worker owns, as a Faust service that outlives the consumer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import mode
from faust.app.base import BootStrategy

from schemas.topics import TOPICS

from .producer import LaneProducer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .app import ColumnApp


class Producers(mode.Service):
    """`owned[p]` is the producer of partition p, started and its predecessors fenced."""

    mundane_level = "debug"

    def __init__(self, app: ColumnApp) -> None:
        super().__init__()
        self.app = app
        self.owned: dict[int, LaneProducer] = {}

    async def on_stop(self) -> None:
        """Stop all of them."""
        await self.own(set())

    async def own(self, partitions: set[int]) -> None:
        """Have producers of exactly these partitions, all of them new.

        Also of partitions that stay: a worker that the group had given up meanwhile takes them back from whoever owned
        them, and the broker has ended the last transaction of each when this returns (it answers a commit before
        readers see it).
        """
        left, self.owned = self.owned, {}
        await asyncio.gather(*(producer.stop() for producer in left.values()))
        await asyncio.gather(*map(self._start, partitions))

    async def _start(self, partition: int) -> None:
        settings = self.app.settings
        producer = LaneProducer(f"{settings.group}.{partition}", partition, **settings.aiokafka())
        await producer.start(settings.topic(topic.name) for topic in TOPICS if topic.role != "source")
        self.owned[partition] = producer


class ColumnBoot(BootStrategy):
    """Starts the producers before the consumer and stops them after it."""

    def kafka_producer(self) -> Iterable[Any]:
        """Faust's own producer, and ours."""
        return [*super().kafka_producer(), cast("ColumnApp", self.app).producers]
