"""The processes that a demo starts, and ends by their number: the worker and the publisher.

Each runs in a session of its own, so that Ctrl-C in the terminal reaches the demo alone, which then ends them in order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
import psutil

from schemas.errors import CognistreamError

READY_WITHIN = 120.0
"""Seconds that a worker may take until it owns its partitions."""
STOP_WITHIN = 10.0
_LAST_LINES = 15


class ProcessFailed(CognistreamError):
    """A process of the demo ended before it should, or never got ready."""


class Child:
    """A Python process of ours that writes its words to `log`; standard output too, unless somebody reads it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.process, self.log = name, process, log
        self.peak_mb = 0.0

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path, *, piped: bool = False
    ) -> Child:
        """Run this Python with `arguments`; `piped`: standard input and output are pipes."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as words:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else words,
                stderr=words,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    def measure(self) -> None:
        """Take note of the memory it holds now."""
        try:
            self.peak_mb = max(self.peak_mb, psutil.Process(self.process.pid).memory_info().rss / 2**20)
        except psutil.Error:
            return

    async def stop(self) -> None:
        """Ask it to end; after `STOP_WITHIN` seconds end it."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def failure(self) -> ProcessFailed:
        """That it ended, with its last words."""
        words = self.log.read_text(errors="replace").strip().splitlines()[-_LAST_LINES:]
        told = "\n".join(f"  {line}" for line in words) or "  it said nothing"
        return ProcessFailed(f"the {self.name} ended with status {self.process.returncode}:\n{told}\n(log: {self.log})")


async def until_ready(worker: Child, port: int) -> None:
    """Wait until the worker decides all its partitions; ProcessFailed when it ends or takes too long."""
    address = f"http://127.0.0.1:{port}/ready"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
        try:
            async with asyncio.timeout(READY_WITHIN):
                while not await _ready(session, address):
                    if not worker.running:
                        raise worker.failure()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ProcessFailed(f"the worker is not ready after {READY_WITHIN:.0f} s (log: {worker.log})") from None


async def _ready(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(address) as answer:
            return answer.status == 200 and bool((await answer.json())["partitions"])
    except (aiohttp.ClientError, TimeoutError):
        return False


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
