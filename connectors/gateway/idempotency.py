"""Requests that may be sent again: the first answer to an `Idempotency-Key` is kept for a day and given again.

Meaning as in the IETF's draft (draft-ietf-httpapi-idempotency-key-header): the same key with the same body is the same
request; with another body it is a mistake (422); while the first is still under way it has to wait (409). Keys belong
to the API key that sends them.

A gateway may die between Kafka's answer and its own. So a turn has a lease, and remembers when it was first begun:
whoever takes it up again fills the events in with the same ids and times as the first did, and workers recognise what
was published twice as repeats.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from connectors.gateway.problems import Problem
from schemas.errors import CognistreamError

log = logging.getLogger(__name__)

KEPT_MS: Final = 86_400_000
"""An answer is kept for a day from the beginning of its turn."""
LEASE_MS: Final = 60_000
"""A turn that has not ended by then was its gateway's last; more than any request may take."""

Clock = Callable[[], int]
"""Milliseconds since 1970."""


class TurnsAway(CognistreamError):
    """The memory of idempotency keys does not answer: nobody can say whether a request was answered before."""


class State(IntEnum):
    """What a key stands for when it comes; the numbers are the Redis script's too."""

    NEW = 0
    RESUMED = 1
    RUNNING = 2
    OTHER = 3
    DONE = 4


class Answer(NamedTuple):
    """What was answered."""

    status: int
    body: bytes

    def packed(self) -> bytes:
        """As it is kept."""
        return b"%d\n%b" % self

    @classmethod
    def unpacked(cls, data: bytes) -> Answer:
        """What was kept."""
        status, _, body = data.partition(b"\n")
        return cls(int(status), body)


class Turn(NamedTuple):
    """A request in its place: `begun` is when its key first came, in ms since 1970; `answer` that of a DONE one."""

    state: State
    begun: int
    answer: Answer | None = None


class Turns(Protocol):
    """Where turns are remembered, by the name of their key. All methods raise TurnsAway."""

    async def begin(self, name: str, fingerprint: bytes) -> Turn:
        """The turn of a request; NEW and RESUMED ones are this caller's until the lease is over."""
        ...

    async def finish(self, name: str, fingerprint: bytes, turn: Turn, answer: Answer) -> None:
        """Keep the answer to a turn of one's own."""
        ...

    async def release(self, name: str) -> None:
        """Give a turn of one's own to whoever asks next; when it was begun stays known."""
        ...

    async def forget(self, name: str) -> None:
        """Let a turn of one's own never have been."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


def name_of(number: str, key: str) -> str:
    """The name of a key that the holder of API key `number` sent; quotes around it are its notation."""
    plain = key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key
    return f"{number}:{hashlib.sha256(plain.encode()).hexdigest()}"


def event_id(name: str, begun: int, index: int) -> str:
    """The id of an event that came without one: a UUID of version 7, the same whenever its request is taken up."""
    chance = int.from_bytes(hashlib.sha256(f"{name}/{begun}/{index}".encode()).digest()[:10])
    bits = begun << 80 | chance & ~(0xF << 76 | 0b11 << 62) | 7 << 76 | 0b10 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


async def once(
    turns: Turns, name: str, fingerprint: bytes, work: Callable[[Turn], Awaitable[Answer]]
) -> tuple[Answer, bool]:
    """The answer of `work`, or the one kept, and whether it was kept. Raises Problem: 409, 422, 503, and of `work`."""
    try:
        turn = await turns.begin(name, fingerprint)
    except TurnsAway as error:
        log.error("%s", error)
        raise away() from None
    if turn.state is State.RUNNING:
        told = "the first request with this Idempotency-Key is still under way"
        raise Problem(409, "key-in-use", told, headers={"Retry-After": "1"})
    if turn.state is State.OTHER:
        raise Problem(422, "key-reused", "this Idempotency-Key came with another body before: send a new one")
    if turn.answer is not None:
        return turn.answer, True
    return await _worked(turns, name, fingerprint, turn, work), False


def away() -> Problem:
    """503: the memory of the keys does not answer."""
    told = "whether this Idempotency-Key came before cannot be looked up now; nothing was stored"
    return Problem(503, "keys-away", told, headers={"Retry-After": "1"})


async def _worked(
    turns: Turns, name: str, fingerprint: bytes, turn: Turn, work: Callable[[Turn], Awaitable[Answer]]
) -> Answer:
    try:
        answer = await work(turn)
    except BaseException as error:
        refused = isinstance(error, Problem) and error.status < 500
        await _told(turns.forget(name) if refused and turn.state is State.NEW else turns.release(name))
        raise
    await _told(turns.finish(name, fingerprint, turn, answer))
    return answer


async def _told(change: Awaitable[None]) -> None:
    """The outcome stands whether or not it can be written down: a repeat then has the same ids as the first."""
    try:
        await change
    except TurnsAway as error:
        log.error("%s", error)
