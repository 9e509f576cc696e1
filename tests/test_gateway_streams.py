"""Streams of decisions over HTTP: each committed record of the tenant once, in order, however often one comes back."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

import agents.serving
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.gateway import places
from connectors.gateway.access import Gateway
from connectors.gateway.keys import ApiKey
from connectors.gateway.rules import StreamLimits
from connectors.gateway.streams import PUBLIC, Streams
from schemas.topics import full_name

from .gateway_server import Event, Served, served
from .test_gateway_checking import checker
from .test_gateway_http import Keys
from .test_gateway_view import IDS, NOW, Lane, decision, level, until

pytestmark = pytest.mark.kafka

TOPIC = "ratelimit.decisions"
PREFIX = "t-streams"


class World:
    """A gateway on topics of their own, the keys to it, and the lane that writes."""

    def __init__(self, kafka: str, keys: Keys, at: Served, lane: Lane, prefix: str) -> None:
        self.kafka, self.keys, self.at, self.lane, self.prefix = kafka, keys, at, lane, prefix
        self._events = 0

    def decided(self, *partitions: int, agent: str = "agent-7", tenant: str = "acme", **how: Any) -> list[str]:
        """One transaction with a decision in each of `partitions`; the ids of their events."""
        records, ids = [], []
        for partition in partitions:
            self._events += 1
            ids.append(f"e-{self._events}")
            told = {**decision("allow", 0), "agent_id": agent, "tenant_id": tenant, "event_id": ids[-1]}
            records.append((TOPIC, partition, told | {"event_type": how.get("kind", "intent_declared")}))
        self.lane.commit(*records, abort=how.get("abort", False))
        return ids

    def listening(self, topic: str = TOPIC, key: str | None = None, **more: Any) -> Any:
        return self.at.listening(topic, key or self.keys.all, **more)

    def end(self) -> str:
        """The id of who has read everything."""
        with self.listening() as listener:
            return listener.id


def settings_of(kafka: str, prefix: str) -> Settings:
    return Settings.read({}, bootstrap_servers=kafka, prefix=prefix, gateway_port=0)


def making(settings: Settings, keys: Keys, **limits: int) -> Callable[[], tuple[Gateway, Streams]]:
    def active(key: ApiKey) -> bool:
        return keys.ring.number(key.number).state(NOW) == "active"

    def made() -> tuple[Gateway, Streams]:
        streams = Streams(settings.confluent(), settings.topic, IDS, StreamLimits(**limits), active)
        return Gateway(checker(), keys.ring, lambda: NOW, streams=streams), streams

    return made


@pytest.fixture(scope="module")
def world(kafka: str) -> Iterator[World]:
    TopicAdmin({"bootstrap.servers": kafka}, PREFIX).create(partitions=2)
    keys, settings = Keys(), settings_of(kafka, PREFIX)
    with served(settings, making(settings, keys, per_key=3, at_once=5)) as at:
        yield World(kafka, keys, at, Lane(kafka, PREFIX), PREFIX)


def ids_of(events: list[Event]) -> list[str]:
    return [event.data["value"]["event_id"] for event in events]


def by_partition(events: list[Event]) -> dict[int, list[int]]:
    found = defaultdict(list)
    for event in events:
        found[event.place[0]].append(event.place[1])
    return dict(found)


def test_who_listens_hears_what_is_decided_from_now_on(world: World) -> None:
    world.decided(0)
    with world.listening() as listener:
        assert listener.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        told = world.decided(0, 1)
        events = listener.next(2)
    assert sorted(ids_of(events)) == told
    shown = events[0].data
    assert (shown["topic"], shown["key"], shown["value"]["decision"]) == (TOPIC, "acme/agent-7", "allow")
    assert places.read(events[0].id, 2)[shown["partition"]] == shown["offset"] + 1


def test_what_was_aborted_and_what_is_anothers_is_never_told(world: World) -> None:
    with world.listening() as listener, world.listening(key=world.keys.other) as other:
        world.decided(0, 1, abort=True)
        theirs = world.decided(0, tenant="other", agent="agent-7")
        longer = world.decided(0, tenant="acme-2") + world.decided(0, tenant="acm")
        ours = world.decided(0)
        assert ids_of(listener.next(1)) == ours
        assert ids_of(other.next(1)) == theirs
    assert longer


def test_every_id_leads_on_to_exactly_what_follows(world: World) -> None:
    """In the ring and beyond it, over markers, aborted transactions and records of others."""
    start = world.end()
    for number in range(6):
        world.decided(*([0, 1, 0][: 1 + number % 3]))
        world.decided(0, 1, tenant="other")
        world.decided(1, abort=True)
    with world.listening(last=start) as listener:
        every = listener.next(12)
        last = world.decided(0, 1)
        every += listener.next(2)
        assert set(last) == set(ids_of(every[12:]))
        for number, event in enumerate(every[:-1]):
            with world.listening(last=event.id) as again:
                assert by_partition(again.next(13 - number)) == by_partition(every[number + 1 :])
    with world.listening(last=every[-1].id) as again:
        more = world.decided(1)
        assert ids_of(again.next(1)) == more


def test_a_stream_that_told_nothing_has_an_id_to_go_on_from(world: World) -> None:
    start = world.end()
    assert start.startswith("0:")
    told = world.decided(0, 1)
    with world.listening(last=start) as listener:
        assert sorted(ids_of(listener.next(2))) == told


def test_one_may_begin_with_the_oldest_record_or_at_a_time(world: World) -> None:
    before = world.decided(0, 1)
    time.sleep(0.01)
    now = int(time.time() * 1000)
    after = world.decided(0, 1)
    with world.listening(**{"from": "earliest"}) as listener:
        assert listener.next(1)[0].data["offset"] == 0
    with world.listening(**{"from": str(now)}) as listener:
        assert sorted(ids_of(listener.next(2))) == after
    with world.listening(**{"from": "999999999999999"}) as listener:
        assert listener.id == world.end()
    assert before


def test_of_one_agent_and_of_one_type_nothing_else_is_told(world: World) -> None:
    with world.listening(agent="acme/agent-9", type="access_granted") as listener:
        world.decided(0, kind="access_granted")
        world.decided(0, agent="agent-9")
        wanted = world.decided(0, agent="agent-9", kind="access_granted")
        assert ids_of(listener.next(1)) == wanted


def test_a_level_that_was_taken_back_is_told_as_null(world: World) -> None:
    with world.listening("trust.levels") as listener:
        world.lane.commit(("trust.levels", 0, level()))
        assert listener.next(1)[0].data["value"]["points"] == 600_000


@pytest.mark.parametrize(
    ("last", "reason"),
    [("x", "not a list"), ("0:1", "1 of 2"), ("0:0,1:999999999", "before 999999999"), ("0:-1,1:0", "not a list")],
)
def test_an_id_that_is_none_is_refused_with_the_reason(world: World, last: str, reason: str) -> None:
    with world.listening(last=last) as listener:
        told = listener.answer.json()
    assert (listener.answer.status_code, told["type"]) == (400, "urn:cognistream:problem:bad-last-event-id")
    assert reason in told["detail"]


def test_what_is_not_public_is_not_there_like_what_does_not_exist(world: World) -> None:
    told = []
    for name in ("audit.log", "agent.state", "dead.letters", "gateway.keys", "kaizen.events", "no.such", f"{PREFIX}."):
        with world.listening(name) as listener:
            told.append((listener.answer.status_code, listener.answer.headers["content-type"], listener.answer.text))
    assert set(told) == {(404, "application/problem+json", told[0][2])}
    assert set(PUBLIC) == {
        "trust.levels", "trust.changes", "ratelimit.decisions", "priority.urgent", "priority.normal",
        "priority.background",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "query", "status"),
    [
        (TOPIC, {"agent": "other/agent-7"}, 403),
        (TOPIC, {"agent": "agent-7"}, 422),
        (TOPIC, {"type": "no.such"}, 422),
        (TOPIC, {"from": "yesterday"}, 422),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    world: World, topic: str, query: dict[str, str], status: int
) -> None:
    with world.listening(topic, **query) as listener:
        assert listener.answer.status_code == status


def test_a_key_and_a_gateway_have_so_many_streams_and_no_more(world: World) -> None:
    def status(key: str) -> int:
        with world.listening(key=key) as listener:
            return listener.answer.status_code

    keys = world.keys
    until(lambda: world.at.streams.open_now() == 0)
    with world.listening(), world.listening(), world.listening() as last:
        assert last.answer.status_code == 200
        assert status(keys.all) == 429
        with world.listening(key=keys.other), world.listening(key=keys.other):
            assert status(keys.reader) == 503
    until(lambda: world.at.streams.open_now() == 0)
    assert status(keys.all) == 200


def test_a_stream_ends_when_its_key_is_revoked(world: World) -> None:
    text = world.keys.new()
    number = text.split("_")[1]
    with world.listening(key=text) as listener:
        told = world.decided(0)
        assert ids_of(listener.next(1)) == told
        revoked = {**world.keys.ring.number(number).record(), "revoked": NOW - 1}
        world.keys.ring.take(ApiKey.of(revoked))
        assert listener.rest() == []


def test_what_is_kept_no_longer_is_told_as_a_gap(world: World) -> None:
    start = world.end()
    first, _ = world.decided(0, 0), world.decided(1)
    cut = places.read(start, 2)[0] + 1
    part = TopicPartition(full_name(PREFIX, TOPIC), 0, cut)
    admin = AdminClient({"bootstrap.servers": world.kafka})
    for done in admin.delete_records([part]).values():
        done.result(30)
    with world.listening(last=start) as listener:
        events = listener.next(3)
    gaps = [event for event in events if event.name == "gap"]
    assert [gap.data for gap in gaps] == [{"partition": 0, "from": cut - 1, "to": cut}]
    assert [one for one in ids_of([event for event in events if event.name == "message"]) if one in first] == first[1:]
    with world.listening(last=gaps[0].id) as again:
        assert first[1] in ids_of(again.next(2 if gaps[0] is events[0] else 1))


def unread(world: World) -> socket.socket:
    """A connection that asks for a stream from now on and reads nothing of it."""
    last = world.end()
    until(lambda: world.at.streams.open_now() == 0)
    address = urlsplit(world.at.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect((str(address.hostname), int(address.port or 0)))
    head = f"GET /v1/streams/{TOPIC} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {world.keys.all}\r\n"
    connection.sendall(f"{head}Last-Event-ID: {last}\r\n\r\n".encode())
    until(lambda: world.at.streams.open_now() == 1)
    return connection


PLACE = re.compile(rb'data: {"topic":"[a-z.]+","partition":([01]),"offset":([0-9]+)')


def seen(text: bytearray) -> int:
    return text.count(b"data: {")


def test_who_does_not_read_holds_nobody_up_and_misses_nothing(world: World) -> None:
    """More is decided meanwhile than the ring holds."""
    many, batch = 18_000, 3_000
    with unread(world) as slow, world.listening() as quick:
        for _ in range(many // batch):
            world.decided(*([0, 1] * (batch // 2)))
            quick.next(batch)
        text = bytearray()
        while seen(text) < many:
            text += slow.recv(1 << 20)
    assert seen(text) == len(set(PLACE.findall(text))) == many


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_example_in_javascript_follows_and_knows_where_to_go_on(kafka: str, tmp_path: Path) -> None:
    keys, settings, program = Keys(), settings_of(kafka, PREFIX), tmp_path / "follow.mjs"
    page = (Path(__file__).parents[1] / "docs" / "gateway.md").read_text(encoding="utf-8")
    example = page.partition("```javascript\n")[2].partition("```")[0]
    program.write_text(f"{example}\nconst [url, key, last] = process.argv.slice(2);\n"
                       "const told = (data) => console.log(data.value.event_id);\n"
                       "console.log(await follow(url, key, told, last));\n")  # fmt: skip
    with served(settings, making(settings, keys)) as at:
        world, url = World(kafka, keys, at, Lane(kafka, PREFIX), PREFIX), f"{at.url}/v1/streams/{TOPIC}"
        last = world.end()
        told = world.decided(0, 1)
        with subprocess.Popen(["node", str(program), url, keys.all, last], stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None
            assert sorted(node.stdout.readline().strip() for _ in told) == told
            at.stop()
            assert places.read(node.stdout.read().strip(), 2) > places.read(last, 2)


def test_a_connection_whose_client_reads_no_more_is_cut(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents.serving, "UNREAD_S", 1)
    keys, settings = Keys(), settings_of(kafka, PREFIX)
    with served(settings, making(settings, keys)) as at:
        world = World(kafka, keys, at, Lane(kafka, PREFIX), PREFIX)
        with unread(world):
            for _ in range(4):
                world.decided(*([0, 1] * 1_500))
            until(lambda: at.streams.open_now() == 0)


def test_a_gateway_that_stops_ends_its_streams(kafka: str) -> None:
    keys, settings = Keys(), settings_of(kafka, PREFIX)
    with served(settings, making(settings, keys)) as at, at.listening(TOPIC, keys.all) as listener:
        at.stop()
        assert listener.rest() == []


def test_without_kafka_there_is_no_stream(kafka: str) -> None:
    del kafka
    keys, settings = Keys(), settings_of("127.0.0.1:1", PREFIX)
    with served(settings, making(settings, keys)) as at, at.listening(TOPIC, keys.all) as listener:
        assert listener.answer.status_code == 503
        assert "127.0.0.1" not in listener.answer.text
