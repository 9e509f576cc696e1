"""Reads what cognistream decided about agents: derived topics, decoded, and only what was committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaException, Message

from .errors import ClientError
from .reader import Reader
from .records import Record
from .registry import Registry

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Received(Generic[R]):
    """A decoded record and its place; `timestamp` is the time of the decision in ms since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    headers: dict[str, bytes]
    record: R


class Consumer:
    """Yields the records of derived `topics` (without prefix) to the members of `group`, each at least once.

    A record counts as read when the next one is asked for. A new group begins at the oldest record, or with `latest`
    at what comes from now on. `registry` is the address of a schema registry, for ids that this release does not know.
    """

    def __init__(
        self,
        kafka: str | Mapping[str, Any],
        topics: Sequence[str],
        group: str,
        *,
        prefix: str = "",
        latest: bool = False,
        registry: str | None = None,
    ) -> None:
        cluster = {"bootstrap.servers": kafka} if isinstance(kafka, str) else dict(kafka)
        known = None if registry is None else Registry(registry)
        self._readers = {f"{prefix}.{topic}" if prefix else topic: Reader(topic, known) for topic in topics}
        self._consumer = KafkaConsumer(
            {
                **cluster,
                "group.id": group,
                "isolation.level": "read_committed",
                "auto.offset.reset": "latest" if latest else "earliest",
                "enable.auto.offset.store": False,
                "log_level": 2,
            }
        )
        self._consumer.subscribe(list(self._readers))

    def records(self, timeout: float | None = None) -> Iterator[Received[Any]]:
        """Records as they come; ends when none came for `timeout` seconds (None: never).

        Raises NotDecodable for bytes that are no record of the topic, ClientError when Kafka refuses.
        """
        while True:
            message = self._consumer.poll(-1 if timeout is None else timeout)
            if message is None:
                return
            yield self._received(message)
            self._store(message)

    def __iter__(self) -> Iterator[Received[Any]]:
        return self.records()

    def close(self) -> None:
        """Commit what was read and leave the group."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _received(self, message: Message) -> Received[Any]:
        error = message.error()
        if error is not None:
            raise ClientError(f"Kafka does not let {message.topic()} be read: {error.str()}")
        topic, place = str(message.topic()), (int(message.partition() or 0), int(message.offset() or 0))
        record = self._readers[topic].decode(message.value(), f"{topic}, partition {place[0]}, offset {place[1]}")
        headers = {name: bytes(value or b"") for name, value in _headers(message)}
        return Received(topic, *place, message.timestamp()[1], bytes(message.key() or b""), headers, record)

    def _store(self, message: Message) -> None:
        try:
            self._consumer.store_offsets(message)
        except KafkaException:  # the partition went to another member meanwhile, who reads it again
            return


def _headers(message: Message) -> list[tuple[str, Any]]:
    found: Any = message.headers() or []
    return list(found)
