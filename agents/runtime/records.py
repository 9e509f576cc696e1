"""The seam into aiokafka's fetcher: the record batches of one fetch response and partition leave it as columns.

aiokafka turns fetched bytes into one object per record in `PartitionRecords`. For our topics that class, the one that
holds the bytes and the one that hands records out are replaced, by running aiokafka's own two procedures with these
three names bound differently: no module of aiokafka is changed, and other topics keep its records.
"""

from __future__ import annotations

import asyncio
import logging
import time
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiokafka.consumer import fetcher as fetching
from aiokafka.record.memory_records import MemoryRecords

from schemas.columns import ColumnBatch
from schemas.recordbatch import AbortedTransactions, BadCrc, Limits, read

log = logging.getLogger(__name__)

PACE_SECONDS = 0.01
"""Least time from a fetch that brought little to the next one from the same broker."""
PACED_BYTES = 64 << 10
REFETCHES = 3
"""How often a record batch with a wrong checksum is fetched again before its partition stops."""

BareName = Callable[[str], str | None]
"""Full topic name -> name in the table of topics; None for topics that are not read as columns."""
Broken = Callable[[str, int, BadCrc], None]
"""(full topic name, partition, what is wrong): called when a partition cannot be read on."""


class RawRecords:
    """Stands in for aiokafka's MemoryRecords, which keeps its bytes in C."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data or b""

    def size_in_bytes(self) -> int:
        """Bytes fetched, the rest of a cut record batch included."""
        return len(self.data)

    def has_next(self) -> bool:
        """Whether at least one record batch is complete."""
        return len(self.data) >= 61 and 12 + int.from_bytes(self.data[8:12], "big") <= len(self.data)


class ColumnRecords(fetching.PartitionRecords):  # type: ignore[misc]
    """Yields one `ColumnBatch` per fetch response, an empty one too: offsets move on although nothing is left to see.

    Several only when much was compressed: each is unpacked when the one before was taken.
    """

    next_fetch_offset: int
    name: str
    limits: Limits
    failed: Callable[[Any, BadCrc], None]

    def _unpack_records(self) -> Iterator[ColumnBatch]:
        committed = self._isolation_level == fetching.READ_COMMITTED
        for batch in read(
            self._records.data,
            topic=self.name,
            partition=self._tp.partition,
            start=self.next_fetch_offset,
            check_crc=self._check_crcs,
            aborted=AbortedTransactions(self._aborted_transactions) if committed else None,
            limits=self.limits,
        ):
            self.next_fetch_offset = batch.next
            yield batch


class ColumnResult(fetching.FetchResult):  # type: ignore[misc]
    """What is handed out of a fetch response at once: whole batches, up to `limits.chunk` bytes of them."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[ColumnBatch]:
        """The next batches; the position moves behind them."""
        if not isinstance(self._partition_records, ColumnRecords):
            return list(super().getall(max_records))
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[ColumnBatch] = []
        try:
            if self._take(found, max_records):
                return found
        except BadCrc as error:
            self._partition_records.failed(self._topic_partition, error)
        self._update_position()
        self._partition_records = None
        return found

    def _take(self, found: list[ColumnBatch], most: int | None) -> bool:
        """Fill `found`; whether more may be left."""
        size = 0
        for batch in self._partition_records:
            found.append(batch)
            size += batch.buf.nbytes
            if size >= self._partition_records.limits.chunk or len(found) == most:
                self._update_position()
                return True
        return False


class ColumnFetcher(fetching.Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, made of one that exists by `adopt`; some topics leave it as columns."""

    _bare: BareName
    _limits: Limits
    _broken: Broken
    _failures: Counter[tuple[Any, str]]
    _fetch: Callable[[Any, int, Any], Awaitable[bool]]
    _not_before: dict[int, float]
    _bytes: int

    @classmethod
    def adopt(cls, fetcher: Any, bare: BareName, limits: Limits, broken: Broken) -> ColumnFetcher:
        """Turn a running fetcher into a column fetcher; nothing may have been fetched yet."""
        fetcher.__class__ = cls
        fetcher._bare, fetcher._limits, fetcher._broken = bare, limits, broken
        fetcher._failures = Counter()
        fetcher._not_before, fetcher._bytes = {}, 0
        names = {
            "MemoryRecords": RawRecords,
            "PartitionRecords": fetcher._new_records,
            "FetchResult": ColumnResult,
        }
        for stock in (fetching.Fetcher._proc_fetch_request, fetching.Fetcher.fetched_records):
            again = types.FunctionType(
                stock.__code__, {**vars(fetching), **names}, stock.__name__, stock.__defaults__, stock.__closure__
            )
            setattr(fetcher, stock.__name__, types.MethodType(again, fetcher))
        fetcher._fetch, fetcher._proc_fetch_request = fetcher._proc_fetch_request, fetcher._paced_fetch
        adopted: ColumnFetcher = fetcher
        return adopted

    async def _paced_fetch(self, assignment: Any, node: int, request: Any) -> bool:
        """Fetch, but not at once after a fetch that brought little: each costs a millisecond whatever it brings."""
        early = self._not_before.get(node, 0.0) - time.monotonic()
        if early > 0:
            try:
                await asyncio.sleep(early)
            except asyncio.CancelledError:  # the partitions are gone; aiokafka takes it so too
                return False
        self._bytes = 0
        news: bool = await self._fetch(assignment, node, request)
        self._not_before[node] = time.monotonic() + PACE_SECONDS if 0 < self._bytes < PACED_BYTES else 0.0
        return news

    def _new_records(self, tp: Any, raw: RawRecords, *rest: Any) -> Any:
        name = self._bare(tp.topic)
        self._bytes += raw.size_in_bytes()
        if name is None:
            return fetching.PartitionRecords(tp, MemoryRecords(raw.data), *rest)
        made = ColumnRecords(tp, raw, *rest)
        made.name, made.limits, made.failed = name, self._limits, self._checksum_failed
        return made

    def _checksum_failed(self, tp: Any, error: BadCrc) -> None:
        """Fetch again, as the position did not move; stop the partition when that did not help."""
        self._failures[tp, str(error)] += 1
        tries = self._failures[tp, str(error)]
        if tries <= REFETCHES:
            log.warning("%s: fetching again (%d of %d)", error, tries, REFETCHES)
            return
        self._subscriptions.pause(tp)
        self._failures.clear()
        self._broken(tp.topic, tp.partition, error)

    def wake(self) -> None:
        """Let a waiting `fetched_records` look again; call it in the fetcher's loop."""
        for waiter in list(self._fetch_waiters):
            self._notify(waiter)
