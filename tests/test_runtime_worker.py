"""A worker on a real broker: what is published is decided once, in transactions, whatever the worker's life was."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from agents.app import build
from agents.runtime.app import ColumnApp
from agents.runtime.commit import Fenced
from agents.runtime.lane import StageFailed
from agents.runtime.positions import PositionLost
from agents.runtime.producer import LaneProducer
from agents.settings import Settings
from agents.worker import serve
from connectors.admin import TopicAdmin

from .counting_decider import OUTPUT, POISON, CountingDecider
from .runtime_tools import PARTITIONS, SOURCES, assert_counted_once, committed, events, publish

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of a worker on topics of its own."""
    made = Settings.read({}, bootstrap_servers=kafka, prefix=prefix, state=tmp_path, port=0, tick_seconds=0.3)
    TopicAdmin(made.confluent(), prefix).create(partitions=PARTITIONS)
    return made


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


async def test_every_record_of_the_three_sources_is_decided_once(settings: Settings) -> None:
    await publish(settings, events(50))
    async with running(settings):
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


async def test_two_workers_share_and_hand_over_their_partitions(settings: Settings) -> None:
    async with running(settings) as first:
        await publish(settings, events(30))
        async with running(settings) as second:
            await publish(settings, events(30))
            async with asyncio.timeout(20):
                while [len(w.app.lanes) for w in (first, second)] != [1, 1]:
                    await asyncio.sleep(0.05)
            await publish(settings, events(30))
            await committed(settings, OUTPUT, 540)
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


async def test_a_worker_that_was_replaced_is_fenced_and_says_so(settings: Settings) -> None:
    worker = await Running(settings).ready()
    usurper = LaneProducer(f"{settings.group}.0", **settings.aiokafka())
    await usurper.start()
    await publish(settings, events(3))
    with pytest.raises(Fenced, match="another worker took over"):
        await asyncio.wait_for(worker.task, 20)
    await usurper.stop()


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
