"""Reads what cognistream decided about agents: derived topics, decoded, and only what was committed."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar

import fastavro
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaException, Message

from .catalog import schema_of, schema_with, stem_of
from .errors import ClientError, NotDecodable
from .records import BY_SCHEMA, Record
from .registry import Registry

_FRAME: Final = struct.Struct(">bi")

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
        self._readers = {f"{prefix}.{topic}" if prefix else topic: _Reader(topic, known) for topic in topics}
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


class _Reader:
    """Decodes the values of one topic, whichever of the release's schemas wrote them."""

    def __init__(self, topic: str, registry: Registry | None) -> None:
        kind = BY_SCHEMA.get(stem_of(topic))
        if kind is None:
            raise ClientError(f"{topic} is a source: read what was decided of it, such as priority.urgent")
        self._kind = kind
        self._registry = registry
        self._schema = fastavro.parse_schema(schema_of(topic))

    def decode(self, value: bytes | None, place: str) -> Record:
        if value is None or len(value) < _FRAME.size or value[0] != 0:
            raise NotDecodable(f"{place}: the value has no frame of a schema id; was it written by cognistream?")
        number = _FRAME.unpack_from(value)[1]
        writer = schema_with(number)
        if writer is None and self._registry is not None:
            writer = self._registry.schema_with(number)
        if writer is None:
            raise NotDecodable(
                f"{place}: schema {number} is not of this release; give the registry, or install a newer client"
            )
        stream = io.BytesIO(value)
        stream.seek(_FRAME.size)
        try:
            read: Any = fastavro.schemaless_reader(stream, writer, self._schema)
        except (ValueError, TypeError, IndexError, KeyError, EOFError) as error:
            raise NotDecodable(f"{place}: {type(error).__name__}: {error}") from error
        return self._kind(**read)
