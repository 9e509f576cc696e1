"""The files of the spool: events that Kafka could not take, kept on disk in the order in which they were published.

A segment is a file of frames, each a length, a CRC-32 and an Avro record; it is only appended to, and removed as a
whole once Kafka has all of it. Every append ends with fsync. A process that dies while it writes leaves a torn last
frame, which no handle was told of: reading stops before it. Names sort in the order of sending:
`GENERATION-PART-NUMBER.spool`, a generation for each time that Kafka was away. Part `a` holds what was on its way when
that began (it comes back in any order and is sorted when it is read), part `b` what was published since.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import fastavro

from .errors import SpoolBusy
from .handles import Parcel

SEGMENT_BYTES: Final = 8 << 20
SEGMENT_EVENTS: Final = 16_384
"""A crash while a segment is sent repeats it: no more than workers recognise as repeats (65,536 of a partition)."""

Part = Literal["a", "b"]
Unit = tuple[Path, ...]
Numbered = tuple[int, Parcel]

_HEAD: Final = struct.Struct(">II")
_RECORD: Final[Any] = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Spooled",
        "fields": [
            {"name": "number", "type": "long"},
            {"name": "topic", "type": "string"},
            {"name": "key", "type": "bytes"},
            {"name": "value", "type": "bytes"},
            {"name": "timestamp", "type": "long"},
            {"name": "headers", "type": {"type": "map", "values": "bytes"}},
        ],
    }
)

_log = logging.getLogger(__name__)


class Spool:
    """The spool in `folder`, which one publisher uses at a time (else SpoolBusy). Not safe for several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._mutex = (folder / "lock").open("w")
        try:
            fcntl.flock(self._mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._mutex.close()
            raise SpoolBusy(
                f"another publisher uses the spool {folder}; give each process a folder of its own"
            ) from None
        names = [path.name for path in self._segments()]
        self._generation = 1 + max((int(name.split("-")[0]) for name in names), default=0)
        self._numbers = 0
        self._open: dict[Part, _Segment] = {}
        self._kept = sum(path.stat().st_size for path in self._segments())

    @property
    def bytes(self) -> int:
        """What the segments take on disk."""
        return self._kept

    def append(self, part: Part, parcels: Iterable[Numbered]) -> None:
        """Keep `parcels`; they are on disk when this returns. OSError when they cannot be."""
        for number, parcel in parcels:
            if part in self._open and self._open[part].full:
                self._finish(part)
            if part not in self._open:
                self._begin(part)
            self._kept += self._open[part].add(_frame(number, parcel))
        if part in self._open:
            self._open[part].sync()

    def abandon(self, part: Part) -> None:
        """Write no further into a segment that could not be written: its tail may be torn."""
        self._open.pop(part, None)

    def units(self) -> list[Unit]:
        """What is to be sent, in order; the files of a unit belong together."""
        found: dict[str, list[Path]] = {}
        for path in self._segments():
            generation, part, _ = path.name.split("-")
            found.setdefault(f"{generation}-a" if part == "a" else path.name, []).append(path)
        return [tuple(paths) for paths in found.values()]

    def read(self, unit: Unit) -> list[Parcel]:
        """The events of a unit in their order; nothing is added to its files from now on."""
        for part in [part for part, segment in self._open.items() if segment.path in unit]:
            self._finish(part)
        rows = [row for path in unit for row in _rows(path)]
        return [parcel for _, parcel in sorted(rows, key=lambda row: row[0])]

    def remove(self, unit: Unit) -> None:
        """Kafka has all of it."""
        for path in unit:
            self._kept -= path.stat().st_size
            path.unlink()

    def next_generation(self) -> None:
        """All was sent: what comes next belongs together anew."""
        self._generation += 1
        for part in list(self._open):
            self._finish(part)

    def refuse(self, parcels: list[Parcel]) -> Path:
        """Put aside what Kafka takes never, for a person to look at; the file."""
        path = self.folder / f"{self._generation:010}.refused"
        segment = _Segment(path)
        for number, parcel in enumerate(parcels):
            segment.add(_frame(number, parcel))
        segment.sync()
        segment.close()
        _sync_folder(self.folder)
        return path

    def close(self) -> None:
        """Let go of the folder; what is in it stays."""
        for part in list(self._open):
            self._finish(part)
        self._mutex.close()

    def _begin(self, part: Part) -> None:
        self._numbers += 1
        self._open[part] = _Segment(self.folder / f"{self._generation:010}-{part}-{self._numbers:06}.spool")
        _sync_folder(self.folder)

    def _finish(self, part: Part) -> None:
        segment = self._open.pop(part)
        segment.sync()
        segment.close()

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*-*-*.spool"))


class _Segment:
    """A file that is appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("ab")
        self._events = 0
        self._size = 0

    @property
    def full(self) -> bool:
        return self._size >= SEGMENT_BYTES or self._events >= SEGMENT_EVENTS

    def add(self, frame: bytes) -> int:
        self._file.write(frame)
        self._events += 1
        self._size += len(frame)
        return len(frame)

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_spooled(path: Path) -> list[Parcel]:
    """The events in a file of the spool, also in a refused one; what a crash tore off is left out."""
    return [parcel for _, parcel in _rows(path)]


def _frame(number: int, parcel: Parcel) -> bytes:
    out = io.BytesIO()
    row = {**parcel._asdict(), "number": number}
    fastavro.schemaless_writer(out, _RECORD, row)
    data = out.getvalue()
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _rows(path: Path) -> Iterator[Numbered]:
    data = path.read_bytes()
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) < length or zlib.crc32(body) != check:
            break
        row: Any = fastavro.schemaless_reader(io.BytesIO(body), _RECORD, None)
        yield row.pop("number"), Parcel(**row)
        at += _HEAD.size + length
    if at < len(data):
        _log.warning(
            "%s: the last %d bytes were torn off by a crash; nobody was told that they are kept", path, len(data) - at
        )


def _sync_folder(folder: Path) -> None:
    """Make the names of new files last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
