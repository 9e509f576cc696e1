"""Keeps a view current: reads `trust.levels`, `ratelimit.decisions` and `audit.log`, only what was committed.

How fresh the view is follows from the ticks in `audit.log`, the journal that anybody may read: a tick is an entry of
its own, made when the lane had decided all its sources held. When one is seen, the ends of the partition's other two
topics are asked for; once both are read to there, the view holds all that was decided at the time of the tick. (A lane
begins a transaction only when the markers of the one before are written everywhere: what came before the tick is below
those ends.) The journal is read from its end on, so that a start waits for one tick, some seconds; levels from the
beginning, which compaction keeps short; decisions from as far back as a throttle can last.

Runs in a thread of its own, outside any group. While brokers are away the view grows old, and its users go by that.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.admin import BrokerUnreachable
from connectors.gateway.view import View
from schemas.catalog import RegistryUnreachable, SchemaIds, schema_of
from schemas.wire import WireError, decode

log = logging.getLogger(__name__)

LEVELS: Final = "trust.levels"
DECISIONS: Final = "ratelimit.decisions"
JOURNAL: Final = "audit.log"

_TIMEOUT: Final = 5.0
_AT_ONCE: Final = 10_000
_AGAIN: Final = 1.0

Place = tuple[str, int]
"""Bare name of a topic, and a partition."""


@dataclass(frozen=True, slots=True)
class _Tick:
    """A tick whose decisions are in the view once its partition is read to `ends`."""

    time: int
    policy_version: str
    ends: dict[str, int]


class Follower:
    """Feeds `view`; a context that follows while it is open.

    `connection` is confluent-kafka's, `topic` gives the full name of a topic, `since_ms` (ms since 1970) is the oldest
    decision that may still throttle.
    """

    def __init__(
        self, connection: Mapping[str, str], topic: Callable[[str], str], ids: SchemaIds, view: View, since_ms: int
    ) -> None:
        self._view, self._ids, self._since = view, ids, since_ms
        self._names = {topic(name): name for name in (LEVELS, DECISIONS, JOURNAL)}
        self._full = {name: full for full, name in self._names.items()}
        self._read: dict[Place, int] = {}
        self._ticks: defaultdict[int, deque[_Tick]] = defaultdict(deque)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-view", daemon=True)
        self._consumer = Consumer(
            {
                **connection,
                "group.id": f"cognistream-view-{uuid.uuid4().hex[:8]}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )

    def start(self) -> None:
        """Begin to follow. Raises BrokerUnreachable when the cluster does not answer."""
        try:
            self._consumer.assign(self._starts())
        except KafkaException as error:
            self._consumer.close()
            raise BrokerUnreachable(f"the gateway cannot follow {LEVELS}: {error.args[0].str()}") from error
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._halt.set()
        self._thread.join()
        self._consumer.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _starts(self) -> list[TopicPartition]:
        parts = range(self._view.partitions)
        recent = [TopicPartition(self._full[DECISIONS], part, self._since) for part in parts]
        return [
            *(TopicPartition(self._full[LEVELS], part, OFFSET_BEGINNING) for part in parts),
            *self._consumer.offsets_for_times(recent, _TIMEOUT),
            *(TopicPartition(self._full[JOURNAL], part, OFFSET_END) for part in parts),
        ]

    def _run(self) -> None:
        try:
            while not self._halt.is_set():
                first = self._consumer.poll(0.2)
                for message in [] if first is None else [first, *self._consumer.consume(_AT_ONCE, timeout=0)]:
                    self._take(message)
        except Exception:  # the view grows old, and everybody is denied: the log must say why
            log.exception("the gateway's view is not followed any more; restart the gateway")

    def _take(self, message: Message) -> None:
        error = message.error()
        place = self._names.get(message.topic() or "", ""), message.partition() or 0
        offset = message.offset() or 0
        if error is None:
            self._read[place] = offset + 1
            self._apply(place, message)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._read[place] = offset
        else:
            log.warning("the gateway's view: %s", error.str())
        self._confirm(place[1])

    def _apply(self, place: Place, message: Message) -> None:
        """Into the view; of a record that cannot be read nothing is known, which denies."""
        name, partition = place
        key, value = message.key() or b"", message.value()
        try:
            told = None if value is None else self._decoded(name, value)
        except WireError as error:
            log.error("%s, partition %d, offset %s: %s", name, partition, message.offset(), error)
            told = None
        if name == LEVELS:
            self._view.take_level(key, partition, told)
        elif name == DECISIONS and told is not None:
            self._view.take_decision(key, message.timestamp()[1], told)
        elif name == JOURNAL and told is not None and told["step"] is not None and told["step"]["tick"] is not None:
            self._expect(partition, told["step"]["tick"], told["step"]["policy_version"])

    def _decoded(self, name: str, value: bytes) -> dict[str, Any]:
        while True:
            try:
                return decode(value, self._ids, schema_of(name))[1]
            except RegistryUnreachable:
                if self._halt.wait(_AGAIN):
                    raise

    def _expect(self, partition: int, time: int, policy_version: str) -> None:
        """Remember where the other topics end now. Without an answer the tick is let go: another one follows."""
        ends = {}
        for name in (LEVELS, DECISIONS):
            try:
                span = self._consumer.get_watermark_offsets(TopicPartition(self._full[name], partition), _TIMEOUT)
            except KafkaException:
                return
            if span is None:
                return
            ends[name] = span[1]
        self._ticks[partition].append(_Tick(time, policy_version, ends))

    def _confirm(self, partition: int) -> None:
        ticks = self._ticks[partition]
        while ticks and all(self._read.get((name, partition), -1) >= end for name, end in ticks[0].ends.items()):
            tick = ticks.popleft()
            self._view.take_tick(partition, tick.time, tick.policy_version)
