"""Records beside records: whether what was decided anew is what stands in a topic, and where it first is not.

Whole columns are compared by a kernel; only the first record that differs is taken apart, so that a person reads the
name of a field and two values instead of two rows of bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import types

from schemas.avro_decode import BYTES
from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch, Longs
from schemas.errors import CognistreamError
from schemas.kernels import kernel
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.wire import WireError, decode

from .intake import part_of
from .table import same

_L = types.int64[::1]

NOTHING: Final = "nothing"
"""How a record that is not there is told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a topic is not what deciding anew gives. `offset` is None where a record is missing."""

    entry: int
    """Step entry of the journal at which it shows."""
    topic: str
    offset: int | None
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = "" if self.offset is None else f" at offset {self.offset}"
        return (
            f"entry {self.entry}, {self.topic}{place}, {self.field}: there is {self.found}, decided anew it is "
            f"{self.expected}"
        )


class Differs(CognistreamError):
    """A topic is not what deciding anew gives."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


@kernel(types.void(BYTES, _L, _L, BYTES, _L, _L, _L))
def mark_others(a, starts, lengths, b, begins, sizes, other):  # type: ignore[no-untyped-def]
    """Set `other` to 1 where a span of `a` and its neighbour of `b` are not the same bytes (-1: null)."""
    for i in range(len(starts)):
        n = lengths[i]
        if n != sizes[i] or (n > 0 and not same(a, starts[i], b, begins[i], n)):
            other[i] = 1


def others(a: ColumnBatch, b: ColumnBatch) -> Longs:
    """1 for each record of `a` that is another in `b`: key, value, timestamp or headers. Both have as many."""
    other: Longs = (a.ts != b.ts).astype(np.int64)
    for part in "kvh":
        spans = (getattr(batch, f"{part}{name}") for batch in (a, b) for name in "sl")
        starts, lengths, begins, sizes = spans
        mark_others(a.buf, starts, lengths, b.buf, begins, sizes, other)
    return other


def as_read(topic: str, partition: int, bodies: Iterable[RecordsBody]) -> Iterator[ColumnBatch]:
    """What was written, as whoever reads the topic gets it; offsets count from 0 in each batch."""
    for body in bodies:
        yield from read(frame_batch(body), topic=topic, partition=partition, start=0, check_crc=False)


def named(mine: ColumnBatch, i: int, theirs: ColumnBatch, j: int, ids: SchemaIds) -> tuple[str, str, str]:
    """The first field in which two records differ: its name, what `mine` says, what `theirs` says."""
    if mine.key(i) != theirs.key(j):
        return "key", repr(mine.key(i)), repr(theirs.key(j))
    if mine.value(i) != theirs.value(j):
        return _named_value(mine.value(i), theirs.value(j), ids)
    if mine.ts[i] != theirs.ts[j]:
        return "timestamp", str(mine.ts[i]), str(theirs.ts[j])
    return "headers", _headers(mine, i), _headers(theirs, j)


def told(batch: ColumnBatch, i: int, ids: SchemaIds) -> str:
    """A record in words."""
    try:
        return _short(decode(batch.value(i), ids)[1])
    except WireError:
        return _short(batch.value(i))


def place_told(batch: ColumnBatch, ids: SchemaIds) -> tuple[str, int]:
    """The source topic and offset that the first record of an output tells of; offset -1 where it tells of none."""
    try:
        says = decode(batch.value(0), ids)[1]
    except WireError:
        return "", -1
    source = says.get("source", "")
    return source if source.endswith(".events") else f"{source}.events", says.get("offset", -1)


def first_other(mine: Any, theirs: Any, path: str = "") -> tuple[str, str, str] | None:
    """The first part in which two Avro values differ: its path, and both. None when they are equal."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys((*mine, *theirs)):
            told = first_other(mine.get(name), theirs.get(name), f"{path}.{name}" if path else name)
            if told:
                return told
        return None
    if repr(mine) == repr(theirs):  # NaN equals itself here, and 0.0 is not -0.0
        return None
    return path, _short(mine), _short(theirs)


class Cursor:
    """The records of a topic, taken in the order of offsets from batches that come one after the other."""

    def __init__(self, batches: Iterable[ColumnBatch]) -> None:
        self._coming = iter(batches)
        self._held: ColumnBatch | None = None

    @property
    def head(self) -> ColumnBatch | None:
        """What comes next, as far as it is at hand; None at the end."""
        if self._held is None:
            self._held = next(self._coming, None)
        return self._held

    def take(self, count: int) -> Iterator[ColumnBatch]:
        """The next `count` records, fewer at the end."""
        while count and (batch := self.head) is not None:
            use = min(count, batch.n)
            yield part_of(batch, slice(0, use), batch.start, self._split(batch, use))
            count -= use

    def cut(self, until: int) -> Iterator[ColumnBatch]:
        """What comes next with offsets below `until`."""
        while (batch := self.head) is not None and batch.start < until:
            use = int(np.searchsorted(batch.off, until))
            split = min(until, batch.next)
            yield part_of(batch, slice(0, use), batch.start, split)
            self._keep(batch, use, split)

    def next_record(self) -> ColumnBatch | None:
        """The batch that begins with the next record; None when there is none."""
        while (batch := self.head) is not None and not batch.n:
            self._held = None
        return self._held

    def _split(self, batch: ColumnBatch, use: int) -> int:
        """Let go of the first `use` records; the offset that the rest begins at."""
        split = int(batch.off[use]) if use < batch.n else batch.next
        self._keep(batch, use, split)
        return split

    def _keep(self, batch: ColumnBatch, use: int, split: int) -> None:
        self._held = part_of(batch, slice(use, batch.n), split, batch.next) if split < batch.next else None


def _named_value(mine: bytes | None, theirs: bytes | None, ids: SchemaIds) -> tuple[str, str, str]:
    try:
        (number, says), (other, said) = decode(mine, ids), decode(theirs, ids)
    except WireError:
        return "value", _short(mine), _short(theirs)
    if number != other:
        return "schema id", str(number), str(other)
    return first_other(says, said) or ("value", _short(mine), _short(theirs))


def _headers(batch: ColumnBatch, i: int) -> str:
    return _short(batch.buf[batch.hs[i] : batch.hs[i] + max(0, batch.hl[i])].tobytes())


def _short(value: Any) -> str:
    told = value.hex() if isinstance(value, bytes) else repr(value)
    return told if len(told) <= 200 else told[:197] + "..."
