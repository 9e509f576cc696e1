"""An open-loop load of HTTP requests: due at fixed times, whatever the answers do, on connections that stay open.

The time of a request counts from when it was due, not from when it was sent (so there is no coordinated omission): a
server that falls behind is not asked less, and what waits for a free connection has begun. One thread watches clock and
sockets and rests for moments only, which costs most of a core and keeps the load's own lateness small; it is told too.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

REST = 30e-6
"""Seconds of a rest when nothing is due and nothing came."""

Times = NDArray[np.float64]


@dataclass
class Loaded:
    """Milliseconds of each request: `taken` from due to answered, `late` from due to sent."""

    taken: Times
    late: Times
    seconds: float

    def percentiles(self, skip: float) -> dict[str, float]:
        """Of all but the first part `skip`, by name."""
        counted = self.taken[int(len(self.taken) * skip) :]
        named = zip(("p50", "p99", "p99.9"), np.percentile(counted, (50, 99, 99.9)), strict=True)
        return {name: float(value) for name, value in named}


@dataclass
class _Connection:
    socket: socket.socket
    number: int = -1
    parts: bytearray = field(default_factory=bytearray)


class Load:
    """`count` requests, `rate` a second, to a port of loopback on so many `connections`.

    `request` gives the bytes of a request by its number; `accept` is given each answer whole and raises if it is wrong.
    """

    def __init__(
        self, port: int, request: Callable[[int], bytes], accept: Callable[[bytes], None], connections: int = 32
    ) -> None:
        self._request, self._accept = request, accept
        self._poll = select.epoll()
        self._open = {}
        for _ in range(connections):
            made = _Connection(socket.create_connection(("127.0.0.1", port)))
            made.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.socket.setblocking(False)
            self._open[made.socket.fileno()] = made
            self._poll.register(made.socket, select.EPOLLIN)
        self._free = deque(self._open.values())

    def run(self, rate: float, count: int) -> Loaded:
        """Send them all, and wait for all answers."""
        taken, late = np.zeros(count), np.zeros(count)
        begun = time.perf_counter() + 0.05
        sent = answered = 0
        while answered < count:
            now, before = time.perf_counter(), sent + answered
            while sent < count and self._free and begun + sent / rate <= now:
                late[sent] = now - begun - sent / rate
                self._send(self._free.popleft(), sent)
                sent += 1
            for number in self._answers():
                taken[number] = time.perf_counter() - begun - number / rate
                answered += 1
            if sent + answered == before:
                time.sleep(REST)
        return Loaded(taken * 1000, late * 1000, time.perf_counter() - begun)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._open.values():
            connection.socket.close()
        self._poll.close()

    def _send(self, connection: _Connection, number: int) -> None:
        connection.number = number
        connection.socket.sendall(self._request(number))

    def _answers(self) -> list[int]:
        done = []
        for descriptor, _ in self._poll.poll(0):
            connection = self._open[descriptor]
            connection.parts += connection.socket.recv(65_536)
            if _whole(connection.parts):
                self._accept(bytes(connection.parts))
                connection.parts.clear()
                self._free.append(connection)
                done.append(connection.number)
        return done


def _whole(answer: bytearray) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)
