"""The gateway's routes on a real socket, in a thread of the test, and a reader of server-sent events."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from agents.serving import Server, bound_socket, serving
from agents.settings import Settings
from connectors.gateway.access import Gateway
from connectors.gateway.streams import Streams

from .test_gateway_view import until


@dataclass(frozen=True)
class Event:
    """A server-sent event; `data` is its JSON."""

    id: str
    name: str
    data: dict[str, Any]

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset."""
        return self.data["partition"], self.data["offset"]


@dataclass
class Served:
    """A gateway that answers at `url`; `stop` ends it as a signal does."""

    url: str
    streams: Streams
    server: Server

    def stop(self) -> None:
        self.server.should_exit = True

    @contextmanager
    def listening(
        self, topic: str, key: str, last: str | None = None, timeout: float = 20, **query: str
    ) -> Iterator[Listener]:
        """An answer to GET /v1/streams/TOPIC that has begun."""
        headers = {"Authorization": f"Bearer {key}"} | ({} if last is None else {"Last-Event-ID": last})
        where = f"{self.url}/v1/streams/{topic}"
        with httpx.stream("GET", where, params=query, headers=headers, timeout=timeout) as answer:
            listener = Listener(answer)  # kept here: an answer whose reader is forgotten is closed
            yield listener


class Listener:
    """Reads events from an answer; `id` is the last one, of events and of beats."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer, self.id = answer, ""
        if answer.status_code != 200:
            answer.read()
            return
        self._events = self._parsed(answer.iter_lines())
        assert next(self._events) is None  # where it begins

    def next(self, count: int) -> list[Event]:
        """The next `count` events."""
        found: list[Event] = []
        while len(found) < count:
            event = next(self._events)
            found += [] if event is None else [event]
        return found

    def rest(self) -> list[Event]:
        """All events until the stream ends."""
        return [event for event in self._events if event is not None]

    def _parsed(self, lines: Iterator[str]) -> Iterator[Event | None]:
        """Event by event as the HTML standard reads them; None for one without data."""
        fields: dict[str, str] = {}
        for line in lines:
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            self.id = fields.get("id", self.id)
            data = fields.get("data")
            yield None if data is None else Event(self.id, fields.get("event", "message"), json.loads(data))
            fields = {}


@contextmanager
def served(settings: Settings, made: Callable[[], tuple[Gateway, Streams]]) -> Iterator[Served]:
    """The gateway of `made` on a free port for as long as the block lasts."""
    gateway, streams = made()
    where = bound_socket(settings)
    server = Server(serving(settings, gateway), gateway)

    async def run() -> None:
        with streams:
            await server.serve(sockets=[where])

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        until(lambda: server.started)
        yield Served(f"http://127.0.0.1:{where.getsockname()[1]}", streams, server)
    finally:
        server.should_exit = True
        thread.join()
        where.close()
