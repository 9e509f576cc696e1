"""The newest records of one topic, read once and kept for all streams of it.

A ring of so many records and bytes at most, in the order in which they came. A record's place in that order is its
number; a reader holds the number that it reads next, so that it costs nothing while it waits, and a slow one holds
nobody up: when the ring has left it behind, it reads for itself (`streaming`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from connectors.gateway.topic_log import End, Entry, TopicLog

log = logging.getLogger(__name__)

RECORDS: Final = 16_384
BYTES: Final = 8 << 20
_WAIT: Final = 0.2


class Ring:
    """The memory: of each partition all committed records from some offset on. Every method is one step for others.

    `starts` and `ends` are by partition the offset from which on all is here, and the one that comes next; None until
    it is known.
    """

    def __init__(self, partitions: int, records: int = RECORDS, most_bytes: int = BYTES) -> None:
        self.starts: list[int | None] = [None] * partitions
        self.ends: list[int | None] = [None] * partitions
        self._slots: list[Entry | None] = [None] * records
        self._most, self._bytes = most_bytes, 0
        self._oldest = self._next = 0
        self._lock = threading.Lock()

    def add(self, steps: Sequence[Entry | End]) -> None:
        """Take in what was read, in its order."""
        with self._lock:
            for step in steps:
                if self.starts[step.partition] is None:
                    self.starts[step.partition] = step.offset
                if isinstance(step, End):
                    self.ends[step.partition] = step.offset
                else:
                    self._keep(step)

    def known(self) -> bool:
        """Whether it is known of each partition where it starts here."""
        return None not in self.starts

    def places(self) -> list[int]:
        """By partition, the offset that comes next; 0 where nothing is known."""
        with self._lock:
            return [end or 0 for end in self.ends]

    def holds(self, places: Sequence[int]) -> bool:
        """Whether all `places` lie in what is here."""
        with self._lock:
            spans = zip(places, self.starts, self.ends, strict=True)
            return all(start is not None and start <= place <= (end or 0) for place, start, end in spans)

    def join(self, places: Sequence[int]) -> int | None:
        """The number to begin with for a reader that has read up to `places`; None when it needs what is not here.

        It meets records again that it has read: those below its places.
        """
        with self._lock:
            here = all(start is not None and place >= start for place, start in zip(places, self.starts, strict=True))
            return self._oldest if here else None

    def read(self, number: int, most: int) -> list[Entry] | None:
        """At most so many records from that number on; None when the ring does not reach back so far any more."""
        with self._lock:
            if number < self._oldest:
                return None
            size = len(self._slots)
            found = (self._slots[at % size] for at in range(number, min(self._next, number + most)))
            return [entry for entry in found if entry is not None]

    def _keep(self, entry: Entry) -> None:
        self._bytes += _size(entry)
        while self._next - self._oldest == len(self._slots) or (self._bytes > self._most and self._oldest < self._next):
            self._forget()
        self._slots[self._next % len(self._slots)] = entry
        self._next += 1
        self.ends[entry.partition] = entry.offset + 1

    def _forget(self) -> None:
        at = self._oldest % len(self._slots)
        entry, self._slots[at] = self._slots[at], None
        if entry is not None:
            self._bytes -= _size(entry)
            self.starts[entry.partition] = entry.offset + 1
        self._oldest += 1


class Tail:
    """Follows the end of `log` into `ring` until it is closed; `moved` is called, by its thread, when something came.

    What cannot be read any more ends it: `ended` is set.
    """

    def __init__(self, log: TopicLog, moved: Callable[[], None]) -> None:
        self.log, self.ring = log, Ring(log.partitions)
        self.ended = threading.Event()
        self._known, self._moved = threading.Event(), moved
        self._thread = threading.Thread(target=self._run, name=f"gateway-tail-{log.topic}", daemon=True)
        log.assign(None)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Until it is known where each partition stands; False when that takes longer."""
        return self._known.wait(seconds)

    def close(self) -> None:
        """Follow no more."""
        self.ended.set()
        self._thread.join()
        self.log.close()

    def _run(self) -> None:
        try:
            while not self.ended.is_set():
                self._follow()
        except Exception:  # its streams end, and those who want to know come again and are told why
            log.exception("%s is not followed any more", self.log.topic)
        finally:
            self.ended.set()
            self._moved()

    def _follow(self) -> None:
        steps = self.log.read(_WAIT)
        if steps:
            self.ring.add(steps)
            if self.ring.known():
                self._known.set()
            self._moved()


def _size(entry: Entry) -> int:
    return len(entry.key) + len(entry.value or b"")
