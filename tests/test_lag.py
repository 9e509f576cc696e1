"""Lag on a real broker, beside what an outside reader finds: its own positions, and the records that it counts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from agents.cli.main import run
from agents.lag_watch import positions_of_workers
from connectors import lag
from connectors.admin import TopicAdmin
from connectors.lag import LagReader, PartitionLag
from schemas.catalog import LocalIds
from schemas.examples import examples
from schemas.topics import POSITION_KEY, full_name

pytestmark = pytest.mark.kafka

NAME = "priority.urgent"


@pytest.fixture
def topic(kafka: str, prefix: str) -> str:
    """A topic of three partitions."""
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create([NAME], partitions=3)
    return full_name(prefix, NAME)


@pytest.fixture
def reader(kafka: str) -> Iterator[LagReader]:
    with LagReader({"bootstrap.servers": kafka}) as reader:
        yield reader


def fill(kafka: str, topic: str, transactions: int, each: int, timestamp: int) -> None:
    """`each` records and a marker per transaction into partition 0; one record, without any, into partition 1."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions()
    for _ in range(transactions):
        producer.begin_transaction()
        for _ in range(each):
            producer.produce(topic, b"work", partition=0, timestamp=timestamp)
        producer.commit_transaction()
    plain = Producer({"bootstrap.servers": kafka})
    plain.produce(topic, b"work", partition=1, timestamp=timestamp)
    plain.flush()


def member(kafka: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": kafka, "group.id": group, "isolation.level": "read_committed",
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
        }
    )  # fmt: skip


def commit(kafka: str, group: str, topic: str, *offsets: int) -> None:
    consumer = member(kafka, group)
    consumer.commit(offsets=[TopicPartition(topic, p, at) for p, at in enumerate(offsets)], asynchronous=False)
    consumer.close()


def counted(kafka: str, topic: str, partition: int, start: int) -> tuple[int, int]:
    """What an outside reader counts from `start` on, and its position then."""
    consumer, count = member(kafka, "outside"), 0
    consumer.assign([TopicPartition(topic, partition, start)])
    while (message := consumer.poll(3)) is not None:
        count += message.error() is None
    (place,) = consumer.position([TopicPartition(topic, partition)])
    consumer.close()
    return count, place.offset


def by_partition(found: list[PartitionLag]) -> list[PartitionLag]:
    return sorted(found, key=lambda one: one.partition)


def test_markers_are_no_work_and_quiet_partitions_are_told(kafka: str, topic: str, reader: LagReader) -> None:
    began = time.time_ns() // 1_000_000
    fill(kafka, topic, transactions=5, each=3, timestamp=began - 60_000)
    commit(kafka, topic, topic, 4, 0)
    busy, small, quiet = by_partition(reader.look(topic, began))
    count, position = counted(kafka, topic, 0, 4)
    assert (busy.lag, busy.commit_lag, busy.committed, busy.end) == (count, count, 4, 20)
    assert busy.end - 4 > count, "offsets count the markers too"
    assert position <= busy.end
    assert (small.lag, small.committed) == (1, 0)
    assert (quiet.lag, quiet.committed, quiet.end, quiet.waits_ms) == (0, None, 0, 0)
    assert busy.waits_ms == small.waits_ms == 60_000
    assert {one.owner for one in (busy, small, quiet)} == {None}
    assert topic in reader.groups()


def test_who_read_everything_has_no_lag_though_a_marker_follows(kafka: str, topic: str, reader: LagReader) -> None:
    fill(kafka, topic, transactions=1, each=3, timestamp=1_767_225_600_000)
    commit(kafka, topic, topic, 3, 1, 0)
    found = by_partition(reader.look(topic, 1_767_225_600_000))
    assert [(one.lag, one.end) for one in found] == [(0, 4), (0, 1), (0, 0)]


def test_a_member_s_partitions_are_told_before_it_ever_committed(kafka: str, topic: str, reader: LagReader) -> None:
    fill(kafka, topic, transactions=1, each=2, timestamp=1_767_225_600_000)
    consumer = member(kafka, topic)
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.1)
    found = by_partition(reader.look(topic, 0))
    consumer.close()
    assert [(one.committed, one.lag, one.waits_ms) for one in found] == [(None, 2, 0), (None, 1, 0), (None, 0, 0)]
    assert {one.owner for one in found} == {"rdkafka"}


def test_a_long_stretch_is_estimated_from_what_was_read(
    kafka: str, topic: str, reader: LagReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "COUNTED", 16)
    fill(kafka, topic, transactions=20, each=4, timestamp=1_767_225_600_000)
    commit(kafka, topic, topic, 0, 0, 0)
    busy = by_partition(reader.look(topic, 0))[0]
    assert 80 <= busy.lag <= 85
    nearer = by_partition(reader.look(topic, 0, {(topic, 0): 95}))[0]
    assert (nearer.position, nearer.lag) == (95, 4)
    assert 80 <= nearer.commit_lag <= 85


def test_offsets_beyond_the_log_are_no_negative_lag(kafka: str, topic: str, reader: LagReader) -> None:
    commit(kafka, topic, topic, 1_000, 1_000, 1_000)
    assert [(one.lag, one.commit_lag) for one in reader.look(topic, 0)] == [(0, 0)] * 3


def test_the_command_tells_rates_and_how_a_group_stands(
    kafka: str, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(kafka, topic, transactions=2, each=5, timestamp=1_767_225_600_000)
    commit(kafka, topic, topic, 6, 1, 0)
    asked = ["lag", "--bootstrap", kafka, "--group", topic, "--interval", "0.1"]
    assert run([*asked, "--json"]) == 0
    found = {one["partition"]: one for one in json.loads(capsys.readouterr().out)}
    assert [found[p]["lag"] for p in range(3)] == [5, 0, 0]
    assert [found[p]["status"] for p in range(3)] == ["stopped", "fine", "fine"]
    assert (found[0]["rate_in"], found[0]["rate_out"], found[0]["drain_s"]) == (0, 0, None)
    assert found[1]["drain_s"] == 0
    assert run(asked) == 0
    assert "stopped" in capsys.readouterr().out


def test_where_workers_read_on_is_their_own_word(kafka: str, prefix: str) -> None:
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create(["agent.state"], partitions=2)
    (example,) = (one for one in examples("agent.state") if one.key == POSITION_KEY)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(full_name(prefix, "agent.state"), example.framed, POSITION_KEY, partition=1)
    producer.flush()
    expected = {
        (full_name(prefix, f"{source['source']}.events"), 1): source["next"]
        for source in example.value["position"]["sources"]
    }
    assert expected
    assert positions_of_workers({"bootstrap.servers": kafka}, prefix, LocalIds()) == expected
