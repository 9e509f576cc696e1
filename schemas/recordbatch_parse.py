"""Kafka record batches, taken apart: the kernels that walk bytes which came over the network.

Nothing is believed: every length is compared with the end of what holds it before a byte behind it is read, and a
record batch whose records do not add up is refused whole. Source of the format: Kafka documentation, "Record Batch" and
"Record" (message format v2).
"""

from __future__ import annotations

import numba
import numpy as np

from .columns import NULL_LENGTH
from .crc32c import checksum
from .kernels import helper, kernel
from .reasons import Reason
from .varint import get
from .words import big16, big32, big64

HEADER_SIZE = 61
SMALLEST_RECORD = 7
"""Bytes of a record with null key, null value and no headers."""

BATCH = np.dtype(
    [
        (name, np.int64)
        for name in (
            "at",  # where the batch begins in the fetched bytes
            "end",  # and ends
            "base",  # offset of its first record when it was written
            "last",  # offset of its last record when it was written
            "magic",  # version of the format; of versions before 2 nothing but the offset is read
            "crc",
            "attributes",  # bits: 0-2 codec, 3 log-append time, 4 transactional, 5 control
            "first_ts",
            "max_ts",
            "producer",
            "count",
            "body",  # where its records begin in the buffer that is parsed, decompressed if need be
            "body_end",
            "reason",  # OK: to be parsed; another Reason: refused; SKIPPED
        )
    ]
)
"""What is known of one record batch."""

SKIPPED = -1
"""In place of a reason: nothing of the batch is asked for."""
CODEC = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20

_BATCHES = numba.from_dtype(BATCH)[::1]
_TWO = numba.types.Tuple((numba.int64, numba.int64))  # type: ignore[no-untyped-call]
_MAGIC_AT = 16
_MIN_LENGTH = 14  # of a message of the oldest format
_MIN_LENGTH_2 = HEADER_SIZE - 12
_HIGHEST = 1 << 62
_UNPARSABLE = int(Reason.UNPARSABLE_BATCH)
_TOO_MANY = int(Reason.BATCH_TOO_LARGE)
_TOO_LARGE = int(Reason.RECORD_TOO_LARGE)


@kernel(_TWO(numba.uint8[::1]))
def count_batches(buf):  # type: ignore[no-untyped-def]
    """How many whole record batches `buf` begins with; and where one begins that cannot be one, or -1.

    Length, format and offset stand outside the checksum, so they are looked at here: offsets of a log rise. A batch
    that the end of the fetch cut off is left out: a fetch ends where its byte limit falls.
    """
    p = np.int64(0)
    size = np.int64(len(buf))
    count = np.int64(0)
    expected = np.int64(0)
    while size - p > _MAGIC_AT:
        base = big64(buf, p)
        length = big32(buf, p + 8)
        magic = buf[p + _MAGIC_AT]
        if magic > 2 or length < (_MIN_LENGTH_2 if magic == 2 else _MIN_LENGTH):
            return count, p
        if base < expected or base > _HIGHEST:
            return count, p
        if length > size - p - 12:
            break
        expected = base + 1 + (max(big32(buf, p + 23), np.int64(0)) if magic == 2 else 0)
        p += 12 + length
        count += 1
    return count, np.int64(-1)


@kernel(numba.void(numba.uint8[::1], _BATCHES))
def read_headers(buf, batches):  # type: ignore[no-untyped-def]
    """Fill `batches`, one for each whole record batch that `buf` begins with, as `count_batches` counted them."""
    p = 0
    for i in range(len(batches)):
        batch = batches[i]
        end = p + 12 + big32(buf, p + 8)
        base = big64(buf, p)
        batch["at"] = p
        batch["end"] = end
        batch["base"] = base
        batch["magic"] = buf[p + _MAGIC_AT]
        batch["body"] = p + HEADER_SIZE
        batch["body_end"] = end
        batch["reason"] = 0
        if buf[p + _MAGIC_AT] == 2:
            batch["crc"] = big32(buf, p + 17) & 0xFFFFFFFF
            batch["attributes"] = big16(buf, p + 21)
            batch["last"] = base + max(big32(buf, p + 23), np.int64(0))
            batch["first_ts"] = big64(buf, p + 27)
            batch["max_ts"] = big64(buf, p + 35)
            batch["producer"] = big64(buf, p + 43)
            batch["count"] = big32(buf, p + 57)
        else:
            batch["last"] = base
            batch["crc"] = 0
            batch["attributes"] = 0
            batch["first_ts"] = -1
            batch["max_ts"] = -1
            batch["producer"] = -1
            batch["count"] = 0
            batch["reason"] = _UNPARSABLE
        p = end


@kernel(numba.int64(numba.uint8[::1], _BATCHES))
def first_bad_crc(buf, batches):  # type: ignore[no-untyped-def]
    """Number of the first batch whose bytes do not have its checksum, or `len(batches)`."""
    for i in range(len(batches)):
        batch = batches[i]
        if batch["magic"] == 2 and checksum(buf, batch["at"] + 21, batch["end"]) != np.uint64(batch["crc"]):
            return i
    return len(batches)


