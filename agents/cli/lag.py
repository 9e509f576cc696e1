"""`cognistream lag`: how far every group is behind, how fast it is, and how it stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli.options import Bootstrap, Json, Prefix, say_json, schema_ids, settings

if TYPE_CHECKING:
    from rich.table import Table

    from agents.lag_watch import Seen, Watch
    from agents.settings import Settings

EXAMPLES = (
    "Examples:\n\n  cognistream lag\n\n  cognistream lag --follow --interval 2\n\n"
    "  cognistream lag --group cognistream --json | jq '.[] | select(.lag > 0)'"
)
_HEADS = ("group", "topic", "partition", "lag", "not committed", "oldest", "in/s", "out/s", "drains in", "status")


def lag(
    group: Annotated[list[str] | None, typer.Option("--group", help="Only this group. May be repeated.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="A live table, until interrupted.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Show what waits for each group in each partition, with rates from two looks. --prefix says whose workers."""
    from agents.lag_watch import Watch
    from connectors.lag import LagReader

    found = settings(bootstrap, prefix)
    with LagReader(found.confluent()) as reader:
        watch, groups = Watch(reader), group or reader.groups()
        _look(watch, groups, found)
        time.sleep(interval)
        if follow and not as_json:
            _follow(watch, groups, found, interval)
            return
        _show(_look(watch, groups, found), as_json)


def _look(watch: Watch, groups: list[str], found: Settings) -> list[Seen]:
    from agents.lag_watch import positions_of_workers
    from schemas.topics import GROUP, full_name

    workers = full_name(found.prefix, GROUP)
    there = workers in groups
    known = positions_of_workers(found.confluent(), found.prefix, schema_ids(found)) if there else {}
    return watch.look(groups, time.time_ns() // 1_000_000, {workers: known})


def _follow(watch: Watch, groups: list[str], found: Settings, interval: float) -> None:
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        while True:
            live.update(_table(_look(watch, groups, found)), refresh=True)
            time.sleep(interval)


def _show(seen: list[Seen], as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        say_json([one.as_json() for one in seen])
        return
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(_table(seen))


def _table(seen: list[Seen]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*_HEADS, box=SIMPLE_HEAD, pad_edge=False)
    for one in seen:
        table.add_row(*map(Text, _row(one)))
    return table


def _row(one: Seen) -> list[str]:
    at = one.lag
    return [
        at.group, at.topic, str(at.partition), f"{at.lag:,}", f"{at.commit_lag:,}", _seconds(at.waits_ms / 1_000),
        _rate(one.rate_in), _rate(one.rate_out), _seconds(one.drain_s), one.status.value,
    ]  # fmt: skip


def _seconds(value: float | None) -> str:
    if value is None:
        return "not now"
    return f"{value:,.1f} s" if value else ""


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
