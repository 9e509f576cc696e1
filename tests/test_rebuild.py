"""On a real broker: a partition decided anew is what its topics hold, and a lost or damaged state is made anew."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from agents.cli.main import run
from connectors.trim import delete_before
from schemas.topics import full_name

pytestmark = pytest.mark.kafka

Ask = Callable[..., str]
"""Runs a command with these arguments, and gives what it said; `status` is how it must end."""


@pytest.fixture
def where(kafka: str, prefix: str) -> list[str]:
    """Options that name topics in which a short demo was decided, with repeats and garbage."""
    options = ["--bootstrap", kafka, "--prefix", prefix]
    flaws = ("--repeats", "0.02", "--poison", "0.02", "--partitions", "2")
    assert run(["demo", *options, "--seconds", "3", "--rate", "2000", *flaws, "--keep", "--json", "/dev/null"]) == 0
    return options


@pytest.fixture
def ask(where: list[str], capsys: pytest.CaptureFixture[str]) -> Ask:
    """`cognistream` on those topics."""

    def asked(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        ended = run([*arguments, *where])
        said = "".join(capsys.readouterr())
        assert ended == status, said
        return said

    return asked


def replayed(ask: Ask, status: int = 0) -> dict[str, Any]:
    (answer,) = (line for line in ask("audit", "replay", "--json", status=status).splitlines() if line[:1] == "{")
    told: dict[str, Any] = json.loads(answer)
    return told


def test_what_was_decided_is_decided_alike_and_a_lost_state_is_made_anew(
    ask: Ask, where: list[str], kafka: str
) -> None:
    before = replayed(ask)
    parts = before["partitions"].values()
    assert before["ok"]
    assert all(part["entries"] and part["outputs"] and part["rows"] and not part["not_compared"] for part in parts)
    state = full_name(where[3], "agent.state")

    for partition in map(int, before["partitions"]):
        delete_before({"bootstrap.servers": kafka}, state, partition, end_of(kafka, state, partition))
    lost = replayed(ask, status=1)
    assert all(part["difference"]["field"] == "position" for part in lost["partitions"].values())

    assert "there is no partition 7" in ask("state", "rebuild", "--partition", "7", status=2)
    told = ask("state", "rebuild")
    assert "nothing was written" in told
    assert replayed(ask, status=1) == lost
    ask("state", "rebuild", "--yes")
    assert replayed(ask) == before


def test_a_state_ahead_of_its_journal_is_not_replaced(ask: Ask, where: list[str], kafka: str) -> None:
    """Its events would be decided a second time."""
    client, journal = AdminClient({"bootstrap.servers": kafka}), full_name(where[3], "audit.log")
    client.delete_topics([journal])[journal].result()
    while journal in client.list_topics(timeout=10).topics:
        time.sleep(0.05)
    ask("topics", "create", "--partitions", "2")
    told = ask("state", "rebuild", "--yes", status=1)
    assert "the journal was cut, restored or made anew" in told
    assert "ends with entry 0" in told


def test_a_record_of_somebody_else_is_named_and_gone_after_a_rebuild(ask: Ask, where: list[str], kafka: str) -> None:
    state, normal = (full_name(where[3], name) for name in ("agent.state", "priority.normal"))
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(state, key=b"acme/bot", value=b"garbage", partition=0)
    producer.flush()
    difference = replayed(ask, status=1)["partitions"]["0"]["difference"]
    assert (difference["topic"], difference["field"]) == ("agent.state", "record")
    ask("state", "rebuild", "--partition", "0", "--yes")
    assert replayed(ask)["ok"]

    producer.produce(normal, key=b"acme/bot", value=b"garbage", partition=1)
    producer.flush()
    difference = replayed(ask, status=1)["partitions"]["1"]["difference"]
    assert (difference["topic"], difference["field"], difference["expected"]) == (
        "priority.normal", "record", "nothing",
    )  # fmt: skip


def test_without_the_head_of_a_source_it_is_refused_by_name(ask: Ask, where: list[str], kafka: str) -> None:
    source = full_name(where[3], "kaizen.events")
    client = AdminClient({"bootstrap.servers": kafka})
    for answer in client.delete_records([TopicPartition(source, 0, 5)]).values():
        answer.result(10)
    told = ask("state", "rebuild", "--yes", status=1)
    assert "read kaizen.events[0] from offset 0" in told
    assert "cannot be decided anew" in told


def end_of(kafka: str, topic: str, partition: int) -> int:
    """Offset after the last record."""
    client, place = AdminClient({"bootstrap.servers": kafka}), TopicPartition(topic, partition)
    answer = client.list_offsets({place: OffsetSpec.latest()})[place]
    return int(answer.result(10).offset)
