"""Lag of consumer groups as a broker and a reader of its own see it: how much waits, since when, and whether it moves.

Subtracting offsets counts what is no work: the markers of transactions and the holes of compaction. So what waits is
read: up to `COUNTED` records of a partition are counted one by one, and of longer stretches the part that are records
is taken from what was read. The first record that waits tells the time lag. Nothing is committed, no group is joined.

A partition of a topic that a group reads is told also when nothing was ever committed there: then all of it waits.
Offsets that a broker tells out of step (a topic made anew) are clamped: no lag is negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from connectors.admin import BrokerRefused, BrokerUnreachable

COUNTED: Final = 500
"""Records of a partition that are counted before the rest is estimated."""
_TIMEOUT: Final = 10.0
_AT_ONCE: Final = 2_000
_DEAF: Final = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}

Place = tuple[str, int]
"""Topic (full name) and partition."""
NOWHERE: Final[Mapping[Place, int]] = MappingProxyType({})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far `group` is behind in one partition.

    `end` is where committed records end. `lag` counts the records from `position` (where the group reads on, as far as
    it tells, else what it committed) to there, `commit_lag` those from `committed`; `waits_ms` is the age of the oldest
    of them. `owner` is the member that has the partition, None for nobody.
    """

    group: str
    topic: str
    partition: int
    end: int
    committed: int | None
    position: int | None
    lag: int
    commit_lag: int
    waits_ms: int
    owner: str | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    records: int
    oldest_ms: int | None


class LagReader:
    """Looks at the groups of a cluster; a context that closes the connections. Raises BrokerUnreachable, BrokerRefused.

    `connection` is confluent-kafka's configuration.
    """

    def __init__(self, connection: Mapping[str, str]) -> None:
        self._bootstrap = connection["bootstrap.servers"]
        self._admin = AdminClient({**connection, "log_level": 0})
        self._consumer = Consumer({**connection, **_READING})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def groups(self) -> list[str]:
        """All groups that the cluster knows."""
        found = self._ask(lambda: self._admin.list_consumer_groups(request_timeout=_TIMEOUT).result())
        return sorted(one.group_id for one in found.valid)

    def look(self, group: str, now_ms: int, positions: Mapping[Place, int] = NOWHERE) -> list[PartitionLag]:
        """Every partition of every topic that `group` reads; `positions` says where it is when that is known."""
        committed, owners = self._committed(group), self._owners(group)
        places = self._places({topic for topic, _ in [*committed, *owners]})
        firsts, ends = self._offsets(places, OffsetSpec.earliest()), self._offsets(places, OffsetSpec.latest())
        at = {place: min(max(committed.get(place, 0), firsts[place]), ends[place]) for place in places}
        known = {place: min(max(positions[place], at[place]), ends[place]) for place in places if place in positions}
        behind = self._waiting(at, ends)
        ahead = self._waiting(known, ends)
        return [
            PartitionLag(
                group, *place, ends[place], committed.get(place), known.get(place),
                ahead.get(place, behind[place]).records, behind[place].records,
                _age(ahead.get(place, behind[place]), now_ms), owners.get(place),
            )
            for place in places
        ]  # fmt: skip

    def _committed(self, group: str) -> dict[Place, int]:
        asked = [ConsumerGroupTopicPartitions(group)]
        futures = self._admin.list_consumer_group_offsets(asked, request_timeout=_TIMEOUT)
        found = self._ask(futures[group].result).topic_partitions
        return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def _owners(self, group: str) -> dict[Place, str]:
        futures = self._admin.describe_consumer_groups([group], request_timeout=_TIMEOUT)
        members = self._ask(futures[group].result).members
        return {
            (place.topic, place.partition): member.client_id
            for member in members
            for place in (member.assignment.topic_partitions if member.assignment else [])
        }

    def _places(self, topics: Iterable[str]) -> list[Place]:
        """All partitions of those of `topics` that exist."""
        there = self._ask(lambda: self._admin.list_topics(timeout=_TIMEOUT)).topics
        return [(topic, p) for topic in sorted(topics) if topic in there for p in sorted(there[topic].partitions)]

    def _offsets(self, places: list[Place], which: Any) -> dict[Place, int]:
        if not places:
            return {}
        asked: dict[TopicPartition, Any] = {TopicPartition(*place): which for place in places}
        futures = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT
        )
        return {(place.topic, place.partition): self._ask(future.result).offset for place, future in futures.items()}

    def _waiting(self, starts: Mapping[Place, int], ends: Mapping[Place, int]) -> dict[Place, _Waiting]:
        """What lies between `starts` and `ends`."""
        found = {place: _Waiting(0, None) for place in starts}
        tallies = {place: _Tally(start, ends[place]) for place, start in starts.items() if start < ends[place]}
        if tallies:
            self._read(tallies)
        return {**found, **{place: tally.waiting() for place, tally in tallies.items()}}

    def _read(self, tallies: dict[Place, _Tally]) -> None:
        self._consumer.assign([TopicPartition(*place, tally.start) for place, tally in tallies.items()])
        self._consumer.resume([TopicPartition(*place) for place in tallies])  # a pause outlives its assignment
        while not all(tally.full for tally in tallies.values()):
            first = self._consumer.poll(_TIMEOUT)
            if first is None:
                raise BrokerUnreachable(f"nothing can be read from {self._bootstrap} for {_TIMEOUT:.0f} s")
            for message in [first, *self._consumer.consume(_AT_ONCE, timeout=0)]:
                place, error = (str(message.topic()), int(message.partition() or 0)), message.error()
                if error is None:
                    tallies[place].take(int(message.offset() or 0), message.timestamp()[1])
                elif error.code() == KafkaError._PARTITION_EOF:
                    tallies[place].full = True
            done = [TopicPartition(*place) for place, tally in tallies.items() if tally.full]
            self._consumer.pause(done)
        self._consumer.unassign()

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except KafkaException as error:
            told = error.args[0]
            kind = BrokerUnreachable if told.code() in _DEAF else BrokerRefused
            raise kind(f"{self._bootstrap} does not tell how groups stand: {told.str()}") from error


class _Tally:
    """Counts the records of one partition from `start` to `end`."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.full = False
        self._end = end
        self._records = 0
        self._next = start
        self._oldest: int | None = None

    def take(self, offset: int, timestamp: int) -> None:
        if self.full or offset >= self._end:
            self.full = True
            return
        self._records += 1
        self._next = offset + 1
        self._oldest = timestamp if self._oldest is None else self._oldest
        self.full = self._records >= COUNTED or self._next >= self._end

    def waiting(self) -> _Waiting:
        if self._records < COUNTED:
            return _Waiting(self._records, self._oldest)
        share = self._records / (self._next - self.start)
        return _Waiting(self._records + round(share * (self._end - self._next)), self._oldest)


def _age(waiting: _Waiting, now_ms: int) -> int:
    return 0 if waiting.oldest_ms is None else max(0, now_ms - waiting.oldest_ms)


_READING: Final[dict[str, Any]] = {
    "group.id": "cognistream-lag",  # librdkafka asks for one; nothing is committed under it
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "fetch.message.max.bytes": 64 << 10,
    "queued.max.messages.kbytes": 1024,
    "fetch.wait.max.ms": 50,
    "log_level": 0,
}