@kernel(_TWO(_BATCHES, numba.int64, numba.int64))
def screen(batches, start, max_records):  # type: ignore[no-untyped-def]
    """Judge `batches` by their headers alone, for a reader who asks for offsets from `start` on.

    Marks as SKIPPED what has nothing for the reader (empty, wholly before `start`, control); refuses what claims more
    than `max_records`, or more than its bytes can hold. Answers how many of the batches left are compressed, and how
    many of all are transactional or control batches.
    """
    packed = np.int64(0)
    marked = np.int64(0)
    for i in range(len(batches)):
        batch = batches[i]
        attributes = batch["attributes"]
        count = batch["count"]
        if attributes & (TRANSACTIONAL | CONTROL):
            marked += 1
        if batch["last"] < start or attributes & CONTROL or (count == 0 and batch["reason"] == 0):
            batch["reason"] = SKIPPED
        elif batch["reason"] == 0:
            compressed = attributes & CODEC != 0
            if count > max_records:
                batch["reason"] = _TOO_MANY
            elif count < 0 or (not compressed and count > (batch["body_end"] - batch["body"]) // SMALLEST_RECORD):
                batch["reason"] = _UNPARSABLE
            else:
                packed += compressed
    return packed, marked


@kernel(numba.int64(_BATCHES, numba.int64, numba.int64))
def cut(batches, first, max_records):  # type: ignore[no-untyped-def]
    """Where a piece that begins with batch `first` ends, so that it claims at most `max_records` (or is one batch)."""
    records = batches[first]["count"] if batches[first]["reason"] == 0 else np.int64(0)
    for i in range(first + 1, len(batches)):
        records += batches[i]["count"] if batches[i]["reason"] == 0 else np.int64(0)
        if records > max_records:
            return i
    return len(batches)


@helper
def _skip_text(buf, p, end):  # type: ignore[no-untyped-def]
    """Start and length of the nullable bytes at `p`, and the position after them; -1 when they pass `end`."""
    length, p = get(buf, p, end)
    if p < 0 or length > end - p:
        return p, length, np.int64(-1)
    if length < 0:
        return p, np.int64(NULL_LENGTH), p
    return p, length, p + length


@helper
def _skip_headers(buf, p, end):  # type: ignore[no-untyped-def]
    """The position after the headers at `p`, or -1 when they are damaged."""
    left, p = get(buf, p, end)
    if left < 0:
        return np.int64(-1)
    while left > 0 and p >= 0:
        _, length, p = _skip_text(buf, p, end)
        if p < 0 or length < 0:
            return np.int64(-1)
        _, length, p = _skip_text(buf, p, end)
        left -= 1
    return p


@kernel(numba.int64(numba.uint8[::1], _BATCHES, numba.int64, numba.int64, numba.int64[:, ::1]))
def parse(buf, batches, start, max_record, columns):  # type: ignore[no-untyped-def]
    """Records of `batches` from offset `start` on, to the rows of `columns`; answers how many.

    Rows: offset, timestamp, start and length of key, value and headers, as in `ColumnBatch`. A batch with a damaged
    record, or one of more than `max_record` bytes, gives no record but a `reason`. Batches that have one already are
    left out. The columns must have room for every record that the batches claim.
    """
    n = 0
    for b in range(len(batches)):
        batch = batches[b]
        if batch["reason"] != 0:
            continue
        first = n
        p = batch["body"]
        stop = batch["body_end"]
        previous = np.int64(-1)
        reason = 0
        for _ in range(batch["count"]):
            # 1. Length: what follows must lie within it and fill it.
            length, p = get(buf, p, stop)
            if p < 0 or length < SMALLEST_RECORD - 1 or length > stop - p:
                reason = _UNPARSABLE
                break
            end = p + length
            if length > max_record:
                reason = _TOO_LARGE
                break
            # 2. Attributes (unused), timestamp and offset: offsets rise, and stay in the batch.
            elapsed, p = get(buf, p + 1, end)
            if p < 0:
                reason = _UNPARSABLE
                break
            delta, p = get(buf, p, end)
            if p < 0 or delta <= previous or delta > batch["last"] - batch["base"]:
                reason = _UNPARSABLE
                break
            previous = delta
            # 3. Key, value, headers.
            key, key_length, p = _skip_text(buf, p, end)
            if p < 0:
                reason = _UNPARSABLE
                break
            value, value_length, p = _skip_text(buf, p, end)
            if p < 0:
                reason = _UNPARSABLE
                break
            headers = p
            p = _skip_headers(buf, p, end)
            if p != end:
                reason = _UNPARSABLE
                break
            # 4. A batch may begin before the position that was asked for.
            if batch["base"] + delta < start:
                continue
            columns[0, n] = batch["base"] + delta
            columns[1, n] = batch["max_ts"] if batch["attributes"] & LOG_APPEND_TIME else batch["first_ts"] + elapsed
            columns[2, n] = key
            columns[3, n] = key_length
            columns[4, n] = value
            columns[5, n] = value_length
            columns[6, n] = headers
            columns[7, n] = end - headers
            n += 1
        if reason == 0 and p != stop:
            reason = _UNPARSABLE
        if reason != 0:
            batch["reason"] = reason
            n = first
    return n
