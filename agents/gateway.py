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
from contextlib import ExitStack, asynccontextmanager

import uvicorn

from agents.deciding import ids_of, policy_of
from agents.readiness import PortTaken
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.checking import Checker
from connectors.gateway.following import Follower
from connectors.gateway.key_topic import TOPIC, KeyFollower
from connectors.gateway.limits import Limits, LimitStore
from connectors.gateway.redis_limits import RedisLimits
from connectors.gateway.rules import Rules
from connectors.gateway.view import View

log = logging.getLogger(__name__)

CONNECTIONS = 2_000
"""Requests at once beyond which the gateway answers 503."""
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
        async with _limits(settings, rules) as limits:
            checker = Checker(view, limits, rules, _now_ms)
            gateway = Gateway(checker, keys.ring, _now_ms, lambda: [] if keys.loaded else ["the keys of gateway.keys"])
            await _answer(settings, gateway, where, listening)


async def _answer(settings: Settings, gateway: Gateway, where: socket.socket, listening: Callable[[str], None]) -> None:
    config = uvicorn.Config(
        app_of(gateway),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOP_S,
        ssl_certfile=settings.gateway_certificate,
        ssl_keyfile=settings.gateway_key,
    )
    host, port = where.getsockname()[:2]
    listening(f"{'https' if settings.gateway_certificate else 'http'}://{host}:{port}")
    await uvicorn.Server(config).serve(sockets=[where])


@asynccontextmanager
async def _limits(settings: Settings, rules: Rules) -> AsyncIterator[LimitStore]:
    url = settings.redis_url.get_secret_value()
    if not url:
        yield Limits(rules.slots)
        return
    async with RedisLimits(url, rules.slots, prefix=settings.prefix) as shared:
        yield shared


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
