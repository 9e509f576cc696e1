"""The line to a Redis that several gateways share: how it is reached, and how long one waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from schemas.errors import CognistreamError

ANSWER_S: Final = 0.25
"""Seconds within which Redis answers, or is away."""


def connect(url: str, answer_s: float) -> Redis:
    """A client of the Redis at `url`; it connects when it is asked. Raises CognistreamError for what is no address."""
    # One more try at once: a connection that lay idle may have been closed by the other side.
    try:
        return Redis.from_url(url, socket_connect_timeout=answer_s, retry=Retry(NoBackoff(), 1))
    except ValueError:  # what it says may hold a password, as the address may
        raise CognistreamError("REDIS_URL is no address of a Redis: write redis://HOST:PORT/0") from None


@asynccontextmanager
async def answered(answer_s: float, away: type[CognistreamError], what: str) -> AsyncIterator[None]:
    """Within the time for an answer; whatever keeps the Redis of `what` from it is `away`."""
    try:
        async with asyncio.timeout(answer_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        told = str(error) or type(error).__name__
        message = f"the Redis of {what} does not answer ({told}): look whether it runs and is reached"
        raise away(message) from error
