"""The thread that follows the topic `pressure`, outside any group.

Many clusters have no such topic, and a publisher must work as well without it: then there is no pressure, and the
thread looks again now and then. It never keeps a publisher waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from .errors import NotDecodable
from .identity import now_ms
from .pressure import Situation
from .reader import Reader
from .records import Pressure
from .registry import Registry

TOPIC: Final = "pressure"
LOOK_AGAIN: Final = 30.0
"""Seconds after which a topic that did not exist is looked for again."""
_AFTER_A_FAULT: Final = 1.0
_TICK: Final = 0.2
_METADATA: Final = 0.5
_AT_ONCE: Final = 1_000

_log = logging.getLogger(__name__)


class Follower:
    """Feeds `situation` until it is closed; `on_tick` is called every fifth of a second, in its thread."""

    def __init__(
        self,
        cluster: Mapping[str, Any],
        prefix: str,
        situation: Situation,
        registry: Registry | None,
        on_tick: Callable[[], None],
    ) -> None:
        self.partitions: dict[str, int] = {}
        """Of the source topics (without prefix) that the controller spoke of."""
        self._cluster = {name: value for name, value in cluster.items() if not name.endswith("_cb")}
        self._prefix = prefix
        self._situation = situation
        self._on_tick = on_tick
        self._reader = Reader(TOPIC, registry)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cognistream-client-pressure", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._halt.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._halt.is_set():
            pause = _AFTER_A_FAULT
            try:
                pause = self._follow()
            except KafkaException as error:
                _log.debug("pressure cannot be followed for now: %s", error)
            except Exception:  # whatever it is, publishing goes on
                _log.exception("pressure is not followed for now")
            self._rest(pause)

    def _rest(self, seconds: float) -> None:
        """Levels expire while nothing can be read, too."""
        until = time.monotonic() + seconds
        while not self._halt.wait(_TICK) and time.monotonic() < until:
            self._tick()

    def _follow(self) -> float:
        """Follow the topic while it is there; seconds after which it is looked for again."""
        consumer = Consumer({**self._cluster, **_SETTINGS})
        try:
            count = _count(consumer, f"{self._prefix}{TOPIC}")
            if not count:
                return LOOK_AGAIN
            consumer.assign([TopicPartition(f"{self._prefix}{TOPIC}", p, OFFSET_BEGINNING) for p in range(count)])
            while not self._halt.is_set():
                for message in consumer.consume(_AT_ONCE, _TICK):
                    if not self._take(consumer, message):
                        return _AFTER_A_FAULT
                self._tick()
            return 0
        finally:
            consumer.close()

    def _take(self, consumer: Consumer, message: Message) -> bool:
        """Whether following goes on."""
        error = message.error()
        if error is not None:
            return error.code() not in _GONE
        concern = bytes(message.key() or b"").decode(errors="replace")
        if message.value() is None:
            self._situation.forget(concern)
            return True
        try:
            told: Any = self._reader.decode(message.value(), f"{TOPIC}, offset {message.offset()}")
        except NotDecodable as fault:
            _log.warning("%s", fault)
            return True
        self._learn_partitions(consumer, told.concern)
        self._tell(told)
        return True

    def _tell(self, told: Pressure) -> None:
        before = self._situation.take(told) if now_ms() < told.expires_at else None
        if told.level != (before.level if before else "none") and now_ms() < told.expires_at:
            _log.warning("pressure on %s is %s: %s", told.concern, told.level, told.reason)

    def _learn_partitions(self, consumer: Consumer, concern: str) -> None:
        topic, slash, partition = concern.partition("/")
        if slash and partition.isdecimal() and int(partition) >= self.partitions.get(topic, 0):
            count = _count(consumer, f"{self._prefix}{topic}")
            if count:
                self.partitions[topic] = count

    def _tick(self) -> None:
        for told in self._situation.expire(now_ms()):
            _log.warning(
                "pressure on %s was %s, and %s does not confirm it any more: it counts as none",
                told.concern, told.level, told.said_by,
            )  # fmt: skip
        self._on_tick()


def _count(consumer: Consumer, topic: str) -> int:
    """Partitions of `topic`; 0 when it does not exist, or may not be read."""
    found = consumer.list_topics(topic, timeout=_METADATA).topics[topic]
    return 0 if found.error is not None else len(found.partitions)


_GONE: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}
_SETTINGS: Final[dict[str, Any]] = {
    "group.id": "cognistream-client",  # librdkafka asks for one; nothing is committed under it
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "log_level": 0,
}
