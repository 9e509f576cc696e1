"""Tiny record batches: producers that send one, ten or a hundred records at a time, against those that bundle."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from .figures import Result, Run, Target, spread_of, table
from .filling import fill, fill_tiny, generator, packs
from .rig import Rig
from .throughput import run_worker

WANTED = {1: 0.15, 10: 0.5, 100: 0.9}
BIG = "bench-tiny-big"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    events: int
    agents: int
    rounds: int


async def measure(rig: Rig, sizes: Sizes) -> Result:
    """The whole measurement."""
    prefixes = {0: BIG, **{records: f"bench-tiny-{records}" for records in WANTED}}
    for records, prefix in prefixes.items():
        rig.say(f"tiny batches: filling {sizes.events:,} events, {records or 'many'} records a batch")
        rig.create(prefix)
        found = packs(generator(sizes.agents, sizes.events), sizes.events)
        if records:
            await asyncio.to_thread(fill_tiny, rig, prefix, found, records)
        else:
            await fill(rig, {prefix: "none"}, found)
    await run_worker(rig, BIG, sizes.events)
    runs: dict[int, list[Run]] = {records: [] for records in prefixes}
    for number in range(sizes.rounds):
        for records, prefix in prefixes.items():
            await asyncio.to_thread(rig.renew, prefix)
            run = await run_worker(rig, prefix, sizes.events)
            runs[records].append(run)
            rig.say(f"tiny, round {number + 1}: {records or 'many'} records a batch: {run.rate:,.0f} events/s")
    for prefix in prefixes.values():
        await asyncio.to_thread(rig.remove, prefix)
    return _result(runs)


def _result(runs: dict[int, list[Run]]) -> Result:
    rate = {records: spread_of(found, lambda run: run.rate) for records, found in runs.items()}
    share = {records: rate[records].median / rate[0].median for records in WANTED}
    cpu = {
        records: spread_of(found, lambda run: run.cpu["process"] / run.events * 1e6) for records, found in runs.items()
    }
    rows = [
        [str(records or "big"), rate[records].told(), f"{share.get(records, 1.0):.2f}", f"{cpu[records].median:.2f}"]
        for records in (0, *sorted(WANTED, reverse=True))
    ]
    return Result(
        {"events_per_s": {str(r): asdict(spread) for r, spread in rate.items()}, "of_big": share},
        table(["records a batch", "events/s: median (min..max)", "of big", "worker CPU us/event"], rows),
        [
            Target(f"batches of {records}, of the rate with big ones", share[records], least)
            for records, least in WANTED.items()
        ],
    )
