"""What `publish` gives back: a handle by which a service learns what became of its event.

A handle is done when Kafka has acknowledged the event on all replicas, when the event lies fsynced in the spool, or
when it failed. Waiting is shared: handles are made by the hundred thousand, so they carry no lock of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, overload

from .consequence import Consequence
from .errors import ClientError

Headers = dict[str, str | bytes | None]
"""As confluent-kafka takes them; a dictionary, so that the garbage collector has one thing to look at and not eight."""


class Parcel(NamedTuple):
    """An event as it travels: `timestamp` in ms since 1970, `topic` with its prefix."""

    topic: str
    key: bytes
    value: bytes
    timestamp: int
    headers: Headers


_GONE: Final = Parcel("", b"", b"", 0, {})
"""What a handle that is done holds in place of its event."""


_log = logging.getLogger(__name__)


_BEAT: Final = 0.001
"""Seconds after which an event loop that waits takes in what Kafka answered."""


class Fates:
    """Where all handles of a publisher are waited for. `serve` takes in what Kafka answered meanwhile."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiters = 0
        self.serve: Callable[[], None] = lambda: None
        self._awaiting: Counter[asyncio.AbstractEventLoop] = Counter()
        """How many wait in each loop; 0 until its last beat."""

    def tell(self) -> None:
        """Wake whoever waits; costs nothing when nobody does."""
        if self.waiters:
            with self.changed:
                self.changed.notify_all()

    def wait(self, until: Callable[[], bool], timeout: float | None) -> bool:
        """Whether `until` came true within `timeout` seconds."""
        with self.changed:
            self.waiters += 1
            try:
                return self.changed.wait_for(until, timeout)
            finally:
                self.waiters -= 1

    @contextmanager
    def awaited(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Answers are taken in by the loop that waits for them: another thread would have to get the interpreter's
        lock from it for each, which takes milliseconds while the loop is busy.
        """
        if loop not in self._awaiting:
            for closed in [one for one in self._awaiting if one.is_closed()]:
                del self._awaiting[closed]
            loop.call_later(_BEAT, self._beat, loop)
        self._awaiting[loop] += 1
        try:
            yield
        finally:
            self._awaiting[loop] -= 1

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._awaiting[loop]:
            del self._awaiting[loop]
            return
        loop.call_later(_BEAT, self._beat, loop)
        self.serve()


class Handle:
    """One event that was published. Awaitable; safe to use from any thread."""

    __slots__ = (
        "_callbacks", "_done", "_fates", "consequence", "error", "event_id", "number", "offset", "paced", "parcel",
        "partition", "spooled",
    )  # fmt: skip
    resent = False

    def __init__(
        self, fates: Fates, event_id: str, parcel: Parcel, consequence: Consequence = Consequence.NORMAL
    ) -> None:
        self.event_id = event_id
        self.error: ClientError | None = None
        """Why it failed, None while it did not."""
        self.partition: int | None = None
        """Where Kafka keeps it; None before that, and for an event in the spool."""
        self.offset: int | None = None
        self.spooled = False
        """Whether it lies in the spool, to be sent when Kafka is back."""
        self.parcel = parcel
        self.consequence = consequence
        self.number = 0
        """Its place among all events of the publisher."""
        self.paced = False
        """Whether it waited for its turn."""
        self._fates = fates
        self._done = False
        self._callbacks: list[Callable[[Handle], object]] | None = None

    @property
    def done(self) -> bool:
        """Whether its fate is known."""
        return self._done

    def wait(self, timeout: float | None = None) -> Handle:
        """Itself, once it is done. Raises why it failed, TimeoutError after `timeout` seconds."""
        if not self._done and not self._fates.wait(lambda: self._done, timeout):
            raise TimeoutError(f"event {self.event_id} is neither acknowledged nor spooled after {timeout} s")
        if self.error is not None:
            raise self.error
        return self

    def add_done_callback(self, call: Callable[[Handle], object]) -> None:
        """Have `call` called with the handle when it is done, in any thread; at once if it is. It must not wait."""
        with self._fates.changed:
            self._callbacks = [*(self._callbacks or ()), call]
        if self._done:
            self._call_back()

    def __await__(self) -> Generator[Any, None, Handle]:
        if not self._done:
            loop = asyncio.get_running_loop()
            told: asyncio.Future[None] = loop.create_future()
            self.add_done_callback(lambda _: _tell(loop, told))
            with self._fates.awaited(loop):
                yield from told
        return self.wait()

    def settle(self, error: ClientError | None = None) -> None:
        """Make it done; for the publisher."""
        self.error = error
        self.parcel = _GONE
        self._done = True
        if self._callbacks is not None:
            self._call_back()

    def _call_back(self) -> None:
        with self._fates.changed:
            calls, self._callbacks = self._callbacks or [], None
        for call in calls:
            try:
                call(self)
            except Exception:  # the thread that calls serves all other events too
                _log.exception("a callback of event %s failed", self.event_id)


class Handles(Sequence[Handle]):
    """The handles of one `publish_many`, in the order of its events. Awaitable."""

    def __init__(self, handles: Iterable[Handle]) -> None:
        self._handles = tuple(handles)

    @overload
    def __getitem__(self, index: int) -> Handle: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Handle]: ...

    def __getitem__(self, index: int | slice) -> Handle | Sequence[Handle]:
        return self._handles[index]

    def __len__(self) -> int:
        return len(self._handles)

    @property
    def done(self) -> bool:
        """Whether all fates are known."""
        return all(handle.done for handle in self._handles)

    @property
    def failed(self) -> list[Handle]:
        """Those that failed so far."""
        return [handle for handle in self._handles if handle.error is not None]

    def wait(self, timeout: float | None = None) -> Handles:
        """Itself, once all are done. Raises why the first of them failed, TimeoutError after `timeout` seconds each."""
        for handle in self._handles:
            handle.wait(timeout)
        return self

    def __await__(self) -> Generator[Any, None, Handles]:
        for handle in self._handles:
            yield from handle.__await__()
        return self


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Future[None]) -> None:
    def resolve() -> None:
        if not told.done():
            told.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
