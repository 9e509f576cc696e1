"""What a publisher meant to send, what the broker acknowledged, and what was aborted: rows, written as it happens.

A record is known by a digest of its key, value and timestamp, so the ledger stays small and still proves that the bytes
in a topic are those that were sent. Rows are appended with one write each time: a publisher that dies leaves whole rows
and at most a piece of one behind, which is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.columns import ColumnBatch

ROW = np.dtype(
    [("source", "u1"), ("reason", "u1"), ("partition", "<u2"), ("offset", "<i8"), ("digest", "<u8")], align=False
)
"""`source` is the number of the source topic, `reason` that of the `Reason` to be refused for (0: a good event),
`offset` -1 where it is not known."""
Rows = NDArray[np.void]
UNKNOWN = -1


def digest(key: bytes | None, value: bytes | None, timestamp: int) -> int:
    """64 bits that stand for a record."""
    parts = (key, value, b"%d" % timestamp)
    framed = b"".join(b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts)
    return int.from_bytes(blake2b(framed, digest_size=8).digest(), "little")


def digests(batch: ColumnBatch) -> NDArray[np.uint64]:
    """The digests of a batch's records, shape (n,)."""
    ts = batch.ts.tolist()
    return np.array([digest(batch.key(i), batch.value(i), ts[i]) for i in range(batch.n)], np.uint64)


def rows_of(source: int, partition: int, found: NDArray[np.uint64], reasons: Sequence[int]) -> Rows:
    """Rows of one record batch; `reasons` are those of its last records, the others are good events."""
    rows = np.zeros(len(found), ROW)
    rows["source"], rows["partition"], rows["offset"], rows["digest"] = source, partition, UNKNOWN, found
    if len(reasons):
        rows["reason"][-len(reasons) :] = reasons
    return rows


@dataclass(frozen=True, slots=True)
class Ledger:
    """The three files in `folder`."""

    folder: Path

    @property
    def sent(self) -> Path:
        """Written before a record batch is handed to the producer."""
        return self.folder / "sent"

    @property
    def acknowledged(self) -> Path:
        """Written when its acknowledgement came, with offsets."""
        return self.folder / "acknowledged"

    @property
    def aborted(self) -> Path:
        """Written when its transaction was aborted."""
        return self.folder / "aborted"


def append(file: Path, rows: Rows) -> None:
    """Add rows."""
    with file.open("ab", buffering=0) as out:
        out.write(rows.tobytes())


def read(file: Path) -> Rows:
    """All whole rows; none when there is no file."""
    data = file.read_bytes() if file.exists() else b""
    return np.frombuffer(data[: len(data) // ROW.itemsize * ROW.itemsize], ROW)
