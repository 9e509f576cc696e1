"""Throughput: the worker beside itself without output, stock Faust, and a loop that only moves the bytes.

The sources of each codec are filled once. A first run of the worker, not counted, warms the broker and writes what the
raw loop is to write. Then come rounds, in each of them every contender once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from agents.settings import Compression

from . import meter
from .comparison import FAUST, FIRST, MUTE, RAW, RAW_WIDE, SILENT, add
from .figures import Result, Run
from .filling import fill, generator, packs
from .raw import capture
from .rig import PARTITIONS, SOURCES, WORKER, WRITTEN, Rig

TARGET = "bench-target"
QUIET = ("-m", "benchmarks.mute_worker")
CODECS: tuple[Compression, ...] = ("none", "lz4")

Contender = Callable[[], Awaitable[Run]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    events: int
    agents: int
    rounds: int
    faust_events: int


@dataclass(slots=True)
class Codec:
    """The contenders on sources of one codec."""

    rig: Rig
    codec: Compression
    sizes: Sizes
    programs: Iterator[int] = field(default_factory=count)
    """Each run of another program begins with topics and a group that nobody has used."""

    @property
    def prefix(self) -> str:
        """Of its sources."""
        return f"bench-{self.codec}"

    @property
    def file(self) -> Path:
        """What the worker wrote."""
        return self.rig.folder / f"{self.prefix}.batches"

    def contenders(self) -> dict[str, Contender]:
        """By name; the first is what the others are measured against."""
        return {
            FIRST: lambda: self.worker(WORKER),
            MUTE: lambda: self.worker(QUIET),
            SILENT: lambda: self.worker((*QUIET, "silent")),
            FAUST: self.faust,
            RAW: lambda: self.raw(1),
            RAW_WIDE: lambda: self.raw(PARTITIONS),
        }

    async def worker(self, program: Sequence[str]) -> Run:
        """All events through a worker that starts from nothing."""
        await asyncio.to_thread(self.rig.renew, self.prefix)
        return await run_worker(self.rig, self.prefix, self.sizes.events, self.codec, program)

    async def faust(self) -> Run:
        """Some events through stock Faust; uncompressed outputs, in its favour."""
        names = [name for name in WRITTEN if name.startswith(("trust", "priority", "ratelimit"))]
        return await self._program("faust_agents", names, (str(self.sizes.faust_events),), self.sizes.faust_events)

    async def raw(self, producers: int) -> Run:
        """All bytes through the raw loop."""
        return await self._program("raw_loop", WRITTEN, (str(self.file), str(producers)), self.sizes.events)

    async def _program(self, name: str, names: Sequence[str], more: Sequence[str], events: int) -> Run:
        prefix = f"{TARGET}-{self.codec}-{next(self.programs)}"
        self.rig.create(prefix, names)
        arguments = ("-m", f"benchmarks.{name}", self.prefix, prefix, *more)
        try:
            async with self.rig.child(name, arguments, self.rig.environment(""), piped=True) as child:
                return await meter.timed(meter.told(child), events, meter.Meter(child, self.rig.broker.pid), child)
        finally:
            await asyncio.to_thread(self.rig.remove, prefix)


async def run_worker(
    rig: Rig, prefix: str, events: int, codec: Compression = "none", program: Sequence[str] = WORKER
) -> Run:
    """Time a worker that decides the `events` in the sources of `prefix`."""
    async with rig.worker(prefix, codec, program) as (child, port):
        run = await meter.timed(meter.decided(child, port, events), events, meter.Meter(child, rig.broker.pid), child)
        run.stages.update(await meter.stages(port))
        return run


async def measure(rig: Rig, sizes: Sizes, codecs: Sequence[Compression] = CODECS) -> Result:
    """The whole measurement."""
    found = [Codec(rig, codec, sizes) for codec in codecs]
    for one in found:
        rig.create(one.prefix)
    rig.say(f"filling the sources with {sizes.events:,} events, {', '.join(codecs)}")
    await fill(
        rig, {one.prefix: one.codec for one in found}, packs(generator(sizes.agents, sizes.events), sizes.events)
    )
    result = Result({}, [], [])
    for one in found:
        add(result, one.codec, sizes.events, *await _rounds(one))
        await asyncio.to_thread(rig.remove, one.prefix)
    return result


async def _rounds(one: Codec) -> tuple[dict[str, list[Run]], dict[str, float]]:
    """Runs by contender, and bytes an event in and out."""
    rig, sizes = one.rig, one.sizes
    rig.say(f"{one.codec}: warming up, and keeping what the worker writes")
    await one.worker(WORKER)
    volume = await _volume(one)
    runs: dict[str, list[Run]] = {name: [] for name in one.contenders()}
    for number in range(sizes.rounds):
        for name, contender in one.contenders().items():
            run = await contender()
            runs[name].append(run)
            rig.say(f"{one.codec}, round {number + 1} of {sizes.rounds}: {name}: {run.rate:,.0f} events/s")
    return runs, volume


async def _volume(one: Codec) -> dict[str, float]:
    """Keep what the worker wrote; bytes an event in and out, and records out."""
    settings, thrown = one.rig.settings(one.prefix), one.file.with_suffix(".in")
    out, into = await capture(settings, WRITTEN, one.file), await capture(settings, SOURCES, thrown)
    thrown.unlink()
    sums = {"bytes_in": into["bytes"], "bytes_out": out["bytes"], "records_out": out["records"]}
    return {name: total / one.sizes.events for name, total in sums.items()}
