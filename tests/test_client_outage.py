"""Kafka goes away and comes back, the sender is killed: what a handle promised is decided once, in order.

`CRASHES=20 make test ARGS="tests/test_client_outage.py -k promised -s"` kills more often than CI does, and says what
came of it.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cognistream_client import KaizenEvent, NotDelivered, Publisher, SpoolFull
from connectors.admin import TopicAdmin
from connectors.local_kafka import LocalKafka
from connectors.state_folder import state_folder
from connectors.topic_reader import TopicReader
from schemas.catalog import LocalIds
from schemas.topics import DEFAULT_PARTITIONS, full_name
from schemas.wire import decode

from .lanes import Record
from .test_admission import lane, outcome

IDS = LocalIds()
NOWHERE = "127.0.0.1:9"
PREFIX = "t-outage"
TURNS = int(os.environ.get("CRASHES", "2"))
"""How often both the sender and the broker are killed."""
AT_ONCE = 10_000
"""Records that a lane is given in one batch."""
CLIENT = str(Path(__file__).parents[1] / "connectors" / "client" / "src")
SENDER = """
import itertools, os, sys
from cognistream_client import KaizenEvent, Publisher
kafka, prefix, spool, told, name = sys.argv[1:]
out = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
publisher = Publisher(kafka, prefix=prefix, spool=spool, within=1.0)
for number in itertools.count():
    event = KaizenEvent(event_id=f"{name}-{number}", tenant_id="acme", agent_id=f"a{number % 7}",
                        event_type="intent_declared", tokens_in=number)
    handle = publisher.publish(event)
    handle.add_done_callback(lambda handle: handle.error or os.write(out, handle.event_id.encode() + b"\\n"))
    if number % 50 == 0:
        publisher.publish(event).wait()
"""


def event(number: int, **says: object) -> KaizenEvent:
    fields = {"tenant_id": "acme", "agent_id": "a", "event_type": "intent_declared", "tokens_in": number} | says
    return KaizenEvent(**fields)  # type: ignore[arg-type]


def test_without_a_spool_an_outage_is_told_by_every_handle() -> None:
    publisher = Publisher(NOWHERE, within=0.3)
    handle = publisher.publish(event(1))
    with pytest.raises(NotDelivered, match=r"event .* for kaizen.events was not delivered: .*timed out"):
        handle.wait(30)
    with pytest.raises(NotDelivered, match="1 events were not delivered"):
        publisher.close()


def test_a_handle_is_done_when_its_event_lies_in_the_spool(tmp_path: Path) -> None:
    with Publisher(NOWHERE, within=0.3, spool=tmp_path) as publisher:
        handles = publisher.publish_many(map(event, range(100))).wait(30)
        assert all(handle.spooled and handle.offset is None for handle in handles)
        assert publisher.spooled_bytes > 0


def test_a_full_spool_raises(tmp_path: Path) -> None:
    with Publisher(NOWHERE, within=0.3, spool=tmp_path, spool_bytes=2_000, when_full="raise") as publisher:
        publisher.publish(event(0)).wait(30)
        with pytest.raises(SpoolFull, match=r"Kafka is away and the spool .* of 2,000 bytes"):
            list(map(publisher.publish, map(event, range(100))))


def test_background_events_are_dropped_first(tmp_path: Path) -> None:
    with Publisher(NOWHERE, within=0.3, spool=tmp_path, spool_bytes=6_000, when_full="drop_background") as publisher:
        publisher.publish(event(0)).wait(30)
        fillers = (publisher.publish(event(1, event_type="policy_evaluated")) for _ in itertools.count())
        while not (filler := next(fillers)).error:
            filler.wait(30)
        assert isinstance(filler.error, SpoolFull)
        assert publisher.publish(event(2)).wait(30).spooled, "what matters still finds room"


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker that the test may kill."""
    kafka = LocalKafka(tmp_path / "kafka", state_folder() / "maven", brief=True)
    TopicAdmin({"bootstrap.servers": kafka.start().bootstrap}, PREFIX).create(["kaizen.events"])
    yield kafka
    kafka.stop()


