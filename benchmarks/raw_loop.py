"""The raw loop, as a process: moves the bytes that the worker moves, and does nothing else.

It fetches the sources as they are and writes, as it goes, the very record batches that a worker wrote for them, all
acknowledged by all replicas, without transactions: one consumer, and one producer, which sends the next request when
the last one was answered, or a producer for each partition, as the worker has. Fetching goes on meanwhile. It prints a
line {"done": events} again and again.

    python -m benchmarks.raw_loop SOURCE_PREFIX TARGET_PREFIX FILE_OF_BATCHES PRODUCERS
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.settings import Settings

from .raw import RawBatch, captured, consumer
from .rig import PARTITIONS, SOURCES, WRITTEN


@dataclass(slots=True)
class Flow:
    """A partition: how many records it holds, were read, are done; and what to write, by the share read before."""

    records: int = 0
    read: int = 0
    done: int = 0
    written: int = 0
    out: list[tuple[float, str, RawBatch]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)


def flows(settings: Settings, file: Path) -> list[Flow]:
    """A flow for each partition with its batches, of all topics side by side, in proportion."""
    found: dict[tuple[int, int], list[RawBatch]] = defaultdict(list)
    for topic, partition, count, data in captured(file):
        found[topic, partition].append(RawBatch(data, count))
    made = [Flow() for _ in range(PARTITIONS)]
    for (topic, partition), batches in found.items():
        total, before = sum(batch.size() for batch in batches), 0
        for batch in batches:
            before += batch.size()
            made[partition].out.append((before / total, settings.topic(WRITTEN[topic]), batch))
    for flow in made:
        flow.out.sort(key=lambda row: row[0])
    return made


async def write(flow: Flow, partition: int, producer: Any) -> None:
    """Write what is due, all acknowledged, until the flow has been read to its end."""
    while flow.done < flow.records:
        await flow.news.wait()
        flow.news.clear()
        read, waiting = flow.read, []
        while flow.written < len(flow.out) and flow.out[flow.written][0] <= read / flow.records:
            _, topic, batch = flow.out[flow.written]
            waiting.append(await producer.send_batch(batch, topic, partition=partition))
            flow.written += 1
        await asyncio.gather(*waiting)
        flow.done = read


async def main(source: Settings, target: Settings, file: Path, count: int) -> None:
    """Move everything."""
    made = flows(target, file)
    producers = [AIOKafkaProducer(**target.aiokafka(), acks="all") for _ in range(count)]
    await asyncio.gather(*(producer.start() for producer in producers))
    await asyncio.gather(*(p.client.set_topics([target.topic(name) for name in WRITTEN]) for p in producers))
    async with consumer(source, SOURCES) as (reader, ends):
        for tp, end in ends.items():
            made[tp.partition].records += end
        writing = asyncio.gather(*(write(f, p, producers[p % count]) for p, f in enumerate(made) if f.records))
        telling = asyncio.create_task(tell(made))
        while any(flow.read < flow.records for flow in made):
            for tp, spans in (await reader.getmany(timeout_ms=200)).items():
                made[tp.partition].read += sum(span.next - span.start for span in spans)
                made[tp.partition].news.set()
        await writing
        telling.cancel()
        say(made)
    await asyncio.gather(*(producer.stop() for producer in producers))


async def tell(made: list[Flow]) -> None:
    """Print how far it is, again and again."""
    while True:
        say(made)
        await asyncio.sleep(0.025)


def say(made: list[Flow]) -> None:
    """Print how far it is."""
    print(json.dumps({"done": sum(flow.done for flow in made)}), flush=True)


if __name__ == "__main__":
    from_, to = (Settings.read(prefix=prefix) for prefix in sys.argv[1:3])
    asyncio.run(main(from_, to, Path(sys.argv[3]), int(sys.argv[4])))
