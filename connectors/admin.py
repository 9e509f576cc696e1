"""Makes the topics of a prefix as the one table says, tells how they stand, and refuses those that would do harm.

What would do harm: a missing topic, partition counts that differ (partition p of all topics belongs to one lane), live
sources whose timestamps the broker does not bound, compaction where history is wanted or the reverse, record batches
that a topic would refuse. `check` names all of it at once, each with what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from schemas.errors import CognistreamError
from schemas.topics import DEFAULT_PARTITIONS, TOPICS, Topic, configs, full_name, topic

_TIMEOUT: Final = 10.0
_BROKER_DEFAULT: Final = -1
_LATE: Final = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""What a broker says of a partition that it was told of a moment ago."""
_DEAF: Final = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
_GUARDED: Final[tuple[str, ...]] = (
    "cleanup.policy",
    "message.timestamp.type",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
)
"""Settings that must be as the table says; others are the operator's to tune."""

T = TypeVar("T")


class BrokerUnreachable(CognistreamError):
    """No broker answers."""


class BrokerRefused(CognistreamError):
    """A broker answers, and says no: rights that are missing, settings that it does not take."""


class TopicsUnfit(CognistreamError):
    """Topics that a worker must not run on; `problems` has one line for each fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the topics are not fit to run on:\n" + "\n".join(f"- {problem}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Standing:
    """How a topic stands: `spans` are first and next offset of each partition, `configs` all its settings."""

    topic: Topic
    full_name: str
    spans: tuple[tuple[int, int], ...]
    configs: dict[str, str]

    @property
    def partitions(self) -> int:
        """Number of partitions."""
        return len(self.spans)

    @property
    def offsets(self) -> int:
        """Offsets in the log: records, plus the markers of transactions and the holes of compaction."""
        return sum(following - first for first, following in self.spans)


class TopicAdmin:
    """The topics under one prefix of one cluster; `connection` is confluent-kafka's configuration."""

    def __init__(self, connection: Mapping[str, str], prefix: str = "") -> None:
        full_name(prefix, "")  # refuses an impossible prefix now
        self._bootstrap = connection["bootstrap.servers"]
        self._client = AdminClient({**connection, "log_level": 0})
        self.prefix = prefix

    def create(
        self, names: Iterable[str] | None = None, *, partitions: int | None = None, replicas: int = _BROKER_DEFAULT
    ) -> list[str]:
        """Create what is missing of `names` (None: the whole table) and give its full names.

        `partitions` None: as many as the topics of this prefix that exist already, else DEFAULT_PARTITIONS. Raises
        BrokerUnreachable, TopicError for a name that is not in the table, TopicsUnfit when a topic is refused.
        """
        there = self._counts()
        count = partitions or max(there.values(), default=DEFAULT_PARTITIONS)
        missing = [row for row in _rows(names) if row.name not in there]
        made = [
            NewTopic(self._full(row), count, replicas, config=configs(row, live=not self.prefix)) for row in missing
        ]
        if made:
            self._collect(self._client.create_topics(made), "could not be created", but=KafkaError.TOPIC_ALREADY_EXISTS)
            self._await(missing)
        return [self._full(row) for row in missing]

    def describe(self, names: Iterable[str] | None = None) -> list[Standing]:
        """How `names` (None: the whole table) stand; topics that do not exist are left out."""
        there = self._counts()
        rows = [row for row in _rows(names) if row.name in there]
        spans, settings = self._spans(rows, there), self._settings(rows)
        return [Standing(row, self._full(row), spans[row.name], settings[row.name]) for row in rows]

    def check(self) -> int:
        """The number of partitions when all topics of the table are fit to run on; else raises TopicsUnfit."""
        leaders = self._leaders()
        there = _led(leaders)
        settings = self._settings([row for row in TOPICS if row.name in there])
        problems = [self._absent(row, leaders.get(row.name)) for row in TOPICS if row.name not in there]
        problems += self._uneven(there)
        for row in TOPICS:
            problems += self._misset(row, settings.get(row.name))
        if problems:
            raise TopicsUnfit(problems)
        return next(iter(there.values()))

    def remove(self) -> list[str]:
        """Delete all topics of this prefix and give their full names; live topics are never deleted."""
        if not self.prefix:
            raise TopicsUnfit(["live topics are not deleted here: use Kafka's own tools if you mean it"])
        names = [full_name(self.prefix, name) for name in self._counts()]
        if names:
            self._collect(self._client.delete_topics(names), "could not be deleted")
        return names

    def _full(self, row: Topic) -> str:
        return full_name(self.prefix, row.name)

    def _absent(self, row: Topic, leaders: Sequence[int] | None) -> str:
        if not leaders:
            return f"{self._full(row)} does not exist: make it with `cognistream topics create`"
        left = [partition for partition, leader in enumerate(leaders) if leader < 0]
        return f"{self._full(row)} has no leader for its partitions {left}: start the brokers that hold them"

    def _counts(self) -> dict[str, int]:
        """Partitions of the topics of the table that exist and have leaders, by their name without prefix."""
        return _led(self._leaders())

    def _leaders(self) -> dict[str, list[int]]:
        """The leader of each partition, -1 for none, of the topics of the table that exist."""
        found = self._ask(lambda: self._client.list_topics(timeout=_TIMEOUT)).topics
        known = {row.name: found[self._full(row)] for row in TOPICS if self._full(row) in found}
        return {name: [part.leader for _, part in sorted(one.partitions.items())] for name, one in known.items()}

    def _await(self, rows: list[Topic]) -> None:
        """Until every partition of `rows` can be read: a broker makes them a moment after it has promised to."""
        deadline = time.monotonic() + _TIMEOUT
        while not {row.name for row in rows} <= self._counts().keys():
            _pause(deadline, self._bootstrap)
        self._spans(rows, self._counts())

    def _spans(self, rows: list[Topic], counts: Mapping[str, int]) -> dict[str, tuple[tuple[int, int], ...]]:
        places = {row.name: [TopicPartition(self._full(row), p) for p in range(counts[row.name])] for row in rows}
        asked = [place for listed in places.values() for place in listed]
        first = self._offsets(asked, OffsetSpec.earliest())
        following = self._offsets(asked, OffsetSpec.latest())
        return {
            name: tuple(
                (first[place.topic, place.partition], following[place.topic, place.partition]) for place in listed
            )
            for name, listed in places.items()
        }

    def _offsets(self, places: list[TopicPartition], which: Any) -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        deadline = time.monotonic() + _TIMEOUT
        while late := [place for place in places if (place.topic, place.partition) not in found]:
            answers = self._client.list_offsets(dict.fromkeys(late, which), request_timeout=_TIMEOUT)
            for place, answer in answers.items():
                offset = self._ask(partial(_offset, answer))
                if offset is not None:
                    found[place.topic, place.partition] = offset
            if len(found) < len(places):
                _pause(deadline, self._bootstrap)
        return found

    def _settings(self, rows: list[Topic]) -> dict[str, dict[str, str]]:
        if not rows:
            return {}
        asked = {ConfigResource(ResourceType.TOPIC, self._full(row)): row.name for row in rows}
        answers = self._client.describe_configs(list(asked), request_timeout=_TIMEOUT)
        return {
            asked[resource]: {name: entry.value for name, entry in self._ask(answer.result).items()}
            for resource, answer in answers.items()
        }

    def _uneven(self, counts: Mapping[str, int]) -> list[str]:
        if len(set(counts.values())) < 2:
            return []
        told = ", ".join(f"{full_name(self.prefix, name)} {count}" for name, count in counts.items())
        return [f"all topics need the same number of partitions, and they have: {told}"]

    def _misset(self, row: Topic, found: Mapping[str, str] | None) -> list[str]:
        if found is None:
            return []
        wanted = configs(row, live=not self.prefix)
        wrong = [name for name in _GUARDED if name in wanted and found.get(name) != wanted[name]]
        size = "max.message.bytes"
        wrong += [size] if int(found[size]) < int(wanted[size]) else []
        return [
            f"{self._full(row)} has {name}={found.get(name)}: set it to {wanted[name]} (kafka-configs --alter)"
            for name in wrong
        ]

    def _collect(self, answers: Mapping[str, Future[None]], what: str, but: int | None = None) -> None:
        """Wait for all `answers`, then raise for those that failed with another error than `but`."""
        problems = []
        for name, answer in answers.items():
            try:
                answer.result(_TIMEOUT)
            except KafkaException as error:
                if error.args[0].code() != but:
                    problems.append(f"{name} {what}: {error.args[0].str()}")
        if problems:
            raise TopicsUnfit(problems)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except KafkaException as error:
            told = error.args[0]
            if told.code() not in _DEAF:
                raise BrokerRefused(f"Kafka at {self._bootstrap} refused: {told.str()}") from error
            raise BrokerUnreachable(
                f"no Kafka answers at {self._bootstrap}: {told.str()}. Start the local one with "
                "`cognistream kafka start`, or name yours in BOOTSTRAP_SERVERS."
            ) from error


def _led(leaders: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Number of partitions of the topics whose partitions all have a leader."""
    return {name: len(all_) for name, all_ in leaders.items() if all_ and min(all_) >= 0}


def _rows(names: Iterable[str] | None) -> list[Topic]:
    return list(TOPICS) if names is None else [topic(name) for name in names]


def _offset(answer: Future[Any]) -> int | None:
    """The offset that was asked for, None when the broker does not know the partition yet."""
    try:
        return int(answer.result(_TIMEOUT).offset)
    except KafkaException as error:
        if error.args[0].code() in _LATE:
            return None
        raise


def _pause(deadline: float, bootstrap: str) -> None:
    if time.monotonic() > deadline:
        raise BrokerUnreachable(f"{bootstrap} promised topics and does not show them: look at its log")
    time.sleep(0.05)
