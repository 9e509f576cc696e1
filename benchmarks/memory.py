"""Memory of a worker by the number of agents it knows, and how fast it is back after a restart.

Every agent is registered where its character does that, and has a task of about four events of several types. For the
restart what was written to `agent.state` is appended again until there are as many versions a row as wished, on the
average, and the topic is kept from being compacted: the worker reads all of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer

from agents.demo.processes import Child

from . import meter
from .figures import Result, Target, table
from .filling import RollCall, fill, packs
from .raw import RawBatch, capture, captured
from .rig import Rig

EVENTS_PER_AGENT = 6
STATE = "agent.state"
SETTLE = 17.0
"""Seconds of idling before memory is looked at: three ticks."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: few and many agents, and versions of each row for the restart."""

    agents: tuple[int, int]
    versions: int


async def measure(rig: Rig, sizes: Sizes) -> Result:
    """The whole measurement."""
    few, many = sizes.agents
    rss, rows = {}, {}
    for agents in (few, many):
        rss[agents], rows[agents] = await _decide(rig, agents)
        rig.say(f"memory: {rows[agents]:,} agents known, {rss[agents]:,.0f} MB")
    back = await _restart(rig, many, sizes.versions * rows[many])
    await asyncio.to_thread(rig.remove, _prefix(many))
    each = (rss[many] - rss[few]) * 2**20 / (rows[many] - rows[few])
    figures = {"rss_mb": {str(n): rss[n] for n in rss}, "agents_known": {str(n): rows[n] for n in rows},
               "bytes_per_agent": each, "restart": back}  # fmt: skip
    lines = [
        *table(["agents", "worker MB"], [[f"{rows[n]:,}", f"{rss[n]:,.0f}"] for n in rss]),
        f"{each:.0f} bytes an agent; restart with {back['records']:,.0f} rows in {STATE}: {back['from_start_s']:.1f} s "
        f"from process start, {back['from_assigned_s']:.1f} s from the assignment; then {back['rss_mb']:,.0f} MB",
    ]
    return Result(figures, lines, [
        Target("bytes an agent", each, 450, most=True),
        Target(f"MB with {many:,} agents", rss[many], 900, most=True),
        Target("s until ready again", back["from_start_s"], 30, most=True),
    ])  # fmt: skip


def _prefix(agents: int) -> str:
    return f"bench-memory-{agents}"


async def _decide(rig: Rig, agents: int) -> tuple[float, int]:
    """Memory in MB and rows of a worker that has decided for `agents`, idle again."""
    prefix, events = _prefix(agents), EVENTS_PER_AGENT * agents
    rig.say(f"memory: filling the sources, {events:,} events of {agents:,} agents")
    rig.create(prefix)
    rig.compact_never(prefix, STATE)
    traffic = RollCall(agents=agents, tasks_per_day=events / 4.0 / agents / 30.0)
    await fill(rig, {prefix: "none"}, packs(traffic, events))
    async with rig.worker(prefix) as (child, port):
        rows = await _until_decided(child, port, events)
        await asyncio.sleep(SETTLE)
        return _rss_mb(child), rows


async def _until_decided(child: Child, port: int, events: int) -> int:
    async for status in meter.statuses(child, port):
        if int(status.get("decided", 0)) >= events:
            return int(status["rows"])
    raise child.failure()


async def _restart(rig: Rig, agents: int, records: int) -> dict[str, float]:
    """Start the worker again on a log of at least so many records."""
    prefix, file = _prefix(agents), rig.folder / "state.batches"
    rig.say(f"memory: writing {records:,} versions of rows")
    total = await capture(rig.settings(prefix), (STATE,), file)
    copies = math.ceil(records / total["records"])
    await _append(rig, prefix, file, copies - 1)
    rig.say("memory: starting the worker again")
    began, assigned = time.perf_counter(), 0.0
    async with rig.worker(prefix) as (child, port):
        async for status in meter.statuses(child, port):
            if status.get("recovering") and not assigned:
                assigned = time.perf_counter()
            if status.get("ready") and status["partitions"]:
                break
        ready = time.perf_counter()
        rows = int(status["rows"])
        await asyncio.sleep(SETTLE)
        return {"from_start_s": ready - began, "from_assigned_s": ready - (assigned or ready), "rows": rows,
                "records": total["records"] * copies, "bytes": total["bytes"] * copies,
                "rss_mb": _rss_mb(child)}  # fmt: skip


async def _append(rig: Rig, prefix: str, file: Path, times: int) -> None:
    """Append the captured batches `times` times, in their order."""
    topic = rig.settings(prefix).topic(STATE)
    async with AIOKafkaProducer(bootstrap_servers=rig.broker.bootstrap, acks="all") as producer:
        for _ in range(times):
            sent = [
                await producer.send_batch(RawBatch(data, count), topic, partition=partition)
                for _, partition, count, data in captured(file)
            ]
            await asyncio.gather(*sent)


def _rss_mb(child: Child) -> float:
    return float(psutil.Process(child.process.pid).memory_info().rss) / 2**20
