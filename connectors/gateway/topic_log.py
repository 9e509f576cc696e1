"""One topic as streams read it: records and ends of its partitions, only what was committed, little of it ahead.

Other than `connectors.topic_reader` it tells where the end of a partition is, also when markers of transactions,
records of aborted ones and holes of compaction lie before it: a place can then be told without a record. What a broker
does not keep any more is no reason to start elsewhere in silence: it is `OutOfRange`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.admin import BrokerUnreachable, TopicsUnfit
from schemas.errors import CognistreamError

_TIMEOUT: Final = 5.0
_AT_ONCE: Final = 200
_PASSING: Final = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
"""Errors that librdkafka overcomes by itself."""


class OutOfRange(CognistreamError):
    """A place that the broker does not keep, or never had."""


class Entry(NamedTuple):
    """A record; `timestamp` in ms since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None


class End(NamedTuple):
    """All that is committed of the partition lies below `offset`."""

    partition: int
    offset: int


class TopicLog:
    """A topic (full name), outside any group. Raises BrokerUnreachable and TopicsUnfit, here and in every method.

    One thread at a time: confluent-kafka lets no other question be answered while one thread reads.
    """

    def __init__(self, connection: Mapping[str, str], topic: str) -> None:
        self.topic = topic
        self._consumer = Consumer(
            {
                **connection,
                "group.id": f"cognistream-stream-{uuid.uuid4().hex[:8]}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                # What lies ready for a reader that is slower than the topic: 2 MiB, and one fetch more.
                "queued.min.messages": 1_000,
                "queued.max.messages.kbytes": 2_048,
                "fetch.max.bytes": 2 << 20,
                "fetch.message.max.bytes": 512 << 10,
                "log_level": 0,
            }
        )
        try:
            self.partitions = self._count()
        except CognistreamError:
            self.close()
            raise

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def spans(self) -> list[tuple[int, int]]:
        """By partition, the first offset that is kept and the end of what is committed."""
        try:
            parts = [TopicPartition(self.topic, partition) for partition in range(self.partitions)]
            found = [self._consumer.get_watermark_offsets(part, _TIMEOUT) for part in parts]
        except KafkaException as error:
            raise self._unreachable(error.args[0]) from error
        return [span or (0, 0) for span in found]

    def since(self, time_ms: int) -> list[int]:
        """By partition, the first offset of a record of that time or later; the end where there is none."""
        parts = [TopicPartition(self.topic, partition, time_ms) for partition in range(self.partitions)]
        try:
            found = self._consumer.offsets_for_times(parts, _TIMEOUT)
        except KafkaException as error:
            raise self._unreachable(error.args[0]) from error
        ends = [end for _, end in self.spans()]
        return [part.offset if part.offset >= 0 else end for part, end in zip(found, ends, strict=True)]

    def assign(self, places: Sequence[int] | None) -> None:
        """Read on from `places`, or (None) from the ends."""
        offsets = [OFFSET_END] * self.partitions if places is None else places
        self._consumer.assign([TopicPartition(self.topic, part, offset) for part, offset in enumerate(offsets)])

    def read(self, within: float) -> list[Entry | End]:
        """What comes next, at once when something is there, else nothing after `within` seconds. Raises OutOfRange."""
        first = self._consumer.poll(within)
        messages = [] if first is None else [first, *self._consumer.consume(_AT_ONCE, timeout=0)]
        steps = [self._step(message) for message in messages]
        return [step for step in steps if step is not None]

    def _step(self, message: Message) -> Entry | End | None:
        error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
        if error is None:
            return Entry(partition, offset, message.timestamp()[1], message.key() or b"", message.value())
        if error.code() == KafkaError._PARTITION_EOF:
            return End(partition, offset)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OutOfRange(f"{self.topic}, partition {partition}: {error.str()}")
        if error.retriable() or error.code() in _PASSING:
            return None
        raise self._unreachable(error)

    def _count(self) -> int:
        try:
            found = self._consumer.list_topics(self.topic, timeout=_TIMEOUT).topics[self.topic]
        except KafkaException as error:
            raise self._unreachable(error.args[0]) from error
        if found.error is not None or not found.partitions:
            raise TopicsUnfit([f"{self.topic} does not exist: make it with `cognistream topics create`"])
        return len(found.partitions)

    def _unreachable(self, error: KafkaError) -> BrokerUnreachable:
        return BrokerUnreachable(f"{self.topic} cannot be read: {error.str()}")
