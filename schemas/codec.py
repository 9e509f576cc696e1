"""The compressions that Kafka knows, undone within a bound.

A few kilobytes can claim to be gigabytes, so nothing here decompresses into memory that it asks for on the way: the
caller gives the room, and what does not fit is refused. Codec numbers are those of a record batch's attributes.
"""

from __future__ import annotations

from functools import partial

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode

_ENCODERS = {
    1: partial(gzip_encode, compresslevel=6),
    2: snappy_encode,
    3: partial(lz4_encode, level=1),
    4: zstd_encode,
}


def compress(codec: int, data: bytes) -> bytes:
    """`data` under codec 1 gzip, 2 snappy (xerial blocks, as Java writes), 3 lz4, 4 zstd."""
    return bytes(_ENCODERS[codec](data))
