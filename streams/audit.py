"""The audit journal: what a step read and wrote, in a hash, and each step chained to the one before.

An entry names, in the order of reading, the spans of offsets a step decided, the repeats and dead letters in them, the
policy, the build and the schemas: following the entries repeats every decision. Two SHA-256 sums make it checkable by
anybody who reads the topics:

- `records_hash`, over each record read, in order of reading: offset and timestamp (8 bytes each), length of the key (4
  bytes, -1 for null), key, length of the value, value. A record batch refused whole counts as one record at its first
  offset: null key, its bytes as value.
- `outputs_hash`, over each derived topic that the step wrote values to and that is not compacted, in the order of the
  table of topics: length of the name (4 bytes), name, number of values (8 bytes), then length (4) and bytes of each, in
  the order of reading. Of `audit.log` only the decisions; compacted topics are left out, because a reader may no longer
  find what was written.

Numbers are little-endian. The chain: `previous_hash` is the SHA-256 of the value of the step entry before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import types

from schemas import varint
from schemas.avro_decode import BYTES
from schemas.columns import NULL_LENGTH, Bytes, ColumnBatch, Longs, RefusedBatch
from schemas.kernels import inlined, kernel
from schemas.memory import SLACK, copy, store64
from schemas.recordbatch_write import HEADER, RecordsBody

NO_HASH = bytes(32)
"""`previous_hash` of the first entry."""

SCRATCH = 1 << 18
HEAD = 24
"""Bytes of a record beside its key and value."""

OUT = types.uint8[::1]
_L = types.int64[::1]
_TWO: Any = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]


@inlined
def put_length(out, p, length):  # type: ignore[no-untyped-def]
    """Write a length in 4 bytes; answers the position after it. The 4 bytes that follow are written over."""
    store64(out, p, np.uint64(length))
    return p + 4


@inlined
def put_span(out, p, buf, start, length):  # type: ignore[no-untyped-def]
    """Write a length (-1 for null) and the bytes; answers the position after them."""
    p = put_length(out, p, length)
    return copy(buf, start, length, out, p) if length > 0 else p


@kernel(_TWO(BYTES, _L, _L, _L, _L, _L, _L, types.int64, types.int64, OUT))
def pack_records(buf, off, ts, ks, kl, vs, vl, begin, end, out):  # type: ignore[no-untyped-def]
    """Write the records `begin` to `end` as `records_hash` sees them while they fit; answers where it stopped, and how
    many bytes there are.
    """
    p = 0
    for i in range(begin, end):
        if p + HEAD + max(kl[i], 0) + max(vl[i], 0) + SLACK > len(out):
            return i, p
        p = store64(out, p, np.uint64(off[i]))
        p = store64(out, p, np.uint64(ts[i]))
        p = put_span(out, p, buf, ks[i], kl[i])
        p = put_span(out, p, buf, vs[i], vl[i])
    return end, p


@kernel(_TWO(BYTES, types.int64, types.int64, OUT))
def pack_values(body, begin, end, out):  # type: ignore[no-untyped-def]
    """Write the values of the Kafka records in `body[begin:end]` with their lengths while they fit; as above."""
    p = 0
    at = begin
    while at < end:
        size, q = varint.get(body, at, end)
        after = q + size
        _, q = varint.get(body, q + 1, after)
        _, q = varint.get(body, q, after)
        key, q = varint.get(body, q, after)
        length, q = varint.get(body, q + max(key, 0), after)
        if p + 4 + max(length, 0) + SLACK > len(out):
            return at, p
        p = put_span(out, p, body, q, length)
        at = after
    return at, p


@kernel(_TWO(BYTES, _L, _L, types.int64, OUT))
def pack_spans(buf, starts, lengths, begin, out):  # type: ignore[no-untyped-def]
    """Write the spans from `begin` on with their lengths while they fit; as above."""
    p = 0
    for i in range(begin, len(starts)):
        if p + 4 + max(lengths[i], 0) + SLACK > len(out):
            return i, p
        p = put_span(out, p, buf, starts[i], lengths[i])
    return len(starts), p


class RecordsHash:
    """`records_hash`, fed record by record in the order of reading."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._scratch = np.empty(SCRATCH, np.uint8)

    def add(self, batch: ColumnBatch) -> None:
        """Take the records of a batch and its refused record batches, in the order of offsets."""
        begin = 0
        for whole in batch.refused:
            end = int(np.searchsorted(batch.off, whole.first))
            self._records(batch, begin, end)
            self._one(whole)
            begin = end
        self._records(batch, begin, batch.n)

    def digest(self) -> bytes:
        """The sum so far."""
        return self._sum.digest()

    def _one(self, whole: RefusedBatch) -> None:
        head = (whole.first, 8), (whole.timestamp, 8), (NULL_LENGTH, 4), (len(whole.raw), 4)
        self._sum.update(b"".join(value.to_bytes(size, "little", signed=True) for value, size in head) + whole.raw)

    def _records(self, b: ColumnBatch, begin: int, end: int) -> None:
        while begin < end:
            stopped, used = pack_records(b.buf, b.off, b.ts, b.ks, b.kl, b.vs, b.vl, begin, end, self._scratch)
            self._sum.update(self._scratch[:used].data)
            if stopped == begin:
                self._scratch = np.empty(2 * len(self._scratch), np.uint8)
            begin = stopped


