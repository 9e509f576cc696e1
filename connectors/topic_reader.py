"""Reads a topic record by record, only what was committed: for people who look, not for the path that decides.

Outside any group: it asks for partitions and offsets itself and leaves no trace on the cluster.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.admin import BrokerUnreachable, TopicsUnfit

_TIMEOUT: Final = 10.0
_PATIENCE: Final = 30.0
_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in the log; `timestamp` in ms since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class TopicReader:
    """One topic (full name); a context that closes the connection. Raises BrokerUnreachable and TopicsUnfit."""

    def __init__(self, connection: Mapping[str, str], topic: str) -> None:
        self.topic = topic
        self._bootstrap = connection["bootstrap.servers"]
        self._consumer = Consumer(
            {
                **connection,
                "group.id": f"cognistream-look-{uuid.uuid4().hex[:8]}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )
        self.partitions = self._count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def spans(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """First and next offset of each of `partitions`."""
        try:
            found = {
                p: self._consumer.get_watermark_offsets(TopicPartition(self.topic, p), _TIMEOUT) for p in partitions
            }
        except KafkaException as error:
            raise self._unreachable(error.args[0].str()) from error
        return {p: span for p, span in found.items() if span is not None}

    def read(self, starts: Mapping[int, int], patience: float = inf) -> Iterator[Record | None]:
        """Records of the partitions in `starts` from the offsets there, for ever.

        None comes whenever the ends of all partitions have been reached, and again after every quiet half second.
        BrokerUnreachable when the brokers refuse, or nothing comes for `patience` seconds before an end is reached.
        """
        self._consumer.assign([TopicPartition(self.topic, p, offset) for p, offset in starts.items()])
        behind, heard = set(starts), time.monotonic()
        while True:
            first = self._consumer.poll(0.5)
            if behind and time.monotonic() - heard > patience:
                raise self._unreachable(f"nothing came for {patience:.0f} s")
            for message in [] if first is None else [first, *self._consumer.consume(_AT_ONCE, timeout=0)]:
                error = message.error()
                if error is None:
                    heard = time.monotonic()
                    yield _record(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    heard = time.monotonic()
                    behind.discard(message.partition() or 0)
                elif not error.retriable() and error.code() not in (
                    KafkaError._TRANSPORT,
                    KafkaError._ALL_BROKERS_DOWN,
                ):
                    raise self._unreachable(error.str())
            if not behind:
                yield None

    def read_to_end(self, starts: Mapping[int, int]) -> Iterator[Record]:
        """Records of the partitions in `starts` from the offsets there to the ends that are reached first."""
        for record in self.read(starts, _PATIENCE):
            if record is None:
                return
            yield record

    def _count(self) -> int:
        try:
            found = self._consumer.list_topics(self.topic, timeout=_TIMEOUT).topics[self.topic]
        except KafkaException as error:
            self._consumer.close()
            raise self._unreachable(error.args[0].str()) from error
        if found.error is not None or not found.partitions:
            self._consumer.close()
            raise TopicsUnfit([f"{self.topic} does not exist: make it with `cognistream topics create`"])
        return len(found.partitions)

    def _unreachable(self, told: str) -> BrokerUnreachable:
        return BrokerUnreachable(f"{self.topic} cannot be read from {self._bootstrap}: {told}")


def _record(message: Message) -> Record:
    value, key = message.value(), message.key()
    return Record(
        message.partition() or 0, message.offset() or 0, message.timestamp()[1], key, value, _headers(message)
    )


def _headers(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    headers = message.headers() or []
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    return tuple((name, content.encode() if isinstance(content, str) else content) for name, content in pairs)
