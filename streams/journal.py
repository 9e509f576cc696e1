"""The audit journal, read back: the entries of steps, and what they say of a source.

For whoever checks it (`verify`), follows it (a replay) or goes on from it: a lane that was restored fills its windows
of repeats by reading its sources again, and which records it had refused then stands only here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from schemas.avro_decode import decode, frame_ids
from schemas.avro_plan import compile_plan, layout
from schemas.catalog import SchemaIds, schema_of
from schemas.columns import ColumnBatch, Frame, Longs
from schemas.errors import FormatError
from schemas.reasons import Reason
from schemas.wire import decode as decode_one

from .intake import part_of

JOURNAL: Final = "audit.log"
STEP: Final = 0
"""Index of a step in the Avro enum `AuditKind`; the other one is a decision."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A step entry: its number, the SHA-256 of its value, and what it says (the Avro record `Step`)."""

    number: int
    hash: bytes
    says: dict[str, Any]


def entries(batches: Iterable[ColumnBatch], ids: SchemaIds) -> Iterator[Entry]:
    """The step entries in batches of `audit.log`, in order. FormatError for what is no entry."""
    for batch in batches:
        kind = columns(batch, ("kind",), ids)["kind"]
        for i in np.flatnonzero(kind == STEP):
            yield entry_of(batch.value(int(i)) or b"", ids)


def entry_of(value: bytes, ids: SchemaIds) -> Entry:
    """The entry that a record's value is; FormatError when it is none of a step."""
    entry = decode_one(value, ids)[1]
    if entry["step"] is None:
        raise FormatError(
            f"{JOURNAL}: entry {entry['entry']} says nothing of its step; somebody else writes to this topic"
        )
    return Entry(entry["entry"], hashlib.sha256(value).digest(), entry["step"])


def by_step(batches: Iterable[ColumnBatch], ids: SchemaIds) -> Iterator[tuple[Entry, list[ColumnBatch]]]:
    """Each step entry with the records of its step in `audit.log`, itself the last. FormatError: no entry."""
    held: list[ColumnBatch] = []
    for batch in batches:
        kind = columns(batch, ("kind",), ids)["kind"]
        begin, start = 0, batch.start
        for i in np.flatnonzero(kind == STEP).tolist():
            until = int(batch.off[i]) + 1
            held.append(part_of(batch, slice(begin, i + 1), start, until))
            yield entry_of(batch.value(i) or b"", ids), held
            held, begin, start = [], i + 1, until
        held.append(part_of(batch, slice(begin, batch.n), start, batch.next))


def left_out(said: Iterable[Entry], source: str) -> Longs:
    """Offsets of `source` that the entries call refused, ascending: what `Lane.remember` is to leave out."""
    reads = (read for entry in said for read in entry.says["reads"] if read["source"] == source)
    return np.array([offset for read in reads for offset in read["refused"]], np.int64)


def columns(batch: ColumnBatch, fields: tuple[str, ...], ids: SchemaIds) -> Frame:
    """`fields` of all records of a derived topic; FormatError when one does not decode."""
    reader = schema_of(batch.topic)
    wanted = layout(reader, fields)
    error: Longs = np.zeros(batch.n, np.int64)
    numbers = frame_ids(batch.buf, batch.vs, batch.vl, error)
    frame = wanted.frame(batch.n, batch.buf)
    for number in np.unique(numbers[error == Reason.OK]).tolist():
        writer = ids.writer_schema(number)
        select = np.flatnonzero(numbers == number)
        if writer is None:
            error[select] = Reason.UNKNOWN_SCHEMA
        else:
            decode(compile_plan(writer, reader, wanted), batch.buf, batch.vs, batch.vl, select, frame, error)
    if error.any():
        i = int(np.flatnonzero(error)[0])
        raise FormatError(
            f"{batch.topic}[{batch.partition}]: the record at offset {int(batch.off[i])} is not of this topic "
            f"({Reason(int(error[i])).label}); somebody else writes to it"
        )
    return frame
