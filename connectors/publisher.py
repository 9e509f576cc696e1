"""Publishes events as every producer should: by the agent's key, where Kafka's Java clients would send it, once.

`murmur2_random` puts an agent's events of all sources into one partition; idempotence and acks=all mean that what was
counted as delivered is in the log once. Events wait in a bounded queue of librdkafka's: when it is full, `publish`
waits for the broker instead of growing. Every event is accounted for: handed = delivered + failed + waiting.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors import metrics
from schemas.errors import CognistreamError

Headers = list[tuple[str, str | bytes | None]]

QUEUE_BYTES: Final = 128 << 20
"""What may wait for the broker before `publish` waits too."""
DELIVERED_WITHIN: Final = 120.0
"""Seconds until an event that the broker does not take counts as failed."""
_SERVE_EVERY: Final = 256
_TENANT: Final = re.compile(r"[a-z0-9-]{1,64}")
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_log = logging.getLogger(__name__)


class PublishError(CognistreamError):
    """An event that cannot be published, or events that were not delivered."""


def agent_key(tenant_id: str, agent_id: str) -> bytes:
    """The key of all topics that are keyed by agent, `tenant/agent`; PublishError when a worker would refuse it."""
    if not _TENANT.fullmatch(tenant_id):
        raise PublishError(f"tenant {tenant_id!r} is not 1 to 64 of a-z, 0-9 and '-'")
    agent = agent_id.encode(errors="surrogatepass")
    if not 1 <= len(agent) <= 128:
        raise PublishError(f"agent id {agent_id!r} has {len(agent)} bytes; it may have 1 to 128")
    if _UNFIT.search(agent_id):
        raise PublishError(f"agent id {agent_id!r} has control characters, or halves of one that UTF-8 does not know")
    return b"%b/%b" % (tenant_id.encode(), agent)


class Publisher:
    """Hands events to Kafka from one thread; a context that ends well has delivered everything.

    `connection` is confluent-kafka's configuration of the cluster, `linger` the seconds that an event may wait for
    others to fill its record batch, `compression` a codec of Kafka, `within` seconds until an event counts as failed.
    """

    def __init__(
        self,
        connection: Mapping[str, str],
        *,
        compression: str = "none",
        linger: float = 0.005,
        queue_bytes: int = QUEUE_BYTES,
        within: float = DELIVERED_WITHIN,
    ) -> None:
        self._producer = Producer(
            {
                **connection,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": compression,
                "linger.ms": linger * 1000,
                "batch.size": 1_000_000,
                "batch.num.messages": 100_000,
                "queue.buffering.max.kbytes": max(1, queue_bytes >> 10),
                "queue.buffering.max.messages": 1_000_000,
                "delivery.timeout.ms": int(within * 1000),
                # A report for each event would cost more than sending it: silence is success.
                "delivery.report.only.error": True,
                "error_cb": self._on_error,
                "log_level": 2,
            }
        )
        self._failure = self._on_failure  # bound once, not once an event
        self._handed = 0
        self._told = (0, 0)
        self._failures: Counter[str] = Counter()

    def publish(
        self, topic: str, key: bytes | None, value: bytes | None, timestamp: int, headers: Headers | None = None
    ) -> None:
        """Hand over one event for `topic` (full name), stamped with `timestamp` in ms since 1970.

        Waits while the queue is full. Raises PublishError for an event that Kafka cannot take at all.
        """
        while True:
            try:
                self._producer.produce(
                    topic, value, key, timestamp=timestamp, headers=headers, on_delivery=self._failure
                )
                break
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise PublishError(f"an event for {topic} cannot be published: {error.args[0].str()}") from error
        self._handed += 1
        if self._handed % _SERVE_EVERY == 0:
            self.serve()

    def publish_many(self, topic: str, events: Iterable[tuple[bytes | None, bytes | None, int]]) -> int:
        """Hand over (key, value, timestamp) events for `topic` in order; the number of them."""
        before = self._handed
        for key, value, timestamp in events:
            self.publish(topic, key, value, timestamp)
        return self._handed - before

    def serve(self) -> None:
        """Take in what the broker answered meanwhile; called now and then by `publish`."""
        self._producer.poll(0)
        self._tell()

    def flush(self) -> None:
        """Wait until nothing is waiting; PublishError when any event since the start was not delivered."""
        while self._producer.flush(1.0):
            self._tell()
        self._tell()
        if self._failures:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in self._failures.most_common(3))
            raise PublishError(f"{self.failed} of {self._handed} events were not delivered: {reasons}")

    @property
    def handed(self) -> int:
        """Events handed over so far."""
        return self._handed

    @property
    def waiting(self) -> int:
        """Events handed over whose fate is not known yet; a few too many while the cluster is in trouble.

        librdkafka counts its own messages with them, which makes `delivered` err on the safe side until `flush`.
        """
        return min(len(self._producer), self._handed - self.failed)

    @property
    def failed(self) -> int:
        """Events that were given up."""
        return self._failures.total()

    @property
    def delivered(self) -> int:
        """Events that are in the log, on all replicas."""
        return self._handed - self.waiting - self.failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()
        else:  # whoever breaks off does not wait for what is left
            self._producer.purge()
            self._producer.flush(1.0)

    def _on_failure(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures[f"{error.str()} ({message.topic()})"] += 1

    def _on_error(self, error: KafkaError) -> None:
        """What librdkafka says of the cluster: it goes on trying, so this is for the log."""
        _log.warning("publishing: %s", error.str())

    def _tell(self) -> None:
        """Bring the metrics up to date."""
        delivered, failed = self.delivered, self.failed
        before_delivered, before_failed = self._told
        metrics.PUBLISHED.labels("delivered").inc(max(0, delivered - before_delivered))
        metrics.PUBLISHED.labels("failed").inc(failed - before_failed)
        metrics.PUBLISHING.set(self.waiting)
        self._told = (max(delivered, before_delivered), failed)
