"""A worker on a real broker comes back as what it was, windows of repeats included, or says why it cannot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from agents.checking import check
from agents.column_reader import column_reader
from agents.deciding import Deciders
from agents.demo.processes import Child, free_port, until_ready
from agents.runtime.positions import PositionLost
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.trim import delete_before
from schemas.catalog import LocalIds
from schemas.errors import FormatError
from schemas.murmur import partition_of
from schemas.wire import decode
from streams.outputs import POOLS
from streams.recollection import StateApart

from .lanes import Record
from .runtime_tools import PARTITIONS, with_topics
from .test_admission import ANCHOR, KAIZEN, REFUSED, event
from .test_runtime_worker import Running, running

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("warm_kernels")]


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of a worker on topics of its own; it ticks seldom."""
    return with_topics(kafka, prefix, tmp_path)


def fleet(begin: int, end: int) -> list[Record]:
    """Sound events `begin` to `end` of fifty agents."""
    return [event(agent_id=f"a{number % 50}", event_id=f"e{number}") for number in range(begin, end)]


async def publish(settings: Settings, records: Sequence[Record]) -> None:
    """Write the records where their keys belong, and wait until the broker has them."""
    async with AIOKafkaProducer(**settings.aiokafka()) as producer:
        sent = [
            await producer.send(
                settings.topic(record.topic), key=record.key, value=record.value, timestamp_ms=record.timestamp,
                partition=partition_of(record.key or b"", PARTITIONS),
            )
            for record in records
        ]  # fmt: skip
        await asyncio.gather(*sent)


async def decided(settings: Settings, count: int) -> Counter[str]:
    """How often each event id was decided, once `count` decisions are there."""
    async with asyncio.timeout(60):
        while (found := await decisions(settings)).total() < count:
            await asyncio.sleep(0.1)
    return found


async def decisions(settings: Settings) -> Counter[str]:
    """How often each event id stands in the pools now."""
    places = [(pool, partition) for pool in POOLS for partition in range(PARTITIONS)]
    async with column_reader(settings) as reader:
        batches = [batch async for batch in reader.whole(places)]
    ids = LocalIds()
    return Counter(decode(batch.value(i), ids)[1]["event_id"] for batch in batches for i in range(batch.n))


async def assert_true(settings: Settings) -> None:
    """The journals hold against everything that the topics hold."""
    for partition in range(PARTITIONS):
        report = await check(settings, partition, LocalIds())
        assert report.problems == []


def cut_state(settings: Settings, partition: int, before: int) -> None:
    """Delete the records of the state before an offset; -1: all."""
    delete_before(settings.confluent(), settings.topic("agent.state"), partition, before)


async def test_a_repeat_after_a_restart_is_not_decided_again(settings: Settings) -> None:
    await publish(settings, [*fleet(0, 300), REFUSED["bad_number"], event(ANCHOR, agent_id="a0", event_id="r")])
    async with running(settings, Deciders(settings)):
        await decided(settings, 301)
    await publish(settings, [*fleet(100, 400), event(ANCHOR, agent_id="a0", event_id="r")])
    async with running(settings, Deciders(settings)):
        found = await decided(settings, 401)
    assert set(found.values()) == {1}
    assert len(found) == 401
    await assert_true(settings)


async def test_what_is_sent_twice_across_a_kill_is_decided_once(settings: Settings, tmp_path: Path) -> None:
    for number in range(3):
        sending = asyncio.create_task(publish(settings, fleet(100 * number, 100 * number + 300)))
        worker, port = await start(settings, tmp_path)
        await until_ready(worker, port)
        await asyncio.sleep(0.1 * number)
        worker.process.kill()
        await worker.process.wait()
        await sending
    async with running(settings, Deciders(settings)):
        found = await decided(settings, 500)
    assert set(found.values()) == {1}
    assert len(found) == 500
    await assert_true(settings)


async def start(settings: Settings, folder: Path) -> tuple[Child, int]:
    """A worker process and its port."""
    port = free_port()
    arguments = ["-m", "agents.cli", "worker", "--prefix", settings.prefix, "--port", str(port)]
    where = {"BOOTSTRAP_SERVERS": settings.bootstrap_servers}
    return await Child.start("worker", arguments, where, folder / "log"), port


