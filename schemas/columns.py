"""What travels inside the pipeline: many records as columns, never one object per record.

A `ColumnBatch` is what one fetch brought of one partition: spans into the fetched bytes, nothing copied. A `Frame` is
what the records say: one int64 matrix, a row of it per column, so that a kernel takes a column as a plain array and an
encoder takes the whole matrix. Doubles live in it as their bits (a float64 view of the row), texts as two rows (start
and length of a span into `buf`, length -1 for null), nullable numbers with a row of 0 and 1 beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Kind = Literal["long", "double", "span"]

NULL_LENGTH = -1
"""Length of a span that stands for null."""


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A record batch that was refused whole: offsets `first`..`last` (both inclusive) and its bytes as fetched."""

    first: int
    last: int
    timestamp: int
    reason: str
    raw: bytes


@dataclass(slots=True)
class ColumnBatch:
    """The records of one partition between the offsets `start` (inclusive) and `next` (exclusive).

    Spans of successive batches touch, whatever compaction, aborted transactions or control batches removed. All arrays
    have shape (n,): `off` offset, `ts` timestamp in ms, `ks`/`kl` key span, `vs`/`vl` value span, `hs`/`hl` span of the
    headers (their count included); a length of -1 is null. `buf` holds the bytes that the spans point into.
    """

    topic: str
    partition: int
    start: int
    next: int
    buf: Bytes
    off: Longs
    ts: Longs
    ks: Longs
    kl: Longs
    vs: Longs
    vl: Longs
    hs: Longs
    hl: Longs
    refused: list[RefusedBatch] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.off)

    def key(self, i: int) -> bytes | None:
        """Key of record `i`, copied out; None for null."""
        return self._bytes(self.ks[i], self.kl[i])

    def value(self, i: int) -> bytes | None:
        """Value of record `i`, copied out; None for null."""
        return self._bytes(self.vs[i], self.vl[i])

    def _bytes(self, start: int, length: int) -> bytes | None:
        return None if length < 0 else self.buf[start : start + length].tobytes()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a layout. A span points into `Frame.buf` (bank 0) or `Frame.aux` (bank 1)."""

    name: str
    kind: Kind
    nullable: bool = False
    bank: Literal[0, 1] = 0

    @property
    def rows(self) -> int:
        """Rows of the matrix that the column takes."""
        return 2 if self.kind == "span" or self.nullable else 1


class Layout:
    """Which row of the matrix holds which column; compared by identity, made once."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self.by_name = {column.name: column for column in self.columns}
        self._row: dict[str, int] = {}
        self.rows = 0
        for column in self.columns:
            self._row[column.name] = self.rows
            self.rows += column.rows

    def row(self, name: str) -> int:
        """Row of a number, or of the start of a span."""
        return self._row[name]

    def second(self, name: str) -> int:
        """Row of the length of a span, or of the presence (0, 1) of a nullable number."""
        return self._row[name] + 1

    def extend(self, columns: Iterable[Column]) -> Layout:
        """A layout whose first rows are this one's: a frame of it serves where this one is asked for."""
        return Layout((*self.columns, *columns))

    def frame(self, n: int, buf: Bytes, aux: Bytes | None = None) -> Frame:
        """An unfilled frame of `n` records."""
        return Frame(self, np.empty((self.rows, n), np.int64), buf, buf[:0] if aux is None else aux)


@dataclass(slots=True)
class Frame:
    """`matrix` has shape (layout.rows, n); rows are C-contiguous, so a column is a contiguous array."""

    layout: Layout
    matrix: NDArray[np.int64]
    buf: Bytes
    aux: Bytes

    @property
    def n(self) -> int:
        """Number of records."""
        return int(self.matrix.shape[1])

    def __getitem__(self, name: str) -> Longs:
        """A number's column (bits, for a double), or the starts of a span."""
        row: Longs = self.matrix[self.layout.row(name)]
        return row

    def second(self, name: str) -> Longs:
        """Lengths of a span, or the presence of a nullable number."""
        row: Longs = self.matrix[self.layout.second(name)]
        return row

    def doubles(self, name: str) -> Doubles:
        """A double's column."""
        return self[name].view(np.float64)

    def bytes(self, name: str, i: int) -> bytes | None:
        """The text of record `i`, copied out; None for null."""
        start, length = int(self[name][i]), int(self.second(name)[i])
        bank = self.aux if self.layout.by_name[name].bank else self.buf
        return None if length < 0 else bank[start : start + length].tobytes()
