"""Dead letters on a real broker: listed, shown, sent again as they were, once; a bad deploy pauses its partition."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from faust.types import TP

from agents.checking import check
from agents.cli.main import run
from agents.deciding import Deciders
from agents.letters import MARK, Letters, Wanted
from agents.redriving import Fate, Redrive, RedriveFailed
from agents.resumes import TOPIC, resume, resumes
from agents.settings import Settings
from connectors.topic_reader import Record as Read
from connectors.topic_reader import TopicReader
from schemas.examples import examples
from schemas.murmur import partition_of
from streams.breaker import LAST, TRIPPED_BY

from .lanes import IDS, Record
from .runtime_tools import PARTITIONS, SOURCES, with_topics
from .test_admission import KAIZEN, NOW, event
from .test_runtime_worker import Running, running

pytestmark = pytest.mark.kafka

UNKNOWN = b"\0\0\0\0\x07abc"
NAMES = [f"bot-{i}" for i in range(40)]
HOME = {name: partition_of(f"acme/{name}".encode(), PARTITIONS) for name in NAMES}
HERE = [name for name in NAMES if HOME[name] == 0]
THERE = [name for name in NAMES if HOME[name] == 1]

Headers = tuple[tuple[str, bytes | None], ...]
Out = pytest.CaptureFixture[str]


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of a worker on topics of its own."""
    return with_topics(kafka, prefix, tmp_path, tick_seconds=0.3)


async def publish(settings: Settings, records: list[tuple[Record, int]], headers: Headers = ()) -> None:
    """Write records of given partitions."""
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        sent = [
            await producer.send(settings.topic(r.topic), r.value, r.key, partition, r.timestamp, list(headers))
            for r, partition in records
        ]
        await asyncio.gather(*sent)


def lying_in(settings: Settings, topic: str) -> list[Read]:
    """All records of a topic."""
    with TopicReader(settings.confluent(), settings.topic(topic)) as reader:
        spans = reader.spans(range(PARTITIONS))
        return list(reader.read_to_end({partition: first for partition, (first, _) in spans.items()}))


