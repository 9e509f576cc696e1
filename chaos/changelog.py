"""Harm to the changelog of the state: the broker compacts it, an operator loses it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient, ResourceType

from agents.column_reader import column_reader
from agents.demo.processes import Child, ProcessFailed
from agents.runtime.commit import STATE
from connectors.admin import TopicAdmin
from connectors.topic_configs import set_configs
from connectors.trim import delete_before

from .comparison import PARTITIONS
from .stage import Stage

EAGER = {
    "segment.bytes": str(1 << 20),
    "segment.ms": "3000",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "1000",
}
"""Small segments, compacted as soon as they are closed."""
REBUILD = ("-m", "agents.cli", "state", "rebuild", "--yes")
REBUILT_WITHIN = 120.0


async def compact_eagerly(stage: Stage) -> None:
    """From now on the broker rolls and compacts the changelog all the time."""
    client = AdminClient({**stage.settings.confluent()})  # kept: its answers end with it
    await asyncio.to_thread(set_configs, client, stage.settings.topic(STATE), EAGER)
    await asyncio.to_thread(set_configs, client, "1", {"log.cleaner.backoff.ms": "500"}, ResourceType.BROKER)


async def compacted(stage: Stage) -> bool:
    """Whether less than half of the changelog's offsets is left; counts what is gone."""
    kept = offsets = 0
    async with column_reader(stage.settings) as reader:
        places = [(STATE, partition) for partition in range(PARTITIONS)]
        for first, end in (await reader.spans(places)).values():
            offsets += end - first
        async for batch in reader.read(dict.fromkeys(places, 0)):
            kept += batch.n
    stage.counts["changelog offsets without a record"] = offsets - kept
    return kept * 2 < offsets


async def until_compacted(stage: Stage, seconds: float) -> None:
    """Wait for the broker's cleaner; it is a problem when it does nothing."""
    deadline = time.monotonic() + seconds
    while not await compacted(stage):
        if time.monotonic() > deadline:
            raise ProcessFailed(f"the broker did not compact the changelog within {seconds:.0f} s")
        await asyncio.sleep(1)


async def delete(stage: Stage) -> None:
    """The changelog is deleted and made anew, empty."""
    client, name = AdminClient({**stage.settings.confluent()}), stage.settings.topic(STATE)
    await asyncio.to_thread(client.delete_topics([name])[name].result, 30)
    deadline = time.monotonic() + 30
    while name in client.list_topics(timeout=10).topics and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    admin = TopicAdmin(stage.settings.confluent(), stage.prefix)
    await asyncio.to_thread(admin.create, [STATE], partitions=PARTITIONS)
    stage.counts["changelog deleted"] += 1


async def truncate(stage: Stage) -> None:
    """The first half of the changelog is deleted."""
    async with column_reader(stage.settings) as reader:
        spans = await reader.spans([(STATE, partition) for partition in range(PARTITIONS)])
    for (_, partition), (first, end) in spans.items():
        place = stage.settings.topic(STATE), partition, (first + end) // 2
        await asyncio.to_thread(delete_before, stage.settings.confluent(), *place)
    stage.counts["changelog truncated"] += 1


async def damage(stage: Stage) -> None:
    """A byte of each of its partitions is another one, as a disk may have it."""
    await stage.stop_broker()
    for partition in range(PARTITIONS):
        folder = Path(stage.broker.folder, "data", f"{stage.settings.topic(STATE)}-{partition}")
        with max(folder.glob("*.log"), key=lambda file: file.stat().st_size).open("r+b") as segment:
            segment.seek(-20, os.SEEK_END)
            byte = segment.read(1)[0]
            segment.seek(-1, os.SEEK_CUR)
            segment.write(bytes([byte ^ 0x55]))
    await stage.start_broker()
    stage.counts["changelog damaged"] += 1


async def rebuild(stage: Stage) -> None:
    """The way back: write the state anew from the sources, in journal order."""
    child = await Child.start("rebuild", REBUILD, stage.environment(0), stage.folder / "rebuild.log")
    try:
        async with asyncio.timeout(REBUILT_WITHIN):
            await child.process.wait()
    except TimeoutError:
        await child.stop()
        raise ProcessFailed(f"the state was not rebuilt within {REBUILT_WITHIN:.0f} s (log: {child.log})") from None
    if child.process.returncode:
        raise child.failure()
    stage.counts["state rebuilt"] += 1
