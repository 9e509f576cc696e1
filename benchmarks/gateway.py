"""`python -m benchmarks.gateway`: how long a check takes at a given rate, beside an endpoint that does nothing.

Both are routes of one application in a process of its own, served as `agents.gateway` serves, asked over loopback by
`benchmarks.load`: open loop, time from when a request was due. The view is given, not followed; limits are the
process's, or those of a Redis (`--redis redis://127.0.0.1:6379/0`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import time
from typing import Any

import numpy as np
import psutil
import uvicorn
import uvloop

from benchmarks.load import Load, Loaded
from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.checking import Checker
from connectors.gateway.keys import KeyRing, make
from connectors.gateway.limits import Limits
from connectors.gateway.redis_limits import RedisLimits
from connectors.gateway.rules import Rules
from connectors.gateway.view import View
from streams.policy import Policy

AGENTS = 10_000
WARM_UP = 0.2
"""Part of the requests at the beginning that is not counted."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def view() -> View:
    """`AGENTS` agents of T5, fresh for ever."""
    made, at = View(1, Policy()), now_ms()
    for number in range(AGENTS):
        level = {"points": 950_000, "last_activity": at, "tier": "T5", "since": at, "status": "active"}
        made.take_level(b"acme/agent-%d" % number, 0, {**level, "observability": "verified", "why": "trust_signal"})
    made.take_tick(0, at + 3_600_000, made.policy.version)
    return made


def serve(where: socket.socket, ring: KeyRing, redis: str | None) -> None:
    """The application, and beside its routes POST /bare, which reads a body and answers."""
    rules = Rules.parse("[plans]\nper_minute = {core = 1000000}")
    limits = RedisLimits(redis, prefix=f"bench-{now_ms()}") if redis else Limits()
    app = app_of(Gateway(Checker(view(), limits, rules, now_ms), ring, now_ms))

    @app.post("/bare")
    async def bare(body: dict[str, Any]) -> dict[str, Any]:
        return body

    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, proxy_headers=False)
    uvloop.run(uvicorn.Server(config).serve(sockets=[where]))


def measured(port: int, path: str, key: str, rate: float, count: int) -> Loaded:
    """`count` requests to `path`, `rate` a second."""
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    told = f"{head}Authorization: Bearer {key}\r\nContent-Length: ".encode()

    def request(number: int) -> bytes:
        body = b'{"agent": "acme/agent-%d", "action": "comm:internal/chat"}' % (number % AGENTS)
        return b"%s%d\r\n\r\n%s" % (told, len(body), body)

    def accept(answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200") or (path == "/v1/check" and b'"ALLOW"' not in answer):
            raise SystemExit(f"{path}: {answer.decode()}")

    load = Load(port, request, accept)
    try:
        return load.run(rate, count)
    finally:
        load.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--rate", type=float, default=2_000, help="requests a second (2,000)")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of each measurement (10)")
    parser.add_argument("--rounds", type=int, default=1, help="times that both are measured, in turns (1)")
    parser.add_argument("--redis", metavar="URL", help="measure with limits in this Redis")
    given = parser.parse_args()
    where, ring = socket.create_server(("127.0.0.1", 0), backlog=128), KeyRing()
    text, key = make("bench", "acme", ("check",), (), now_ms())
    ring.take(key)
    server = multiprocessing.get_context("fork").Process(target=serve, args=(where, ring, given.redis), daemon=True)
    server.start()
    try:
        process, count = psutil.Process(server.pid), int(given.rate * given.seconds)
        for path in ("/bare", "/v1/check") * given.rounds:
            before = process.cpu_times()
            loaded = measured(where.getsockname()[1], path, text, given.rate, count)
            after = process.cpu_times()
            cpu = (after.user + after.system - before.user - before.system) * 1e6 / count
            print(f"{path:<10} {_line(loaded, count)}   server {cpu:.0f} us of CPU a request", flush=True)
    finally:
        server.terminate()
        server.join()


def _line(loaded: Loaded, count: int) -> str:
    told = "   ".join(f"{name} {ms:.2f} ms" for name, ms in loaded.percentiles(WARM_UP).items())
    late = float(np.percentile(loaded.late[int(count * WARM_UP) :], 99))
    return f"{told}   {count / loaded.seconds:,.0f} a second   sent late p99 {late:.2f} ms"


if __name__ == "__main__":
    main()
