"""A worker on a real broker: what is published is decided once, in transactions, whatever the worker's life was."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from agents.app import build
from agents.readiness import PortTaken
from agents.runtime.app import ColumnApp
from agents.runtime.consumer import REQUEST_MS
from agents.runtime.lane import StageFailed
from agents.runtime.positions import PositionLost
from agents.settings import Settings
from agents.worker import serve
from connectors.admin import TopicAdmin
from schemas.catalog import RegistryUnreachable
from schemas.columns import ColumnBatch
from streams.pipeline import Effects

from .counting_decider import OUTPUT, POISON, SLOW, CountingDecider
from .runtime_tools import PARTITIONS, SOURCES, assert_counted_once, committed, events, publish, with_topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of a worker on topics of its own."""
    return with_topics(kafka, prefix, tmp_path, tick_seconds=0.3)


class Running:
    """A worker in this process; `stop` ends it as a signal does."""

    def __init__(self, settings: Settings, new: Any = CountingDecider) -> None:
        self.app: ColumnApp = build(settings, PARTITIONS, new)
        self._told = asyncio.Event()
        self.task = asyncio.create_task(serve(self.app, self._told))

    async def ready(self) -> Running:
        """Until it decides, or fails."""
        async with asyncio.timeout(30):
            while not self.app.status()["ready"]:
                await asyncio.sleep(0.02)
                if self.task.done():
                    self.task.result()
        return self

    async def stop(self) -> None:
        """Stop well."""
        self._told.set()
        await self.task


@contextlib.asynccontextmanager
async def running(settings: Settings, new: Any = CountingDecider) -> AsyncIterator[Running]:
    """A worker that is ready, stopped at the end."""
    worker = await Running(settings, new).ready()
    try:
        yield worker
    finally:
        with contextlib.suppress(BaseException):
            await worker.stop()


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
async def test_every_record_of_the_three_sources_is_decided_once(settings: Settings, compression: str) -> None:
    await publish(settings, events(50))
    async with running(settings.model_copy(update={"compression": compression})):
        await publish(settings, events(50))
        assert_counted_once(await committed(settings, OUTPUT, 600), 100)


async def test_a_worker_that_starts_again_goes_on_where_the_state_says(settings: Settings) -> None:
    async with running(settings):
        await publish(settings, events(40))
        await committed(settings, OUTPUT, 240)
    async with running(settings) as again:
        await publish(settings, events(10))
        found = await committed(settings, OUTPUT, 300)
        assert again.app.status()["rows"] == 14
    assert_counted_once(found, 50)


async def test_a_stop_commits_offsets_and_leaves_the_group(settings: Settings) -> None:
    async with running(settings) as worker:
        await publish(settings, events(10))
        await committed(settings, OUTPUT, 60)
        began = asyncio.get_running_loop().time()
        await worker.stop()
        assert asyncio.get_running_loop().time() - began < 5
    admin = AdminClient({**settings.confluent()})
    group = admin.describe_consumer_groups([settings.group])[settings.group].result()
    assert group.members == []
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(settings.group)])
    told = {(p.topic, p.partition): p.offset for p in offsets[settings.group].result().topic_partitions}
    assert told == {(settings.topic(name), partition): 10 for name in SOURCES for partition in range(PARTITIONS)}


@pytest.mark.parametrize("standbys", [0, 1])
async def test_two_workers_share_and_hand_over_their_partitions(settings: Settings, standbys: int) -> None:
    settings = settings.model_copy(update={"standbys": standbys})
    async with running(settings) as first:
        await publish(settings, events(30))
        async with running(settings) as second:
            await publish(settings, events(30))
            async with asyncio.timeout(20):
                while [len(w.app.lanes) for w in (first, second)] != [1, 1]:
                    await asyncio.sleep(0.05)
            await publish(settings, events(30))
            await committed(settings, OUTPUT, 540)
            assert {len(w.app.table.states) for w in (first, second)} == {1 + standbys}
        await publish(settings, events(30))
        found = await committed(settings, OUTPUT, 720)
    assert_counted_once(found, 120)


async def test_a_stage_that_raises_ends_the_worker_and_nothing_of_its_step_is_kept(settings: Settings) -> None:
    worker = await Running(settings).ready()
    await publish(settings, events(5))
    await committed(settings, OUTPUT, 30)
    await publish(settings, [(SOURCES[0], 0, b"0-key-0", b"good"), (SOURCES[0], 0, b"0-key-0", POISON)])
    with pytest.raises(StageFailed, match="poison"):
        await asyncio.wait_for(worker.task, 20)
    assert len(await committed(settings, OUTPUT, 30)) == 30


