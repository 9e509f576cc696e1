"""The gateway process: follows what lanes decide, answers over HTTP, and stops when it is told to.

Put together here from the settings: the view and the keys with the threads that feed them, the limits in Redis or in
this process, the routes. It serves before it is ready: a check is denied, and /ready says what is waited for.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial

import uvloop

from agents.deciding import ids_of, policy_of
from agents.serving import bound_socket, serve
from agents.settings import Settings
from cognistream_client import ClientError
from cognistream_client import Publisher as EventPublisher
from connectors.admin import TopicAdmin
from connectors.gateway.access import Gateway
from connectors.gateway.checking import Checker
from connectors.gateway.following import Follower
from connectors.gateway.gcra import Bucket
from connectors.gateway.idempotency import Turns
from connectors.gateway.key_topic import TOPIC, KeyFollower
from connectors.gateway.keys import ApiKey, KeyRing
from connectors.gateway.limits import Limits, LimitStore
from connectors.gateway.publishing import Publishing
from connectors.gateway.redis_limits import RedisLimits
from connectors.gateway.redis_turns import RedisTurns
from connectors.gateway.rules import Rules
from connectors.gateway.sqlite_turns import SqliteTurns
from connectors.gateway.streams import Streams
from connectors.gateway.view import View
from schemas.errors import CognistreamError

SWITCH_S = 0.0005
"""Seconds that a thread which follows a topic may hold the interpreter while a check waits: Python's 5 ms are more than
a check may take."""


def run(settings: Settings, listening: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGTERM or SIGINT. `listening` is told the address. Raises CognistreamError.

    uvicorn gives the signal on when it has stopped; whoever started us sees a process that ended well.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    sys.setswitchinterval(SWITCH_S)
    uvloop.run(_serve(settings, listening))


async def _serve(settings: Settings, listening: Callable[[str], None]) -> None:
    rules = Rules.load(settings.gateway_rules) if settings.gateway_rules else Rules()
    view = View(TopicAdmin(settings.confluent(), settings.prefix).check(), policy_of(settings))
    longest = view.policy.limits.longest_throttle_s * 1000
    with ExitStack() as open_:
        where = bound_socket(settings)
        open_.callback(where.close)
        keys = open_.enter_context(KeyFollower(settings.confluent(), settings.topic(TOPIC)))
        ids = ids_of(settings)
        open_.enter_context(Follower(settings.confluent(), settings.topic, ids, view, _now_ms() - longest))
        streams = Streams(settings.confluent(), settings.topic, ids, rules.streams, _active(keys.ring))
        open_.enter_context(streams)
        async with _limits(settings, rules) as limits, _publishing(settings, rules, limits) as publishing:
            checker = Checker(view, limits, rules, _now_ms)
            gateway = Gateway(checker, keys.ring, _now_ms, partial(_waits_for, keys), publishing, streams)
            await serve(settings, gateway, where, listening)


def _waits_for(keys: KeyFollower) -> list[str]:
    return [] if keys.loaded else ["the keys of gateway.keys"]


def _active(ring: KeyRing) -> Callable[[ApiKey], bool]:
    """Whether a key that was active once still is."""
    return lambda key: ring.number(key.number).state(_now_ms()) == "active"


@asynccontextmanager
async def _limits(settings: Settings, rules: Rules) -> AsyncIterator[LimitStore]:
    url = settings.redis_url.get_secret_value()
    if not url:
        yield Limits(rules.slots)
        return
    async with RedisLimits(url, rules.slots, prefix=settings.prefix) as shared:
        yield shared


@asynccontextmanager
async def _publishing(settings: Settings, rules: Rules, limits: LimitStore) -> AsyncIterator[Publishing]:
    turns = _turns(settings)
    try:
        publisher = EventPublisher(
            settings.confluent(), prefix=settings.prefix, registry=settings.registry_url, obeys=False
        )
    except ClientError as error:
        raise CognistreamError(str(error)) from error
    try:
        yield Publishing(publisher, limits, Bucket.per_minute(rules.publishing.per_minute), turns)
    finally:
        with suppress(ClientError):  # of what failed its callers were told
            await asyncio.to_thread(publisher.close)
        await turns.aclose()


def _turns(settings: Settings) -> Turns:
    """Idempotency keys live where the limits do; without Redis in a file, so that a gateway may start anew."""
    url = settings.redis_url.get_secret_value()
    if url:
        return RedisTurns(url, prefix=settings.prefix)
    return SqliteTurns(settings.state / "gateway" / f"{settings.prefix or 'live'}-turns.sqlite")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
