"""Latency: from publishing to a read-committed reader, on the wall clock, at a quiet and at a busy rate.

The demo's publisher stamps some events with the moment they are handed to the producer, the worker copies the stamp to
what it decides, and the demo's observer reads all derived topics as another program would. The first seconds, in which
connections are made and the broker meets its producers, are left out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.demo.observer import Observer
from agents.demo.plan import Plan
from agents.demo.processes import Child, ProcessFailed, until_ready
from agents.demo.publisher import Orders

from .figures import Result, Target, table
from .rig import PARTITIONS, Rig

WARM = 5.0
"""Seconds left out at the beginning."""
MOST_MS = 50.0
PATIENCE = 30.0
"""Seconds that what was published may take to come out."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: at each of `rates` (events a second) for `seconds`."""

    seconds: float
    agents: int
    rates: tuple[float, ...]


async def measure(rig: Rig, sizes: Sizes) -> Result:
    """The whole measurement."""
    result = Result({}, [], [])
    rows = []
    for rate in sizes.rates:
        rig.say(f"latency at {rate:,.0f} events/s for {sizes.seconds:.0f} s")
        found = await _at(rig, rate, sizes)
        result.figures[f"{rate:.0f}"] = found
        rows.append([f"{rate:,.0f}", *(f"{found[name]:.1f}" for name in ("p50", "p90", "p99", "max")),
                     f"{found['probes']:,}"])  # fmt: skip
        result.targets.append(Target(f"p99 at {rate:,.0f}/s, ms", found["p99"], MOST_MS, most=True))
    result.lines = table(["events/s", "p50 ms", "p90", "p99", "max", "probes"], rows)
    return result


async def _at(rig: Rig, rate: float, sizes: Sizes) -> dict[str, float]:
    prefix = f"bench-latency-{rate:.0f}"
    rig.create(prefix)
    observer = Observer(rig.settings(prefix), PARTITIONS)
    await observer.start()
    watching = asyncio.create_task(observer.watch())
    try:
        async with rig.worker(prefix) as (worker, port):
            await until_ready(worker, port)
            await _beside(watching, _publish(rig, prefix, rate, sizes, observer, worker))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await observer.stop()
    await asyncio.to_thread(rig.remove, prefix)
    return _figures(observer)


async def _publish(rig: Rig, prefix: str, rate: float, sizes: Sizes, observer: Observer, worker: Child) -> None:
    """Publish for the whole time and wait for what was published; latencies of the first seconds are forgotten."""
    plan = Plan(
        seconds=WARM + sizes.seconds, rate=rate, agents=sizes.agents, repeats=0, poison=0, partitions=PARTITIONS
    )
    orders = Orders(plan=plan, bootstrap=rig.broker.bootstrap, prefix=prefix)
    environment = rig.environment(prefix)
    async with rig.child("publisher", ("-m", "agents.demo.publisher"), environment, piped=True) as publisher:
        assert publisher.process.stdin is not None  # noqa: S101  it is piped
        publisher.process.stdin.write(orders.model_dump_json().encode())
        publisher.process.stdin.close()
        forgetting = asyncio.create_task(_forget(observer))
        last = await _last_word(publisher)
        await forgetting
        await _all_out(observer, last["published"], worker)


async def _beside(watching: asyncio.Task[None], work: Coroutine[Any, Any, None]) -> None:
    """Do `work`; raises what ends `watching`, which should not end."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({watching, task}, return_when=asyncio.FIRST_COMPLETED)
        (watching if watching.done() else task).result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _all_out(observer: Observer, published: int, worker: Child) -> None:
    """Until everything published was seen; ProcessFailed when that takes too long."""
    try:
        async with asyncio.timeout(PATIENCE):
            while observer.observations.decided < published:
                await asyncio.sleep(0.05)
    except TimeoutError:
        seen = observer.observations.decided
        raise ProcessFailed(f"{seen:,} of {published:,} events came out (log: {worker.log})") from None


async def _forget(observer: Observer) -> None:
    while not observer.observations.latencies_ms:
        await asyncio.sleep(0.05)
    await asyncio.sleep(WARM)
    del observer.observations.latencies_ms[:]


async def _last_word(publisher: Child) -> dict[str, Any]:
    assert publisher.process.stdout is not None  # noqa: S101  it is piped
    told: dict[str, Any] = {}
    async for line in publisher.process.stdout:
        told = json.loads(line)
    await publisher.process.wait()
    if not told.get("done") or told["error"]:
        raise publisher.failure()
    return told


def _figures(observer: Observer) -> dict[str, float]:
    found = np.array(observer.observations.latencies_ms)
    named = dict(zip(("p50", "p90", "p99", "max"), np.percentile(found, (50, 90, 99, 100)).tolist(), strict=True))
    return {**named, "probes": len(found)}
