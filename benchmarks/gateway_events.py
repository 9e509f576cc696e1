"""`python -m benchmarks.gateway_events`: events a second that the gateway takes, in batches, beside a bare endpoint.

Both are routes of one application in a process of its own, asked over loopback on connections that stay open, each with
the next batch as soon as the last is answered. The bare one reads the same JSON into lists and dictionaries and answers
with as many bytes; it is what the framework costs. The gateway checks the events, writes them and waits until a real
Kafka has acknowledged them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path

import psutil
import uvicorn
from fastapi import Request, Response
from pydantic_core import from_json

from benchmarks.gateway import now_ms, view
from cognistream_client import Publisher
from connectors.admin import TopicAdmin
from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.checking import Checker
from connectors.gateway.gcra import Bucket
from connectors.gateway.guard import GuardedProtocol
from connectors.gateway.keys import KeyRing, make
from connectors.gateway.limits import Limits
from connectors.gateway.publishing import Publishing
from connectors.gateway.rules import Rules
from connectors.gateway.sqlite_turns import SqliteTurns
from connectors.local_kafka import borrowed_kafka
from connectors.state_folder import state_folder
from schemas.topics import SOURCE_TOPICS

PREFIX = "bench-gateway"
CONNECTIONS = 8
BATCH = 100
WARM_UP_S = 1.0


def batch(first: int) -> bytes:
    """A body of `BATCH` events of as many agents."""
    told = {
        "event_type": "execution_completed", "risk": "medium", "action": "data:read/internal", "model": "large-3",
        "component": "executor", "duration_ms": 812.5, "tokens_out": 310, "cost_usd": 0.0125, "user_facing": True,
    }  # fmt: skip
    return json.dumps([{**told, "agent_id": f"agent-{first + i}", "tokens_in": i} for i in range(BATCH)]).encode()


def serve(where: socket.socket, ring: KeyRing, bootstrap: str) -> None:
    """The application, and beside its routes POST /bare."""
    with tempfile.TemporaryDirectory() as folder:
        turns = SqliteTurns(Path(folder) / "turns.sqlite")
        publisher = Publisher(bootstrap, prefix=PREFIX)
        publishing = Publishing(publisher, Limits(), Bucket.per_minute(60_000_000), turns)
        gateway = Gateway(Checker(view(), Limits(), Rules(), now_ms), ring, now_ms, publishing=publishing)
        app = app_of(gateway)

        @app.post("/bare")
        async def bare(request: Request) -> Response:
            read = from_json(await request.body())
            return Response(b" " * 100 * len(read), 202)

        config = uvicorn.Config(app, http=GuardedProtocol, log_config=None, access_log=False)
        asyncio.run(uvicorn.Server(config).serve(sockets=[where]))


async def ask(port: int, path: str, key: str, seconds: float) -> tuple[int, list[float]]:
    """Events that were answered with 202 within `seconds`, and the milliseconds of each request."""
    ends, taken = time.perf_counter() + seconds, []
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    bodies = [batch(number * BATCH) for number in range(100)]
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]

    async def connection(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < ends:
            number += CONNECTIONS
            writer.write(requests[number % len(requests)])
            answer = await reader.readuntil(b"\r\n\r\n")
            told = await reader.readexactly(int(answer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
            if not answer.startswith(b"HTTP/1.1 202"):
                raise SystemExit(f"{path}: {answer.decode()}{told.decode()}")
            taken.append((time.perf_counter() - begun) * 1000)
        writer.close()

    await asyncio.gather(*(connection(number) for number in range(CONNECTIONS)))
    return len(taken) * BATCH, sorted(taken)


def measure(port: int, path: str, key: str, seconds: float, process: psutil.Process) -> None:
    asyncio.run(ask(port, path, key, WARM_UP_S))
    before = process.cpu_times()
    events, taken = asyncio.run(ask(port, path, key, seconds))
    after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) * 1e6 / events
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    rate = f"{events / seconds:,.0f} events/s"
    print(f"{path:<11} {rate}   {cpu:.1f} us of CPU an event   batch of {BATCH}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway_events", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="seconds of each measurement (10)")
    given = parser.parse_args()
    where, ring = socket.create_server(("127.0.0.1", 0)), KeyRing()
    text, key = make("bench", "acme", ("publish",), ("kaizen",), now_ms())
    ring.take(key)
    with borrowed_kafka(state_folder() / "bench-brokers", state_folder() / "maven") as broker:
        TopicAdmin({"bootstrap.servers": broker.bootstrap}, PREFIX).create([row.name for row in SOURCE_TOPICS])
        arguments = (where, ring, broker.bootstrap)
        server = multiprocessing.get_context("fork").Process(target=serve, args=arguments, daemon=True)
        server.start()
        try:
            for path in ("/bare", "/v1/events"):
                measure(where.getsockname()[1], path, text, given.seconds, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
