"""How one field of an event is checked and written: a function per field, made from its Avro type and its limits.

Such a function answers the field's Avro bytes, or raises: what a worker would refuse is refused here, at its sender.
They are plain functions and look-ups on purpose. An event has some twenty fields, most of them null, and fastavro tries
every branch of a union to find out: 19 µs an event on a busy machine, where these take 4. fastavro is their oracle
in tests.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Write = Callable[[Any], bytes]

NULL: Final = b"\x00"
SOME: Final = b"\x02"
"""Branches of a union of null and a type."""
TENANT: Final = re.compile(r"[a-z0-9-]{1,64}")
MAX_TEXT: Final = 1 << 30
"""For texts without a limit of their own: the event as a whole has one."""
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


_SMALL: Final = 2048
_NUMBERS: Final = tuple(number(value) for value in range(_SMALL))
_LARGEST: Final = sys.float_info.max


def text(least: int, most: int, before: bytes = b"") -> Write:
    """Texts of `least` to `most` bytes of UTF-8, written behind `before` (a union's branch)."""
    lengths = tuple(before + length for length in _NUMBERS)

    def write(value: str) -> bytes:
        data = value.encode()
        length = len(data)
        if not least <= length <= most:
            raise Unfit
        return (lengths[length] if length < _SMALL else before + number(length)) + data

    return write


_name: Final = text(1, 128)
_text: Final = text(0, MAX_TEXT)


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


def integer(bits: int, before: bytes = b"", *, negative: bool) -> Write:
    """Whole numbers of that many bits; no bool and no float, which would lose their meaning silently."""
    small = tuple(before + value for value in _NUMBERS)
    least, most = -(1 << bits - 1) if negative else 0, (1 << bits - 1) - 1

    def write(value: int) -> bytes:
        if type(value) is not int or not least <= value <= most:
            raise Unfit
        return small[value] if 0 <= value < _SMALL else before + number(value)

    return write


def boolean(value: bool) -> bytes:
    """True or False; 1 and 0 are numbers."""
    if type(value) is not bool:
        raise Unfit
    return b"\x01" if value else b"\x00"


def moment(value: int) -> bytes:
    """A time in milliseconds that also a header can tell."""
    if type(value) is not int or not 0 <= value < _YEAR_10000:
        raise Unfit
    return number(value)


def double(before: bytes = b"", *, negative: bool) -> Write:
    """Finite numbers."""
    least = -_LARGEST if negative else 0

    def write(value: float) -> bytes:
        if not least <= value <= _LARGEST or value is True or value is False:
            raise Unfit
        return before + _DOUBLE(value)

    return write


def symbols(names: list[str], before: bytes = b"", *, unknown: bool) -> Write:
    """Symbols of an enum; a producer may not say `unknown`."""
    return {name: before + number(i) for i, name in enumerate(names) if unknown or name != "unknown"}.__getitem__


def texts(value: Mapping[str, str]) -> bytes:
    """A map of texts."""
    pairs = [_text(part) for pair in value.items() for part in pair]
    if not pairs:
        return NULL
    return b"".join([number(len(value)), *pairs, NULL])


def remembered(write: Write, most: int = 65_536) -> Write:
    """The same with a memory, for names that come again and again."""
    return lru_cache(most, typed=True)(write)
