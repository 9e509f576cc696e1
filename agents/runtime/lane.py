"""The lane of a partition: one queue, one task, one step and one commit at a time.

The agents only put batches into the queue and go on. The task takes everything that waits, of all three sources,
decides it in a thread (kernels release the interpreter's lock), commits it, and looks again: the latency of one
transaction when idle, the throughput of big batches when busy. Queues are bounded in bytes: a lane that is full asks
its partition to be left alone until it is half empty, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Protocol

from schemas.catalog import RegistryUnreachable
from schemas.columns import ColumnBatch
from schemas.errors import CognistreamError
from streams.breaker import Tripped, split
from streams.pipeline import Effects

from .commit import Commit
from .decider import Decider
from .producer import RecordBatch

log = logging.getLogger(__name__)

STEP_BYTES = 8 << 20
"""A step takes no further batch once it has this many bytes."""
REGISTRY_SECONDS = 1.0
"""Pause of a partition until an unreachable registry is asked again."""
PACE_SECONDS = 0.02
"""Least time from the begin of a step to that of the next while little waits. A transaction costs broker and worker
milliseconds of processor time whatever it holds: without a pace, a few hundred events a second keep both busy, and
everyone waits."""
PACED_BYTES = 256 << 10
"""A lane in which more waits keeps no pace."""
TICK_LAG_MS = 1000
"""How far a tick lies behind the wall clock."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of a step: deciding, making record batches, the transaction."""

    decide: float
    frame: float
    commit: float


class StageFailed(CognistreamError):
    """Deciding raised. Nothing of the step was sent, and it will be met again by whoever reads on."""

    def __init__(self, partition: int, batches: Sequence[ColumnBatch], error: Exception) -> None:
        read = ", ".join(f"{batch.topic} {batch.start}..{batch.next - 1}" for batch in batches) or "a tick"
        super().__init__(
            f"partition {partition}: deciding {read} failed: {type(error).__name__}: {error}. Nothing of it was kept. "
            "This is a fault of the program or of its state: look at the trace in the log; the records stay where they "
            "are."
        )


class Host(Protocol):
    """The worker around a lane."""

    @property
    def pool(self) -> Executor:
        """Where steps run."""
        ...

    def caught_up(self, lane: LaneTask) -> bool:
        """Whether the lane has decided all that its sources held at the last look."""
        ...

    def lane_full(self, partition: int, full: bool) -> None:
        """The lane wants no more for now; or, `full` False, has room again."""
        ...

    def lane_failed(self, lane: LaneTask, error: BaseException) -> None:
        """The lane has stopped; its memory must not be used again."""
        ...

    def lane_waits(self, lane: LaneTask, why: str, waits: bool) -> None:
        """The lane waits for something outside, or goes on."""
        ...

    def lane_held(self, lane: LaneTask) -> None:
        """A breaker has stopped the lane: it waits for a `resume`."""
        ...

    def stepped(self, lane: LaneTask, batches: list[ColumnBatch], effects: Effects, times: StepTimes) -> None:
        """A step was committed."""
        ...


