"""Topics are made as the table says, told as they are, and refused where they would do harm."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from connectors.admin import BrokerUnreachable, TopicAdmin, TopicsUnfit
from connectors.topic_configs import set_configs
from schemas.topics import DEFAULT_PARTITIONS, TOPICS, TopicError, configs, full_name

pytestmark = pytest.mark.kafka


@pytest.fixture
def admin(kafka: str, prefix: str) -> TopicAdmin:
    return TopicAdmin({"bootstrap.servers": kafka}, prefix)


def _set(kafka: str, name: str, key: str, value: str) -> None:
    client = AdminClient({"bootstrap.servers": kafka})
    set_configs(client, name, {key: value})
    plain = ConfigResource(ResourceType.TOPIC, name)
    while client.describe_configs([plain])[plain].result(10)[key].value != value:
        time.sleep(0.02)


def test_what_was_created_stands_as_the_table_says_and_is_fit(admin: TopicAdmin) -> None:
    assert admin.describe() == []
    assert admin.create() == [full_name(admin.prefix, row.name) for row in TOPICS]
    assert admin.create() == [], "the second time nothing is missing"
    assert admin.check() == DEFAULT_PARTITIONS
    for standing, row in zip(admin.describe(), TOPICS, strict=True):
        assert standing.topic == row
        assert configs(row, live=False).items() <= standing.configs.items()
        assert standing.spans == ((0, 0),) * DEFAULT_PARTITIONS
        assert standing.offsets == 0


def test_what_is_added_later_gets_the_partitions_of_the_rest(admin: TopicAdmin) -> None:
    admin.create(["trust.levels"], partitions=3)
    admin.create()
    assert admin.check() == 3


def test_every_fault_is_named_at_once(kafka: str, admin: TopicAdmin) -> None:
    admin.create([row.name for row in TOPICS if row.name not in ("audit.log", "agent.state")], partitions=2)
    name = full_name(admin.prefix, "agent.state")
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(name, 5, 1)])[name].result(10)
    _set(kafka, full_name(admin.prefix, "kaizen.events"), "max.message.bytes", "1000")
    with pytest.raises(TopicsUnfit) as refused:
        admin.check()
    told = "\n".join(refused.value.problems)
    assert f"{full_name(admin.prefix, 'audit.log')} does not exist" in told
    assert "same number of partitions" in told
    assert "agent.state 5" in told
    assert f"{name} has cleanup.policy=delete: set it to compact" in told
    assert "kaizen.events has max.message.bytes=1000" in told


def test_live_sources_must_bound_their_timestamps(kafka: str) -> None:
    live = TopicAdmin({"bootstrap.servers": kafka})
    live.create()
    assert live.check() == DEFAULT_PARTITIONS
    bounds = configs(TOPICS[0], live=True)["message.timestamp.after.max.ms"]
    _set(kafka, "kaizen.events", "message.timestamp.after.max.ms", str((1 << 63) - 1))
    with pytest.raises(TopicsUnfit, match=f"kaizen.events has message.timestamp.after.max.ms=.*set it to {bounds}"):
        live.check()
    _set(kafka, "kaizen.events", "message.timestamp.after.max.ms", bounds)


def test_only_topics_of_a_prefix_can_be_removed(kafka: str, admin: TopicAdmin) -> None:
    admin.create(["trust.levels", "audit.log"])
    assert sorted(admin.remove()) == [f"{admin.prefix}.audit.log", f"{admin.prefix}.trust.levels"]
    with pytest.raises(TopicsUnfit, match="live topics are not deleted"):
        TopicAdmin({"bootstrap.servers": kafka}).remove()


def test_a_name_outside_the_table_and_an_impossible_prefix_are_refused(admin: TopicAdmin) -> None:
    with pytest.raises(TopicError, match="no topic 'nonsense'"):
        admin.create(["nonsense"])
    with pytest.raises(TopicError, match="prefix 'A!'"):
        TopicAdmin({"bootstrap.servers": "127.0.0.1:9"}, "A!")


def test_no_broker_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.admin._TIMEOUT", 0.5)
    with pytest.raises(BrokerUnreachable, match=r"no Kafka answers at 127\.0\.0\.1:9.*kafka start"):
        TopicAdmin({"bootstrap.servers": "127.0.0.1:9"}).check()