def kill(kafka: LocalKafka) -> None:
    """The broker is gone at once, as when its machine is."""
    broker = kafka.status()
    assert broker is not None
    os.kill(broker.pid, signal.SIGKILL)
    while broker.alive:
        time.sleep(0.01)


def decisions(bootstrap: str) -> list[tuple[str, int, str]]:
    """(event id, number, what a worker makes of it) of all events in the log, in its order per partition."""
    found: dict[int, list[Record]] = {}
    topic = full_name(PREFIX, "kaizen.events")
    with TopicReader({"bootstrap.servers": bootstrap}, topic) as reader:
        for one in reader.read(dict.fromkeys(range(DEFAULT_PARTITIONS), 0)):
            if one is None:
                break
            found.setdefault(one.partition, []).append(Record("kaizen.events", one.timestamp, one.key, one.value))
    told = []
    for records in found.values():
        values = [decode(record.value, IDS)[1] for record in records]
        subject, marks = lane(), []
        for start in range(0, len(records), AT_ONCE):
            marks += outcome(subject, *records[start : start + AT_ONCE])
        told += [(value["event_id"], value["tokens_in"], mark) for value, mark in zip(values, marks, strict=True)]
    return told


@pytest.mark.kafka
def test_what_was_kept_is_sent_in_order_when_kafka_is_back(own_kafka: LocalKafka, tmp_path: Path) -> None:
    broker = own_kafka.status()
    assert broker is not None
    with Publisher(broker.bootstrap, prefix=PREFIX, within=1.0, spool=tmp_path / "spool") as publisher:
        publisher.publish_many(map(event, range(100))).wait(30)
        kill(own_kafka)
        assert publisher.publish(event(100)).wait(30).spooled
        publisher.publish_many(map(event, range(101, 400))).wait(30)
        own_kafka.start()
        last = 400
        while publisher.publish(event(last)).wait(60).spooled:
            publisher.publish_many(map(event, range(last + 1, last + 100)))
            last += 100
    decided = [number for _, number, mark in decisions(broker.bootstrap) if mark == "decided"]
    assert decided == list(range(last + 1))


def crash(turn: int, sender: subprocess.Popen[bytes], kafka: LocalKafka, chance: random.Random) -> None:
    """Kill both, in turn: the sender while it spools, the sender while its spool is sent, both at once."""
    time.sleep(chance.uniform(0, 1))
    if turn % 3 == 2:
        sender.kill()
    kill(kafka)
    time.sleep(chance.uniform(0.5, 2.5))
    if turn % 3 == 1:
        kafka.start()
        time.sleep(chance.uniform(0, 1))
    assert sender.poll() is None or turn % 3 == 2, "a sender ends by nothing but our hand"
    sender.kill()
    sender.wait()
    kafka.start()


@pytest.mark.kafka
@pytest.mark.timeout(120 + 60 * TURNS)
def test_nothing_that_a_handle_promised_is_lost_or_decided_twice(own_kafka: LocalKafka, tmp_path: Path) -> None:
    broker, chance = own_kafka.status(), random.Random(7)
    assert broker is not None
    told, spool = tmp_path / "told", tmp_path / "spool"
    for turn in range(TURNS):
        arguments = [broker.bootstrap, PREFIX, str(spool), str(told), f"s{turn}"]
        sender = subprocess.Popen([sys.executable, "-c", SENDER, *arguments], env=os.environ | {"PYTHONPATH": CLIENT})
        while f"s{turn}-0\n" not in (told.read_text() if told.exists() else ""):
            assert sender.poll() is None
            time.sleep(0.05)
        crash(turn, sender, own_kafka, chance)
    with Publisher(broker.bootstrap, prefix=PREFIX, spool=spool) as publisher:
        while publisher.spooled_bytes:
            time.sleep(0.05)
    promised, found = set(told.read_text().split()), decisions(broker.bootstrap)
    marks = Counter(mark for _, _, mark in found)
    print(f"{TURNS} rounds: {len(promised):,} events promised, {len(found):,} records in the log, {dict(marks)}")
    decided = [name for name, _, mark in found if mark == "decided"]
    assert len(promised) > 1_000
    assert promised <= set(decided)
    assert len(decided) == len(set(decided))
    assert set(marks) <= {"decided", "repeat"}
