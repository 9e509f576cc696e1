"""One client's way through a topic: from its places on, each committed record of its tenant once, as events.

It reads from the shared ring of the topic's newest records while that reaches back to its places, else from Kafka by
itself until it has caught up. Whichever it is, one rule keeps the way exact: a record is told if it lies at or beyond
the place of its partition, which then moves behind it. So nothing is queued for a client: one that reads slowly stays
where it is, and if it falls behind the ring it reads for itself again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fastapi.sse import format_sse_event

from connectors.gateway import places
from connectors.gateway.tail import Tail
from connectors.gateway.topic_log import End, Entry, OutOfRange, TopicLog
from schemas.catalog import RegistryUnreachable, SchemaIds, schema_of
from schemas.wire import WireError, decode

log = logging.getLogger(__name__)

CHUNK: Final = 32 << 10
"""Bytes after which a chunk is sent; one record more may be in it."""
_AT_ONCE: Final = 200
_WAIT: Final = 0.2


class Gap(NamedTuple):
    """Offsets from `offset` to before `to` that are not kept any more: nobody knows whose records lay there."""

    partition: int
    offset: int
    to: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of `topic` (without prefix) a client wants: its tenant's, of one agent or of one type only."""

    topic: str
    tenant: str
    agent: str | None = None
    kind: str | None = None

    def key(self, key: bytes) -> bool:
        """Whether the record of that key may be one."""
        return key == self.agent.encode() if self.agent else key.startswith(self.tenant.encode() + b"/")

    def value(self, value: dict[str, Any] | None) -> bool:
        """Whether the record of that value is one."""
        field = _type_field(self.topic)
        told = None if value is None or field is None else value[field["name"]]
        return self.kind in (None, told)


def _type_field(topic: str) -> dict[str, Any] | None:
    """The field of a topic's records that says of which type they are, None where all are of one."""
    fields = {field["name"]: field for field in schema_of(topic)["fields"]}
    return fields.get("event_type") or fields.get("kind")


def types_of(topic: str) -> list[str]:
    """The types that records of `topic` may be of."""
    field = _type_field(topic)
    return [] if field is None else list(field["type"]["symbols"])


class Stream:
    """A way from `start` (by partition, the next offset) through the topic of `tail`; any thread may go on with it.

    `open_log` opens the topic anew for a stream that reads for itself; `own` reads on from `start` already.
    """

    def __init__(
        self,
        tail: Tail,
        start: Sequence[int],
        wanted: Wanted,
        ids: SchemaIds,
        open_log: Callable[[], TopicLog],
        own: TopicLog | None = None,
    ) -> None:
        self.places = list(start)
        self._tail, self._wanted, self._ids, self._open_log = tail, wanted, ids, open_log
        self._reads_at: int | None = None
        self._own = own
        self._steps: deque[Entry | End | Gap] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self.idle = False
        """Whether there was nothing more to read when it was last asked."""

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._tail.ended.is_set()

    def take(self) -> bytes:
        """The events that come next, of CHUNK bytes or so; empty when there are none now.

        It may wait for a fifth of a second. Raises CognistreamError when the topic cannot be read on.
        """
        with self._lock:
            if self._closed:
                return b""
            if not self._steps:
                self._steps.extend(self._more())
                self.idle = not self._steps and self._own is None
            out: list[bytes] = []
            while self._steps and sum(map(len, out)) < CHUNK:
                try:
                    out.append(self._told(self._steps[0]))
                except RegistryUnreachable as error:  # the stream waits, as lanes do
                    log.warning("a stream of %s waits: %s", self._wanted.topic, error)
                    time.sleep(_WAIT)
                    break
                self._steps.popleft()
            return b"".join(out)

    def beat(self) -> bytes:
        """Shows that the stream lives, and where it stands though it told nothing."""
        return format_sse_event(comment="here", id=places.told(self.places))

    def close(self) -> None:
        """Read no more."""
        with self._lock:
            self._closed = True
            if self._own is not None:
                self._own.close()

    def _more(self) -> Sequence[Entry | End | Gap]:
        if self._reads_at is None:
            self._join()
        if self._reads_at is not None:
            found = self._tail.ring.read(self._reads_at, _AT_ONCE)
            if found is not None:
                self._reads_at += len(found)
                return found
            self._reads_at = None
        return self._by_itself()

    def _join(self) -> None:
        """Read from the ring from now on, if that reaches back far enough."""
        self._reads_at = self._tail.ring.join(self.places)
        if self._reads_at is not None and self._own is not None:
            self._own.close()
            self._own = None

    def _by_itself(self) -> Sequence[Entry | End | Gap]:
        if self._own is None:
            self._own = self._open_log()
            self._own.assign(self.places)
        try:
            return self._own.read(_WAIT)
        except OutOfRange:
            return self._over_gaps(self._own)

    def _over_gaps(self, own: TopicLog) -> list[Gap]:
        """Go on where the topic begins now; a place beyond its end is an error: it is not the topic that it was."""
        spans = own.spans()
        for place, (_, end) in zip(self.places, spans, strict=True):
            if place > end:
                raise OutOfRange(f"{self._wanted.topic} ends before what was read of it: it was made anew, or cut")
        found = [
            Gap(part, place, first)
            for part, (place, (first, _)) in enumerate(zip(self.places, spans, strict=True))
            if place < first
        ]
        own.assign([max(place, first) for place, (first, _) in zip(self.places, spans, strict=True)])
        return found

    def _told(self, step: Entry | End | Gap) -> bytes:
        """The event of a step, if the client wants to know of it; the place of its partition moves behind it."""
        part = step.partition
        if isinstance(step, End):
            self.places[part] = max(self.places[part], step.offset)
            return b""
        if step.offset < self.places[part]:
            return b""
        if isinstance(step, Gap):
            self.places[part] = step.to
            return self._event({"partition": part, "from": step.offset, "to": step.to}, "gap")
        shown = self._shown(step) if self._wanted.key(step.key) else None
        self.places[part] = step.offset + 1
        return b"" if shown is None else self._event(shown)

    def _shown(self, entry: Entry) -> dict[str, Any] | None:
        """The record as `cognistream tail --json` shows it; None when it is not of the type that is wanted."""
        place = {"partition": entry.partition, "offset": entry.offset, "timestamp": entry.timestamp}
        shown = {"topic": self._wanted.topic, **place, "key": entry.key.decode(errors="backslashreplace")}
        try:
            value = None if entry.value is None else decode(entry.value, self._ids, schema_of(self._wanted.topic))[1]
        except WireError as error:
            log.error("%s, partition %d, offset %d: %s", self._wanted.topic, entry.partition, entry.offset, error)
            return {**shown, "value": None, "error": "not readable by this gateway"}
        return {**shown, "value": value} if self._wanted.value(value) else None

    def _event(self, data: dict[str, Any], name: str | None = None) -> bytes:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return format_sse_event(data_str=text, event=name, id=places.told(self.places))
