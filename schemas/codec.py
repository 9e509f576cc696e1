"""The compressions that Kafka knows, undone within a bound.

A few kilobytes can claim to be gigabytes, so nothing here asks for memory as it goes: the caller gives the room, and
what does not fit in it is refused. (zstd keeps a window beside it, of at most as many bytes as it has written.) Codec
numbers are those of a record batch's attributes; frames are as Kafka's clients write them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cramjam
import lz4.frame
import numpy as np
from aiokafka.codec import gzip_encode, snappy_encode, zstd_encode

from .columns import Bytes
from .errors import FormatError

_XERIAL = b"\x82SNAPPY\0"
"""Start of a stream of snappy blocks, as Java's clients write it: 16 bytes of header, then (length, block) pairs."""
_XERIAL_HEADER = 16
_NO_ROOM = ("failed to write whole buffer", "output buffer (size")
"""How cramjam says that the room is too small; anything else that it says means damage."""
_GUESS, _SMALL = 8, 1 << 12
"""Bytes that a compressed byte, and any piece, may become before the room has to grow."""


class TooLarge(FormatError):
    """Decompressed bytes that do not fit in the room given."""


class CorruptData(FormatError):
    """Bytes that are not what the codec writes."""


def decompress_into(codec: int, data: memoryview, room: memoryview) -> int:
    """Decompress `data` (codec 0 copies) to the start of `room`; answers how many bytes. TooLarge or CorruptData."""
    undo = _DECODERS.get(codec)
    if undo is None:
        raise CorruptData(f"compression codec {codec} is none of Kafka's (0-4)")
    try:
        return undo(data, room)
    except cramjam.DecompressionError as error:
        if any(words in str(error) for words in _NO_ROOM):
            raise TooLarge(f"decompressed, it is larger than {len(room)} bytes") from error
        raise CorruptData(f"codec {codec}: {error}") from error


def decompress(codec: int, data: bytes | memoryview, limit: int) -> bytes:
    """`data` decompressed; TooLarge before more than `limit` bytes exist, CorruptData."""
    room = np.empty(limit, np.uint8).data
    return bytes(room[: decompress_into(codec, memoryview(data), room)])


class Room:
    """Decompressed pieces one behind the other, in a buffer that grows with them, to `most` bytes and no further.

    The first guess is generous: memory that comes back from the heap costs nothing, fresh pages cost more than
    decompressing into them.
    """

    def __init__(self, packed: int, most: int) -> None:
        """Room for `packed` bytes of compressed data."""
        self.most = most
        self.buf: Bytes = np.empty(min(most, _GUESS * packed + _SMALL), np.uint8)
        self.used = 0

    def add(self, codec: int, data: memoryview, limit: int) -> int:
        """Decompress `data` behind what is there, at most `limit` bytes; answers how many. TooLarge, CorruptData."""
        while True:
            room = self.buf[self.used : self.used + limit]
            try:
                size = decompress_into(codec, data, room.data)
            except TooLarge:
                if len(room) == limit or len(self.buf) == self.most:
                    raise
                self._grow()
            else:
                self.used += size
                return size

    def _grow(self) -> None:
        grown = np.empty(min(self.most, 4 * len(self.buf)), np.uint8)
        grown[: self.used] = self.buf[: self.used]
        self.buf = grown


def compress(codec: int, data: bytes | memoryview) -> bytes:
    """`data` under codec 0 none, 1 gzip, 2 snappy (xerial blocks), 3 lz4 (independent blocks), 4 zstd.

    None of them holds the interpreter's lock meanwhile.
    """
    return bytes(_ENCODERS[codec](data))


def _copy(data: memoryview, room: memoryview) -> int:
    if len(data) > len(room):
        raise TooLarge(f"{len(data)} bytes are more than {len(room)}")
    room[: len(data)] = data
    return len(data)


def _snappy(data: memoryview, room: memoryview) -> int:
    """One raw block, or a xerial stream of them."""
    if data[: len(_XERIAL)] != _XERIAL:
        return int(cramjam.snappy.decompress_raw_into(data, room))
    used, at = 0, _XERIAL_HEADER
    while at != len(data):
        start, end = at + 4, at + 4 + int.from_bytes(data[at : at + 4])
        if end > len(data):
            raise CorruptData(f"a snappy block ends at byte {end} of {len(data)}")
        used += int(cramjam.snappy.decompress_raw_into(data[start:end], room[used:]))
        at = end
    return used


_DECODERS: dict[int, Callable[[memoryview, memoryview], int]] = {
    0: _copy,
    1: cramjam.gzip.decompress_into,
    2: _snappy,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}
_ENCODERS: dict[int, Callable[[bytes | memoryview], bytes]] = {
    0: bytes,
    1: partial(gzip_encode, compresslevel=6),
    2: snappy_encode,
    3: partial(lz4.frame.compress, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False),
    4: zstd_encode,
}
