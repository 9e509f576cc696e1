"""Small harm to sound bytes: what gets deepest into a parser is nearly right."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from schemas.varint import encoded

EDGES = (0, 1, 2, 3, 7, 63, 64, 127, 128, 255, 256, 1 << 14, 1 << 20, 1 << 30, (1 << 31) - 1, (1 << 62), (1 << 63) - 1)
"""Numbers at which sizes, signs and lengths of encodings change."""


def number(rng: Random) -> int:
    """A number of 64 bits, near an edge."""
    near = rng.choice((1, -1)) * rng.choice(EDGES) + rng.randint(-1, 1)
    return min(max(near, -(1 << 63)), (1 << 63) - 1)


def _flip(rng: Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray, at: int) -> None:
    data[at] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xC2, 0xED, 0xF4, 0xFE, 0xFF, rng.randrange(256)))


def _step(rng: Random, data: bytearray, at: int) -> None:
    data[at] = (data[at] + rng.choice((-2, -1, 1, 2))) & 0xFF


def _varint(rng: Random, data: bytearray, at: int) -> None:
    data[at : at + rng.choice((0, 1, 1, 1, 2))] = encoded(number(rng))


def _word(rng: Random, data: bytearray, at: int) -> None:
    size = rng.choice((2, 4, 8))
    data[at : at + size] = (number(rng) & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("big", "little")))


def _insert(rng: Random, data: bytearray, at: int) -> None:
    data[at:at] = rng.randbytes(rng.randint(1, 8))


def _delete(rng: Random, data: bytearray, at: int) -> None:
    del data[at : at + rng.choice((1, 1, 2, 5, 20))]


def _repeat(rng: Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + rng.randint(1, 16)] * rng.choice((1, 1, 2, 9))


def _cut(_rng: Random, data: bytearray, at: int) -> None:
    del data[at:]


def _move(rng: Random, data: bytearray, at: int) -> None:
    other = rng.randrange(len(data))
    data[at : at + 4] = data[other : other + 4]


_HARM: tuple[Callable[[Random, bytearray, int], None], ...] = (
    _flip, _flip, _set, _set, _step, _step, _varint, _varint, _word, _insert, _delete, _repeat, _cut, _move,
)  # fmt: skip


def mutated(rng: Random, data: bytes, most: int = 4) -> bytes:
    """`data` after one to `most` harms."""
    made = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if made:
            rng.choice(_HARM)(rng, made, rng.randrange(len(made)))
    return bytes(made)
