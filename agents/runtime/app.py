"""The Faust application of the columnar runtime: owns the lanes, and is what the seams talk to.

Faust runs the worker, the group, the assignment, the agents and the recovery. This class adds what a columnar worker
needs beside: which topics are read as columns, a decider and a lane per partition, where to read from, and one place
where a failure ends the worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import faust
from faust.types import TP

from agents.settings import Settings
from schemas.columns import ColumnBatch
from schemas.recordbatch import Limits
from schemas.topics import SOURCE_TOPICS
from streams.pipeline import Effects

from .breaks import Breaks
from .commit import STATE, Commit
from .consumer import ColumnConsumer, ColumnTransport
from .counting import Counting
from .decider import DeciderFactory
from .fencing import FencedOften, Fencing
from .lane import LaneTask, StepTimes
from .positions import Positions, StateDamaged
from .producer import CommitFailed, Fenced
from .producers import ColumnBoot, Producers
from .recovering import Recovering
from .table import ColumnTable
from .thrift import Thrift

log = logging.getLogger(__name__)


class ColumnApp(faust.App):
    """One worker. `partitions` is the number that all topics have; `new` makes a decider without state."""

    BootStrategy = ColumnBoot
    mundane_level = "debug"

    def __init__(self, settings: Settings, partitions: int, new: DeciderFactory, **faust_settings: Any) -> None:
        (settings.state / "faust").mkdir(parents=True, exist_ok=True)
        super().__init__(
            settings.group, topic_partitions=partitions, datadir=settings.state / "faust", **faust_settings
        )
        self.settings, self.partitions, self._new = settings, partitions, new
        self._bare = {settings.topic(name): name for name in (*(t.name for t in SOURCE_TOPICS), STATE)}
        self.sources = {settings.topic(t.name) for t in SOURCE_TOPICS}
        self.limits = Limits()
        self.pool = ThreadPoolExecutor(settings.threads or os.cpu_count() or 1, thread_name_prefix="lane")
        self.thrift = Thrift(self.pool)
        self.counting = Counting()
        self.producers = Producers(self)
        self.table = ColumnTable(self)
        self.tables.add(self.table)
        self.positions = Positions(self)
        self._recovering = Recovering()
        self.breaks = Breaks(settings, self.counting)
        self.lanes: dict[int, LaneTask] = {}
        self.fencing = Fencing()
        self.broken: dict[int, str] = {}
        """Partitions that cannot be read on, and why."""
        self.stopping_for: BaseException | None = None
        self.failed = asyncio.Event()
        self._durable: dict[TP, int] = {}

    def _new_transport(self) -> ColumnTransport:
        return ColumnTransport(self.conf.broker_consumer, self)

    @property
    def columns(self) -> ColumnConsumer:
        """The consumer, by its own type."""
        return cast(ColumnConsumer, self.consumer)

    # ------------------------------------------------------------------ what the seams ask

    def bare(self, topic: str) -> str | None:
        """Name of a topic that is read as columns, without prefix; None for others."""
        return self._bare.get(topic)

    def new_decider(self, partition: int) -> Any:
        """A decider without state."""
        return self._new(partition, self.partitions)

    def durable(self) -> Mapping[TP, int]:
        """Source partition -> offset before which everything is decided and committed."""
        return self._durable

    # ------------------------------------------------------------------ lanes

    def open_lanes(self, starts: Mapping[TP, int]) -> None:
        """Begin to decide the owned partitions; sources are read from `starts`."""
        for partition in self.table.active - self.broken.keys():
            wanted = {self._bare[tp.topic]: offset for tp, offset in starts.items() if tp.partition == partition}
            lane = self.lanes.get(partition)
            if lane is None:
                lane = self.lanes[partition] = self._new_lane(partition)
                lane.start()
            lane.wanted.update(wanted)
        for tp, offset in starts.items():
            self._durable.setdefault(tp, offset)

    def _new_lane(self, partition: int) -> LaneTask:
        settings, producer = self.settings, self.producers.owned[partition]
        commit = Commit(producer, settings.prefix, settings.codec)
        decider = self.table.states[partition].decider
        return LaneTask(partition, decider, commit, self, limit=settings.lane_bytes, tick_seconds=settings.tick_seconds)

    async def finish_lanes(self) -> None:
        """Finish and commit the steps under way, and stop deciding; the states stay."""
        lanes, self.lanes = self.lanes, {}
        await asyncio.gather(*(lane.stop() for lane in lanes.values()))
        self.breaks.forget()
        for partition, lane in lanes.items():
            if lane.commit.state_end is not None and partition in self.table.states:
                self.table.states[partition].next = lane.commit.state_end

    async def take(self, event: Any) -> None:
        """Hand a batch to its lane; a batch that comes at a wrong time or place is dropped, and comes again."""
        message, batch = event.message, event.value
        lane = self.lanes.get(message.partition)
        if lane is None or message.generation_id != self.consumer_generation_id or not self.flow_control.is_active():
            return
        wanted = lane.wanted[batch.topic]
        if batch.next <= wanted:
            return
        if batch.start != wanted:
            await self.columns.rewind(message.tp, batch.start, wanted)
            return
        lane.put(batch)

    def forget(self) -> None:
        """The partitions go to others, or come again from the start: nothing is known of them."""
        self.fencing.rejoining = False
        self._durable.clear()
        for partition in self.broken:
            self.counting.paused(partition, "crc", False)
        self.broken.clear()

    def stepped(self, lane: LaneTask, batches: list[ColumnBatch], effects: Effects, times: StepTimes) -> None:
        """A lane has committed a step."""
        for name, offset in effects.positions.items():
            self._durable[TP(self.settings.topic(name), lane.partition)] = offset
        self.counting.stepped(lane, batches, effects, times)
        if batches:
            self.thrift.worked(sum(batch.buf.nbytes for batch in batches))
        else:
            self.thrift.rests(time.monotonic())

    def _tps(self, partition: int) -> list[TP]:
        return [TP(topic, partition) for topic in self.sources]

    def lane_full(self, partition: int, full: bool) -> None:
        """Ask for a partition no more, or again."""
        (self.columns.leave if full else self.columns.take_up)(self._tps(partition))

    def lane_waits(self, lane: LaneTask, why: str, waits: bool) -> None:
        """A lane waits for something outside, or goes on."""
        self.counting.paused(lane.partition, why, waits)

    def lane_held(self, lane: LaneTask) -> None:
        """A breaker has stopped a lane."""
        self.breaks.hold(lane)

    def caught_up(self, lane: LaneTask) -> bool:
        """Whether a lane has decided all that its sources held at the last fetch."""
        if lane.partition in self.broken:
            return False
        for tp in self._tps(lane.partition):
            end, wanted = self.columns.end(tp), lane.wanted.get(self._bare[tp.topic])
            if end is None or wanted is None or wanted < end:
                return False
        return True

    def status(self) -> dict[str, Any]:
        """What /ready shows; the gauges of /metrics are set on the way."""
        settled = bool(self.tables.actives_ready) and not self.rebalancing and set(self.lanes) == self.table.active
        paused = self.broken | self.breaks.why
        ready = settled and not (paused or self.fencing.rejoining or self.failed.is_set())
        self.counting.ready(ready)
        return {
            "ready": ready,
            "group": self.settings.group,
            "partitions": sorted(self.lanes),
            "paused": paused,
            "lag": sum(self._lag(lane) for lane in self.lanes.values()),
            "recovering": self.recovery().left,
            "recovering_seconds": self._recovering.seconds,
            "rows": sum(lane.decider.rows for lane in self.lanes.values()),
            "decided": self.counting.decided,
            "commits": self.counting.commits,
        }

    def _lag(self, lane: LaneTask) -> int:
        """Records of a lane's sources that are not durable yet, as of the last fetch."""
        total = 0
        for tp in self._tps(lane.partition):
            lag = max(0, (self.columns.end(tp) or 0) - self._durable.get(tp, 0))
            self.counting.lag(self._bare[tp.topic], tp.partition, lag)
            total += lag
        return total

    def recovery(self) -> Recovering:
        """How far recovery is now."""
        remaining = self.table.remaining()
        for partition, offsets in remaining.items():
            self.counting.remaining(partition, offsets)
        self._recovering.take(sum(remaining.values()))
        return self._recovering

    # ------------------------------------------------------------------ failures

    def lane_failed(self, lane: LaneTask, error: BaseException) -> None:
        """Memory is ahead of what is durable: never use it again, and end the worker.

        One that was fenced goes on: it asks for its partitions anew, and recovers those that it is given.
        """
        self.table.states.pop(lane.partition, None)
        if isinstance(error, Fenced | CommitFailed):
            self.counting.aborted()
        if isinstance(error, Fenced):
            self._fenced(error)
        else:
            log.error("partition %d stops", lane.partition, exc_info=error)
            self.fail(error)

    def _fenced(self, error: Fenced) -> None:
        log.warning("%s What its lane remembered is dropped; joining the group anew.", error)
        if self.rebalancing or self.fencing.rejoining:
            return
        try:
            self.fencing.rejoin(error)
        except FencedOften as often:
            self.fail(often)
        else:
            self.columns.rejoin()

    def fail(self, error: BaseException) -> None:
        """End the worker because of `error`; the first one is told."""
        if self.stopping_for is None:
            self.stopping_for = error
            self.failed.set()

    def _crash(self, reason: BaseException) -> None:
        """Faust says that a service of its own failed."""
        super()._crash(reason)
        self.fail(reason)

    def partition_broken(self, topic: str, partition: int, error: Exception) -> None:
        """Bytes of a partition stay damaged: it is read no further, the others go on. Without the state of a partition
        that it owns a worker cannot.
        """
        if topic == self.settings.topic(STATE) and self.table.recovers(partition):
            self.fail(StateDamaged(partition, error))
            return
        self.broken[partition] = str(error)
        self.counting.paused(partition, "crc", True)
        log.error("partition %d of %s is read no further, the others go on: %s", partition, topic, error)
