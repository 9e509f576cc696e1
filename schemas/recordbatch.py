"""Kafka record batches, read: the bytes of one fetch response become the columns of one `ColumnBatch`.

Nothing is copied where nothing is compressed: spans point into the fetched bytes. A thousand batches of one record cost
little more than one batch of a thousand, because the headers too are walked by a kernel. A fetch whose compressed
batches grow past a bound comes as several column batches, each made when it is asked for, so that memory stays bounded
whatever was sent. Damage on the way (a wrong checksum) raises, for the bytes may be fetched again; damage at the
source (right checksum, wrong content) refuses that record batch and goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import recordbatch_parse as fields
from .codec import CorruptData, Room, TooLarge
from .columns import Bytes, ColumnBatch, RefusedBatch
from .errors import FormatError
from .reasons import Reason

_OK = int(Reason.OK)
Batches = NDArray[np.void]
"""Record batches of a fetch, dtype `recordbatch_parse.BATCH`."""


class BadCrc(FormatError):
    """A record batch whose bytes are not those that were written: wrong checksum, impossible length or offset."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: the record batch at offset {offset} is damaged: its checksum, length or offset is "
            "wrong. Fetch it again; if it stays so, the broker's log segment is damaged: restore the replica."
        )
        self.topic, self.partition, self.offset = topic, partition, offset


@dataclass(frozen=True, slots=True)
class Limits:
    """What may take memory. A record batch over one of them is refused whole."""

    batch: int = 64 << 20
    """Decompressed bytes of a record batch."""
    records: int = 1 << 20
    """Records of a record batch, and of a column batch before it is cut: each takes 64 bytes of columns."""
    record: int = 1 << 20
    """Bytes of a record: what `dead.letters` can still hold."""
    chunk: int = 64 << 20
    """Decompressed bytes after which a column batch is cut."""


DEFAULT_LIMITS = Limits()


class AbortedTransactions:
    """Which transactional batches of a fetch response were aborted, asked in the order of the log."""

    def __init__(self, transactions: Iterable[tuple[int, int]]) -> None:
        """`transactions` as the broker lists them: (producer id, offset of the first aborted record)."""
        self._coming = deque(sorted(transactions, key=lambda transaction: transaction[1]))
        self._open: set[int] = set()

    def is_aborted(self, producer: int, base: int) -> bool:
        """Whether the batch at offset `base` belongs to an aborted transaction of `producer`."""
        while self._coming and self._coming[0][1] <= base:
            self._open.add(self._coming.popleft()[0])
        return producer in self._open

    def ended(self, producer: int) -> None:
        """A marker, commit or abort, ends the transaction of its producer."""
        self._open.discard(producer)


