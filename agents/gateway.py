"""The gateway process: follows what lanes decide, answers over HTTP, and stops when it is told to.

Put together here from the settings: the view and the keys with the threads that feed them, the limits in Redis or in
this process, the routes. It serves before it is ready: a check is denied, and /ready says what is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

import uvicorn

from agents.deciding import ids_of, policy_of
from agents.readiness import PortTaken
from agents.settings import Settings, SettingsError
from cognistream_client import ClientError
from cognistream_client import Publisher as EventPublisher
from connectors.admin import TopicAdmin
from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.checking import Checker
from connectors.gateway.following import Follower
from connectors.gateway.gcra import Bucket
from connectors.gateway.guard import GuardedProtocol
from connectors.gateway.idempotency import Turns
from connectors.gateway.key_topic import TOPIC, KeyFollower
from connectors.gateway.limits import Limits, LimitStore
from connectors.gateway.publishing import Publishing
from connectors.gateway.redis_limits import RedisLimits
from connectors.gateway.redis_turns import RedisTurns
from connectors.gateway.rules import Rules
from connectors.gateway.sqlite_turns import SqliteTurns
from connectors.gateway.view import View
from schemas.errors import CognistreamError

log = logging.getLogger(__name__)

CONNECTIONS = 2_000
"""Requests at once beyond which the gateway answers 503."""
KEEP_ALIVE_S = 15
"""Seconds that a connection may rest between two requests."""
STOP_S = 5
"""Seconds that requests under way get when it is told to stop."""


def run(settings: Settings, listening: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGTERM or SIGINT. `listening` is told the address. Raises CognistreamError.

    uvicorn gives the signal on when it has stopped; whoever started us sees a process that ended well.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    asyncio.run(_serve(settings, listening))


async def _serve(settings: Settings, listening: Callable[[str], None]) -> None:
    rules = Rules.load(settings.gateway_rules) if settings.gateway_rules else Rules()
    view = View(TopicAdmin(settings.confluent(), settings.prefix).check(), policy_of(settings))
    longest = view.policy.limits.longest_throttle_s * 1000
    with ExitStack() as open_:
        where = _socket(settings)
        open_.callback(where.close)
        keys = open_.enter_context(KeyFollower(settings.confluent(), settings.topic(TOPIC)))
        ids = ids_of(settings)
        open_.enter_context(Follower(settings.confluent(), settings.topic, ids, view, _now_ms() - longest))
        async with _limits(settings, rules) as limits, _publishing(settings, rules, limits) as publishing:
            checker = Checker(view, limits, rules, _now_ms)
            waits_for = lambda: [] if keys.loaded else ["the keys of gateway.keys"]  # noqa: E731
            gateway = Gateway(checker, keys.ring, _now_ms, waits_for, publishing)
            await _answer(settings, gateway, where, listening)


async def _answer(settings: Settings, gateway: Gateway, where: socket.socket, listening: Callable[[str], None]) -> None:
    config = serving(settings, gateway)
    host, port = where.getsockname()[:2]
    listening(f"{'https' if settings.gateway_certificate else 'http'}://{host}:{port}")
    await uvicorn.Server(config).serve(sockets=[where])


def serving(settings: Settings, gateway: Gateway) -> uvicorn.Config:
    """How the gateway is served. Raises SettingsError for files of TLS that do not fit."""
    config = uvicorn.Config(
        app_of(gateway),
        http=GuardedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOP_S,
        ssl_certfile=settings.gateway_certificate,
        ssl_keyfile=settings.gateway_key,
    )
    names = "COGNISTREAM_GATEWAY_CERTIFICATE and COGNISTREAM_GATEWAY_KEY"
    if (settings.gateway_certificate is None) != (settings.gateway_key is None):
        raise SettingsError(f"{names} belong together: give both, or none for plain HTTP")
    try:
        config.load()
    except OSError as error:
        raise SettingsError(f"{names} cannot be used: {error}") from None
    return config


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
        publisher = EventPublisher(settings.confluent(), prefix=settings.prefix, registry=settings.registry_url)
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


def _socket(settings: Settings) -> socket.socket:
    try:
        return socket.create_server((settings.gateway_host, settings.gateway_port), backlog=CONNECTIONS)
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {settings.gateway_host}:{settings.gateway_port} ({error.strerror}). Set "
            "COGNISTREAM_GATEWAY_PORT to another one, or to 0 for any."
        ) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
