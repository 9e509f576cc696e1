"""The gateway process: follows what lanes decide, answers over HTTP, and stops when it is told to.

Put together here from the settings: the view and the keys with the threads that feed them, the limits in Redis or in
this process, the routes. It serves before it is ready: a check is denied, and /ready says what is waited for.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import uvicorn
import uvloop

from agents.deciding import ids_of, policy_of
from agents.readiness import PortTaken
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.checking import Checker
from connectors.gateway.following import Follower
from connectors.gateway.key_topic import TOPIC, KeyFollower
from connectors.gateway.keys import ApiKey, KeyRing
from connectors.gateway.limits import Limits, LimitStore
from connectors.gateway.redis_limits import RedisLimits
from connectors.gateway.rules import Rules
from connectors.gateway.streams import Streams
from connectors.gateway.view import View

log = logging.getLogger(__name__)

CONNECTIONS = 2_000
"""Requests at once beyond which the gateway answers 503."""
SWITCH_S = 0.0005
"""Seconds that a thread which follows a topic may hold the interpreter while a check waits: Python's 5 ms are more than
a check may take."""
UNREAD_S = 60
"""Seconds that a client may leave what it is sent unread until its connection is cut."""
STOP_S = 5
"""Seconds that requests under way get when it is told to stop."""


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
        async with _limits(settings, rules) as limits:
            checker = Checker(view, limits, rules, _now_ms)
            with Streams(settings.confluent(), settings.topic, ids, rules.streams, _active(keys.ring)) as streams:
                waits = partial(_waits_for, keys)
                gateway = Gateway(checker, keys.ring, _now_ms, waits, streams=streams)
                await _answer(settings, gateway, streams, where, listening)


class Server(uvicorn.Server):
    """Ends the streams when it is told to stop: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let what is under way end."""
        self._streams.stop()
        await super().shutdown(sockets)


async def _answer(
    settings: Settings, gateway: Gateway, streams: Streams, where: socket.socket, listening: Callable[[str], None]
) -> None:
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
    await Server(config, streams).serve(sockets=[where])


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


def bound_socket(settings: Settings) -> socket.socket:
    """What the gateway listens on. Raises PortTaken."""
    try:
        where = socket.create_server((settings.gateway_host, settings.gateway_port), backlog=CONNECTIONS)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections have it from the socket that they came by
            where.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_S * 1000)
        return where
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {settings.gateway_host}:{settings.gateway_port} ({error.strerror}). Set "
            "COGNISTREAM_GATEWAY_PORT to another one, or to 0 for any."
        ) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
