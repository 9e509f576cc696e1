"""HTTP/1.1 of uvicorn with the limits that it has not: on how long a request's head may take, and how large it may be.

uvicorn closes a connection that rests, and the routes bound bodies. Between the two anybody could send a head for ever,
byte by byte, or one without end, before a key was looked at. So from the first byte, or from the connection, until a
head is whole there is a clock and a count; the same clock runs while a body is sent on that was answered already.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connectors.gateway.problems import MEDIA_TYPE, Problem

HEAD_S: Final = 10.0
"""Seconds within which the head of a request must have come."""
HEAD_BYTES: Final = 32 << 10
"""Largest head; what came with it in the same read may be more."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    head_s: float = HEAD_S

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._clock: asyncio.TimerHandle | None = None
        self._in_head, self._head_bytes = True, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wind()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._unwind()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, within the limits."""
        if self._clock is None and (self.cycle is None or self.cycle.response_complete):
            self._wind()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(Problem(431, "head-too-large", f"the head is larger than {HEAD_BYTES} bytes"))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._unwind()
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next head may begin."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """What is no HTTP is told as all other mistakes are."""
        self._refuse(Problem(400, "not-http", "not a request of HTTP/1.1"))

    def _wind(self) -> None:
        self._clock = self.loop.call_later(self.head_s, self._late)

    def _unwind(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._refuse(Problem(408, "slow", f"the head did not come within {self.head_s:g} s"))

    def _refuse(self, problem: Problem) -> None:
        """Tell it, unless something else is being answered or was, and close."""
        self._unwind()
        if self.cycle is None or (self.cycle.response_complete and self._in_head):
            self.transport.write(_bytes(problem))
        self.transport.close()


def _bytes(problem: Problem) -> bytes:
    details = problem.details()
    body = json.dumps(details).encode()
    head = f"HTTP/1.1 {problem.status} {details['title']}\r\nContent-Type: {MEDIA_TYPE}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
