"""The worker process: checks, warms the kernels, runs the app, and stops well.

It ends in one of three ways. SIGTERM or SIGINT: the steps under way are finished and committed, the group is left, exit
status 0, within five seconds. The same signal again: at once; nothing is lost, as nothing is true before its
transaction. A failure (a stage raised, it was fenced too often, positions were lost): a message that says what to do,
exit status 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba

from agents.app import build
from agents.readiness import Readiness
from agents.runtime.app import ColumnApp
from agents.runtime.decider import DeciderFactory
from agents.runtime.recovering import Recovering
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.state_folder import require_room, unusable
from schemas import kernels
from schemas.errors import CognistreamError

log = logging.getLogger(__name__)

STOP_SECONDS = 4.0
"""A stop that takes longer is cut short, well within the five seconds; the group then waits for the session to end."""

Recovery = Callable[[Recovering], None]
Progress = Callable[[int, int, str], None]
"""(done, all, name) of a kernel that is ready."""
LOOK_SECONDS = 0.2
"""How often it is told how far recovery is."""


def run(
    settings: Settings,
    new: DeciderFactory,
    *,
    progress: Progress = lambda *_: None,
    reload: Callable[[], None] = lambda: None,
    recovery: Recovery = lambda _: None,
) -> int:
    """Run a worker until it is told to stop; answers the exit status. Errors are told on standard error.

    `reload` is what SIGHUP does; `recovery` is told all the time how far recovery is.
    """
    try:
        require_room(settings.state)
        partitions = TopicAdmin(settings.confluent(), settings.prefix).check()
        warm(settings.state, progress)
        asyncio.run(_signalled_serve(settings, partitions, new, reload, recovery))
    except CognistreamError as error:
        print(f"cognistream worker: {error}", file=sys.stderr)  # noqa: T201  the person who started it reads it
        return 1
    return 0


def warm(state: Path, progress: Progress = lambda *_: None) -> None:
    """Compile the kernels, or load them from the cache in the state folder; minutes the first time.

    Raises `StateFolderUnusable` when there is no room for them.
    """
    if "NUMBA_CACHE_DIR" not in os.environ:
        cast(Any, numba).config.CACHE_DIR = str(state / "kernels")
    try:
        for done, total, name in kernels.warm():
            progress(done, total, name)
    except OSError as error:
        raise unusable(Path(os.environ.get("NUMBA_CACHE_DIR", state)), error) from error


async def _signalled_serve(
    settings: Settings, partitions: int, new: DeciderFactory, reload: Callable[[], None], recovery: Recovery
) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, told, number)
    await serve(build(settings, partitions, new), told, recovery, cut_short=True)


async def serve(
    app: ColumnApp, told: asyncio.Event, recovery: Recovery = lambda _: None, *, cut_short: bool = False
) -> None:
    """Run `app` until `told` is set or it fails; raises the failure. It has stopped when this returns.

    With `cut_short` a stop that takes longer than STOP_SECONDS ends the process.
    """
    settings = app.settings
    readiness = Readiness(settings.host, settings.port, app.status)
    log.info("listening on http://%s:%d/ready", settings.host, await readiness.start())
    starting, telling = asyncio.create_task(app.start()), asyncio.create_task(_tell(app, recovery))
    try:
        await _first(starting, told, app)
        if not app.failed.is_set() and not told.is_set():
            log.info("deciding as %s, %d partitions in all", settings.group, app.partitions)
            await asyncio.wait(_waiters(told, app), return_when=asyncio.FIRST_COMPLETED)
    finally:
        telling.cancel()
        await _stop(app, starting, readiness, cut_short=cut_short)
    if app.stopping_for is not None:
        raise app.stopping_for


async def _tell(app: ColumnApp, recovery: Recovery) -> None:
    while True:
        recovery(app.recovery())
        await asyncio.sleep(LOOK_SECONDS)


def _signalled(told: asyncio.Event, number: signal.Signals) -> None:
    if told.is_set():
        os._exit(128 + number)
    log.info("%s: finishing the steps under way", number.name)
    told.set()


def _waiters(told: asyncio.Event, app: ColumnApp) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(event.wait()) for event in (told, app.failed)]


async def _first(starting: asyncio.Task[None], told: asyncio.Event, app: ColumnApp) -> None:
    """Until the app has started, or shall not."""
    await asyncio.wait([starting, *_waiters(told, app)], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()


async def _stop(app: ColumnApp, starting: asyncio.Task[None], readiness: Readiness, *, cut_short: bool) -> None:
    """Stop; a thread sees to it that it is cut short, for the services of Faust swallow cancellations."""
    deadline = threading.Timer(STOP_SECONDS, _leave, [app])
    deadline.daemon = True
    if cut_short:
        deadline.start()
    starting.cancel()
    await app.stop()
    await readiness.stop()
    await asyncio.gather(starting, return_exceptions=True)
    deadline.cancel()


def _leave(app: ColumnApp) -> None:
    log.warning(
        "the stop took longer than %.1f s: leaving now; the next owner reads on from what is committed", STOP_SECONDS
    )
    if app.stopping_for is not None:
        print(f"cognistream worker: {app.stopping_for}", file=sys.stderr)  # noqa: T201
    sys.stderr.flush()
    os._exit(1 if app.stopping_for is not None else 0)
