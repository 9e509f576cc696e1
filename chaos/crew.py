"""The workers of a scenario: hired, killed, frozen and dismissed, and watched for those that end by themselves."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.demo.processes import Child, ProcessFailed, free_port, until_ready

from .mounted import NOT_ALLOWED

WORKER = ("-m", "agents.cli", "worker", "-v")
REFUSED_WITHIN = 90.0
STOP_WITHIN = 8.0
"""Seconds from SIGTERM to the end of a worker after which it counts as hanging: the five that it has, and what a
machine adds on which everything else is starting and recovering. The slowest of all is told."""
SLOWEST = "ms for the slowest stop"


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process and the port that it answers on."""

    child: Child
    port: int


@dataclass(slots=True)
class Crew:
    """Starts workers with `environment`; `problems` are what they did wrong."""

    environment: Callable[[int], Mapping[str, str]]
    logs: Path
    counts: Counter[str]
    problems: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    _hired: int = 0

    async def hire(self, program: Sequence[str] = WORKER) -> Worker:
        """Start a worker; it is not ready yet."""
        self._hired += 1
        name, port = f"worker-{self._hired}", free_port()
        worker = Worker(await Child.start(name, program, self.environment(port), self.logs / f"{name}.log"), port)
        self.workers.append(worker)
        return worker

    async def refused(self, words: str, program: Sequence[str] = WORKER) -> int | None:
        """A worker must refuse to start, and say `words`, else it is a problem. Answers its exit status."""
        worker = await self.hire(program)
        self.workers.remove(worker)
        try:
            async with asyncio.timeout(REFUSED_WITHIN):
                await worker.child.process.wait()
        except TimeoutError:
            worker.child.process.kill()
            await worker.child.process.wait()
        failure, status = str(worker.child.failure()), worker.child.process.returncode
        if status == NOT_ALLOWED:
            return status
        if status != 1 or words not in failure or "Traceback" in failure:
            self.problems.append(f"expected a refusal that says {words!r}, but {failure}")
        self.counts["workers refused"] += 1
        return status

    async def ready(self) -> None:
        """Until every worker decides its partitions."""
        await asyncio.gather(*(until_ready(worker.child, worker.port) for worker in self.workers))

    async def kill(self, worker: Worker) -> None:
        """End it by SIGKILL."""
        self.workers.remove(worker)
        worker.child.process.kill()
        await worker.child.process.wait()
        self.counts["workers killed"] += 1

    async def freeze(self, worker: Worker, seconds: float) -> None:
        """Stop it by SIGSTOP, and let it go on later."""
        worker.child.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            worker.child.process.send_signal(signal.SIGCONT)
        self.counts["workers frozen"] += 1

    async def dismiss(self, worker: Worker) -> None:
        """End it by SIGTERM: in time and with status 0, or it is a problem."""
        self.workers.remove(worker)
        child, begun = worker.child, time.monotonic()
        await child.stop()
        took = time.monotonic() - begun
        self.counts[SLOWEST] = max(self.counts[SLOWEST], round(took * 1000))
        if took > STOP_WITHIN:
            self.problems.append(f"{child.name} took {took:.1f} s to end after SIGTERM (log: {child.log})")
        if child.process.returncode and not self._unborn(child):
            self.problems.append(str(child.failure()))
        self.counts["workers dismissed"] += 1

    def _unborn(self, child: Child) -> bool:
        """Whether the signal came before the worker had begun to listen to it."""
        return child.process.returncode == -signal.SIGTERM and b"listening on" not in child.log.read_bytes()

    async def dismiss_all(self) -> None:
        """End all of them in order."""
        await asyncio.gather(*map(self.dismiss, list(self.workers)))

    async def kill_all(self) -> None:
        """Nothing is left running, whatever happened."""
        for worker in self.workers:
            if worker.child.running:
                worker.child.process.kill()
                await worker.child.process.wait()
        self.workers.clear()

    async def replace_ended(self) -> None:
        """Hire another for each that ended by itself, which is a problem."""
        for worker in [one for one in self.workers if not one.child.running]:
            self.workers.remove(worker)
            self.problems.append(str(worker.child.failure()))
            await self.hire()

    async def look_after(self) -> None:
        """Replace those that end by themselves, for ever."""
        while True:
            await asyncio.sleep(0.5)
            await self.replace_ended()


class NoProgress(ProcessFailed):
    """Nothing comes out any more."""