def read(
    data: bytes | bytearray | memoryview,
    *,
    topic: str,
    partition: int,
    start: int,
    check_crc: bool = True,
    aborted: AbortedTransactions | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[ColumnBatch]:
    """The records of `data`, the record batches of one fetch from offset `start`; a last one cut off is left out.

    Spans touch: the first begins at `start`, the last ends behind the last whole batch. Records before `start`, of
    control batches and of `aborted` transactions (None: read uncommitted) are left out. Nothing is yielded when no
    batch is whole. What stands before a damaged batch is yielded, then BadCrc raised.
    """
    buf = _view(data)
    batches, damaged = _headers(buf, check_crc)
    packed, marked = fields.screen(batches, start, limits.records)
    if marked and aborted is not None:
        _skip_aborted(batches, aborted)
    pieces = _inflated if packed else _stored
    first = 0
    position = start
    for stop, body in pieces(buf, batches, limits):
        part = batches[first:stop]
        off, ts, ks, kl, vs, vl, hs, hl = _columns(body, part, position, limits)
        upto = max(position, int(part["last"][-1]) + 1)
        refused = _refused(buf, part)
        yield ColumnBatch(topic, partition, position, upto, body, off, ts, ks, kl, vs, vl, hs, hl, refused)
        first, position = stop, upto
    if damaged >= 0:
        raise BadCrc(topic, partition, int.from_bytes(buf[damaged : damaged + 8].tobytes(), signed=True))


class _Writable:
    """Bytes shown to numpy as writable: kernels have one signature for all buffers. Nobody writes to them."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.__array_interface__ = data.__array_interface__ | {"data": (data.ctypes.data, False)}


def _view(data: bytes | bytearray | memoryview) -> Bytes:
    """`data` as an array, not copied."""
    view = np.frombuffer(data, np.uint8)
    return view if view.flags.writeable else np.asarray(_Writable(view))


def _headers(buf: Bytes, check_crc: bool) -> tuple[Batches, int]:
    """The batches that are whole and sound; and where the first damaged one begins, or -1."""
    count, damaged = fields.count_batches(buf)
    batches = np.empty(count, fields.BATCH)
    fields.read_headers(buf, batches)
    if check_crc:
        bad = fields.first_bad_crc(buf, batches)
        if bad < count:
            return batches[:bad], int(batches["at"][bad])
    return batches, damaged


def _skip_aborted(batches: Batches, aborted: AbortedTransactions) -> None:
    """Mark the batches of aborted transactions."""
    attributes, reason = batches["attributes"], batches["reason"]
    for i in np.flatnonzero(attributes & (fields.TRANSACTIONAL | fields.CONTROL)):
        producer = int(batches["producer"][i])
        if aborted.is_aborted(producer, int(batches["base"][i])):
            reason[i] = fields.SKIPPED
        if attributes[i] & fields.CONTROL:
            aborted.ended(producer)


def _stored(buf: Bytes, batches: Batches, limits: Limits) -> Iterator[tuple[int, Bytes]]:
    """Cut `batches`, none of them compressed; yields where each piece ends, and the buffer of its records."""
    stop = 0
    while stop < len(batches):
        stop = fields.cut(batches, stop, limits.records)
        yield stop, buf


def _inflated(buf: Bytes, batches: Batches, limits: Limits) -> Iterator[tuple[int, Bytes]]:
    """As `_stored`, with the bodies decompressed one behind the other."""
    rows = batches[["reason", "attributes", "body", "body_end", "count"]].tolist()
    body, body_end, refused = batches["body"], batches["body_end"], batches["reason"]
    data, stop = buf.data, 0
    while stop < len(rows):
        room = Room(len(buf) - rows[stop][2], limits.chunk + limits.batch)
        records = 0
        while stop < len(rows) and room.used < limits.chunk and records < limits.records:
            reason, attributes, start, end, count = rows[stop]
            if reason == _OK:
                body[stop] = room.used
                refused[stop] = _inflate(room, attributes & fields.CODEC, data[start:end], count, limits.batch)
                body_end[stop] = room.used
                records += count
            stop += 1
        yield stop, room.buf[: room.used]


def _inflate(room: Room, codec: int, packed: memoryview, count: int, limit: int) -> int:
    """Decompress a body that claims `count` records; answers why it is refused, or OK."""
    try:
        size = room.add(codec, packed, limit)
    except TooLarge:
        return Reason.BATCH_TOO_LARGE
    except CorruptData:
        return Reason.UNPARSABLE_BATCH
    return _OK if count <= size // fields.SMALLEST_RECORD else Reason.UNPARSABLE_BATCH


def _columns(body: Bytes, batches: Batches, start: int, limits: Limits) -> NDArray[np.int64]:
    """Columns of the records from `start` on, shape (8, n); a batch that does not parse gets its reason."""
    claimed = int(batches["count"][batches["reason"] == _OK].sum())
    columns = np.empty((8, claimed), np.int64)
    return columns[:, : fields.parse(body, batches, start, limits.record, columns)]


def _refused(buf: Bytes, batches: Batches) -> list[RefusedBatch]:
    """The batches that have a reason, with their bytes as fetched."""
    return [
        RefusedBatch(
            first=int(batch["base"]),
            last=int(batch["last"]),
            timestamp=int(batch["max_ts"]),
            reason=Reason(int(batch["reason"])).label,
            raw=buf[batch["at"] : batch["end"]].tobytes(),
        )
        for batch in batches[batches["reason"] > _OK]
    ]
