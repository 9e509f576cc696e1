"""Stops a partition before a bad deploy drains it into the dead letters.

A producer that writes by a schema that nobody knows, or no Avro at all, spoils everything that it sends: such records
could be read well enough once the schema is registered or the reader is mended, so they are better left where they are.
When more than `TRIPPED_BY` of the last `LAST` records of a source were refused for such a reason, no more of the
partition is decided until a person says how far (`cognistream dlq resume`). What one agent or tenant can do wrong by
itself, a bad key or number, does not count.

Nothing of this reaches the journal: a step is cut short before the records in question, and they are met again. So a
replay follows the entries and needs no breaker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import ColumnBatch, Longs
from schemas.reasons import Reason

from .intake import Resolved, part_from, part_of, part_until

LAST: Final = 1_000
"""Records of a source that are looked back over."""
TRIPPED_BY: Final = LAST // 2
"""Refused records among them, above which the partition stops."""
REASONS: Final = (
    Reason.BAD_MAGIC,
    Reason.TRUNCATED,
    Reason.UNKNOWN_SCHEMA,
    Reason.SCHEMA_UNRESOLVABLE,
    Reason.UNDECODABLE,
)
"""What a bad deploy causes."""

_COUNTS: Final = np.isin(np.arange(len(Reason)), REASONS)


@dataclass(frozen=True, slots=True)
class Tripped:
    """Why a partition stopped: `source` (topic without prefix) is not decided from `offset` on; `refused` counts what
    was looked at there, by reason.
    """

    source: str
    offset: int
    refused: Counter[str]


class Breaker:
    """Watches one source partition. Show it every record once, in order, before anything is decided of it."""

    def __init__(self) -> None:
        self._until = 0
        self._last: NDArray[np.bool_] = np.zeros(LAST, np.bool_)
        """The last records: whether each was refused for a reason that counts, oldest first."""
        self._any = False

    def resume(self, until: int) -> bool:
        """Take note that somebody wants the records before the offset `until` decided, whatever they are; whether that
        is news.
        """
        if until <= self._until:
            return False
        self._until = until
        self._last[:] = False
        self._any = False
        return True

    def cut(self, pieces: Iterable[Resolved]) -> Iterator[Resolved]:
        """The pieces, one of them in two where records begin to count again."""
        for piece in pieces:
            if piece.batch.start < self._until < piece.batch.next:
                yield from _halves(piece, self._until)
            else:
                yield piece

    def trips(self, batch: ColumnBatch, error: Longs) -> Tripped | None:
        """Whether records with these errors (a `Reason` each, shape (n,)) shall not be decided; else take note of them.

        They shall not when, behind any of them, too many of the last ones were refused.
        """
        if not self._any and not error.any():
            return None
        flags = self._with(batch, error)
        sums = np.cumsum(flags)
        if np.any(sums[LAST:] - sums[: batch.n] > TRIPPED_BY):
            return Tripped(batch.topic, batch.start, _reasons(error))
        self._keep(flags)
        return None

    def recall(self, batch: ColumnBatch, error: Longs) -> None:
        """Take note of records that were decided before a restart."""
        self._keep(self._with(batch, error))

    def _with(self, batch: ColumnBatch, error: Longs) -> NDArray[np.bool_]:
        return np.concatenate([self._last, _COUNTS[error] & (batch.off >= self._until)])

    def _keep(self, flags: NDArray[np.bool_]) -> None:
        self._last = flags[-LAST:].copy()
        self._any = bool(self._last.any())


def _halves(piece: Resolved, at: int) -> Iterator[Resolved]:
    batch = piece.batch
    k = int(np.searchsorted(batch.off, at))
    for cut, start, until in ((slice(0, k), batch.start, at), (slice(k, batch.n), at, batch.next)):
        yield Resolved(part_of(batch, cut, start, until), piece.schema_ids[cut], piece.error[cut], piece.known)


def _reasons(error: Longs) -> Counter[str]:
    counts = np.bincount(error[_COUNTS[error]], minlength=len(Reason))
    return Counter({Reason(i).label: int(counts[i]) for i in np.flatnonzero(counts).tolist()})


def split(batches: Sequence[ColumnBatch], positions: Mapping[str, int]) -> tuple[list[ColumnBatch], list[ColumnBatch]]:
    """What a step that was cut short has decided of its batches, and what not; `positions` are where it stopped."""
    decided, held = [], []
    for batch in batches:
        at = positions.get(batch.topic, batch.start)
        if at > batch.start:
            decided.append(part_until(batch, at))
        if at < batch.next:
            held.append(part_from(batch, max(at, batch.start)))
    return decided, held
