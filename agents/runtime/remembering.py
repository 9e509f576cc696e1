"""Fills the windows of repeats of the partitions that a worker has recovered, before it decides them.

It runs between recovery and seeking (step 2 of `commit`), when former owners are fenced: the end of the journal is
the end of what was decided. Partitions are read side by side, a few at a time, each over a connection of its own that
ends with it; a batch is entered in a thread and forgotten, so memory does not grow with the windows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from agents.column_reader import ColumnReader, column_reader
from agents.finishing import finished
from schemas.catalog import RegistryUnreachable
from schemas.columns import ColumnBatch
from schemas.errors import CognistreamError
from schemas.recordbatch import BadCrc
from schemas.topics import SOURCE_TOPICS
from streams.intake import part_until
from streams.journal import JOURNAL
from streams.recollection import Recollection, StateApart

from .commit import STATE

if TYPE_CHECKING:
    from .app import ColumnApp

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Partitions that are read at the same time."""
FIRST_LOOK = 1024
"""Offsets of the journal that are read at first; twice as many each time that more are needed, up to `LAST_LOOK`."""
LAST_LOOK = 1 << 16
FARTHEST_LOOK = 1 << 18
"""Offsets of the journal that are read back at most: a quarter of a minute of recovery. The window of a source so rare
that older entries tell of its records is a shorter one, and the next entry says so."""
RETRY_SECONDS = 1.0
RETRIES = 30
"""How often a partition is tried whose state moves although it is ours: the group tells us within a session."""


class RecordsGone(CognistreamError):
    """Records were deleted while they were read: what was entered before them has a hole."""


class StateMoved(CognistreamError):
    """Somebody else has written to the state since it was recovered: the partition is about to be taken away."""


class Remembering:
    """`left` is how many offsets of its sources each partition has still to read."""

    def __init__(self, app: ColumnApp) -> None:
        self._app = app
        self.left: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def fill(self, partitions: Collection[int]) -> bool:
        """Fill the windows of `partitions` that were recovered; False when `stop` was called meanwhile.

        Raises `StateApart` when a state cannot be what its journal says, FormatError for records that cannot be read.
        """
        before, states = self._task, self._app.table.states
        new = [partition for partition in partitions if not states[partition].remembers]
        task = self._task = asyncio.create_task(self._fill(new, before))
        await asyncio.wait([task])
        if task.cancelled():
            return False
        task.result()
        return True

    def stop(self) -> None:
        """Give up what is being filled: the partitions are shared anew."""
        if self._task is not None:
            self._task.cancel()
        self.left.clear()

    async def _fill(self, partitions: Collection[int], before: asyncio.Task[None] | None) -> None:
        if before is not None:  # its last batch may still be on its way into a window
            await asyncio.wait([before])
        turn = asyncio.Semaphore(AT_ONCE)
        tasks = [asyncio.create_task(self._partition(partition, turn)) for partition in partitions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _partition(self, partition: int, turn: asyncio.Semaphore) -> None:
        async with turn:
            for tries in count(1):
                try:
                    async with column_reader(self._app.settings) as reader:
                        await self._recall(reader, partition)
                except (RegistryUnreachable, RecordsGone, StateMoved, KafkaError) as error:
                    if not _passes(error) or (isinstance(error, StateMoved) and tries > RETRIES):
                        raise
                    log.warning("partition %d: its windows of repeats wait: %s", partition, error)
                    await asyncio.sleep(RETRY_SECONDS)
                except BadCrc as error:
                    topic = self._app.settings.topic(error.topic)
                    if topic not in self._app.sources:
                        raise
                    self._app.partition_broken(topic, partition, error)
                    return
                else:
                    self._app.table.states[partition].remembers = True
                    return

    async def _recall(self, reader: ColumnReader, partition: int) -> None:
        recollection = self._app.table.states[partition].decider.recollection()
        if recollection is None:
            return
        places = [(name, partition) for name in (JOURNAL, *(topic.name for topic in SOURCE_TOPICS))]
        held = {name: span for (name, _), span in (await reader.spans(places)).items()}
        earliest = {name: first for name, (first, _) in held.items()}
        try:
            await self._hear(reader, partition, recollection, earliest, held[JOURNAL][1])
            spans = recollection.spans(earliest)
        except StateApart as error:
            await self._still_ours(reader, partition, error)
            raise
        self.left[partition] = sum(until - first for first, until in spans.values())
        for name, (first, until) in spans.items():
            async for batch in _between(reader, (name, partition), first, until):
                await self._in_thread(partial(recollection.remember, batch))
                self.left[partition] -= batch.next - batch.start
        self.left[partition] = 0

    async def _hear(
        self, reader: ColumnReader, partition: int, recollection: Recollection, earliest: dict[str, int], end: int
    ) -> None:
        """Read the journal backwards, until it names all that is needed or reaches no further."""
        begin, size, first = end, FIRST_LOOK, max(earliest[JOURNAL], end - FARTHEST_LOOK)
        while begin > first and recollection.wants_more(earliest):
            until, begin = begin, max(first, begin - size)
            batches = [batch async for batch in _between(reader, (JOURNAL, partition), begin, until)]
            await self._in_thread(partial(recollection.hear, batches))
            size = min(2 * size, LAST_LOOK)

    async def _still_ours(self, reader: ColumnReader, partition: int, error: StateApart) -> None:
        """A successor that we have not heard of yet is no damage."""
        place = (STATE, partition)
        first, end = (await reader.spans([place]))[place]
        if end > max(first, self._app.table.states[partition].next or 0):
            raise StateMoved(f"{STATE}[{partition}] was written to after it was recovered") from error

    async def _in_thread(self, work: Callable[[], Any]) -> None:
        """Run `work` in the pool; when this is cancelled, the thread is waited for: nobody else may touch a window."""
        await finished(asyncio.get_running_loop().run_in_executor(self._app.pool, work))


def _passes(error: Exception) -> bool:
    """Whether trying again may help."""
    return not isinstance(error, KafkaError) or bool(error.retriable)


async def _between(reader: ColumnReader, place: tuple[str, int], first: int, until: int) -> AsyncIterator[ColumnBatch]:
    """The batches of the offsets from `first` up to `until`, which are all committed."""
    at = first
    if at >= until:
        return
    async with aclosing(reader.read({place: first})) as batches:
        async for batch in batches:
            if batch.start != at:
                raise RecordsGone(f"{place[0]}[{place[1]}]: offsets from {at} were deleted while they were read")
            at = batch.next
            yield part_until(batch, until)
            if at >= until:
                return