async def test_a_repeat_of_what_the_source_no_longer_holds_is_decided_and_the_journal_says_why(
    settings: Settings,
) -> None:
    first, second = fleet(0, 40), fleet(40, 60)
    async with running(settings, Deciders(settings)):
        await publish(settings, first)
        await decided(settings, 40)
        held = await ends(settings)
        await publish(settings, second)
        await decided(settings, 60)
    admin = AdminClient({**settings.confluent()})  # kept: its answers end with it
    for partition, offset in held.items():
        place = TopicPartition(settings.topic(KAIZEN), partition, offset)
        admin.delete_records([place])[place].result(30)
    async with running(settings, Deciders(settings)):
        await publish(settings, [*first, *second, *fleet(60, 80)])
        found = await decided(settings, 120)
    assert found == Counter(f"e{number}" for number in [*range(40), *range(80)])
    await assert_true(settings)


async def ends(settings: Settings) -> dict[int, int]:
    """Where the partitions of the first source end now."""
    async with column_reader(settings) as reader:
        spans = await reader.spans([(KAIZEN, partition) for partition in range(PARTITIONS)])
    return {partition: end for (_, partition), (_, end) in spans.items()}


@pytest.fixture
async def stopped(settings: Settings) -> Settings:
    """A worker has decided events of fifty agents in several steps, and stopped."""
    async with running(settings, Deciders(settings)):
        for number in range(4):
            await publish(settings, fleet(15 * number, 15 * number + 15))
            await decided(settings, 15 * number + 15)
    return settings


async def refusal(settings: Settings) -> BaseException:
    """What ends the next worker."""
    with pytest.raises((StateApart, FormatError, PositionLost)) as told:
        await asyncio.wait_for(Running(settings, Deciders(settings)).task, 60)
    return told.value


async def test_a_changelog_that_was_cut_is_refused_with_the_way_back(stopped: Settings) -> None:
    for partition in range(PARTITIONS):
        cut_state(stopped, partition, 9)
    told = str(await refusal(stopped))
    assert "agents, its position says" in told
    assert "cognistream state rebuild --partition" in told


async def test_a_changelog_of_which_nothing_is_left_is_refused(stopped: Settings) -> None:
    for partition in range(PARTITIONS):
        cut_state(stopped, partition, -1)
    assert "stands after entry 0 of the journal" in str(await refusal(stopped))


async def test_a_journal_that_was_made_anew_is_refused(stopped: Settings) -> None:
    admin = TopicAdmin(stopped.confluent(), stopped.prefix)
    name = stopped.topic("audit.log")
    admin._client.delete_topics([name])[name].result()
    await asyncio.sleep(1)
    admin.create(partitions=PARTITIONS)
    assert "ends with entry 0" in str(await refusal(stopped))


async def test_a_row_that_does_not_decode_is_named_with_its_offset(stopped: Settings) -> None:
    async with AIOKafkaProducer(**stopped.aiokafka()) as producer:
        sent = await producer.send_and_wait(stopped.topic("agent.state"), b"garbage", b"acme/a1", partition=1)
    assert f"agent.state[1]: the record at offset {sent.offset} is no row" in str(await refusal(stopped))


async def test_two_workers_hand_over_what_they_remember(settings: Settings) -> None:
    settings = settings.model_copy(update={"standbys": 1})
    async with running(settings, Deciders(settings)) as first:
        await publish(settings, fleet(0, 100))
        await decided(settings, 100)
        async with running(settings, Deciders(settings)) as second:
            async with asyncio.timeout(30):
                while [len(w.app.lanes) for w in (first, second)] != [1, 1]:
                    await asyncio.sleep(0.05)
            await publish(settings, fleet(0, 200))
            await decided(settings, 200)
        await publish(settings, fleet(0, 300))
        found = await decided(settings, 300)
    assert set(found.values()) == {1}
    assert len(found) == 300
    await assert_true(settings)
