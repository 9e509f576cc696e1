"""The client obeys the topic `pressure` of a real broker: what is left out, paced and kept; nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cognistream_client import Event, KaizenEvent, LeftOut, NotDelivered, Publisher, follower
from cognistream_client.follower import TOPIC
from connectors.admin import TopicAdmin
from connectors.publisher import Publisher as Teller
from connectors.topic_reader import TopicReader
from schemas.catalog import LocalIds
from schemas.murmur import partition_of
from schemas.topics import DEFAULT_PARTITIONS, full_name
from schemas.wire import decode, encode

pytestmark = pytest.mark.kafka

IDS = LocalIds()
SOURCE = "kaizen.events"
NORMAL = KaizenEvent(tenant_id="acme", agent_id="a", event_type="intent_declared")
BACKGROUND = replace(NORMAL, event_type="policy_evaluated")
VITAL = replace(NORMAL, event_type="security_violation", severity="minor")
PLACE = partition_of(b"acme/a", DEFAULT_PARTITIONS)
HERE = f"{SOURCE}/{PLACE}"


@pytest.fixture
def fleet(kafka: str, prefix: str) -> str:
    """A prefix with a source and the topic of pressure."""
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create([SOURCE, TOPIC])
    return prefix


@pytest.fixture
def say(kafka: str, fleet: str) -> Callable[..., None]:
    """Says a level as a controller does; `life` in seconds."""

    def say(level: str, concern: str = HERE, *, life: float = 600, accepts: float = 1.0) -> None:
        now = time.time_ns() // 1_000_000
        told = {
            "concern": concern, "level": level, "reason": "a test", "since": now, "expires_at": now + int(life * 1000),
            "lag": 0, "drain_ms": None, "accepts": accepts, "said_by": "controller",
        }  # fmt: skip
        with Teller({"bootstrap.servers": kafka}) as teller:
            teller.publish(full_name(fleet, TOPIC), concern.encode(), encode(TOPIC, told, IDS), now)

    return say


def number(event: Event, count: int) -> list[Any]:
    """So many like `event`, with ids of their own."""
    return [replace(event, event_id=f"{event.event_type}-{i}", attributes={"number": str(i)}) for i in range(count)]


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until, "it did not come about within 30 s"
        time.sleep(0.02)


def hears(publisher: Publisher, *levels: str) -> None:
    """Return once the publisher knows of exactly these levels."""
    wait_for(lambda: sorted(told.level for told in publisher.pressure) == sorted(levels))


def arrived(kafka: str, prefix: str) -> list[str]:
    """Ids of all events in the source, in the order of their partition."""

    def read() -> Iterator[str]:
        with TopicReader({"bootstrap.servers": kafka}, full_name(prefix, SOURCE)) as reader:
            for record in reader.read(dict.fromkeys(range(DEFAULT_PARTITIONS), 0)):
                if record is None:
                    return
                yield decode(record.value, IDS)[1]["event_id"]

    return list(read())


def ids(events: list[Any]) -> list[str]:
    return [event.event_id for event in events]


def test_without_the_topic_there_is_no_pressure_and_it_is_found_when_it_comes(
    kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follower, "LOOK_AGAIN", 0.2)
    admin = TopicAdmin({"bootstrap.servers": kafka}, prefix)
    admin.create([SOURCE])
    with Publisher(kafka, prefix=prefix) as publisher:
        publisher.publish(NORMAL).wait(30)
        assert not [row for row in caplog.records if row.name.startswith("cognistream_client")]
        admin.create([TOPIC])
        now = time.time_ns() // 1_000_000
        told = {
            "concern": HERE, "level": "soft", "reason": "", "since": now, "expires_at": now + 600_000, "lag": 0,
            "said_by": "controller",
        }  # fmt: skip
        with Teller({"bootstrap.servers": kafka}) as teller:
            teller.publish(full_name(prefix, TOPIC), HERE.encode(), encode(TOPIC, told, IDS), now)
        hears(publisher, "soft")


def test_soft_pressure_samples_background_and_says_so(kafka: str, fleet: str, say: Callable[..., None]) -> None:
    say("soft")
    with Publisher(kafka, prefix=fleet) as publisher:
        hears(publisher, "soft")
        background = publisher.publish_many(number(BACKGROUND, 200))
        others = publisher.publish_many(number(NORMAL, 50) + number(VITAL, 50)).wait(30)
        publisher.flush(30)
    sent = [handle.event_id for handle in background if handle.error is None]
    assert 5 <= len(sent) <= 50
    assert {type(handle.error) for handle in background.failed} == {LeftOut}
    with pytest.raises(LeftOut, match=rf"background event .* was left out: pressure on {HERE} is soft: a test"):
        background.failed[0].wait()
    assert sorted(arrived(kafka, fleet)) == sorted(sent + [handle.event_id for handle in others])


def test_hard_pressure_lets_background_wait_and_all_of_it_comes_later(
    kafka: str, fleet: str, say: Callable[..., None], tmp_path: Path
) -> None:
    say("hard", accepts=0.9)
    background, normal = number(BACKGROUND, 300), number(NORMAL, 100)
    with Publisher(kafka, prefix=fleet, spool=tmp_path) as publisher:
        hears(publisher, "hard")
        kept = publisher.publish_many(background).wait(30)
        sent = publisher.publish_many(normal).wait(60)
        assert {(handle.spooled, handle.offset) for handle in kept} == {(True, None)}
        assert None not in {handle.offset for handle in sent}
        assert sorted(arrived(kafka, fleet)) == sorted(ids(normal))
        say("none")
        hears(publisher)
        wait_for(lambda: publisher.spooled_bytes == 0)
    assert arrived(kafka, fleet) == ids(normal) + ids(background)


def test_stop_lets_only_security_and_audit_pass_until_nobody_confirms_it(
    kafka: str, fleet: str, say: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say("stop", life=600)
    normal, vital = number(NORMAL, 50), number(VITAL, 50)
    with Publisher(kafka, prefix=fleet, spool=tmp_path) as publisher:
        hears(publisher, "stop")
        assert all(handle.spooled for handle in publisher.publish_many(normal).wait(30))
        assert not any(handle.spooled for handle in publisher.publish_many(vital).wait(30))
        assert arrived(kafka, fleet) == ids(vital)
        say("stop", life=1)
        hears(publisher)
        wait_for(lambda: publisher.spooled_bytes == 0)
    assert arrived(kafka, fleet) == ids(vital) + ids(normal)
    said = [row.getMessage() for row in caplog.records if "not confirm" in row.getMessage()]
    assert said == [f"pressure on {HERE} was stop, and controller does not confirm it any more: it counts as none"]


def test_without_a_spool_what_would_have_to_wait_fails(kafka: str, fleet: str, say: Callable[..., None]) -> None:
    say("stop")
    with Publisher(kafka, prefix=fleet) as publisher:
        hears(publisher, "stop")
        assert isinstance(publisher.publish(BACKGROUND).error, LeftOut)
        publisher.flush()
        assert isinstance(publisher.publish(NORMAL).error, LeftOut)
        with pytest.raises(NotDelivered, match="normal event"):
            publisher.flush()
        assert publisher.publish(VITAL).wait(30).offset is not None


def test_one_partition_s_pressure_is_no_other_s(
    kafka: str, fleet: str, say: Callable[..., None], tmp_path: Path
) -> None:
    say("stop")
    agents = (f"agent-{i}" for i in range(100))
    elsewhere = next(name for name in agents if partition_of(f"acme/{name}".encode(), DEFAULT_PARTITIONS) != PLACE)
    with Publisher(kafka, prefix=fleet, spool=tmp_path) as publisher:
        hears(publisher, "stop")
        assert publisher.publish(NORMAL).wait(30).spooled
        assert publisher.publish(replace(NORMAL, agent_id=elsewhere)).wait(30).offset is not None
        say("none")
        hears(publisher)


def test_what_waits_at_the_end_is_sent_by_the_next_publisher(
    kafka: str, fleet: str, say: Callable[..., None], tmp_path: Path
) -> None:
    say("stop")
    first, second = number(NORMAL, 20), number(replace(NORMAL, event_type="execution_started"), 20)
    with Publisher(kafka, prefix=fleet, spool=tmp_path) as publisher:
        hears(publisher, "stop")
        publisher.publish_many(first)
    assert arrived(kafka, fleet) == []
    say("none")
    with Publisher(kafka, prefix=fleet, spool=tmp_path) as publisher:
        publisher.publish_many(second)
    assert arrived(kafka, fleet) == ids(first) + ids(second)