async def until(settled: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(40):
        while not settled():
            await asyncio.sleep(0.05)


async def decided_all(worker: Running) -> None:
    """Until nothing waits that was published before."""
    settings, ends = worker.app.settings, {}
    for name in SOURCES:
        with TopicReader(settings.confluent(), settings.topic(name)) as reader:
            spans = reader.spans(range(PARTITIONS))
        ends |= {TP(settings.topic(name), partition): end for partition, (_, end) in spans.items()}
    await until(lambda: all(worker.app.durable().get(tp, 0) >= end for tp, end in ends.items()))
    await until(lambda: ends_of(settings, IsolationLevel.READ_COMMITTED) == ends_of(settings))


def ends_of(settings: Settings, seen: IsolationLevel = IsolationLevel.READ_UNCOMMITTED) -> list[int]:
    """Ends of the dead letters' partitions; committed ones follow once the broker has written its markers."""
    admin = AdminClient({**settings.confluent()})
    places = {TopicPartition(settings.topic("dead.letters"), p): OffsetSpec.latest() for p in range(PARTITIONS)}
    return [answer.result(10).offset for answer in admin.list_offsets(places, isolation_level=seen).values()]


@contextlib.asynccontextmanager
async def deciding(settings: Settings) -> AsyncIterator[Running]:
    """A worker that decides by the rules."""
    async with running(settings, Deciders(settings)) as worker:
        yield worker


def letters(settings: Settings, **wanted: Any) -> list[Any]:
    return list(Letters(settings, IDS).read(Wanted(**wanted)))


def counts(worker: Running) -> Counter[str]:
    """What the positions of all lanes add up to."""
    positions = (lane.decider.positions for lane in worker.app.lanes.values())
    return sum((Counter(each) for each in positions), Counter())


def named(name: str, number: int = 0, **says: Any) -> Record:
    return event(agent_id=name, event_id=f"{name}-{number}", **says)


async def ask(settings: Settings, capsys: Out, *arguments: str) -> list[Any]:
    """The JSON lines that a command answers."""
    where = ["--bootstrap", settings.bootstrap_servers, "--prefix", settings.prefix, "--json"]
    capsys.readouterr()
    status = await asyncio.to_thread(run, ["dlq", *arguments, *where])
    said = capsys.readouterr()
    assert status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


async def test_letters_are_counted_listed_and_shown_with_their_bytes(settings: Settings, capsys: Out) -> None:
    async with deciding(settings) as worker:
        odd = event(key=b"acme/x\xff", value=UNKNOWN)
        stray = named(THERE[0])
        await publish(
            settings, [(odd, 0), (odd, 1), (stray, 0), (named(HERE[0]), 0)], (("trace", b"\x00\xfe"), ("n", None))
        )
        await decided_all(worker)
        counted = await ask(settings, capsys, "list")
        assert [(row["reason"], row["source"], row["partition"], row["count"]) for row in counted] == [
            ("unknown_schema", KAIZEN, 0, 1), ("unknown_schema", KAIZEN, 1, 1), ("wrong_partition", KAIZEN, 0, 1),
        ]  # fmt: skip
        (listed,) = await ask(settings, capsys, "list", "--each", "--reason", "wrong_partition")
        assert (listed["key"], listed["offset"], listed["redriven_from"]) == (f"acme/{THERE[0]}", 1, None)
        (strayed,) = await ask(settings, capsys, "show", listed["letter"])
        assert strayed["decoded"]["agent_id"] == THERE[0]
        assert bytes.fromhex(strayed["value_hex"]) == stray.value
        (first,) = await ask(settings, capsys, "list", "--each", "--partition", "1")
        (shown,) = await ask(settings, capsys, "show", first["letter"])
        assert (shown["key_hex"], shown["value_hex"]) == ((odd.key or b"").hex(), UNKNOWN.hex())
        assert shown["headers_hex"] == ["00fe", None]
        assert "no schema has id 7" in shown["undecodable"]


async def test_filters_leave_out_what_was_not_asked_for(settings: Settings) -> None:
    async with deciding(settings) as worker:
        times = [NOW + 1000 * i for i in range(3)]
        await publish(settings, [(named(HERE[i], timestamp=when, value=UNKNOWN), 0) for i, when in enumerate(times)])
        await publish(settings, [(named(HERE[0], timestamp=NOW + 9000, value=b""), 0)])
        await decided_all(worker)
        assert [letter.time for letter in letters(settings)] == [*times, NOW + 9000]
        assert [letter.says["offset"] for letter in letters(settings, since=times[1], until=times[2])] == [1]
        assert [letter.says["offset"] for letter in letters(settings, agent=f"acme/{HERE[0]}".encode())] == [0, 3]
        assert [letter.says["offset"] for letter in letters(settings, reasons=frozenset(["empty_value"]))] == [3]
        assert letters(settings, sources=frozenset(["aurais.events"])) == []
        assert letters(settings, partitions=frozenset([1])) == []


async def redriven(settings: Settings, *, again: bool = False, **wanted: Any) -> Counter[str]:
    """Letters by fate, after sending."""
    plan = await Redrive(settings, Letters(settings, IDS), Wanted(**wanted), again=again).send()
    return Counter({fate.name: plan.of(fate) for fate in Fate if plan.of(fate)})


async def test_a_dry_run_sends_nothing_and_a_redrive_sends_the_record_as_it_was(
    settings: Settings, capsys: Out
) -> None:
    async with deciding(settings) as worker:
        stray = named(THERE[0], timestamp=NOW - 5000)
        headers = (("traceparent", b"00-1-2-03"), ("n", None))
        await publish(settings, [(stray, 0)], headers)
        await decided_all(worker)
        (plan,) = await ask(settings, capsys, "redrive")
        assert (plan["sent"], plan["send"]) == (False, 1)
        assert len(lying_in(settings, KAIZEN)) == 1
        (plan,) = await ask(settings, capsys, "redrive", "--yes")
        assert (plan["sent"], plan["send"]) == (True, 1)
        (sent,) = [record for record in lying_in(settings, KAIZEN) if record.partition == 1]
        assert (sent.key, sent.value, sent.timestamp) == (stray.key, stray.value, stray.timestamp)
        assert sent.headers == (*headers, (MARK, b"0:0"))
        await decided_all(worker)
        pools = [
            record for pool in ("urgent", "normal", "background") for record in lying_in(settings, f"priority.{pool}")
        ]
        assert [(record.partition, record.key) for record in pools] == [(1, stray.key)]
        assert len(letters(settings)) == 1


async def test_a_redrive_that_died_half_way_sends_what_is_missing_and_nothing_twice(settings: Settings) -> None:
    async with deciding(settings) as worker:
        strays = [named(THERE[i % 5], i, timestamp=NOW + i) for i in range(20)]
        await publish(settings, [(stray, 0) for stray in strays])
        await decided_all(worker)
        places = [letter.place for letter in letters(settings)]
        assert await redriven(settings, places=frozenset(places[:7])) == {"SEND": 7}
        assert await redriven(settings) == {"SEND": 13, "SENT_BEFORE": 7}
        assert await redriven(settings) == {"SENT_BEFORE": 20}
        sent = [record for record in lying_in(settings, KAIZEN) if record.partition == 1]
        assert sorted((r.key, r.value, r.timestamp) for r in sent) == sorted(
            (s.key, s.value, s.timestamp) for s in strays
        )


async def test_a_mark_on_somebody_elses_record_keeps_no_letter_back(settings: Settings) -> None:
    async with deciding(settings) as worker:
        await publish(settings, [(named(THERE[0], timestamp=NOW), 0)])
        await decided_all(worker)
        (letter,) = letters(settings)
        await publish(settings, [(named(THERE[1], timestamp=NOW + 1), 1)], ((MARK, letter.place.encode()),))
        await decided_all(worker)
        assert await redriven(settings) == {"SEND": 1}
        assert await redriven(settings) == {"SENT_BEFORE": 1}


async def test_of_two_redrives_at_the_same_time_nothing_is_sent_twice(settings: Settings) -> None:
    async with deciding(settings) as worker:
        await publish(settings, [(named(THERE[i % 5], i), 0) for i in range(50)])
        await decided_all(worker)
        done = await asyncio.gather(*(redriven(settings) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, RedriveFailed) for one in done if not isinstance(one, Counter))
        assert set(await redriven(settings)) <= {"SEND", "SENT_BEFORE"}
        marks = [dict(record.headers)[MARK] for record in lying_in(settings, KAIZEN) if record.partition == 1]
        assert len(marks) == len(set(marks)) == 50


async def test_what_was_refused_again_goes_round_only_when_a_person_insists(settings: Settings) -> None:
    async with deciding(settings) as worker:
        await publish(settings, [(named(HERE[0], value=UNKNOWN), 0), (event(timestamp=0, key=None), 1)])
        await decided_all(worker)
        assert await redriven(settings) == {"SEND": 2}
        await decided_all(worker)
        found = letters(settings)
        assert [letter.mark for letter in found] == [None, "0:0", None, "1:0"]
        assert await redriven(settings) == {"SENT_BEFORE": 2, "REFUSED_AGAIN": 2}
        assert await redriven(settings, again=True) == {"SENT_BEFORE": 2, "SEND": 2}
        await decided_all(worker)
        assert {letter.mark for letter in letters(settings)} == {None, *(letter.place for letter in found)}
        assert {record.timestamp for record in lying_in(settings, KAIZEN) if record.partition == 1} == {0}


async def test_a_bad_deploy_pauses_its_partition_until_somebody_says_how_far(
    settings: Settings, capsys: Out, caplog: pytest.LogCaptureFixture
) -> None:
    async with deciding(settings) as worker:
        sound = [(named(HERE[i % 5], i), 0) for i in range(200)]
        bad = [(named(HERE[0], i, value=UNKNOWN), 0) for i in range(3 * LAST)]
        after = [(named(HERE[i % 5], 10_000 + i), 0) for i in range(50)]
        others = [(named(THERE[i % 5], i), 1) for i in range(300)]
        for part in (sound, bad, after, others):
            await publish(settings, part)
        await until(lambda: 0 in worker.app.status()["paused"])
        await until(lambda: worker.app.lanes[1].decider.positions.get(KAIZEN) == 300)
        await until(lambda: "dlq resume --source kaizen.events --partition 0" in caplog.text)
        assert not worker.app.status()["ready"]
        assert len(letters(settings)) <= TRIPPED_BY
        held = worker.app.lanes[0].decider.positions
        await asyncio.sleep(1.5)
        assert worker.app.lanes[0].decider.positions == held
        (said,) = await ask(settings, capsys, "resume", "--source", KAIZEN, "--partition", "0")
        assert said["until"] == 3 * LAST + 250
        await decided_all(worker)
        assert counts(worker) == {KAIZEN: 3 * LAST + 550}
        assert worker.app.status()["ready"]
        assert len(letters(settings)) == 3 * LAST
        assert worker.app.counting.decided == 550
        for partition in range(PARTITIONS):
            assert (await check(settings, partition, IDS)).problems == []


async def test_a_word_said_while_nobody_listened_is_heard_after_a_restart(settings: Settings, capsys: Out) -> None:
    await publish(settings, [(named(HERE[0], i, value=UNKNOWN), 0) for i in range(2 * LAST)])
    first = Running(settings, Deciders(settings))
    await until(lambda: 0 in first.app.status()["paused"])
    async with asyncio.timeout(60):
        await first.stop()
    await ask(settings, capsys, "resume", "--source", KAIZEN, "--partition", "0", "--until", str(2 * LAST))
    second = Running(settings, Deciders(settings))
    await second.ready()
    await until(lambda: counts(second) == {KAIZEN: 2 * LAST})
    await second.stop()
    await until(lambda: len(letters(settings)) == 2 * LAST)
    await publish(settings, [(named(HERE[0]), 0)])
    async with deciding(settings) as third:
        await until(lambda: counts(third) == {KAIZEN: 2 * LAST + 1})
        await until(lambda: third.app.status()["ready"])


async def test_what_is_no_word_is_passed_over(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    topic, level = settings.topic(TOPIC), examples("trust.levels")[0].framed
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for value in (None, b"", b"garbage", level):
            await producer.send_and_wait(topic, value, b"acme/bot", partition=1)
    await resume(settings, KAIZEN, 1, 7)
    assert await resumes(settings, [0, 1]) == {(KAIZEN, 1): 7}
    assert caplog.text.count("breaker.resumes[1]: no resume at offset") == 4


async def test_one_bad_tenant_stops_nobody(settings: Settings) -> None:
    async with deciding(settings) as worker:
        await publish(settings, [(event(key=b"no-slash"), 0) for _ in range(3 * LAST)])
        await publish(settings, [(named(HERE[0]), 0)])
        await decided_all(worker)
        assert counts(worker) == {KAIZEN: 3 * LAST + 1}
        assert worker.app.status()["paused"] == {}
        assert len(letters(settings)) == 3 * LAST
