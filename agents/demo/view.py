"""What a person sees of a running demo: a live view on a terminal, one line every other second elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .observations import POOLS, TIERS, Shown
from .pulse import Pulse
from .run import Face

LINE_EVERY = 2.0
"""Seconds between two plain lines."""
BAR = 32
TIER_NAMES = ("T0 Sandbox", "T1 Provisional", "T2 Standard", "T3 Trusted", "T4 Certified", "T5 Autonomous")
TIER_COLOURS = ("red", "dark_orange", "yellow", "green", "cyan", "blue")


def face(console: Console) -> LiveFace | PlainFace:
    """The live view if `console` is a terminal, else plain lines."""
    return LiveFace(console) if console.is_terminal else PlainFace(console)


class PlainFace(Face):
    """A line now and then; also what a log file or a pipe gets."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, pulse: Pulse) -> None:
        """A line, if the last one is old enough."""
        if time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            self.say(line(pulse))


def line(pulse: Pulse) -> str:
    """A pulse in one line."""
    seen, told = pulse.seen, pulse.told
    p50, p99 = seen.latency_ms()
    parts = [
        f"{pulse.elapsed:6.1f} s {pulse.phase}",
        f"published {told.published:,} ({pulse.published_rate:,.0f}/s)",
        f"decided {seen.decided:,} ({pulse.decided_rate:,.0f}/s)",
        f"lag {pulse.lag:,}",
        *([] if math.isnan(p50) else [f"latency p50 {p50:.0f} p99 {p99:.0f} ms"]),
        "tiers " + "/".join(str(count) for count in seen.tiers(told.agents)),
        f"urgent {seen.written['priority.urgent']:,}",
        f"denied {seen.limits['deny'] + seen.limits['throttle']:,}",
        f"dead {seen.written['dead.letters']:,}",
    ]
    return " | ".join(parts)


class LiveFace(Face):
    """The whole screen, until the `with` block ends."""

    def __init__(self, console: Console) -> None:
        self._said = ""
        self._live = Live(Text("starting"), console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the screen back."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Shown in the title until something else is said."""
        self._said = text
        self._live.update(Panel(Text(text), title="cognistream"), refresh=True)

    def show(self, pulse: Pulse) -> None:
        """Paint it."""
        self._live.update(screen(pulse), refresh=True)


def screen(pulse: Pulse) -> RenderableType:
    """A pulse as a screen."""
    layout = Layout()
    layout.split_column(Layout(_top(pulse), size=10), Layout(name="streams"))
    layout["streams"].split_row(
        _stream("urgent pool", "red", pulse.seen.urgent, lambda one: (f"{one.number:.2f}", one.what)),
        _stream("denied capacity", "yellow", pulse.seen.denied, lambda one: (one.more, one.what)),
        _stream("rise and fall", "cyan", pulse.seen.moved, lambda one: (one.what, one.more)),
    )
    return layout


def _top(pulse: Pulse) -> RenderableType:
    when = datetime.fromtimestamp(pulse.told.time_ms / 1000, UTC) if pulse.told.time_ms else None
    title = f"cognistream demo · {pulse.phase} · {pulse.elapsed:.0f} s" + (
        f" · it is {when:%a %d %b %Y %H:%M}" if when else ""
    )
    sides = Table.grid(padding=(0, 4))
    sides.add_row(_figures(pulse), _tiers(pulse))
    return Panel(sides, title=title, subtitle="Ctrl-C ends it cleanly")


def _figures(pulse: Pulse) -> RenderableType:
    seen = pulse.seen
    p50, p99 = seen.latency_ms()
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    urgent, normal, rest = (seen.written[pool] for pool in POOLS)
    rows = [
        ("published", f"{pulse.told.published:,}", f"{pulse.published_rate:,.0f}/s"),
        ("decided", f"{seen.decided:,}", f"{pulse.decided_rate:,.0f}/s"),
        ("lag", f"{pulse.lag:,}", ""),
        ("latency", "-" if math.isnan(p50) else f"p50 {p50:.0f} ms", "" if math.isnan(p99) else f"p99 {p99:.0f} ms"),
        ("urgent", f"{urgent:,}", f"{normal:,} normal, {rest:,} background"),
        ("allowed", f"{seen.limits['allow']:,}", f"{seen.limits['deny'] + seen.limits['throttle']:,} denied"),
        ("dead letters", f"{seen.written['dead.letters']:,}", f"{seen.repeats:,} repeats"),
        ("worker", f"{pulse.worker_mb:.0f} MB", seen.policy_version),
    ]
    for name, value, more in rows:
        table.add_row(Text(name, style="dim"), Text(value, style="bold"), Text(more))
    return table


def _tiers(pulse: Pulse) -> RenderableType:
    counts = pulse.seen.tiers(pulse.told.agents)
    most = max(1, *counts)
    table = Table.grid(padding=(0, 1))
    for tier in reversed(range(TIERS)):
        bar = Text("█" * round(BAR * counts[tier] / most), style=TIER_COLOURS[tier])
        table.add_row(Text(TIER_NAMES[tier], style="dim"), Text(f"{counts[tier]:,}", justify="right"), bar)
    moved = Text(f"{pulse.seen.rose:,} rises, {pulse.seen.fell:,} falls of {pulse.told.agents:,} agents", style="dim")
    return Group(table, moved)


def _stream(title: str, colour: str, shown: Iterable[Shown], tell: Callable[[Shown], tuple[str, str]]) -> Layout:
    """Lines of what `tell` says before and after the agent, newest first."""
    lines = []
    for one in shown:
        before, after = tell(one)
        text = Text.assemble((before, colour), " ", (one.agent, "bold"), " ", after, overflow="ellipsis", no_wrap=True)
        lines.append(text)
    return Layout(Panel(Group(*reversed(lines)), title=title, border_style=colour))
