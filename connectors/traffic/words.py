"""The words of invented traffic: names, intents, models, errors, all in one constant bank of bytes.

A column of texts is then a choice by number from a table of spans; the last entry of each table is null, so that the
number -1 chooses it. Ids that must be new are hexadecimal numbers, written for a whole block at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_LENGTH, Bytes, Frame, Longs

from .stretch import Fleet

ROLES = ("invoice", "triage", "research", "dispatch", "refund", "pricing", "support", "audit", "supply", "claims")
TENANTS = ("alder", "birch-bank", "cedar", "hazel-health", "juniper", "larch", "maple-air", "rowan")
MODELS = ("atlas-large", "atlas-small", "finch-mini", "quill-70b", "quill-7b")
INTENTS = (
    "answer a question about an order",
    "book a return flight",
    "reconcile two invoices",
    "summarise the night's tickets",
    "plan tomorrow's routes",
    "update a delivery address",
    "check a claim against the contract",
    "draft a reply to a customer",
)
ACTIONS = (
    "data:read/public",
    "comm:internal/notes",
    "sandbox:run",
    "data:read/internal",
    "comm:external/email",
    "execute:internal/report",
    "data:read/sensitive",
    "comm:external/api",
    "execute:external/booking",
    "data:write/orders",
    "financial:refund",
    "admin:read/accounts",
)
"""Three for each risk, in the order of risks."""
KINDS = ("order", "refund", "booking", "report", "question", "complaint")
ERRORS = ("tool timed out", "rate limited by the model", "invalid arguments", "not found", "context too long")
CERTIFICATES = ("SOC 2", "ISO 42001", "internal red team")

_HEX = np.frombuffer(b"".join(b"%04x" % i for i in range(65536)), np.uint32)
_M1, _M2, _GOLDEN = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Table:
    """Spans of words; both arrays of shape (words + 1,), the last one null."""

    start: Longs
    length: Longs

    def put(self, frame: Frame, name: str, choice: Longs) -> None:
        """Fill a text column of `frame` with the words chosen by number, -1 for null."""
        frame[name][:] = self.start[choice]
        frame.second(name)[:] = self.length[choice]


class Words:
    """A bank that begins with the keys of a fleet; `table` adds words to it."""

    def __init__(self, fleet: Fleet) -> None:
        self._pieces = [fleet.bank.tobytes()]
        self._used = len(fleet.bank)

    def table(self, words: Sequence[str] | Sequence[bytes]) -> Table:
        """Spans of `words`, now in the bank."""
        pieces = [word if isinstance(word, bytes) else word.encode() for word in words]
        length = np.array([*map(len, pieces), 0], np.int64)
        start = self._used + np.cumsum(length) - length
        self._pieces.extend(pieces)
        self._used += int(length.sum())
        length[-1] = NULL_LENGTH
        return Table(start, length)

    def bank(self) -> Bytes:
        """The bank with all words added so far."""
        return np.frombuffer(b"".join(self._pieces), np.uint8)


def scrambled(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look random and differ where `numbers` differ (SplitMix64's finaliser, a bijection)."""
    x = numbers * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    out: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return out


def hexadecimal(numbers: NDArray[np.uint64]) -> Bytes:
    """16 hexadecimal digits for each number: a new array of 16 x n bytes."""
    digits: Bytes = _HEX[numbers.view(np.uint16)].view(np.uint8).reshape(-1)
    return digits


def invented_fleet(agents: int) -> Fleet:
    """`agents` names, spread over the tenants."""
    return Fleet.of([(TENANTS[i * 5 % len(TENANTS)], f"{ROLES[i % len(ROLES)]}-{i:05d}") for i in range(agents)])
