"""Reads the body of a request: so many bytes at most, within so many seconds, and only the type that is expected."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import ClientDisconnect, Request

from connectors.gateway.problems import Problem

JSON: Final = "application/json"

_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_CLOSE: Final = {"Connection": "close"}
"""What was not read of a body is not waited for."""


def media_of(request: Request) -> str:
    """The media type of the body. Raises Problem 415 for a body that is compressed, or text other than UTF-8."""
    told = request.headers.get("content-type", "")
    charset = _CHARSET.search(told)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, "charset", "send text as UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        refusal = {"Accept-Encoding": "identity"}
        raise Problem(415, "encoded", "send the body as it is, without Content-Encoding", headers=refusal)
    return told.split(";", 1)[0].strip().lower()


async def body_of(request: Request, most: int, seconds: float) -> bytes:
    """The body of a JSON request. Raises Problem: 415, 413, 408, or 400 when the caller hung up."""
    if media_of(request) != JSON:
        raise Problem(415, "not-json", f"send {JSON}, and say so in Content-Type")
    return await read_body(request, most, seconds)


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body, whatever it is. Raises Problem: 413, 408, or 400 when the caller hung up."""
    parts, size = [], 0
    async for part in parts_of(request, seconds):
        size += len(part)
        if size > most:
            raise Problem(413, "too-large", f"the body is larger than {most} bytes", headers=_CLOSE)
        parts.append(part)
    return b"".join(parts)


async def parts_of(request: Request, seconds: float) -> AsyncIterator[bytes]:
    """The body as it comes, all of it within `seconds` that are spent waiting here. Raises Problem: 408, 400."""
    stream, left, clock = aiter(request.stream()), seconds, asyncio.get_running_loop().time
    while True:
        begun = clock()
        try:
            async with asyncio.timeout(left):
                part = await anext(stream, None)
        except TimeoutError:
            raise Problem(408, "slow", f"the body did not come within {seconds:g} s", headers=_CLOSE) from None
        except ClientDisconnect:
            raise Problem(400, "cut", "the body ended early") from None
        if part is None:
            return
        left -= clock() - begun
        yield part
