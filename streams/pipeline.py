"""The decisions of one partition, strung together: columns of the three sources in, records of the derived topics out.

A `Lane` is the same object in the worker, in a replay and in a test. `step` decides a list of batches in the order of
their arrival and answers with everything that must become durable together: outputs, changed rows, the position and
the journal entry that makes the step repeatable. Nothing here knows a clock, a socket or a random number: the same
state and the same batches give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.columns import ColumnBatch, Longs

if TYPE_CHECKING:
    from schemas.recordbatch_write import RecordsBody

    from .policy import Policy


@dataclass(slots=True)
class Counts:
    """What a step did: `read` records of the sources = `decided` + `repeats` + sum of `refused`."""

    read: int = 0
    decided: int = 0
    repeats: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Dead letters by reason; a record batch refused whole counts once."""
    written: dict[str, int] = field(default_factory=dict)
    """Records per topic, `agent.state` and `audit.log` included."""


@dataclass(slots=True)
class Effects:
    """What a step wants written, all of it in one transaction, and where the lane stands afterwards."""

    outputs: dict[str, list[RecordsBody]]
    """Topic without prefix -> record batches to write in this order, each small enough for the topic; all go to the
    lane's partition. The last record of `agent.state` is the position."""
    counts: Counts
    positions: dict[str, int]
    """Source topic without prefix -> offset to read next."""


class Lane:
    """State and decisions of partition `partition` of `partitions`."""

    def __init__(self, partition: int, partitions: int, *, policy: Policy, ids: object, build: str) -> None:
        self.partition, self.partitions = partition, partitions
        self.policy, self.ids, self.build = policy, ids, build
        self.positions: dict[str, int] = {}
        """Source topic without prefix -> offset to read next; a source never read is missing."""

    @property
    def rows(self) -> int:
        """Agents known."""
        raise NotImplementedError

    @property
    def entry(self) -> int:
        """Number of the last journal entry; 0 before the first."""
        raise NotImplementedError

    def restore(self, batch: ColumnBatch) -> None:
        """Take rows and position from a batch of `agent.state`, in the order of the topic."""
        raise NotImplementedError

    def remember(self, batch: ColumnBatch, left_out: Longs) -> None:
        """Fill the window of repeats from records of a source decided before, those at the offsets `left_out` (the
        `refused` of the journal's reads) excepted. Call it after `restore`, oldest record first."""
        raise NotImplementedError

    def step(
        self, batches: Sequence[ColumnBatch], *, tick: int | None = None, policy: Policy | None = None
    ) -> Effects:
        """Decide `batches` (topics without prefix) in this order, under `policy` from now on if one is given.

        Raises `RegistryUnreachable` before anything changed when a writer's schema cannot be fetched."""
        raise NotImplementedError