async def test_what_was_on_its_way_when_faust_emptied_its_queues_comes_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drop(_: Any) -> None:
        """As if the queue were emptied before the agent looks."""

    async with running(settings) as worker:
        app = worker.app
        with monkeypatch.context() as patched:
            patched.setattr(app, "take", drop)
            await publish(settings, events(20))
            async with asyncio.timeout(20):
                while set(app.columns._expected.values()) != {20}:
                    await asyncio.sleep(0.02)
        app.flow_control.resume()
        app.columns.resume_flow()
        assert_counted_once(await committed(settings, OUTPUT, 120), 20)


async def test_an_idle_lane_ticks_and_a_tick_is_a_committed_step(settings: Settings) -> None:
    made: list[CountingDecider] = []

    def new(partition: int, partitions: int) -> CountingDecider:
        made.append(CountingDecider(partition, partitions))
        return made[-1]

    async with running(settings, new) as worker:
        async with asyncio.timeout(20):
            while not all(len(decider.ticks) > 2 for decider in made):
                await asyncio.sleep(0.05)
        assert worker.app.counting.commits >= 4
    assert all(decider.ticks == sorted(set(decider.ticks)) for decider in made)


async def test_decided_offsets_without_their_state_are_refused(settings: Settings) -> None:
    async with running(settings):
        await publish(settings, events(5))
        await committed(settings, OUTPUT, 30)
    admin = TopicAdmin(settings.confluent(), settings.prefix)
    state = settings.topic("agent.state")
    admin._client.delete_topics([state])[state].result()
    await asyncio.sleep(1)
    admin.create(partitions=PARTITIONS)
    with pytest.raises(PositionLost, match="holds no state of it"):
        await asyncio.wait_for(Running(settings).task, 30)


async def test_a_lane_that_is_full_holds_up_nobody_else_and_stays_bounded(settings: Settings) -> None:
    small = settings.model_copy(update={"lane_bytes": 1 << 16, "fetch_bytes": 1 << 16})
    async with running(small) as worker:
        lane = worker.app.lanes[0]
        await publish(small, [(SOURCES[0], 0, b"0-slow", SLOW), (SOURCES[0], 0, b"0-slow", SLOW)])
        await publish(small, [(SOURCES[0], 0, b"0-big", bytes(30_000)) for _ in range(60)])
        await publish(small, [(SOURCES[1], 1, b"1-quick", b"value") for _ in range(50)])
        quick = worker.app.lanes[1]
        most = 0
        async with asyncio.timeout(20):
            while quick.decider.positions.get(SOURCES[1]) != 50:
                await asyncio.sleep(0.01)
                most = max(most, lane.waiting)
            assert lane.decider.positions.get(SOURCES[0], 0) < 62
            while lane.decider.positions.get(SOURCES[0]) != 62:
                await asyncio.sleep(0.01)
                most = max(most, lane.waiting)
        assert 0 < most < 10 * (1 << 16)


async def test_a_partition_waits_for_the_registry_and_loses_nothing(settings: Settings) -> None:
    class Unsure(CountingDecider):
        """Cannot tell what the first batches mean until it has asked three times."""

        asked = 0

        def step(self, batches: Sequence[ColumnBatch], *, tick: int | None = None) -> Effects:
            if self.partition == 0 and batches and self.asked < 3:
                self.asked += 1
                raise RegistryUnreachable("the registry does not answer")
            return super().step(batches, tick=tick)

    async with running(settings, Unsure):
        await publish(settings, events(20))
        assert_counted_once(await committed(settings, OUTPUT, 120), 20)


async def test_what_a_worker_says_of_itself(settings: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = Running(settings.model_copy(update={"port": port}))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        await asyncio.sleep(0.1)
        assert (await client.get("/live")).status == 200
        assert (await client.get("/ready")).status == 503
        await worker.ready()
        await publish(settings, events(10))
        await committed(settings, OUTPUT, 60)
        told = await (await client.get("/ready")).json()
        assert told["ready"] is True
        assert (told["decided"], told["lag"], told["partitions"]) == (60, 0, [0, 1])
        metrics = await (await client.get("/metrics")).text()
        assert "cognistream_ready 1.0" in metrics
        assert 'cognistream_lag{partition="0",topic="kaizen.events"} 0.0' in metrics
    await worker.stop()


async def test_recovery_waits_for_a_broker_longer_than_any_request(settings: Settings) -> None:
    """Faust ends a recovery that takes longer than requests may, and the worker would idle in its group."""
    async with running(settings) as worker:
        client = worker.app.columns._thread._ensure_consumer()._client
        assert client._request_timeout_ms == REQUEST_MS
        assert worker.app.conf.broker_request_timeout > 10 * REQUEST_MS / 1000


async def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"cannot listen on 127.0.0.1:{port}"):
            await Running(settings.model_copy(update={"port": port})).task
