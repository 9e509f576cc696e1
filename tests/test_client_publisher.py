"""A service publishes with the client alone, and its events lie in the source topics as workers want them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cognistream_client import AgentAnchorEvent, AuraisEvent, Event, KaizenEvent, Publisher
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
