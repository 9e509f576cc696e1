"""Produce requests put together once, where aiokafka copies every record batch nine times.

aiokafka joins a request from the inside out: partition, topic, list of topics, request, header, size, each a new string
of all bytes so far, on the event loop and with the interpreter's lock held. With requests of ten megabytes that was a
fifth of a busy worker's processor time. Here the parts stay apart until the connection adds the size in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.types import Int16, Int32, String

Part = bytes | memoryview
_STRING = String("utf-8")
_UNJOINED_SINCE = 3
"""Version of the request from which on it begins with the transactional id."""


class Body:
    """An encoded request as its parts. `header + body` and then `size + that` is what aiokafka does with it."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)

    def __radd__(self, header: bytes) -> Headed:
        return Headed([header, *self.parts])


class Headed(Body):
    """The request with its header, of which the connection asks the length before it adds that in front."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __radd__(self, size: bytes) -> Any:
        # A view: what the socket does not take at once is cut off without a copy.
        return memoryview(b"".join([size, *self.parts]))


def encode(transactional_id: str | None, acks: int, timeout: int, topics: Sequence[Any]) -> Body:
    """A produce request from version 3 on; `topics` are (name, [(partition, record batch)])."""
    parts: list[Part] = [
        _STRING.encode(transactional_id) + Int16.encode(acks) + Int32.encode(timeout) + Int32.encode(len(topics))
    ]
    for name, partitions in topics:
        parts.append(_STRING.encode(name) + Int32.encode(len(partitions)))
        for partition, batch in partitions:
            parts += [Int32.encode(partition) + Int32.encode(len(batch)), batch]
    return Body(parts)


class UnjoinedRequest(ProduceRequest):  # type: ignore[misc]
    """aiokafka's request, encoded in parts."""

    def build(self, kind: Any) -> Any:
        """The request of the version that the broker takes."""
        struct = super().build(kind)
        if kind.API_VERSION >= _UNJOINED_SINCE:
            struct.encode = lambda: encode(self._transactional_id, self._required_acks, self._timeout, self._topics)
        return struct
