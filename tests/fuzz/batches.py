"""Fetched bytes: record batches of every codec, damaged before and behind their checksum."""

from __future__ import annotations

import struct
from collections import Counter
from random import Random

from schemas import recordbatch_parse as fields
from schemas.codec import compress
from schemas.columns import ColumnBatch
from schemas.record_headers import headers_of
from schemas.recordbatch import AbortedTransactions, BadCrc, Limits, read
from tests.record_batches import Rec, batch, marker, seal, spans

from .mutate import EDGES, mutated, number
from .target import CANARIES, Outcomes, at_the_edge

LIMITS = Limits(batch=1 << 14, records=1000, record=1 << 12, chunk=1 << 12)
_HEADER = 61
_GZIP = 1
_WRITTEN = slice(_HEADER + 4, _HEADER + 8)
"""When gzip was run: the same case is to be the same bytes tomorrow."""
_NUMBERS = ((0, "q"), (8, "i"), (12, "i"), (16, "b"), (21, "h"), (23, "i"), (27, "q"), (35, "q"), (43, "q"), (57, "i"))
"""Where the numbers of a batch's header stand, and how wide they are."""
_LENGTHS = (0, 0, 1, 2, 5, 20, 70, 200)
_CANARY = 16  # shorter than the least of a batch
Pieces = list[tuple[object, list[str]]]
"""What each piece says, and why batches of it were refused."""


def _records(rng: Random) -> list[Rec]:
    def text() -> bytes | None:
        return rng.choice((None, rng.randbytes(rng.choice(_LENGTHS)), b"a" * rng.choice(_LENGTHS)))

    made, offset = [], 0
    for _ in range(rng.choice((1, 1, 2, 5, 12))):
        headers = [(rng.choice(("traceparent", "", "é")), text()) for _ in range(rng.choice((0, 0, 1, 3)))]
        made.append(Rec(offset, rng.choice((0, 1, 1_767_225_600_000, rng.choice(EDGES) >> 2)), text(), text(), headers))
        offset += rng.choice((1, 1, 1, 2, 50))
    return made


def _plain(rng: Random) -> bytes:
    """An uncompressed batch at offset 0, or a marker of a transaction."""
    if not rng.randrange(8):
        return marker(0, 7, commit=rng.random() < 0.5)
    transactional = not rng.randrange(3)
    return batch(_records(rng), producer=7 if transactional else -1, transactional=transactional)


class Batches:
    """Whole fetches, as `recordbatch.read` gets them from the network."""

    name = "record batches"

    def __init__(self, rng: Random) -> None:
        self._plain = [_plain(rng) for _ in range(400)]

    def run(self, rng: Random) -> Outcomes:
        """One fetch of one to three batches, read twice between different neighbours."""
        data = self._fetch(rng)
        check, start, aborted = rng.random() < 0.5, rng.choice((0, 0, 3)), rng.choice((None, (), ((7, 0),)))
        results = []
        for canary in CANARIES:
            around = data + canary * _CANARY
            results.append(self._read(around, check, start, aborted))
        whole = _ends_within(data)
        assert not whole or results[0] == results[1], "the result depends on what follows the fetch"
        return Counter({results[0][0]: 1})

    def _fetch(self, rng: Random) -> bytes:
        if not rng.randrange(50):
            return rng.randbytes(rng.randrange(200))
        base, parts = 0, []
        for _ in range(rng.choice((1, 1, 2, 3))):
            part = self._batch(rng, base)
            base += 1 + max(int.from_bytes(part[23:27], signed=True), 0) if len(part) > 27 else 0
            parts.append(part)
        data = b"".join(parts)
        return data if rng.random() < 0.6 else mutated(rng, data)

    def _batch(self, rng: Random, base: int) -> bytes:
        """A sound batch, one damaged behind its checksum, or one damaged inside what is compressed."""
        made = bytearray(rng.choice(self._plain))
        struct.pack_into(">q", made, 0, base)
        damage = rng.randrange(4)
        if damage == 1:
            made[_HEADER:] = mutated(rng, bytes(made[_HEADER:]))
        codec = rng.choice((0, 0, 1, 2, 3, 4))
        if codec and not made[22] & fields.CONTROL:
            made[_HEADER:] = compress(codec, bytes(made[_HEADER:]))
            if codec == _GZIP:
                made[_WRITTEN] = bytes(4)
            made[22] |= codec
        if damage == 2:
            made[_HEADER:] = mutated(rng, bytes(made[_HEADER:]))
        if damage == 3:
            at, width = rng.choice(_NUMBERS)
            size = struct.calcsize(width)
            made[at : at + size] = (number(rng) & ((1 << 8 * size) - 1)).to_bytes(size)
        return seal(made)

    def _read(
        self, data: bytes, check: bool, start: int, aborted: tuple[tuple[int, int], ...] | None
    ) -> tuple[str, Pieces]:
        gone = None if aborted is None else AbortedTransactions(aborted)
        found: Pieces = []
        end, edge = "read", at_the_edge(data)
        try:
            for piece in read(
                edge.data, topic="t", partition=0, start=start, check_crc=check, aborted=gone, limits=LIMITS
            ):
                _check(piece, start, data)
                start = piece.next
                found.append((_told(piece), [whole.reason for whole in piece.refused]))
        except BadCrc:
            end = "damaged: stopped at it"
        if end == "read":
            end = next((reasons[0] for _, reasons in found if reasons), "read" if found else "nothing whole")
        return end, found


def _ends_within(data: bytes) -> bool:
    """Whether the batches that a reader sees with something behind `data` are those that it sees without."""
    counts = {fields.count_batches(at_the_edge(data + canary * _CANARY)) for canary in CANARIES}
    return counts == {fields.count_batches(at_the_edge(data))}


def _check(piece: ColumnBatch, start: int, data: bytes) -> None:
    """What holds of a piece whatever was sent."""
    assert piece.start == start <= piece.next, "pieces do not touch"
    assert all(0 <= at <= at + size <= len(piece.buf) for at, size in spans(piece)), "a span leaves the buffer"
    assert all(start <= offset < piece.next for offset in piece.off.tolist()), "an offset out of its piece"
    assert sorted(set(piece.off.tolist())) == piece.off.tolist(), "offsets do not rise"
    assert all(refused.raw in data for refused in piece.refused), "refused bytes are not those that came"
    assert len(piece.buf) <= max(len(data), LIMITS.chunk + LIMITS.batch), "more bytes than were allowed"


def _told(piece: ColumnBatch) -> object:
    """Everything that a piece says, copied out."""
    records = [(piece.key(i), piece.value(i), headers_of(piece, i)) for i in range(piece.n)]
    refused = [(whole.reason, whole.first, whole.last, whole.raw) for whole in piece.refused]
    return piece.start, piece.next, piece.off.tolist(), piece.ts.tolist(), records, refused
