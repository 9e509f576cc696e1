"""The worker's port on loopback: is it alive, is it ready, and the metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.errors import CognistreamError

Status = Callable[[], dict[str, Any]]
"""What the worker says of itself; its entry "ready" decides the answer of /ready."""


class PortTaken(CognistreamError):
    """The port cannot be listened on."""


class Readiness:
    """Serves /live (200 while the event loop turns), /ready (200 or 503, JSON) and /metrics."""

    def __init__(self, host: str, port: int, status: Status) -> None:
        self._host, self._port, self._status = host, port, status
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; answers the port."""
        application = web.Application()
        application.add_routes(
            [web.get("/live", self._live), web.get("/ready", self._ready), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            raise PortTaken(
                f"cannot listen on {self._host}:{self._port} ({error.strerror}). Set COGNISTREAM_PORT to another one, "
                "or to 0 for any."
            ) from None
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        status = self._status()
        return web.json_response(status, status=200 if status["ready"] else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        self._status()  # sets the gauges
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
