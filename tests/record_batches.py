"""Record batches for tests: written by aiokafka, read by aiokafka, and put where reading too far ends the process."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from schemas.columns import Bytes, ColumnBatch
from schemas.record_headers import headers_of

Headers = list[tuple[str, bytes | None]]


class Rec(NamedTuple):
    """A record, in the order of aiokafka's builder; `offset` counts from the batch's first."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = []  # noqa: RUF012 - never changed


def batch(
    records: Sequence[Rec],
    *,
    base: int = 0,
    codec: int = 0,
    producer: int = -1,
    transactional: bool = False,
    change: Callable[[bytearray], None] = lambda _: None,
) -> bytes:
    """A record batch as aiokafka builds it, then moved to offset `base`, changed by `change` and sealed again."""
    builder = DefaultRecordBatchBuilder(2, codec, int(transactional), producer, 0, 0, 1 << 30)
    for record in records:
        assert builder.append(*record) is not None
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, base)
    change(built)
    return seal(built)


def seal(built: bytearray) -> bytes:
    """Correct the length and the checksum."""
    struct.pack_into(">i", built, 8, len(built) - 12)
    struct.pack_into(">I", built, 17, calc_crc32c(built[21:]))
    return bytes(built)


def marker(base: int, producer: int, *, commit: bool) -> bytes:
    """A control batch that ends a transaction."""

    def control(built: bytearray) -> None:
        struct.pack_into(">h", built, 21, 0x30)

    key = struct.pack(">hh", 0, int(commit))
    return batch([Rec(0, 1, key, bytes(6))], base=base, producer=producer, change=control)


def ours(batches: Iterable[ColumnBatch]) -> list[Rec]:
    """The records of column batches, one by one."""
    return [
        Rec(int(b.off[i]), int(b.ts[i]), b.key(i), b.value(i), headers_of(b, i)) for b in batches for i in range(b.n)
    ]


def theirs(
    data: bytes, start: int, *, aborted: Iterable[tuple[int, int]] | None = None, check_crc: bool = True
) -> tuple[list[Rec], int]:
    """The records of `data` as aiokafka's consumer sees them, and its next position; `aborted` None: uncommitted."""
    level = READ_UNCOMMITTED if aborted is None else READ_COMMITTED
    place = TopicPartition("topic", 0)
    stock = PartitionRecords(place, MemoryRecords(data), list(aborted or []), start, None, None, check_crc, level)
    records = [Rec(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in stock]
    return records, stock.next_fetch_offset


class Cliff:
    """Memory that ends at a page which may not be touched: a read behind the end stops the process."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, self.size + mmap.PAGESIZE)
        self._view = np.frombuffer(self._memory, np.uint8)
        edge = ctypes.c_void_p(self._view.ctypes.data + self.size)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(edge, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0

    def at_the_edge(self, data: bytes) -> Bytes:
        """`data`, placed so that its end is the edge."""
        view = self._view[self.size - len(data) : self.size]
        view[:] = np.frombuffer(data, np.uint8)
        return view


def spans(batch: ColumnBatch) -> Iterator[tuple[int, int]]:
    """Start and length of every span that is not null."""
    for starts, lengths in ((batch.ks, batch.kl), (batch.vs, batch.vl), (batch.hs, batch.hl)):
        yield from ((int(s), int(n)) for s, n in zip(starts, lengths, strict=True) if n >= 0)
