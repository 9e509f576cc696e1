"""All streams of a gateway: how many there may be, what they share, and when they end.

The end of a topic is read once for all who listen to it, from the first that comes to the last that goes. What blocks
runs in a few threads of its own, so that a check never waits for a stream.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Self, TypeVar

from fastapi.sse import format_sse_event

from connectors import metrics
from connectors.admin import BrokerUnreachable
from connectors.gateway import places
from connectors.gateway.keys import ApiKey
from connectors.gateway.places import PlacesError
from connectors.gateway.problems import Problem
from connectors.gateway.rules import StreamLimits
from connectors.gateway.streaming import Stream, Wanted
from connectors.gateway.tail import Tail
from connectors.gateway.topic_log import TopicLog
from schemas.catalog import SchemaIds
from schemas.errors import CognistreamError
from schemas.topics import TOPICS

log = logging.getLogger(__name__)

PUBLIC: Final = tuple(row.name for row in TOPICS if row.role == "derived" and row.key == "agent")
"""Topics that a tenant may read: what was decided of agents, keyed by them."""

BEAT_S: Final = 15.0
"""Seconds after which a silent stream shows that it lives."""
AGAIN_MS: Final = 2_000
"""After how long a client that lost its stream is to ask for it again."""
_LOOK_S: Final = 1.0
"""How often a stream that waits looks whether it may go on."""
_OPEN_S: Final = 10.0
_THREADS: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins: behind the id `after`, else at the time `since` (ms; 0: the oldest), else now."""

    after: str | None = None
    since: int | None = None


@dataclass(slots=True, eq=False)
class _Shared:
    """The tail of a topic, and those who are woken when it moves."""

    tail: Tail
    listeners: set[asyncio.Event]


class Streams:
    """Streams of the topics of a cluster; a context that ends with them.

    `connection` is confluent-kafka's, `topic` gives a topic's full name, `active` says whether a key still opens
    anything. To be used by one event loop.
    """

    def __init__(
        self,
        connection: Mapping[str, str],
        topic: Callable[[str], str],
        ids: SchemaIds,
        limits: StreamLimits,
        active: Callable[[ApiKey], bool],
    ) -> None:
        self._connection, self._topic, self._ids, self._limits, self._active = connection, topic, ids, limits, active
        self._pool = ThreadPoolExecutor(_THREADS, "gateway-stream")
        self._tails: dict[str, _Shared] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._seats: Counter[str] = Counter()
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._pool.shutdown()
        for shared in self._tails.values():
            shared.tail.close()

    def stop(self) -> None:
        """End all streams, each after what it is sending; none is opened any more."""
        self._stopped = True
        for shared in self._tails.values():
            _wake(shared.listeners)

    def open_now(self) -> int:
        """How many there are."""
        return self._seats.total()

    async def open(self, key: ApiKey, wanted: Wanted, start: Start) -> OpenStream:
        """A stream for the holder of `key`, which closes it. Raises Problem 400, 429 and 503."""
        self._seat(key)
        moved, open_log = asyncio.Event(), partial(self._log, wanted.topic)
        shared: _Shared | None = None
        try:
            shared = await self._share(wanted.topic, moved)
            tail = shared.tail
            begin, own = await self.run(lambda: _begin(tail, start, open_log))
        except BaseException as error:
            self._leave(key, wanted.topic, shared, moved)
            raise _problem(error, wanted.topic) from None
        stream = Stream(tail, begin, wanted, self._ids, open_log, own)
        return OpenStream(self, stream, moved, key, lambda: self._leave(key, wanted.topic, shared, moved))

    def goes_on(self, key: ApiKey) -> bool:
        """Whether a stream of that key need not end."""
        return not self._stopped and self._active(key)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives, done where it may block."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def later(self, work: Callable[[], None]) -> None:
        """Do `work` where it may block; at once when everything ends."""
        try:
            self._pool.submit(work)
        except RuntimeError:
            work()

    def _seat(self, key: ApiKey) -> None:
        if self._stopped:
            raise _away("the gateway is stopping")
        if self._seats[key.number] >= self._limits.per_key:
            told = f"the key has {self._limits.per_key} streams open, and may have no more"
            raise Problem(429, "too-many-streams", told, headers={"Retry-After": "10"})
        if self._seats.total() >= self._limits.at_once:
            raise _away(f"{self._limits.at_once} streams are open, and this gateway serves no more")
        self._seats[key.number] += 1
        metrics.STREAMS.inc()

    async def _share(self, topic: str, moved: asyncio.Event) -> _Shared:
        loop = asyncio.get_running_loop()
        async with self._opening[topic]:
            shared = self._tails.get(topic)
            if shared is None or shared.tail.ended.is_set():
                shared = await self.run(lambda: self._follow(topic, loop))
                self._tails[topic] = shared
            shared.listeners.add(moved)
            return shared

    def _follow(self, topic: str, loop: asyncio.AbstractEventLoop) -> _Shared:
        listeners: set[asyncio.Event] = set()

        def moved() -> None:
            loop.call_soon_threadsafe(_wake, listeners)

        tail = Tail(self._log(topic), moved)
        if tail.wait(_OPEN_S):
            return _Shared(tail, listeners)
        tail.close()
        raise BrokerUnreachable(f"{topic}: its end cannot be found")

    def _log(self, topic: str) -> TopicLog:
        return TopicLog(self._connection, self._topic(topic))

    def _leave(self, key: ApiKey, topic: str, shared: _Shared | None, moved: asyncio.Event) -> None:
        self._seats[key.number] -= 1
        self._seats += Counter()
        metrics.STREAMS.dec()
        if shared is None:
            return
        shared.listeners.discard(moved)
        if not shared.listeners:
            if self._tails.get(topic) is shared:
                del self._tails[topic]
            self.later(shared.tail.close)


