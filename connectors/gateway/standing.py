"""Routes by which the gateway itself is watched; they want no key and tell nothing of any agent."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from connectors.gateway.access import Gateway
from connectors.gateway.bodies import JSON
from connectors.gateway.messages import Health


def router_of(gateway: Gateway) -> APIRouter:
    """GET /health, /ready and /metrics."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "ok"}

    @router.get("/ready", response_model=Health, responses={503: {"model": Health}})
    async def ready() -> Response:
        """Whether checks can be answered with anything but a denial."""
        found = await gateway.health()
        return Response(found.model_dump_json(), 200 if found.ready else 503, media_type=JSON)

    @router.get("/metrics", response_class=Response)
    async def measured() -> Response:
        """For Prometheus."""
        gateway.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
