"""How the gateway is served: its socket, uvicorn with limits that fit, and an end that waits for nobody for ever."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from agents.readiness import PortTaken
from agents.settings import Settings, SettingsError
from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.guard import GuardedProtocol

CONNECTIONS = 2_000
"""Requests at once beyond which the gateway answers 503."""
KEEP_ALIVE_S = 15
"""Seconds that a connection may rest between two requests."""
UNREAD_S = 60
"""Seconds that a client may leave what it is sent unread until its connection is cut."""
STOP_S = 5
"""Seconds that requests under way get when it is told to stop."""


class Server(uvicorn.Server):
    """Ends the streams when it is told to stop: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._streams = gateway.streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let what is under way end."""
        if self._streams is not None:
            self._streams.stop()
        await super().shutdown(sockets)


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


async def serve(settings: Settings, gateway: Gateway, where: socket.socket, listening: Callable[[str], None]) -> None:
    """Answer until a signal says stop; `listening` is told the address first."""
    config = serving(settings, gateway)
    host, port = where.getsockname()[:2]
    listening(f"{'https' if settings.gateway_certificate else 'http'}://{host}:{port}")
    await Server(config, gateway).serve(sockets=[where])


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
