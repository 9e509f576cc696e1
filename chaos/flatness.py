"""Whether workers stay as they are under steady load: memory, threads and file handles, looked at now and then."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil

from .crew import Worker

EVERY_S = 2.0
MEMORY_MB = 24.0
"""How much the median of the last quarter may lie above that of the second: the first is for warming up."""
THREADS = HANDLES = 4.0


@dataclass(frozen=True, slots=True)
class Look:
    """A process at a moment."""

    memory_mb: float
    threads: float
    handles: float


@dataclass(slots=True)
class Flatness:
    """Looks by name of the worker."""

    looks: defaultdict[str, list[Look]] = field(default_factory=lambda: defaultdict(list))

    async def watch(self, workers: Sequence[Worker], seconds: float) -> None:
        """Look at the workers for so long."""
        for _ in range(round(seconds / EVERY_S)):
            await asyncio.sleep(EVERY_S)
            for worker in workers:
                process = psutil.Process(worker.child.process.pid)
                memory = process.memory_info().rss / 2**20
                self.looks[worker.child.name].append(Look(memory, process.num_threads(), process.num_fds()))

    def problems(self) -> Iterator[str]:
        """What grew."""
        for name, looks in self.looks.items():
            for what, most in (("memory_mb", MEMORY_MB), ("threads", THREADS), ("handles", HANDLES)):
                early, late = _quarters([getattr(look, what) for look in looks])
                if late - early > most:
                    yield f"{name}: {what} grew from {early:.0f} to {late:.0f}"

    def told(self) -> str:
        """In words, how it went."""
        return "; ".join(
            f"{name}: " + ", ".join(f"{what} {early:.0f} -> {late:.0f}" for what, early, late in _course(looks))
            for name, looks in self.looks.items()
        )


def _course(looks: Sequence[Look]) -> Iterator[tuple[str, float, float]]:
    for what in ("memory_mb", "threads", "handles"):
        yield what, *_quarters([getattr(look, what) for look in looks])


def _quarters(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])
