"""A service publishes with the client alone, and its events lie in the source topics as workers want them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cognistream_client import (
    AgentAnchorEvent,
    AuraisEvent,
    Event,
    Handle,
    InvalidEvent,
    KaizenEvent,
    NotDelivered,
    Publisher,
    PublisherClosed,
)
from connectors.admin import TopicAdmin
from connectors.topic_reader import Record, TopicReader
from schemas.catalog import LocalIds
from schemas.murmur import partition_of
from schemas.topics import DEFAULT_PARTITIONS, SOURCE_TOPICS, full_name
from schemas.wire import decode

pytestmark = pytest.mark.kafka

IDS = LocalIds()


@pytest.fixture
def fleet(kafka: str, prefix: str) -> str:
    """A prefix with the three source topics under it."""
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create([row.name for row in SOURCE_TOPICS])
    return prefix


def read(kafka: str, prefix: str, topic: str) -> Iterator[Record]:
    """All records of a topic."""
    with TopicReader({"bootstrap.servers": kafka}, full_name(prefix, topic)) as reader:
        for record in reader.read(dict.fromkeys(range(DEFAULT_PARTITIONS), 0)):
            if record is None:
                return
            yield record


EVENTS: list[Event] = [
    KaizenEvent(tenant_id="acme", agent_id="planner/🤖", event_type="execution_completed", risk="low", duration_ms=812),
    AgentAnchorEvent(tenant_id="acme", agent_id="a", event_type="agent_registered", creation="evolved"),
    AuraisEvent(tenant_id="acme", agent_id="a", event_type="feedback_positive", rating=-5, attributes={"at": "home"}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.SOURCE)
def test_an_event_is_read_back_as_it_was_published(kafka: str, fleet: str, event: Event) -> None:
    before = int(time.time() * 1000)
    with Publisher(kafka, prefix=fleet) as publisher:
        handle = publisher.publish(event).wait(30)
    (record,) = read(kafka, fleet, event.TOPIC)
    assert decode(record.value, IDS)[1] == vars(event)
    assert record.key == f"{event.tenant_id}/{event.agent_id}".encode()
    assert (handle.partition, handle.offset) == (record.partition, record.offset)
    assert before <= record.timestamp <= int(time.time() * 1000), "the time of sending"


def test_an_agent_s_events_lie_in_its_partition_in_their_order(kafka: str, fleet: str) -> None:
    events = [
        KaizenEvent(tenant_id="acme", agent_id=f"agent-{i % 97}", event_type="intent_declared", tokens_in=i)
        for i in range(5_000)
    ]
    with Publisher(kafka, prefix=fleet) as publisher:
        handles = publisher.publish_many(events).wait(60)
    assert [handle.event_id for handle in handles] == [event.event_id for event in events]
    found: dict[str, list[int]] = {}
    for record in read(kafka, fleet, "kaizen.events"):
        value = decode(record.value, IDS)[1]
        assert record.partition == partition_of(record.key or b"", DEFAULT_PARTITIONS)
        found.setdefault(value["agent_id"], []).append(value["tokens_in"])
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sum(map(len, found.values())) == 5_000


def test_several_threads_share_a_publisher(kafka: str, fleet: str) -> None:
    def work(name: str) -> None:
        for number in range(500):
            publisher.publish(
                KaizenEvent(tenant_id="acme", agent_id=name, event_type="intent_declared", tokens_in=number)
            )

    with Publisher(kafka, prefix=fleet) as publisher, ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["a", "b", "c", "d"]))
        publisher.flush()
    found: dict[str, list[int]] = {}
    for record in read(kafka, fleet, "kaizen.events"):
        value = decode(record.value, IDS)[1]
        found.setdefault(value["agent_id"], []).append(value["tokens_in"])
    assert found == {name: list(range(500)) for name in "abcd"}


async def test_coroutines_await_the_fate_of_their_events(kafka: str, fleet: str) -> None:
    async with Publisher(kafka, prefix=fleet) as publisher:
        handle = await publisher.publish_async(EVENTS[0])
        assert (await handle).offset == 0
        handles = await publisher.publish_many_async(EVENTS)
        assert all(handle.done and handle.error is None for handle in await handles)


def test_whoever_asks_to_be_called_is_called_once(kafka: str, fleet: str) -> None:
    told: list[str] = []
    with Publisher(kafka, prefix=fleet) as publisher:
        handle = publisher.publish(EVENTS[0])
        handle.add_done_callback(lambda done: told.append(done.event_id))
        handle.wait(30)
        handle.add_done_callback(lambda done: told.append(done.event_id))
    assert told == [EVENTS[0].event_id] * 2


def test_a_callback_that_fails_is_logged_and_stops_nothing(
    kafka: str, fleet: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Handle) -> None:
        raise RuntimeError("the service's own mistake")

    with Publisher(kafka, prefix=fleet) as publisher:
        first = publisher.publish(EVENTS[0])
        first.add_done_callback(fail)
        assert publisher.publish(EVENTS[0]).wait(30).offset is not None
    assert f"a callback of event {first.event_id} failed" in caplog.text


def test_of_many_events_none_is_sent_when_one_is_wrong(kafka: str, fleet: str) -> None:
    wrong = KaizenEvent(tenant_id="acme", agent_id="", event_type="intent_declared")
    with Publisher(kafka, prefix=fleet) as publisher:
        with pytest.raises(InvalidEvent, match=r"event 3, agent_id: '' is not text of 1 to 128 bytes"):
            publisher.publish_many([*EVENTS, wrong])
        publisher.flush()
    assert not list(read(kafka, fleet, "kaizen.events"))


def test_a_topic_that_does_not_exist_is_told_at_once(kafka: str, prefix: str, tmp_path: Path) -> None:
    with Publisher(kafka, prefix=prefix, spool=tmp_path) as publisher:
        with pytest.raises(NotDelivered, match=r"kaizen.events was not delivered: .*[Uu]nknown topic"):
            publisher.publish(EVENTS[0]).wait(60)
        with pytest.raises(NotDelivered, match="1 events were not delivered"):
            publisher.flush()


def test_a_closed_publisher_takes_nothing(kafka: str) -> None:
    publisher = Publisher(kafka)
    publisher.close()
    publisher.close()
    with pytest.raises(PublisherClosed):
        publisher.publish(EVENTS[0])
