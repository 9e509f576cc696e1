"""The gateway over HTTP: asking before acting, and what is known of an agent, for services in any language.

Every route under /v1 wants a key (`Authorization: Bearer csk_...`) of the tenant that it asks about. A check is
answered with 200 whatever the decision is: being told no is an answer. All else is problem details. This module puts
the groups of routes together, each of which has a module of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from connectors.gateway import agent_routes, checks, events_routes, standing, stream_routes
from connectors.gateway.access import Gateway
from connectors.gateway.problems import Problem, fault, wrong


def app_of(gateway: Gateway) -> FastAPI:
    """The ASGI application."""
    app = checks.ShortWay(
        title="cognistream gateway", version="1", docs_url=None, redoc_url=None, redirect_slashes=False
    )
    _problems(app)
    app.check = checks.check_of(gateway)
    app.include_router(checks.router_of(gateway))
    app.include_router(agent_routes.router_of(gateway))
    if gateway.publishing is not None:
        app.include_router(events_routes.router_of(gateway, gateway.publishing))
    if gateway.streams is not None:
        app.include_router(stream_routes.router_of(gateway, gateway.streams))
    app.include_router(standing.router_of(gateway))
    return app


def _problems(app: FastAPI) -> None:
    """Every way in which a request can fail ends in problem details."""

    def told(of: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handler(_: Request, error: Exception) -> Response:
            return of(error).response()

        return handler

    def in_path(error: RequestValidationError) -> Problem:
        return wrong([("/" + "/".join(map(str, one["loc"][1:])), one["msg"]) for one in error.errors()])

    def of_status(error: HTTPException) -> Problem:
        return Problem(error.status_code, "http", error.detail, headers=error.headers)

    app.add_exception_handler(Problem, told(lambda error: error))
    app.add_exception_handler(RequestValidationError, told(in_path))
    app.add_exception_handler(HTTPException, told(of_status))
    app.add_exception_handler(Exception, told(lambda _: fault()))
