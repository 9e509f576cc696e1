"""What a lane of the runtime asks of the thing that decides: `streams.pipeline.Lane`, or a small one in a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from schemas.columns import ColumnBatch
from streams.pipeline import Effects
from streams.recollection import Recollection


class Decider(Protocol):
    """State and decisions of one partition; one call at a time, from any thread."""

    @property
    def positions(self) -> dict[str, int]:
        """Source topic without prefix -> offset to read next; a source never read is missing."""
        ...

    @property
    def rows(self) -> int:
        """Rows of the state."""
        ...

    def restore(self, batch: ColumnBatch) -> None:
        """Take rows and position from a batch of `agent.state`."""
        ...

    def recollection(self) -> Recollection | None:
        """What fills the memory that stands in no changelog, now that all is restored; None when there is none.

        Raises `StateApart` when what was restored cannot be whole.
        """
        ...

    def resume(self, topic: str, until: int) -> bool:
        """Let no breaker stop the records of source `topic` before offset `until`; whether that is news."""
        ...

    def step(self, batches: Sequence[ColumnBatch], *, tick: int | None = None) -> Effects:
        """Decide `batches` in this order; everything of the answer becomes durable together or not at all."""
        ...


DeciderFactory = Callable[[int, int], Decider]
"""(partition, partitions) -> a decider without state."""
