"""Idempotency keys of the gateways of one machine, in a SQLite file of the state folder."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from connectors.gateway.idempotency import KEPT_MS, LEASE_MS, Answer, Clock, State, Turn, TurnsAway

Done = TypeVar("Done")

BUSY_S: Final = 2.0
"""Seconds that one waits for another process to leave the file."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS turns (
  name TEXT PRIMARY KEY, fingerprint BLOB NOT NULL, begun INTEGER NOT NULL, leased INTEGER NOT NULL,
  expires INTEGER NOT NULL, answer BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS turns_expires ON turns (expires);
"""


def now_ms() -> int:
    """Milliseconds since 1970 by the clock of the machine."""
    return time.time_ns() // 1_000_000


class SqliteTurns:
    """The turns in the file `path`, which is made when it is missing. One thread of its own works on it."""

    def __init__(self, path: Path, clock: Clock = now_ms) -> None:
        self._path, self._clock = path, clock
        self._thread = ThreadPoolExecutor(1, "gateway-turns")
        self._open: sqlite3.Connection | None = None

    async def begin(self, name: str, fingerprint: bytes) -> Turn:
        """The turn of a request; NEW and RESUMED ones are this caller's until the lease is over."""
        now = self._clock()

        def look(file: sqlite3.Connection) -> Turn:
            file.execute("DELETE FROM turns WHERE expires <= ?", (now,))
            found = file.execute("SELECT fingerprint, begun, leased, answer FROM turns WHERE name = ?", (name,))
            turn = _turn(found.fetchone(), fingerprint, now)
            if turn.state in (State.NEW, State.RESUMED):
                values = (name, fingerprint, turn.begun, now + LEASE_MS, turn.begun + KEPT_MS)
                file.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, NULL)", values)
            return turn

        return await self._do(look)

    async def finish(self, name: str, fingerprint: bytes, turn: Turn, answer: Answer) -> None:
        """Keep the answer to a turn of one's own."""
        row = (name, fingerprint, turn.begun, 0, turn.begun + KEPT_MS, answer.packed())
        await self._do(lambda file: file.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?)", row))

    async def release(self, name: str) -> None:
        """Give a turn of one's own to whoever asks next; when it was begun stays known."""
        await self._do(lambda file: file.execute("UPDATE turns SET leased = 0 WHERE name = ?", (name,)))

    async def forget(self, name: str) -> None:
        """Let a turn of one's own never have been."""
        await self._do(lambda file: file.execute("DELETE FROM turns WHERE name = ?", (name,)))

    async def aclose(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _do(self, change: Callable[[sqlite3.Connection], Done]) -> Done:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, change)
        except (sqlite3.Error, OSError) as error:
            raise TurnsAway(f"the idempotency keys in {self._path} cannot be used: {error}") from error

    def _commit(self, change: Callable[[sqlite3.Connection], Done]) -> Done:
        """In one transaction that is on disk when this returns."""
        file = self._open = self._open or self._connected()
        file.execute("BEGIN IMMEDIATE")
        try:
            done = change(file)
            file.execute("COMMIT")
        except BaseException:
            self._close()  # whatever it was: the next one begins with a connection of its own
            raise
        return done

    def _connected(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = FULL")
            file.executescript(_TABLE)
        except BaseException:
            file.close()
            raise
        return file

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _turn(row: tuple[bytes, int, int, bytes | None] | None, fingerprint: bytes, now: int) -> Turn:
    if row is None:
        return Turn(State.NEW, now)
    kept, begun, leased, answer = row
    if kept != fingerprint:
        return Turn(State.OTHER, begun)
    if answer is not None:
        return Turn(State.DONE, begun, Answer.unpacked(answer))
    return Turn(State.RUNNING if leased > now else State.RESUMED, begun)