class OpenStream:
    """A stream that somebody listens to, as the bytes of server-sent events."""

    def __init__(
        self, streams: Streams, stream: Stream, moved: asyncio.Event, key: ApiKey, left: Callable[[], None]
    ) -> None:
        self._streams, self._stream, self._moved, self._key, self._left = streams, stream, moved, key, left

    async def events(self) -> AsyncIterator[bytes]:
        """Until the gateway stops, the key is over, or the topic cannot be read on."""
        yield format_sse_event(retry=AGAIN_MS, id=places.told(self._stream.places))
        told = time.monotonic()
        while self._streams.goes_on(self._key) and not self._stream.ended:
            self._moved.clear()
            try:
                chunk = await self._streams.run(self._stream.take)
            except CognistreamError as error:
                log.error("a stream ends: %s", error)
                return
            if not chunk and time.monotonic() - told >= BEAT_S:
                chunk = self._stream.beat()
            if chunk:
                yield chunk
                told = time.monotonic()
            elif self._stream.idle:
                await _set(self._moved, _LOOK_S)

    def close(self) -> None:
        """Let go of everything, without waiting."""
        self._streams.later(self._stream.close)
        self._left()


def _wake(listeners: set[asyncio.Event]) -> None:
    for listener in listeners:
        listener.set()


def _begin(tail: Tail, start: Start, open_log: Callable[[], TopicLog]) -> tuple[list[int], TopicLog | None]:
    """By partition, the first offset, and a log that reads on from there if one had to be opened. Raises PlacesError.

    The tail's own log cannot be asked: it is being read by another thread.
    """
    after = None if start.after is None else places.read(start.after, tail.log.partitions)
    if after is None and start.since is None:
        return tail.ring.places(), None
    if after is not None and tail.ring.holds(after):
        return after, None
    own = open_log()
    try:
        found = _since(own, start.since or 0) if after is None else _behind(own, after)
        own.assign(found)
    except BaseException:
        own.close()
        raise
    return found, own


def _since(own: TopicLog, time_ms: int) -> list[int]:
    return own.since(time_ms) if time_ms else [first for first, _ in own.spans()]


def _behind(own: TopicLog, after: list[int]) -> list[int]:
    for partition, (place, (_, end)) in enumerate(zip(after, own.spans(), strict=True)):
        if place > end:
            raise PlacesError(f"partition {partition} ends at {end}, before {place}: was the topic made anew?")
    return after


async def _set(event: asyncio.Event, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return


def _problem(error: BaseException, topic: str) -> BaseException:
    if isinstance(error, PlacesError):
        return Problem(400, "bad-last-event-id", f"Last-Event-ID is no place in this stream: {error}")
    if isinstance(error, CognistreamError):
        log.error("a stream of %s: %s", topic, error)
        return _away("the topic cannot be read now")
    return error


def _away(told: str) -> Problem:
    return Problem(503, "no-stream", told, headers={"Retry-After": "10"})
