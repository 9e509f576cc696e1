"""Reads the body of a request: so many bytes at most, within so many seconds, and only the type that is expected."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from connectors.gateway.problems import Problem

JSON: Final = "application/json"


async def body_of(request: Request, most: int, seconds: float) -> bytes:
    """The body of a JSON request. Raises Problem: 415, 413, 408, or 400 when the caller hung up."""
    media = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media != JSON:
        raise Problem(415, "not-json", f"send {JSON}, and say so in Content-Type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "encoded", "send the body as it is, without Content-Encoding")
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, most)
    except TimeoutError:
        raise Problem(408, "slow", f"the body did not come within {seconds:g} s") from None
    except ClientDisconnect:
        raise Problem(400, "cut", "the body ended early") from None


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Problem(413, "too-large", f"the body is larger than {most} bytes", headers={"Connection": "close"})
        parts.append(part)
    return b"".join(parts)
