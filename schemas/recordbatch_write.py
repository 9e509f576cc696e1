"""Kafka record batches, written: records side by side in one growing buffer, then a header in front of them.

The columnar encoder writes thousands of records into a `RecordsBody` in one kernel; `append` adds single ones where
something is rare. The buffer keeps room for the header, so that finishing an uncompressed batch copies nothing. Source
of the format: Kafka documentation, "Record Batch" (message format v2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np

from . import varint
from .codec import compress
from .columns import Bytes
from .crc32c import crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and max timestamp, producer id,
producer epoch, base sequence, count."""
_CRC = 17
_ATTRIBUTES = 21
_TRANSACTIONAL = 0x10
_NO_PRODUCER = (-1, -1, -1)

Header = tuple[str, bytes | None]


class RecordsBody:
    """Records of one batch to be: bytes `out[HEADER.size:used]`, `count` of them, timestamps in ms.

    A kernel that writes records itself calls `open` with the first timestamp, `reserve`s the most that it may write,
    writes at `used` (a record: length, attributes 0, timestamp - `first_ts`, its number in the body, key, value,
    headers), and says so with `advance`.
    """

    __slots__ = ("count", "first_ts", "max_ts", "out", "used")

    out: Bytes

    def __init__(self, capacity: int = 4096) -> None:
        self.out = np.empty(HEADER.size + capacity, np.uint8)
        self.clear()

    def clear(self) -> None:
        """Forget the records, keep the buffer."""
        self.used = HEADER.size
        self.count = 0
        self.first_ts = -1
        self.max_ts = -1

    @property
    def size(self) -> int:
        """Bytes of the batch if it is finished now, uncompressed."""
        return self.used

    def reserve(self, more: int) -> None:
        """Make room for `more` bytes after `used`; `out` may be another array afterwards."""
        if self.used + more > len(self.out):
            grown = np.empty(max(self.used + more, 2 * len(self.out)), np.uint8)
            grown[: self.used] = self.out[: self.used]
            self.out = grown

    def open(self, timestamp: int) -> None:
        """Say the timestamp of the next record: the first one's is what all others are written relative to."""
        if not self.count:
            self.first_ts = timestamp

    def advance(self, used: int, records: int, max_ts: int) -> None:
        """Take note of `records` more, which end at `used`; the latest of their timestamps is `max_ts`."""
        self.max_ts = max(self.max_ts, max_ts) if self.count else max_ts
        self.used = used
        self.count += records

    def append(self, key: bytes | None, value: bytes | None, timestamp: int, headers: Iterable[Header] = ()) -> None:
        """Add one record."""
        self.open(timestamp)
        pairs = [_text(name.encode()) + _text(content) for name, content in headers]
        fields = (
            b"\0" + varint.encoded(timestamp - self.first_ts) + varint.encoded(self.count) + _text(key) + _text(value)
            + varint.encoded(len(pairs)) + b"".join(pairs)
        )  # fmt: skip
        record = varint.encoded(len(fields)) + fields
        self.reserve(len(record))
        end = self.used + len(record)
        self.out[self.used : end] = np.frombuffer(record, np.uint8)
        self.advance(end, 1, timestamp)


def frame_batch(
    body: RecordsBody,
    *,
    codec: int = 0,
    transactional: bool = False,
    producer: tuple[int, int, int] = _NO_PRODUCER,
) -> bytes:
    """The finished record batch of `body`: base offset 0; `producer` is (id, epoch, base sequence)."""
    return bytes(framed(body, codec=codec, transactional=transactional, producer=producer))


def framed(
    body: RecordsBody,
    *,
    codec: int = 0,
    transactional: bool = False,
    producer: tuple[int, int, int] = _NO_PRODUCER,
) -> memoryview:
    """As `frame_batch`, not copied: good as long as nothing is written to `body`."""
    batch = body.out[: body.used]
    if codec:
        packed = compress(codec, batch[HEADER.size :].data)
        batch = np.frombuffer(bytearray(HEADER.size) + packed, np.uint8)
    size, attributes = len(batch), codec | (_TRANSACTIONAL if transactional else 0)
    times = (body.first_ts, body.max_ts)
    HEADER.pack_into(batch.data, 0, 0, size - 12, -1, 2, 0, attributes, body.count - 1, *times, *producer, body.count)
    struct.pack_into(">I", batch.data, _CRC, crc32c(batch, _ATTRIBUTES, size))
    return batch.data


def _text(content: bytes | None) -> bytes:
    """Length and bytes, as keys, values and headers are written; length -1 for null."""
    return varint.encoded(-1) if content is None else varint.encoded(len(content)) + content
