"""How a process is timed: by what it says it has done, with the CPU seconds of everybody beside it.

A run is timed from the first progress that was seen to the last: starting, recovering and the first fetch are not in
it, and neither are the events done until then.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import psutil

from agents.demo.processes import Child, ProcessFailed

from .figures import Run

LOOK_EVERY, LOOK_SELDOM = 0.025, 0.25
PATIENCE = 180.0
"""Seconds without progress after which a run is given up."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: `done` events, and CPU seconds by whose they are."""

    at: float
    done: int
    cpu: dict[str, float]


class Meter:
    """Reads CPU seconds: of the measured process, of the broker, and of everything else on the machine."""

    def __init__(self, process: Child, broker: int) -> None:
        self._own = {"process": psutil.Process(process.process.pid), "broker": psutil.Process(broker)}

    def mark(self, done: int) -> Mark:
        """How it stands now."""
        at = time.perf_counter()
        cpu = {name: sum(one.cpu_times()[:2]) for name, one in self._own.items()}
        machine = psutil.cpu_times()
        busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
        return Mark(at, done, {**cpu, "others": busy - sum(cpu.values())})

    @property
    def rss_mb(self) -> float:
        """Memory that the measured process holds now."""
        return float(self._own["process"].memory_info().rss) / 2**20


async def timed(progress: AsyncIterator[int], events: int, meter: Meter, child: Child) -> Run:
    """Follow `progress` (events done so far) until `events` are; ProcessFailed when it stops before."""
    first: Mark | None = None
    last, since = -1, time.monotonic()
    async for done in progress:
        if first is None and done:
            first = meter.mark(done)
        if done >= events:
            break
        if done != last:
            last, since = done, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            raise ProcessFailed(f"{child.name}: {done:,} of {events:,} events and no more (log: {child.log})")
    end = meter.mark(done)
    if first is None or first.done >= done:
        raise ProcessFailed(f"{child.name} was done before it could be watched: measure more events")
    return Run(end.done - first.done, end.at - first.at, {n: end.cpu[n] - first.cpu[n] for n in end.cpu}, meter.rss_mb)


async def decided(child: Child, port: int, events: int) -> AsyncIterator[int]:
    """What a worker has committed, 0 until it answers; looked at often only around the first and the last of `events`.

    An answer costs the worker a millisecond.
    """
    pace = Pace(events)
    async for status in statuses(child, port, pace.wait):
        pace.done = int(status.get("decided", 0))
        yield pace.done


class Pace:
    """How long to wait until the next look, by how far things are."""

    def __init__(self, events: int) -> None:
        self._events, self.done = events, 0
        self._first: tuple[float, int] | None = None

    def wait(self) -> float:
        """Seconds."""
        if not self.done:
            return LOOK_EVERY
        now = time.perf_counter()
        if self._first is None:
            self._first = now, self.done
        began, before = self._first
        rate = (self.done - before) / (now - began) if now > began else 0.0
        return LOOK_SELDOM if rate and (self._events - self.done) / rate > 4 * LOOK_SELDOM else LOOK_EVERY


async def statuses(
    child: Child, port: int, wait: Callable[[], float] = lambda: LOOK_EVERY
) -> AsyncIterator[dict[str, Any]]:
    """What a worker says of itself again and again; empty until it answers. ProcessFailed when it ends."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10.0)) as session:
        while child.running:
            try:
                async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
                    yield await answer.json()
            except (aiohttp.ClientError, TimeoutError):
                yield {}
            await asyncio.sleep(wait())
    raise child.failure()


async def stages(port: int) -> dict[str, float]:
    """Seconds by stage since a worker's start, from its metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = {"commit": 0.0}
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name.startswith("cognistream_stage_seconds_sum"):
            found[name.split('"')[1]] = float(value)
        elif name == "cognistream_commit_seconds_sum":
            found["commit"] = float(value)
    return found


async def told(child: Child) -> AsyncIterator[int]:
    """What a program of ours has done, by the lines {"done": n} that it prints. ProcessFailed when it ends."""
    assert child.process.stdout is not None  # noqa: S101  it is piped
    async for line in child.process.stdout:
        yield int(json.loads(line)["done"])
    await child.process.wait()
    raise child.failure()
