"""The line to Kafka: one librdkafka producer, set as all of cognistream must be, and the thread that hears it.

`murmur2_random` puts all events of an agent into one partition, as Java clients do. Idempotence and acks=all: what was
acknowledged is in the log once, on all replicas. The queue is bounded by number too: what may be sent twice after a
crash must stay within the window in which workers tell repeats (65,536 records of a partition).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from .handles import Fates, Handle

QUEUE_EVENTS: Final = 50_000
QUEUE_BYTES: Final = 64 << 20
_NAP: Final = 0.02
_PATIENCE: Final = 1.0

_log = logging.getLogger(__name__)

Failed = Callable[[Handle, KafkaError], None]


class Line:
    """Hands events to Kafka. `failed` hears of those it did not take, in the thread that hears the answers."""

    def __init__(self, config: Mapping[str, Any], fates: Fates, failed: Failed) -> None:
        self._config = {**_SETTINGS, **config, **REQUIRED, "error_cb": self._on_error}
        self._fates = fates
        self._failed = failed
        self._producer = Producer(self._config)
        self._fatal = False
        self._handed = 0
        self._answered = 0
        self._changing = False
        self._polling = threading.Lock()
        self._served = False
        self._ending = threading.Event()
        fates.serve = self.serve
        self._thread = threading.Thread(target=self._hear, name="cognistream-client-line", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events handed over and not answered, without those out of the spool."""
        return self._handed - self._answered

    def hand(self, handle: Handle) -> None:
        """Hand over one event; by one thread at a time.

        Raises BufferError while the queue is full, KafkaException for an event that Kafka cannot take.
        """
        if self._changing:
            raise BufferError
        topic, key, value, timestamp, headers = handle.parcel
        self._producer.produce(
            topic, value, key, timestamp=timestamp, headers=headers, on_delivery=partial(self._answer, handle)
        )
        if not handle.resent:
            self._handed += 1

    def hurry(self) -> None:
        """Give back what has not gone out yet, as failed."""
        self._producer.purge(in_queue=True, in_flight=False, blocking=False)

    def change_linger(self, seconds: float, lock: threading.Lock) -> bool:
        """Let events wait so long for others to fill their batch, from now on; False when that was not possible yet.

        librdkafka reads the setting once: what is on its way goes out, and a new producer takes over. `lock` is the one
        that whoever hands over holds.
        """
        self._changing = True
        try:
            self._producer.flush(_PATIENCE)
            with lock:
                if len(self._producer):
                    return False
                self._config = {**self._config, "linger.ms": seconds * 1000}
                self._producer = Producer(self._config)
                return True
        finally:
            self._changing = False

    def answers(self, topic: str, timeout: float) -> bool:
        """Whether the cluster answers within `timeout` seconds, and has the topic."""
        try:
            return self._producer.list_topics(topic, timeout).topics[topic].error is None
        except (KafkaException, KeyError):
            return False

    def close(self) -> None:
        """End the thread; what still waits is given up."""
        self._ending.set()
        self._thread.join()
        self._producer.purge()
        self._producer.poll(0)

    def serve(self) -> None:
        """Take in what Kafka answered meanwhile, unless another thread is at it; for threads that publish a lot."""
        self._served = True
        if self._polling.acquire(blocking=False):
            try:
                self._producer.poll(0)
            finally:
                self._polling.release()
            self._fates.tell()

    def _hear(self) -> None:
        """Answers are taken in by the thread that publishes while one does, else here.

        For each answer librdkafka's thread would have to get the interpreter's lock from the one that publishes, which
        costs more than all the rest of an event.
        """
        while not self._ending.is_set():
            if self._served and not self._fates.waiters:
                self._served = False
                self._ending.wait(_NAP)
                continue
            with self._polling:
                self._producer.poll(0.1)
            self._fates.tell()
            if self._fatal:
                self._renew()

    def _renew(self) -> None:
        """An idempotent producer that lost its place says so once and sends nothing more: begin with a new one."""
        old, self._producer, self._fatal = self._producer, Producer(self._config), False
        old.purge()
        with self._polling:
            old.flush(5)

    def _answer(self, handle: Handle, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed(handle, error)
        else:
            handle.partition = message.partition()
            handle.offset = message.offset()
            handle.settle()
        if not handle.resent:  # counted last: who counts them finds their fates settled
            self._answered += 1

    def _on_error(self, error: KafkaError) -> None:
        """What librdkafka says of the cluster: it goes on trying, unless the error is fatal."""
        self._fatal = self._fatal or error.fatal()
        _log.warning("publishing: %s", error.str())


REQUIRED: Final[dict[str, Any]] = {"partitioner": "murmur2_random", "enable.idempotence": True, "acks": "all"}
"""What no service may set otherwise."""

_SETTINGS: Final[dict[str, Any]] = {
    "batch.size": 1_000_000,
    "batch.num.messages": 100_000,
    "queue.buffering.max.messages": QUEUE_EVENTS,
    "queue.buffering.max.kbytes": QUEUE_BYTES >> 10,
    "reconnect.backoff.max.ms": 1_000,
    # A topic that does not exist is told before its events time out.
    "topic.metadata.propagation.max.ms": 4_000,
    "log_level": 2,
}
