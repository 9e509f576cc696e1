"""What compacted topics must hold in the end: the newest record of each row, and where the lane stands.

Older records of a row may be there or not, so nothing can be compared step by step. `trust.levels` is compared record
by record with what the lane would write of the row now; `agent.state` is taken as a worker takes it that recovers, and
the rows that it gives are compared, so that rows written under an older schema count too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Final

import numpy as np

from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch, Longs
from schemas.errors import FormatError
from schemas.topics import POSITION_KEY
from schemas.wire import decode

from .compare import NOTHING, Difference, Differs, as_read, first_other, named, others, told
from .intake import part_of, pieces
from .outputs import Outbox
from .pipeline import Lane
from .state_codec import LEVELS, STATE, Position, StateCodec
from .table import StateTable

_AT_ONCE: Final = 4096
"""Rows compared at a time: what is written of them fits into one record batch."""


def compare_levels(lane: Lane, batches: Iterable[ColumnBatch], ids: SchemaIds) -> None:
    """Whether the newest record of each row in `trust.levels` is what the lane would write. Raises Differs."""
    codec, table, known = StateCodec(ids), lane.table, lane.rows
    where: Longs = np.full(known, -1, np.int64)
    wrong = np.zeros(known, np.int64)
    for batch in (piece for whole in batches for _, piece in pieces(whole, _AT_ONCE) if piece.n):
        rows = table.rows_of(batch.buf, batch.ks, batch.kl)
        strange = np.flatnonzero((rows < 0) | (rows >= known))
        if len(strange):
            _surplus(lane, batch, int(strange[0]))
        where[rows] = batch.off  # of several records of a row the last one counts
        wrong[rows] = others(_written(codec, table, rows, LEVELS), batch)
    bad = np.flatnonzero((where < 0) | (wrong > 0))
    if len(bad):
        row = int(bad[0])
        offset, found = (int(where[row]), "another record") if where[row] >= 0 else (None, NOTHING)
        mine = told(_written(codec, table, bad[:1], LEVELS), 0, ids)
        raise Differs(Difference(lane.entry, LEVELS, offset, f"newest record of {table.key(row)!r}", mine, found))


def compare_state(lane: Lane, batches: Iterable[ColumnBatch], ids: SchemaIds) -> int:
    """Whether `agent.state` gives the rows and the position of the lane; answers how many rows. Raises Differs."""
    found = _Found(StateCodec(ids))
    for batch in (piece for whole in batches for _, piece in pieces(whole, _AT_ONCE)):
        try:
            found.take(batch)
        except FormatError as error:
            raise Differs(Difference(lane.entry, STATE, None, "record", "rows and positions", str(error))) from error
    _compare_position(lane, found)
    for begin in range(0, lane.rows, _AT_ONCE):
        _compare_rows(lane, found, np.arange(begin, min(begin + _AT_ONCE, lane.rows)), ids)
    for row in range(found.table.rows if found.table.rows > lane.rows else 0):
        key = found.table.key(row)
        if lane.table.row(key) < 0:
            raise Differs(Difference(lane.entry, STATE, int(found.where[row]), "key", NOTHING, repr(key)))
    return lane.rows


def until_entry(batches: Iterable[ColumnBatch], entry: int, ids: SchemaIds) -> Iterator[ColumnBatch]:
    """The batches of `agent.state` up to the position that names `entry`: what it held then, while work goes on."""
    for batch in batches:
        for i, number in positions(batch, ids):
            if number == entry:
                yield part_of(batch, slice(0, i + 1), batch.start, int(batch.off[i]) + 1)
                return
        yield batch


def positions(batch: ColumnBatch, ids: SchemaIds) -> Iterator[tuple[int, int]]:
    """Where positions stand in a batch of `agent.state`, and the entry that each names."""
    for i in np.flatnonzero(batch.kl == len(POSITION_KEY)).tolist():
        position = decode(batch.value(i), ids)[1].get("position")
        if position is not None:
            yield i, position["entry"]


class _Found:
    """What a worker that recovers would know, and at which offset each row was last written."""

    def __init__(self, codec: StateCodec) -> None:
        self.codec, self.table = codec, StateTable()
        self.position: Position | None = None
        self.where: Longs = np.full(1024, -1, np.int64)
        self.position_at = -1

    def take(self, batch: ColumnBatch) -> None:
        position = self.codec.read(batch, self.table)
        if position is not None:
            self.position, self.position_at = position, int(batch.off[np.flatnonzero(batch.kl == 1)[-1]])
        if self.table.rows > len(self.where):
            self.where = np.concatenate([self.where, np.full(self.table.rows, -1, np.int64)])
        rows = self.table.rows_of(batch.buf, batch.ks, batch.kl)
        self.where[rows[rows >= 0]] = batch.off[rows >= 0]


def _compare_position(lane: Lane, found: _Found) -> None:
    if found.position is None:
        if lane.entry:
            raise Differs(Difference(lane.entry, STATE, None, "position", f"entry {lane.entry}", NOTHING))
        return
    mine, theirs = asdict(lane.position), asdict(found.position)
    if theirs["rows"] < 0:  # older builds did not say
        mine["rows"] = theirs["rows"]
    if other := first_other(mine, theirs, "position"):
        raise Differs(Difference(lane.entry, STATE, found.position_at, *other))


def _compare_rows(lane: Lane, found: _Found, rows: Longs, ids: SchemaIds) -> None:
    mine = _written(found.codec, lane.table, rows, STATE)
    known = found.table.rows
    at = found.table.rows_of(mine.buf, mine.ks, mine.kl)
    missing = np.flatnonzero(at >= known)
    if len(missing):
        i = int(missing[0])
        which = f"row of {mine.key(i)!r}", told(mine, i, ids), NOTHING
        raise Differs(Difference(lane.entry, STATE, None, *which))
    theirs = _written(found.codec, found.table, at, STATE)
    differing = np.flatnonzero(others(mine, theirs))
    if len(differing):
        i = int(differing[0])
        name, expected, there = named(mine, i, theirs, i, ids)
        which = f"{name} of {mine.key(i)!r}", expected, there
        raise Differs(Difference(lane.entry, STATE, int(found.where[at[i]]), *which))


def _surplus(lane: Lane, batch: ColumnBatch, i: int) -> None:
    raise Differs(Difference(lane.entry, batch.topic, int(batch.off[i]), "key", NOTHING, repr(batch.key(i))))


def _written(codec: StateCodec, table: StateTable, rows: Longs, topic: str) -> ColumnBatch:
    """Records of `rows` as the lane would write them now."""
    out = Outbox()
    codec.write(out, table, rows)
    (batch,) = as_read(topic, 0, out.bodies[topic])
    return batch
