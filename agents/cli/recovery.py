"""How far a worker's recovery is: a bar with an estimate on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from agents.runtime.recovering import Recovering

LINE_SECONDS = 3.0


class RecoveryView:
    """Call it with how far recovery is, several times a second; it shows nothing before and after one."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._told = 0.0

    def __call__(self, recovering: Recovering) -> None:
        """Show it."""
        if sys.stderr.isatty():
            self._draw(recovering)
        elif recovering.left and time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            done = recovering.total - recovering.left
            print(  # noqa: T201
                f"recovering: {done:,} of {recovering.total:,} offsets, {about(recovering.seconds)}", file=sys.stderr
            )

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, recovering: Recovering) -> None:
        if self._bar is None:
            if not recovering.left:
                return
            self._bar = _bar()
            self._bar.start()
        done = recovering.total - recovering.left
        self._bar.update(self._bar.task_ids[0], completed=done, total=recovering.total, about=about(recovering.seconds))
        if not recovering.left:
            self.close()


def about(seconds: float | None) -> str:
    """An estimate in words."""
    if seconds is None:
        return "no estimate yet"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("recovering"), BarColumn(), MofNCompleteColumn(), TextColumn("offsets, {task.fields[about]}")
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=None, about=about(None))
    return bar
