"""Decides partitions anew from their topics: for `audit replay`, which compares, and for a rebuild of the state.

The replay pulls column batches where it needs them, and each pull runs the event loop until they are there: no topic is
held in memory, whatever its size. Each topic has a connection of its own, so that none waits for another to be used up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from agents.column_reader import column_reader
from agents.settings import Settings
from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch
from schemas.topics import SOURCE_TOPICS, TOPICS
from streams.compare import Differs
from streams.journal import JOURNAL
from streams.policy import Policy
from streams.replay import Replay, Report
from streams.standing import compare_state, until_entry
from streams.state_codec import LEVELS, STATE

MARKERS_SECONDS = 0.5
"""A transaction is seen in one topic a moment before the other: others are looked at this long after the journal."""

T = TypeVar("T")
Spans = dict[str, tuple[int, int]]
Tell = Callable[[str], None]


class PartitionTopics:
    """The topics of one partition, read when asked for; a context."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings, self._partition = settings, partition
        self._runner, self._open = asyncio.Runner(), AsyncExitStack()
        self._not_before = 0.0

    @contextmanager
    def reading(self) -> Iterator[PartitionTopics]:
        """Close all connections at the end."""
        with self._runner:
            try:
                yield self
            finally:
                self._runner.run(self._open.aclose())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it where the connections live."""
        return self._runner.run(coroutine)

    def spans(self, names: Iterable[str]) -> Spans:
        """First and next offset of each topic now."""
        return self.run(self._spans(list(names)))

    def batches(self, name: str) -> Iterator[ColumnBatch]:
        """The column batches of a topic, to the end that it has when the first is asked for."""
        coming = self._read(name)
        while (batch := self.run(_next(coming))) is not None:
            yield batch

    async def _spans(self, names: list[str]) -> Spans:
        async with column_reader(self._settings) as reader:
            found = await reader.spans([(name, self._partition) for name in names])
        return {name: found[name, self._partition] for name in names}

    async def _read(self, name: str) -> AsyncIterator[ColumnBatch]:
        await asyncio.sleep(self._not_before - time.monotonic())
        if name == JOURNAL:
            self._not_before = time.monotonic() + MARKERS_SECONDS
        reader = await self._open.enter_async_context(column_reader(self._settings))
        async for batch in reader.whole([(name, self._partition)]):
            yield batch


_MOVING = "the partition is being decided; stop its worker to have it compared"
_SOURCES = tuple(row.name for row in SOURCE_TOPICS)


def replay_partition(
    settings: Settings, partition: int, partitions: int, policies: Iterable[Policy], ids: SchemaIds, tell: Tell
) -> Report:
    """Decide all of `partition` anew and compare it with its topics. OutOfReach, UnknownPolicy when it cannot be."""
    with PartitionTopics(settings, partition).reading() as there:
        topics = {row.name: there.batches(row.name) for row in TOPICS}
        again = Replay(topics, partition, partitions, policies=policies, ids=ids)
        stood = there.spans([JOURNAL])
        try:
            follow(again, there, tell)
            _compare_rows(again, there, stood, ids)
        except Differs as error:
            again.report.difference = error.difference
    return again.report


def _compare_rows(again: Replay, there: PartitionTopics, stood: Spans, ids: SchemaIds) -> None:
    """Compare the rows; where a worker went on meanwhile, those that stood after the last entry that was followed."""
    try:
        again.compare_rows()
    except Differs as error:
        if there.spans([JOURNAL]) == stood:
            raise
        if error.difference.topic == LEVELS:
            again.report.not_compared.append(f"{LEVELS}: {_MOVING}")
        then = until_entry(there.batches(STATE), again.lane.entry, ids)
        try:
            again.report.rows = compare_state(again.lane, then, ids)
        except Differs as found:
            if not found.difference.field.startswith("position"):
                raise
            again.report.not_compared.append(f"{STATE}: {_MOVING}")


def follow(again: Replay, there: PartitionTopics, tell: Tell) -> None:
    """Go through all entries and tell how far it is. Raises what `Replay.entries` raises."""
    total = sum(end - first for first, end in there.spans(_SOURCES).values())
    for entry in again.entries():
        tell(
            f"partition {again.partition}: entry {entry.number}, {again.report.records:,} of about {total:,} records "
            "decided anew"
        )


async def _next(coming: AsyncIterator[ColumnBatch]) -> ColumnBatch | None:
    return await anext(coming, None)