class LaneTask:
    """Runs the lane of `partition`.

    `wanted` is the offset that the queue expects next of each source; the decider's positions are what is decided,
    `waiting` the bytes that are not, `tripped` why a breaker holds it.
    """

    def __init__(
        self, partition: int, decider: Decider, commit: Commit, host: Host, *, limit: int, tick_seconds: float
    ) -> None:
        """`limit` is the bytes that may wait."""
        self.partition, self.decider, self.commit = partition, decider, commit
        self._host, self._limit, self._tick_seconds = host, limit, tick_seconds
        self.wanted: dict[str, int] = {}
        self.waiting = 0
        self.tripped: Tripped | None = None
        self._queue: deque[ColumnBatch] = deque()
        self._news = asyncio.Event()
        self._halt, self._free = asyncio.Event(), asyncio.Event()
        self._is_full = False
        self._tick_due = self._not_before = time.monotonic()
        self._last_tick = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to decide."""
        self._task = asyncio.create_task(self._run(), name=f"lane-{self.partition}")

    def put(self, batch: ColumnBatch) -> None:
        """Take a batch; its start is the `wanted` of its source."""
        self.wanted[batch.topic] = batch.next
        self._queue.append(batch)
        self._waits([batch])

    def resume(self, topic: str, until: int) -> None:
        """Decide the records of source `topic` before offset `until`, whatever they are; only while it is held."""
        news = self.decider.resume(topic, until)
        if self.tripped is not None and self.tripped.source == topic and news:
            self.tripped = None
            self._free.set()

    async def stop(self) -> None:
        """Finish and commit the step under way; what waits is left to whoever owns the partition next."""
        self._halt.set()
        self._news.set()
        self._free.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while not self._halt.is_set():
                await self._once()
        except Exception as error:
            self._host.lane_failed(self, error)

    async def _once(self) -> None:
        if self.tripped is not None:
            await self._free.wait()
        await self._wait()
        begun = time.monotonic()
        if self._queue and not self._halt.is_set():
            await self._step(self._drain(), None)
        if time.monotonic() >= self._tick_due and not self._halt.is_set():
            await self._tick()
        self._not_before = begun + PACE_SECONDS

    async def _wait(self) -> None:
        """Until there are batches or a tick is due, and the pace allows a step."""
        if not self._news.is_set():
            timer = asyncio.get_running_loop().call_later(self._tick_due - time.monotonic(), self._news.set)
            await self._news.wait()
            timer.cancel()
        early = self._not_before - time.monotonic()
        if early > 0 and self.waiting < PACED_BYTES:
            await asyncio.sleep(early)
        if not self._queue:
            self._news.clear()

    async def _tick(self) -> None:
        """Tell the lane the time, if all that was told it before is decided; else try again soon."""
        now = int(time.time() * 1000) - TICK_LAG_MS
        if self._queue or now <= self._last_tick or not self._host.caught_up(self):
            self._tick_due = time.monotonic() + self._tick_seconds / 10
            return
        self._tick_due = time.monotonic() + self._tick_seconds
        self._last_tick = now
        await self._step([], now)

    def _drain(self) -> list[ColumnBatch]:
        batches: list[ColumnBatch] = []
        size = 0
        while self._queue and size < STEP_BYTES:
            batches.append(self._queue.popleft())
            size += batches[-1].buf.nbytes
        if not self._queue:
            self._news.clear()
        self.waiting -= size
        if self._is_full and self.waiting * 2 <= self._limit:
            self._is_full = False
            self._host.lane_full(self.partition, False)
        return batches

    async def _step(self, batches: list[ColumnBatch], tick: int | None) -> None:
        loop = asyncio.get_running_loop()
        while not self._halt.is_set():
            try:
                decided = await loop.run_in_executor(self._host.pool, self._decide, batches, tick)
            except RegistryUnreachable as error:
                await self._wait_for_registry(error)
                continue
            except Exception as error:
                raise StageFailed(self.partition, batches, error) from error
            await self._commit(batches, *decided)
            return

    async def _commit(
        self, batches: list[ColumnBatch], effects: Effects, prepared: list[RecordBatch], times: StepTimes
    ) -> None:
        held: list[ColumnBatch] = []
        if effects.tripped is not None:
            batches, held = split(batches, effects.positions)
        if effects.tripped is None or effects.outputs:
            begun = time.perf_counter()
            await self.commit.write(prepared)
            self._host.stepped(self, batches, effects, replace(times, commit=time.perf_counter() - begun))
        if effects.tripped is not None:
            self._hold(held, effects.tripped)

    def _hold(self, held: list[ColumnBatch], tripped: Tripped) -> None:
        """Keep what a breaker does not let through, and decide nothing before somebody says how far."""
        self._queue.extendleft(reversed(held))
        self._waits(held)
        self.tripped = tripped
        self._free.clear()
        self._host.lane_held(self)

    def _waits(self, batches: Sequence[ColumnBatch]) -> None:
        """These are in the queue now."""
        self.waiting += sum(batch.buf.nbytes for batch in batches)
        self._news.set()
        if self.waiting > self._limit and not self._is_full:
            self._is_full = True
            self._host.lane_full(self.partition, True)

    async def _wait_for_registry(self, error: RegistryUnreachable) -> None:
        """Nothing was decided: the partition waits, others go on."""
        log.warning("partition %d waits: %s", self.partition, error)
        self._host.lane_waits(self, "registry", True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._halt.wait(), REGISTRY_SECONDS)
        self._host.lane_waits(self, "registry", False)

    def _decide(self, batches: list[ColumnBatch], tick: int | None) -> tuple[Effects, list[RecordBatch], StepTimes]:
        begun = time.perf_counter()
        effects = self.decider.step(batches, tick=tick)
        decided = time.perf_counter()
        prepared = self.commit.prepare(effects)
        return effects, prepared, StepTimes(decided - begun, time.perf_counter() - decided, 0.0)
