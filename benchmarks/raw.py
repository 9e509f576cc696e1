"""Record batches as they lie in the log: fetched whole, never parsed, written again as they were.

The raw loop that the worker is measured against moves these, and what the worker wrote is read with the same means to
be given to it. aiokafka fetches, through the worker's own seam, so that both stand on the same client.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.runtime.records import ColumnFetcher, ColumnRecords
from agents.settings import Settings
from schemas.columns import Bytes
from schemas.crc32c import crc32c
from schemas.recordbatch import Limits
from schemas.recordbatch_write import HEADER

from .rig import PARTITIONS

TRANSACTIONAL, CONTROL = 0x10, 0x20
_ROW = struct.Struct(">iiii")
"""Number of the topic, partition, records, bytes."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of one fetch and partition, offsets `start`..`next` (exclusive)."""

    start: int
    next: int
    buf: Bytes


class RawRecords(ColumnRecords):
    """Yields the whole record batches of a fetch as one `Span`."""

    def _unpack_records(self) -> Iterator[Any]:
        data, start, following = self._records.data, self.next_fetch_offset, self.next_fetch_offset
        end = 0
        for at, header in headers(data):
            following, end = header[0] + header[6] + 1, at + 12 + header[1]
        self.next_fetch_offset = following
        yield Span(start, following, np.frombuffer(data, np.uint8)[:end])


class RawFetcher(ColumnFetcher):
    """Every topic leaves it raw."""

    def _new_records(self, tp: Any, raw: Any, *rest: Any) -> Any:
        made = RawRecords(tp, raw, *rest)
        made.name, made.limits, made.failed = tp.topic, Limits(), self._checksum_failed
        return made


def headers(data: bytes | memoryview) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Place and header (`recordbatch_write.HEADER`) of each whole record batch."""
    at = 0
    while at + HEADER.size <= len(data):
        header = HEADER.unpack_from(data, at)
        if at + 12 + header[1] > len(data):
            return
        yield at, header
        at += 12 + header[1]


@asynccontextmanager
async def consumer(settings: Settings, names: Sequence[str]) -> AsyncIterator[tuple[Any, dict[Any, int]]]:
    """A consumer of raw spans of the topics `names`, from their beginnings, and the ends of their partitions now."""
    made = AIOKafkaConsumer(
        **settings.aiokafka(), auto_offset_reset="earliest", enable_auto_commit=False, check_crcs=False,
        max_partition_fetch_bytes=settings.fetch_bytes, fetch_max_bytes=32 << 20, fetch_max_wait_ms=100,
    )  # fmt: skip
    await made.start()
    try:
        RawFetcher.adopt(made._fetcher, lambda name: name, Limits(), _raise)
        places = [TopicPartition(settings.topic(name), p) for name in names for p in range(PARTITIONS)]
        ends = await made.end_offsets(places)
        made.assign(places)
        yield made, ends
    finally:
        await made.stop()


class RawBatch(BatchBuilder):  # type: ignore[misc]
    """A finished record batch for `AIOKafkaProducer.send_batch`."""

    def __init__(self, data: bytes, count: int) -> None:
        self._data, self._count = data, count
        self._closed = True

    def _build(self) -> bytes:
        return self._data

    def size(self) -> int:
        """Bytes of it."""
        return len(self._data)

    def record_count(self) -> int:
        """Records in it."""
        return self._count


async def capture(settings: Settings, names: Sequence[str], file: Path) -> dict[str, int]:
    """Write all record batches of the topics `names` to `file`, framed as if no transaction had written them.

    Answers bytes, records and record batches.
    """
    total = {"bytes": 0, "records": 0, "batches": 0}
    with file.open("wb") as out:
        async with consumer(settings, names) as (reader, ends):
            numbers = {settings.topic(name): number for number, name in enumerate(names)}
            left = {tp for tp, end in ends.items() if end}
            while left:
                for tp, spans in (await reader.getmany(timeout_ms=200)).items():
                    for span in spans:
                        for data, count in _plain(span.buf):
                            out.write(_ROW.pack(numbers[tp.topic], tp.partition, count, len(data)) + data)
                            total["bytes"] += len(data)
                            total["records"] += count
                            total["batches"] += 1
                        if span.next >= ends[tp]:
                            left.discard(tp)
    return total


def captured(file: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """Topic number, partition, records and bytes of each record batch in `file`."""
    with file.open("rb") as found:
        while row := found.read(_ROW.size):
            topic, partition, count, size = _ROW.unpack(row)
            yield topic, partition, count, found.read(size)


def _plain(buf: Bytes) -> Iterator[tuple[bytes, int]]:
    """The record batches of `buf` but for markers, each with base offset 0, of no transaction and no producer."""
    for at, header in headers(buf.data):
        _, length, epoch, magic, _, attributes, last, first_ts, max_ts, *_, count = header
        if attributes & CONTROL:
            continue
        data = buf[at : at + 12 + length].copy()
        attributes &= ~TRANSACTIONAL
        HEADER.pack_into(
            data.data, 0, 0, length, epoch, magic, 0, attributes, last, first_ts, max_ts, -1, -1, -1, count
        )
        struct.pack_into(">I", data.data, 17, crc32c(data, 21, len(data)))
        yield data.tobytes(), count


def _raise(_topic: str, _partition: int, error: Exception) -> None:
    raise error
