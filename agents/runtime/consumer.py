"""The seam into Faust's consumer: one Faust event is one `ColumnBatch`, and positions come from the state.

Faust tracks messages one offset at a time, from the acks of its streams and from group offsets. Here an event accounts
for a span of offsets, the lane that decides a partition says what is done, and the position record says where to read
on. So Faust's bookkeeping per message is switched off for our topics, and what is left of it is overridden below: each
method says what stock Faust would do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import faust
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from schemas.columns import ColumnBatch

from .records import ColumnFetcher

if TYPE_CHECKING:
    from .app import ColumnApp

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 100
"""How long a broker holds a fetch that finds nothing. A partition that is resumed meanwhile waits as long."""
REQUEST_MS = 40_000
"""After this time a request counts as lost, and is made again."""
FETCH_BYTES = 32 << 20
"""Bytes of a whole fetch response."""


class ColumnSchema(faust.Schema[Any, Any]):
    """Hands the batch through, where stock would decode key and value."""

    def compile(self, app: Any, **_: Any) -> Any:
        """The decoder of a topic."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001  Faust calls it so
            return create_event(None, message.value, None, message)

        return decode


class _NeverEmpty(Collection[Any]):
    """A live view of the partitions asked for. aiokafka takes an empty collection for "all"; this is never falsy."""

    def __init__(self, active: set[Any]) -> None:
        self._active = active

    def __contains__(self, tp: object) -> bool:
        return tp in self._active

    def __iter__(self) -> Iterator[Any]:
        return iter(self._active)

    def __len__(self) -> int:
        return len(self._active) or 1


class _NoReadOffset(defaultdict[TP, int | None]):
    """Stock drops and counts gaps by the offset read last: our topics have none."""

    def __init__(self, app: ColumnApp) -> None:
        super().__init__(lambda: None)
        self._app = app

    def __getitem__(self, tp: TP) -> int | None:
        return None if self._app.bare(tp.topic) else super().__getitem__(tp)


class ColumnThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches and parses."""

    app: ColumnApp
    mundane_level = "debug"

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust writes 1500 ms into its code, has no setting for the bytes, and links isolation to its own transactions.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_max_bytes = FETCH_BYTES
        consumer._isolation_level = "read_committed"
        consumer._client._request_timeout_ms = REQUEST_MS  # that of the settings is for whole recoveries
        return consumer

    async def on_start(self) -> None:
        """Start aiokafka's consumer; nothing is subscribed yet, so no fetch is missed."""
        await super().on_start()
        ColumnFetcher.adopt(self._ensure_consumer()._fetcher, self.app.bare, self.app.limits, self._broken)

    def _broken(self, topic: str, partition: int, error: Exception) -> None:
        self.app.loop.call_soon_threadsafe(self.app.partition_broken, topic, partition, error)

    def wake(self) -> None:
        """Let a waiting fetch look again at which partitions are asked for."""
        if self._consumer is not None:
            self.thread_loop.call_soon_threadsafe(self._consumer._fetcher.wake)

    def end(self, tp: TP) -> int | None:
        """Offset behind the last record that can be read, as of the last fetch; None when not fetched yet."""
        consumer = self._ensure_consumer()
        end: int | None = consumer.last_stable_offset(tp) if tp in consumer.assignment() else None
        return end

    async def stop_fetching(self, tps: Iterable[TP]) -> None:
        """Until the next rebalance. Faust's pause only stops asking aiokafka: that would fetch one response of each
        partition, keep it, and for 0.1 s fetch nothing else of its broker.
        """
        await self.call_thread(self._stop_fetching, set(tps))

    async def _stop_fetching(self, tps: set[TP]) -> None:
        consumer = self._ensure_consumer()
        consumer.pause(*(driver.ensure_aiokafka_TP(tp) for tp in tps if tp in consumer.assignment()))

    def rejoin(self) -> None:
        """Join the group anew: all partitions are taken, and given out again."""
        coordinator = self._ensure_consumer()._coordinator
        self.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)

    async def ends(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Offsets behind the last committed record."""
        found: Mapping[TP, int] = await self.call_thread(self._ensure_consumer().end_offsets, list(tps))
        return found


class ColumnConsumer(driver.Consumer):
    """Delivers batches whose spans touch, from where the state says."""

    app: ColumnApp
    _thread: ColumnThread
    mundane_level = "debug"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _NoReadOffset(self.app)
        self._expected: dict[TP, int] = {}
        self._conduct, self.callback = self.callback, self._deliver
        self._resumed = asyncio.Event()

    def _new_consumer_thread(self) -> ColumnThread:
        return ColumnThread(self, loop=self.loop, beacon=self.beacon)

    # ------------------------------------------------------------------ which partitions are asked for

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: a stream's queue that is full blocks the delivery; what may wait is bounded by the lanes."""

    def leave(self, tps: Iterable[TP]) -> None:
        """Do not ask for these partitions until `take_up`; what was fetched already is still delivered."""
        for tp in tps:
            super().on_buffer_full(tp)

    def take_up(self, tps: Iterable[TP]) -> None:
        """Ask for these partitions again."""
        for tp in tps:
            super().on_buffer_drop(tp)
        self._resumed.set()
        self._thread.wake()

    async def _wait_next_records(self, timeout: float) -> Any:
        """Stock sleeps a second when no partition is asked for."""
        if self.flow_active and not self._get_active_partitions():
            self._resumed.clear()
            await self.wait_first(self._resumed.wait(), self.suspend_flow.wait(), timeout=timeout)
            if not self._get_active_partitions():
                return {}, set()
        return await super()._wait_next_records(timeout)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        return await super()._getmany(cast(Any, _NeverEmpty(active_partitions)), timeout)

    async def stop_fetching(self, tps: Iterable[TP]) -> None:
        """Fetch nothing of these partitions until the next rebalance."""
        await self._thread.stop_fetching(tps)

    def end(self, tp: TP) -> int | None:
        """Offset behind the last record that can be read, as of the last fetch; None when not fetched yet."""
        return self._thread.end(tp)

    async def ends(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Offsets behind the last committed record, asked now."""
        return await self._thread.ends(tps)

    def rejoin(self) -> None:
        """Join the group anew: all partitions are taken, and given out again."""
        self._thread.rejoin()

    # ------------------------------------------------------------------ delivery

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not isinstance(record, ColumnBatch):
            return super()._to_message(tp, record)
        timestamp = int(record.ts[-1]) / 1000 if record.n else time.time()
        return ConsumerMessage(
            tp.topic, tp.partition, record.next - 1, timestamp, 0, None, None, cast(Any, record), None, 0, 0,
            ensure_TP(tp), generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _deliver(self, message: Any) -> None:
        """Drop what was fetched before a seek; seek back on a gap; deliver the rest."""
        batch, tp = message.value, message.tp
        if isinstance(batch, ColumnBatch) and not self._is_changelog_tp(tp):
            expected = self._expected.get(tp)
            if expected is None or batch.next <= expected:
                return
            if batch.start != expected:
                await self.rewind(tp, batch.start, expected)
                return
            self._expected[tp] = batch.next
        await self._conduct(message)

    def resume_flow(self) -> None:
        """Deliver on. Stock has emptied all queues a moment ago: what was on its way to a lane comes again."""
        super().resume_flow()
        for tp, came in self._expected.items():
            lane = self.app.lanes.get(tp.partition)
            if lane is not None and (wanted := lane.wanted[self.app.bare(tp.topic) or ""]) != came:
                self._expected[tp] = wanted
                self.add_future(self.rewind(tp, came, wanted))

    async def rewind(self, tp: TP, came: int, expected: int) -> None:
        """Read again from `expected`; the worker stops when the topic does not reach back so far."""
        log.warning("%s: records came from offset %d, expected %d: reading again", tp, came, expected)
        self._expected[tp] = expected
        with self._unless_shared_anew():
            await self.app.positions.check_reachable({tp: expected})
            await self.seek_wait({tp: expected})

    def ack(self, message: Any) -> bool:
        """Nothing for batches: streams also ack what they skip; the lanes say what is done."""
        return False if isinstance(message.value, ColumnBatch) else bool(super().ack(message))

    # ------------------------------------------------------------------ positions

    async def perform_seek(self) -> None:
        """Read each source from the lane's position. Faust has resumed the partitions already, and calls this from
        the middle of rebalances too: nothing is delivered before the state is recovered.
        """
        self._expected = {}
        await super().perform_seek()
        if not self.app.table.settled:
            return
        sources = {tp for tp in self.assignment() if tp.topic in self.app.sources}
        with self._unless_shared_anew() as shares:
            starts = await self.app.positions.starting_points(sources, self._committed_offset)
            if starts:
                await self.seek_wait(starts)
            if shares == self.app.table.shares:
                self.app.open_lanes(starts)
                self._expected = dict(starts)

    @contextmanager
    def _unless_shared_anew(self) -> Iterator[int]:
        """An error ends the worker; not when a rebalance took the partitions away meanwhile: then it comes of that, and
        who owns them seeks again. Gives the table's `shares` as it begins.
        """
        shares = self.app.table.shares
        try:
            yield shares
        except Exception as error:
            if shares == self.app.table.shares:
                self.app.fail(error)
                raise
            log.info("the partitions were shared anew while they were sought: %s", error)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter([tp for tp in self.app.durable() if topics is None or tp in topics or tp.topic in topics])

    def _new_offset(self, tp: TP) -> int | None:
        """Offset to commit: the lane's durable position."""
        if self.app.bare(tp.topic) is None:
            offset: int | None = super()._new_offset(tp)
            return offset
        return self.app.durable().get(tp)

    # ------------------------------------------------------------------ ends

    async def on_stop(self) -> None:
        """Finish the steps under way, commit their offsets. After a crash stock's commit would hang."""
        await self.app.finish_lanes()
        if self.app.stopping_for is None:
            await super().on_stop()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Stock forgets what was done before anything commits it: finish and commit first."""
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await self.app.finish_lanes()
        await self.commit()
        self.app.forget()
        self._expected = {}
        self.app.table.unsettle()
        await super().on_partitions_revoked(revoked)


class ColumnTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = ColumnConsumer
