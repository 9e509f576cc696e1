"""How one field of an event is checked and written: a function per field, made from its Avro type and its limits.

Such a function answers the field's Avro bytes, or raises: what a worker would refuse is refused here, at its sender.
They are plain functions and look-ups on purpose. An event has some twenty fields, most of them null, and fastavro tries
every branch of a union to find out: 30 µs an event, where these take 4 (docs/publishing.md). fastavro is their oracle
in tests.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Write = Callable[[Any], bytes]

NULL: Final = b"\x00"
SOME: Final = b"\x02"
"""Branches of a union of null and a type."""
BOOLEANS: Final = {False: b"\x00", True: b"\x01"}
TENANT: Final = re.compile(r"[a-z0-9-]{1,64}")
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_YEAR_10000: Final = 253_402_300_800_000
_DOUBLE: Final = struct.Struct("<d").pack


class Unfit(ValueError):
    """A value that its field cannot have."""


def number(value: int) -> bytes:
    """An Avro long: zigzag, seven bits a byte, the lowest first (Avro 1.12, "Primitive types")."""
    rest = value << 1 ^ value >> 63
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_LENGTHS: Final = tuple(number(length) for length in range(2048))


def text(least: int, most: int | None) -> Write:
    """Texts of `least` to `most` bytes of UTF-8 (None: no limit of their own)."""

    def write(value: str) -> bytes:
        data = value.encode()
        length = len(data)
        if length < least or (most is not None and length > most):
            raise Unfit
        return (_LENGTHS[length] if length < 2048 else number(length)) + data

    return write


_name: Final = text(1, 128)
_text: Final = text(0, None)


def tenant(value: str) -> bytes:
    """The first part of the key."""
    if not TENANT.fullmatch(value):
        raise Unfit
    return _name(value)


def agent(value: str) -> bytes:
    """The second part of the key."""
    if CONTROL.search(value):
        raise Unfit
    return _name(value)


def integer(bits: int, *, negative: bool) -> Write:
    """Whole numbers of that many bits; no bool and no float, which would lose their meaning silently."""
    least, most = -(1 << bits - 1) if negative else 0, (1 << bits - 1) - 1

    def write(value: int) -> bytes:
        if type(value) is not int or not least <= value <= most:
            raise Unfit
        return number(value)

    return write


def moment(value: int) -> bytes:
    """A time in milliseconds that also a header can tell."""
    if type(value) is not int or not 0 <= value < _YEAR_10000:
        raise Unfit
    return number(value)


def double(*, negative: bool) -> Write:
    """Finite numbers."""

    def write(value: float) -> bytes:
        if type(value) is not float and type(value) is not int:
            raise Unfit
        if not math.isfinite(value) or (value < 0 and not negative):
            raise Unfit
        return _DOUBLE(value)

    return write


def symbols(names: list[str], *, unknown: bool) -> Write:
    """Symbols of an enum; a producer may not say `unknown`."""
    return {name: number(i) for i, name in enumerate(names) if unknown or name != "unknown"}.__getitem__


def texts(value: Mapping[str, str]) -> bytes:
    """A map of texts."""
    if not value:
        return NULL
    pairs = [_text(part) for pair in value.items() for part in pair]
    return b"".join([number(len(value)), *pairs, NULL])


def optional(write: Write) -> Write:
    """The same behind a union's branch; null itself is written by whoever calls."""

    def some(value: Any) -> bytes:
        return SOME + write(value)

    return some


def remembered(write: Write, most: int = 65_536) -> Write:
    """The same with a memory, for names that come again and again."""
    return lru_cache(most)(write)
