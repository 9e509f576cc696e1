"""A worker that is fenced drops what it remembers of the partition, joins its group anew, and goes on."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest

from agents.runtime import producer
from agents.runtime.fencing import TIMES, WITHIN_SECONDS, FencedOften, Fencing
from agents.runtime.producer import Fenced, LaneProducer
from agents.settings import Settings

from .counting_decider import OUTPUT
from .runtime_tools import PARTITIONS, assert_counted_once, committed, events, publish, with_topics
from .test_runtime_worker import Running, running


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of a worker on topics of its own; it ticks seldom."""
    return with_topics(kafka, prefix, tmp_path)


async def usurp(settings: Settings, partition: int = 0) -> None:
    """Begin to write the partition, as a worker does that was given it."""
    usurper = LaneProducer(f"{settings.group}.{partition}", partition, **settings.aiokafka())
    await usurper.start()
    await usurper.stop()


@pytest.mark.kafka
async def test_a_fenced_worker_takes_its_partitions_again_and_decides_everything_once(settings: Settings) -> None:
    async with running(settings) as worker:
        await publish(settings, events(20))
        await committed(settings, OUTPUT, 120)
        await usurp(settings)
        await publish(settings, events(20))
        assert_counted_once(await committed(settings, OUTPUT, 240), 40)
        assert (await worker.ready()).app.status()["partitions"] == [0, 1]
        assert worker.app.rebalancing_count == 2


@pytest.mark.kafka
async def test_lanes_that_are_fenced_together_count_once(settings: Settings) -> None:
    async with running(settings) as worker:
        for partition in range(PARTITIONS):
            await usurp(settings, partition)
        await publish(settings, events(20))
        assert_counted_once(await committed(settings, OUTPUT, 120), 20)
        assert len(worker.app.fencing._times) == 1


@pytest.mark.kafka
async def test_a_transaction_that_the_broker_ended_costs_no_worker(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "TRANSACTION_MS", 1000)
    async with running(settings) as worker:
        await publish(settings, events(20))
        await committed(settings, OUTPUT, 120)
        lane = worker.app.producers.owned[0]
        places = [(settings.topic(OUTPUT), [0])]
        await lane._ask(AddPartitionsToTxnRequest(lane._id, lane._owner, lane._epoch, places), lambda _: [0])
        await asyncio.sleep(12)  # the broker looks every ten seconds for those that are too old
        await publish(settings, events(20))
        assert_counted_once(await committed(settings, OUTPUT, 240), 40)
        assert worker.app.rebalancing_count == 2


@pytest.mark.kafka
async def test_a_worker_with_a_rival_outside_its_group_gives_way(settings: Settings) -> None:
    worker = await Running(settings).ready()
    for number in range(TIMES + 1):
        await usurp(settings)
        await publish(settings, events(1))
        if number < TIMES:
            assert_counted_once(await committed(settings, OUTPUT, 6 * (number + 1)), number + 1)
            await worker.ready()
    with pytest.raises(FencedOften, match="4 times within 10 minutes"):
        await asyncio.wait_for(worker.task, 20)


def test_fences_are_forgotten_after_ten_minutes() -> None:
    now = 0.0
    fencing = Fencing(lambda: now)
    for _ in range(3 * TIMES):
        fencing.rejoin(Fenced("another worker took over."))
        now += WITHIN_SECONDS / TIMES
    now -= 1
    with pytest.raises(FencedOften, match="another worker took over"):
        fencing.rejoin(Fenced("another worker took over."))


@pytest.mark.kafka
async def test_a_lane_waits_for_a_broker_that_is_away_when_it_begins(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    away = LaneProducer("away", 0, **{**settings.aiokafka(), "bootstrap_servers": f"127.0.0.1:{port}"})
    starting = asyncio.create_task(away.start())
    await asyncio.sleep(0.5)
    assert not starting.done()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, broker = settings.bootstrap_servers.split(":")
        theirs, ours = await asyncio.open_connection(host, int(broker))
        await asyncio.gather(_pumped(reader, ours), _pumped(theirs, writer))

    async with await asyncio.start_server(passed_on, "127.0.0.1", port), asyncio.timeout(20):
        await starting
        await away.stop()


async def _pumped(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        sink.write(data)
    sink.close()
