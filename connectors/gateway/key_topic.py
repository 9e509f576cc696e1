"""API keys in Kafka: the compacted topic `gateway.keys`, which commands write and every gateway follows.

A gateway that starts reads all of it before it is ready; a key that is made or revoked reaches the running ones within
a second. While brokers are away the keys that are known stay what they were: nobody is admitted then anyway, because
the view of the agents grows old.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final, Self

from connectors.admin import BrokerUnreachable
from connectors.gateway.keys import ApiKey, KeyRing
from connectors.publisher import Publisher
from connectors.topic_reader import Record, TopicReader
from schemas.catalog import LocalIds, schema_of
from schemas.wire import WireError, decode, encode

log = logging.getLogger(__name__)

TOPIC: Final = "gateway.keys"
_IDS: Final = LocalIds()
"""Ids of the committed table are understood by everybody, with a registry and without."""
_AGAIN: Final = 1.0


def write_key(connection: Mapping[str, str], topic: str, key: ApiKey, now_ms: int) -> None:
    """Put a new or changed key into `topic` (full name). Raises PublishError."""
    with Publisher(connection, within=10) as publisher:
        publisher.publish(topic, key.number.encode(), encode(TOPIC, key.record(), _IDS), now_ms)


def read_keys(connection: Mapping[str, str], topic: str) -> KeyRing:
    """All keys there are. Raises BrokerUnreachable and TopicsUnfit."""
    ring = KeyRing()
    with TopicReader(connection, topic) as reader:
        for record in reader.read_to_end(_starts(reader)):
            _take(ring, record)
    return ring


class KeyFollower:
    """Feeds a ring while it is open; `loaded` once all keys that there were are in it."""

    def __init__(self, connection: Mapping[str, str], topic: str) -> None:
        self.ring = KeyRing()
        self.loaded = False
        self._connection, self._topic = connection, topic
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-keys", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._halt.is_set():
            try:
                self._follow()
            except BrokerUnreachable as error:
                log.warning("the keys of the gateway: %s", error)
            except Exception:  # a gateway whose keys stand still must say why, and try again
                log.exception("the keys of the gateway are not followed for now")
            self._halt.wait(_AGAIN)

    def _follow(self) -> None:
        with TopicReader(self._connection, self._topic) as reader:
            for record in reader.read(_starts(reader)):
                if record is None:
                    self.loaded = True
                else:
                    _take(self.ring, record)
                if self._halt.is_set():
                    return


def _starts(reader: TopicReader) -> dict[int, int]:
    spans = reader.spans(range(reader.partitions))
    return {partition: first for partition, (first, _) in spans.items()}


def _take(ring: KeyRing, record: Record) -> None:
    """A record that cannot be read is no key: told, and left out."""
    try:
        ring.take(ApiKey.of(decode(record.value, _IDS, schema_of(TOPIC))[1]))
    except WireError as error:
        log.error("%s, partition %d, offset %d: %s", TOPIC, record.partition, record.offset, error)
