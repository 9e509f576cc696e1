"""Publishes events of agents: checked, framed, stamped and keyed as cognistream wants them, in batches, once.

`publish` checks an event, writes it and hands it on; it returns a handle at once. What the handle promises is the whole
promise: when it is done without an error, Kafka has the event on all replicas, or it lies fsynced in the spool and will
be sent when Kafka is back. Neither a crash of the service nor one of the broker loses it then.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from confluent_kafka import KafkaError, KafkaException

from .catalog import id_of
from .cloudevents import HERE, Origin, headers
from .consequence import Consequence, consequence_of
from .errors import ClientError, InvalidEvent, NotDelivered, PublisherClosed
from .events import Event
from .forms import FORMS
from .handles import Fates, Handle, Handles, Parcel
from .identity import agent_key, now_ms
from .keeper import NEVER, Keeper, Resent, WhenFull
from .line import Line
from .obedience import Obedience
from .records import Pressure
from .registry import Registry
from .spool import Spool
from .waiting_room import Rooms

Compression = Literal["none", "lz4", "zstd", "snappy", "gzip"]

_FRAME: Final = struct.Struct(">bi")


class Publisher:
    """Publishes events; safe to use from several threads. A context that ends has delivered everything.

    `kafka` is the cluster's address (`host:port,...`) or confluent-kafka's configuration of it. `prefix` stands before
    topics of tests and demos, `source` is the URI reference that `ce_source` tells (by default `/` and the event's
    source), `linger` the seconds that an event may wait for others to fill its batch.

    `registry` is the address of a schema registry whose ids the events bear, else they bear those of this release.

    An event that Kafka did not take `within` seconds goes to the `spool`, a folder that this publisher has for itself;
    without one it has failed. When the spool holds `spool_bytes`, `publish` waits (`block`), raises SpoolFull
    (`raise`), or drops what is of little consequence first (`drop_background`): such events find the spool full at
    four fifths, their handles fail with SpoolFull; for all others `publish` raises when it is full.

    While cognistream is behind and says so, background events are sampled (LeftOut), then wait in the spool, and others
    are paced; see docs/publishing.md. Without `obeys` it does not listen to that: for a gateway, whose callers wait.
    """

    def __init__(
        self,
        kafka: str | Mapping[str, Any],
        *,
        prefix: str = "",
        source: str | None = None,
        compression: Compression = "lz4",
        linger: float = 0.005,
        within: float = 10.0,
        spool: str | os.PathLike[str] | None = None,
        spool_bytes: int = 256 << 20,
        when_full: WhenFull = "block",
        registry: str | None = None,
        obeys: bool = True,
    ) -> None:
        cluster = {"bootstrap.servers": kafka} if isinstance(kafka, str) else dict(kafka)
        known = None if registry is None else Registry(registry)
        ids = id_of if known is None else known.id_of
        self._to = {kind: _Address(kind, prefix, source, ids) for kind in FORMS}
        self._fates = Fates()
        self._lock = threading.Lock()
        self._closed = False
        self._failed = 0
        self._first_failure: ClientError | None = None
        self._number = 0
        self._within = within
        settings = {"compression.type": compression, "linger.ms": linger * 1000, "delivery.timeout.ms": within * 1000}
        kept = None if spool is None else Spool(Path(spool))
        self._keeper: Keeper | None = None
        self._line = Line({**cluster, **settings}, self._fates, self._on_failure)
        poll = min(within, 2.0)
        if kept is not None:
            self._keeper = Keeper(kept, self._line, self._fates, self._lock, spool_bytes, when_full, poll)
        rooms = Rooms(self._keeper, self._line, self._fates, self._lock, spool_bytes, when_full, poll)
        self._obedience: Obedience | None = None
        if obeys:
            self._obedience = Obedience(cluster, prefix, linger, known, self._line, self._lock, rooms)

    def publish(self, event: Event) -> Handle:
        """Send `event`; its handle says when it is safe. Waits only while the queue, or the spool, is full.

        Raises InvalidEvent, SpoolFull and PublisherClosed.
        """
        handle = self._handle(event, now_ms())
        while not self._try(handle):
            self._wait_for_room()
        return handle

    def publish_many(self, events: Iterable[Event], origins: Sequence[Origin] = ()) -> Handles:
        """Send `events` in their order; all are checked before the first is sent.

        `origins` has one of each event, for a service that publishes what others told it. Raises InvalidEvent, whose
        `index` says which it is, SpoolFull (those before were published) and PublisherClosed.
        """
        handles = self._handles(events, origins)
        for handle in handles:
            while not self._try(handle):
                self._wait_for_room()
        return handles

    async def publish_async(self, event: Event) -> Handle:
        """The same as `publish` for coroutines: a full queue keeps only this one waiting. Await the handle too."""
        handle = self._handle(event, now_ms())
        while not self._try(handle):
            await asyncio.sleep(_PAUSE)
        return handle

    async def publish_many_async(self, events: Iterable[Event], origins: Sequence[Origin] = ()) -> Handles:
        """The same as `publish_many` for coroutines."""
        handles = self._handles(events, origins)
        for handle in handles:
            while not self._try(handle):
                await asyncio.sleep(_PAUSE)
        return handles

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every event's fate is known; NotDelivered when some failed since the last flush."""
        if not self._fates.wait(lambda: self.waiting == 0, timeout):
            raise TimeoutError(f"{self.waiting} events are neither acknowledged nor spooled after {timeout} s")
        failed, first, self._failed, self._first_failure = self._failed, self._first_failure, 0, None
        if failed:
            raise NotDelivered(f"{failed} events were not delivered, the first because {first}")

    @property
    def waiting(self) -> int:
        """Events whose fate is not known yet."""
        return self._line.waiting + sum(keeper.unwritten for keeper in self._keepers())

    @property
    def spooled_bytes(self) -> int:
        """What the spool holds; 0 when Kafka has everything."""
        return sum(keeper.bytes for keeper in self._keepers())

    @property
    def pressure(self) -> tuple[Pressure, ...]:
        """What cognistream says of partitions and pools that are behind; empty while all keep up."""
        return self._obedience.pressing if self._obedience else ()

    def close(self) -> None:
        """Flush, send what is in the spool if Kafka answers, and let go of the cluster."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush()
        finally:
            self._fates.wait(lambda: not any(keeper.may_soon_be_empty for keeper in self._keepers()), self._within)
            if self._obedience:
                self._obedience.close()
            for keeper in self._keepers():
                keeper.close()
            self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _keepers(self) -> list[Keeper]:
        return [*([self._keeper] if self._keeper else []), *(self._obedience.rooms if self._obedience else [])]

    def _handle(self, event: Event, timestamp: int) -> Handle:
        address = self._address(type(event), None)
        return self._wrap(address, event, address.form.encode(event, address.frame), timestamp)

    def _handles(self, events: Iterable[Event], origins: Sequence[Origin]) -> Handles:
        """Checked and written in runs of one class."""
        all_events, now = list(events), now_ms()
        from_ = chain(origins, repeat(HERE))
        made: list[Handle] = []
        for kind, group in groupby(all_events, type):
            address, run = self._address(kind, len(made)), list(group)
            values = address.form.encode_many(run, address.frame, len(made))
            rows = zip(run, values, from_, strict=False)
            made += [self._wrap(address, event, value, now, origin) for event, value, origin in rows]
        return Handles(made)

    def _address(self, kind: type[Event], index: int | None) -> _Address:
        try:
            return self._to[kind]
        except KeyError:
            kinds = ", ".join(known.__name__ for known in FORMS)
            raise InvalidEvent("event", kind, f"an event of this package: {kinds}", index) from None

    def _wrap(self, address: _Address, event: Event, value: bytes, timestamp: int, origin: Origin = HERE) -> Handle:
        key = agent_key(event.tenant_id, event.agent_id)
        parcel = Parcel(address.topic, key, value, timestamp, headers(event, key, address.source, origin))
        return Handle(self._fates, event.event_id, parcel, consequence_of(event))

    def _try(self, handle: Handle) -> bool:
        """Hand it over, to Kafka or to the spool, unless what takes it is full."""
        with self._lock:
            if self._closed:
                raise PublisherClosed("the publisher is closed; make a new one, one for the life of the service")
            self._number = handle.number = number = self._number + 1
            if self._obedience and self._obedience.on and (weighed := self._obedience.weigh(handle)) is not None:
                if handle.error is not None and handle.consequence is not Consequence.BACKGROUND:
                    self._note(handle.error)
                return weighed
            if self._keeper and self._keeper.on:
                return self._keeper.offer(handle)
            try:
                self._line.hand(handle)
            except BufferError:
                return False
            except KafkaException as error:
                if error.args[0].fatal():  # the line is being made anew
                    return False
                self._fail(handle, error.args[0])
        if number % _SERVE_EVERY == 0:
            self._line.serve()
        return True

    def _wait_for_room(self) -> None:
        waiting = self._line.waiting
        self._fates.wait(lambda: self._line.waiting < waiting, _PAUSE)

    def _on_failure(self, handle: Handle, error: KafkaError) -> None:
        if isinstance(handle, Resent):
            handle.refusal = error
        elif self._keeper and error.code() not in _HOPELESS:
            self._keeper.take_back(handle)
        else:
            self._fail(handle, error)

    def _fail(self, handle: Handle, error: KafkaError) -> None:
        failure = NotDelivered(f"event {handle.event_id} for {handle.parcel.topic} was not delivered: {error.str()}")
        self._note(failure)
        handle.settle(failure)

    def _note(self, failure: ClientError) -> None:
        """A failure that `flush` has to tell."""
        self._failed += 1
        self._first_failure = self._first_failure or failure


_HOPELESS: Final = NEVER | {
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
"""Errors of the event or of the setup: whoever publishes must hear of them at once."""

_SERVE_EVERY: Final = 256
_PAUSE: Final = 0.02
"""Seconds after which somebody who waits for room looks again."""


class _Address:
    """Where events of one class go, and what stands before their values."""

    def __init__(self, kind: type[Event], prefix: str, source: str | None, ids: Callable[[str], int]) -> None:
        self.form = FORMS[kind]
        self.topic = f"{prefix}.{kind.TOPIC}" if prefix else kind.TOPIC
        self.frame = _FRAME.pack(0, ids(kind.TOPIC))
        self.source = (source or f"/{kind.SOURCE}").encode()