class OutputsHash:
    """`outputs_hash`, fed topic by topic in the order of the table."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._scratch = np.empty(SCRATCH, np.uint8)

    def add(self, topic: str, bodies: Iterable[RecordsBody]) -> None:
        """Take all values that the step wrote to `topic`."""
        written = list(bodies)
        self.begin(topic, sum(body.count for body in written))
        for body in written:
            self._values(body)

    def begin(self, topic: str, values: int) -> None:
        """Say the next topic and how many values follow."""
        name = topic.encode()
        self._sum.update(len(name).to_bytes(4, "little") + name + values.to_bytes(8, "little"))

    def spans(self, buf: Bytes, starts: Longs, lengths: Longs) -> None:
        """Take values of the topic as a reader has them: spans of `buf`."""
        done = 0
        while done < len(starts):
            stopped, used = pack_spans(buf, starts, lengths, done, self._scratch)
            self._sum.update(self._scratch[:used].data)
            if stopped == done:
                self._scratch = np.empty(2 * len(self._scratch), np.uint8)
            done = stopped

    def digest(self) -> bytes:
        """The sum so far."""
        return self._sum.digest()

    def _values(self, body: RecordsBody) -> None:
        at = HEADER.size
        while at < body.used:
            stopped, used = pack_values(body.out, at, body.used, self._scratch)
            self._sum.update(self._scratch[:used].data)
            if stopped == at:
                self._scratch = np.empty(2 * len(self._scratch), np.uint8)
            at = stopped


@dataclass(slots=True)
class Read:
    """Part of a step: the records of `source` at the offsets `first` up to `next`, and those left out."""

    source: str
    first: int
    next: int
    records: int = 0
    repeats: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Reads:
    """What a step reads, in order; touching spans of one source become one."""

    spans: list[Read] = field(default_factory=list)

    def add(self, source: str, batch: ColumnBatch) -> Read:
        """The span that `batch` continues or begins."""
        last = self.spans[-1] if self.spans else None
        if last is None or last.source != source or last.next != batch.start:
            last = Read(source, batch.start, batch.start)
            self.spans.append(last)
        last.next = batch.next
        last.records += batch.n + len(batch.refused)
        return last

    def as_values(self) -> list[dict[str, Any]]:
        """The spans as the journal's Avro writes them."""
        return [
            {
                "source": span.source,
                "first": span.first,
                "next": span.next,
                "records": span.records,
                "repeats": span.repeats,
                "refused": span.refused,
            }
            for span in self.spans
        ]
