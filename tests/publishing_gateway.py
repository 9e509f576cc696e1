"""A gateway that publishes to a real Kafka, asked without a socket, and what lies in its topics afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from confluent_kafka import Consumer, TopicPartition

from cognistream_client import Publisher
from connectors.admin import TopicAdmin
from connectors.gateway.access import Gateway
from connectors.gateway.gcra import Bucket
from connectors.gateway.limits import Limits
from connectors.gateway.publishing import Publishing
from connectors.gateway.sqlite_turns import SqliteTurns
from schemas.catalog import LocalIds, schema_of
from schemas.topics import SOURCE_TOPICS, full_name
from schemas.wire import decode

from .test_gateway_checking import checker
from .test_gateway_http import Keys, client_of
from .test_gateway_view import NOW

SOURCES = ("kaizen", "agentanchor", "aurais")
PARTITIONS = 2
PLACES = [(row.name, partition) for row in SOURCE_TOPICS for partition in range(PARTITIONS)]


class Written(NamedTuple):
    """A record of a source topic."""

    topic: str
    key: bytes
    headers: dict[str, bytes]
    event: dict[str, Any]


class Shelf:
    """The gateway's routes over the source topics of `prefix`."""

    def __init__(self, kafka: str, prefix: str, folder: Path) -> None:
        TopicAdmin({"bootstrap.servers": kafka}, prefix).create(
            [row.name for row in SOURCE_TOPICS], partitions=PARTITIONS
        )
        self.prefix, self.keys = prefix, Keys()
        self.all = self.keys.new(verbs=("publish",), sources=SOURCES)
        self.publisher = Publisher(kafka, prefix=prefix, linger=0)
        self.turns = SqliteTurns(folder / "turns.sqlite")
        self._reader = Consumer({"bootstrap.servers": kafka, "group.id": prefix, "enable.auto.commit": False})

    def gateway(self, per_minute: int = 1_000_000, **change: Any) -> Gateway:
        """A gateway with buckets of its own."""
        parts = {"publisher": self.publisher, "limits": Limits(), "turns": self.turns} | change
        publishing = Publishing(bucket=Bucket.per_minute(per_minute), **parts)
        return Gateway(checker(), self.keys.ring, lambda: NOW, publishing=publishing)

    def client(self, key: str | None = None, **change: Any) -> httpx.AsyncClient:
        """Asks such a gateway with `key`, by default one that may publish all."""
        return client_of(self.gateway(**change), key or self.all)

    def ends(self) -> list[int]:
        """Where each partition of the sources ends."""
        return [self._reader.get_watermark_offsets(self._place(*one), timeout=30)[1] for one in PLACES]

    def since(self, ends: list[int]) -> list[Written]:
        """What was written behind `ends`, source by source."""
        found = []
        for (topic, partition), start, end in zip(PLACES, ends, self.ends(), strict=True):
            if start < end:
                self._reader.assign([self._place(topic, partition, start)])
                found += [self._written(topic, message) for message in self._reader.consume(end - start, 30)]
        self._reader.unassign()  # else the next question waits behind a fetch that waits for more
        return found

    def close(self) -> None:
        """Let go of Kafka."""
        self.publisher.close()
        self._reader.close()

    def _place(self, topic: str, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(full_name(self.prefix, topic), partition, offset)

    @staticmethod
    def _written(topic: str, message: Any) -> Written:
        event = decode(message.value(), LocalIds(), schema_of(topic))[1]
        return Written(topic, message.key(), dict(message.headers()), event)


@contextmanager
def shelf(kafka: str, prefix: str, folder: Path) -> Iterator[Shelf]:
    """One for as long as the block lasts."""
    made = Shelf(kafka, prefix, folder)
    try:
        yield made
    finally:
        made.close()
