"""What the publisher says it delivered is in the log, once, in order, in the partition of Kafka's own partitioner."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, Message, TopicPartition

from connectors.admin import TopicAdmin
from connectors.publisher import Publisher, PublishError, agent_key
from schemas.murmur import partition_of
from schemas.topics import DEFAULT_PARTITIONS, full_name

NOW = int(time.time() * 1000)


@pytest.fixture
def topic(kafka: str, prefix: str) -> str:
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create(["kaizen.events"])
    return full_name(prefix, "kaizen.events")


def _read(kafka: str, topic: str, count: int) -> Iterator[Message]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(DEFAULT_PARTITIONS)])
    seen = 0
    while seen < count:
        for message in consumer.consume(count - seen, timeout=10):
            assert message.error() is None
            seen += 1
            yield message
    consumer.close()


@pytest.mark.kafka
def test_every_event_is_in_the_log_once_in_its_agent_s_partition_and_order(kafka: str, topic: str) -> None:
    sent = [(agent_key("acme", f"agent-{i % 97}"), b"%d" % i, NOW + i) for i in range(20_000)]
    with Publisher({"bootstrap.servers": kafka}, compression="lz4") as publisher:
        assert publisher.publish_many(topic, sent) == len(sent)
        publisher.flush()
        assert (publisher.handed, publisher.delivered, publisher.failed, publisher.waiting) == (20_000, 20_000, 0, 0)
    read = list(_read(kafka, topic, len(sent)))
    assert sorted((m.key(), m.value(), m.timestamp()[1]) for m in read) == sorted(sent)
    of_agent: dict[bytes, list[int]] = {}
    for message in read:
        key = message.key()
        assert key is not None
        assert message.partition() == partition_of(key, DEFAULT_PARTITIONS)
        assert message.partition() == (murmur2(key) & 0x7FFFFFFF) % DEFAULT_PARTITIONS
        of_agent.setdefault(key, []).append(int(message.value() or b""))
    assert all(numbers == sorted(numbers) for numbers in of_agent.values())


@pytest.mark.kafka
def test_a_full_queue_makes_the_publisher_wait_and_loses_nothing(kafka: str, topic: str) -> None:
    with Publisher({"bootstrap.servers": kafka}, queue_bytes=1 << 20) as publisher:
        for i in range(2_000):
            publisher.publish(topic, b"acme/a", b"%d" % i + bytes(5_000), NOW)
            assert publisher.waiting <= 400, "a queue of 1 MB holds some 200 of these"
        publisher.flush()
        assert publisher.delivered == 2_000


@pytest.mark.kafka
def test_headers_and_nulls_travel_as_they_are(kafka: str, topic: str) -> None:
    with Publisher({"bootstrap.servers": kafka}) as publisher:
        publisher.publish(topic, b"acme/a", None, NOW, headers=[("traceparent", b"00-1-2-01")])
    (message,) = _read(kafka, topic, 1)
    assert (message.value(), message.headers()) == (None, [("traceparent", b"00-1-2-01")])


def test_events_that_nobody_takes_are_counted_and_named() -> None:
    publisher = Publisher({"bootstrap.servers": "127.0.0.1:9"}, within=0.3)
    publisher.publish("kaizen.events", b"acme/a", b"1", NOW)
    publisher.publish("kaizen.events", b"acme/a", b"2", NOW)
    assert (publisher.delivered, publisher.waiting) == (0, 2)
    with pytest.raises(PublishError, match=r"2 of 2 events were not delivered: 2 x .*timed out \(kaizen.events\)"):
        publisher.flush()
    assert (publisher.delivered, publisher.failed, publisher.waiting) == (0, 2, 0)


def test_whoever_breaks_off_does_not_wait() -> None:
    began = time.monotonic()
    publisher = Publisher({"bootstrap.servers": "127.0.0.1:9"})
    publisher.publish("kaizen.events", b"acme/a", b"1", NOW)
    publisher.__exit__(KeyboardInterrupt)
    assert time.monotonic() - began < 5
    assert publisher.waiting == 0


@pytest.mark.kafka
def test_an_event_beyond_all_limits_is_refused_at_once(kafka: str, topic: str) -> None:
    publisher = Publisher({"bootstrap.servers": kafka})
    with pytest.raises(PublishError, match=r"cannot be published: .*too large"):
        publisher.publish(topic, b"acme/a", bytes(64 << 20), NOW)


@pytest.mark.parametrize(
    ("tenant", "agent"),
    [
        ("Acme", "a"),
        ("", "a"),
        ("a/b", "a"),
        ("acme", ""),
        ("acme", "é" * 65),
        ("acme", "a\nb"),
        ("acme", "a\x85b"),
        ("acme", "a\ud800b"),
    ],
)
def test_a_key_that_a_worker_would_refuse_is_refused_here(tenant: str, agent: str) -> None:
    with pytest.raises(PublishError):
        agent_key(tenant, agent)


def test_an_agent_may_be_named_with_slashes_and_emoji() -> None:
    assert agent_key("acme", "team/🤖") == "acme/team/🤖".encode()
