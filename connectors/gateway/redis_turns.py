"""Idempotency keys that several gateways share, in Redis: one script, run by the server, gives out each turn."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from connectors.gateway.idempotency import KEPT_MS, LEASE_MS, Answer, Clock, State, Turn, TurnsAway
from connectors.gateway.redis_link import ANSWER_S, answered, connect

_SCRIPT: Final = Path(__file__).with_name("begin_turn.lua").read_text(encoding="utf-8")


class RedisTurns:
    """The turns of all gateways that use this Redis and this prefix; `clock` stands in for the server's."""

    def __init__(self, url: str, *, prefix: str = "", clock: Clock | None = None, answer_s: float = ANSWER_S) -> None:
        self._clock, self._answer_s = clock, answer_s
        self._prefix = f"{prefix}." if prefix else ""
        self._redis = connect(url, answer_s)
        self._script = self._redis.register_script(_SCRIPT)

    async def begin(self, name: str, fingerprint: bytes) -> Turn:
        """The turn of a request; NEW and RESUMED ones are this caller's until the lease is over."""
        now = self._clock() if self._clock else 0
        async with self._answered():
            told = await self._script([self._key(name)], [fingerprint, LEASE_MS, KEPT_MS, now])
        state, begun, kept = State(told[0]), int(told[1]), bytes(told[2])
        return Turn(state, begun, Answer.unpacked(kept) if state is State.DONE else None)

    async def finish(self, name: str, fingerprint: bytes, turn: Turn, answer: Answer) -> None:
        """Keep the answer to a turn of one's own."""
        row: dict[Any, Any] = {"fingerprint": fingerprint, "begun": turn.begun, "leased": 0, "answer": answer.packed()}
        await self._write(name, row)

    async def release(self, name: str) -> None:
        """Give a turn of one's own to whoever asks next; when it was begun stays known."""
        await self._write(name, {"leased": 0})

    async def forget(self, name: str) -> None:
        """Let a turn of one's own never have been."""
        async with self._answered():
            await self._redis.delete(self._key(name))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _write(self, name: str, row: dict[Any, Any]) -> None:
        async with self._answered(), self._redis.pipeline() as both:
            both.hset(self._key(name), mapping=row)
            both.pexpire(self._key(name), KEPT_MS)
            await both.execute()

    def _answered(self) -> AbstractAsyncContextManager[None]:
        return answered(self._answer_s, TurnsAway, "the idempotency keys")

    def _key(self, name: str) -> str:
        return f"{self._prefix}cognistream:turn:{name}"
