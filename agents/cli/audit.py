"""`cognistream audit`: is the journal true? Checked against the topics themselves, or by deciding everything anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from agents.cli.options import (
    Bootstrap,
    Json,
    Partitions,
    Policies,
    Prefix,
    chosen,
    policies,
    progress,
    say,
    say_json,
    say_table,
    schema_ids,
    settings,
)

if TYPE_CHECKING:
    from streams import replay as replaying
    from streams.verify import Report

app = typer.Typer(no_args_is_help=True, help="The audit journal: check it against all that the topics hold.")


@app.command(
    epilog="Examples:\n\n  cognistream audit verify\n\n"
    "  cognistream audit verify --prefix demo-1121 --partition 0 --json"
)
def verify(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partition: Partitions = None,
    as_json: Json = False,
) -> None:
    """Read every partition back and check its journal: chain, spans of offsets, hashes, each record once.

    Exit status 1 when anything is wrong.
    """
    from agents.checking import check

    found = settings(bootstrap, prefix)
    numbers, count = chosen(found, partition)
    reports: dict[int, Report] = {}
    with progress() as tell:
        for number in numbers:
            tell(f"checking partition {number} of {count}")
            reports[number] = asyncio.run(check(found, number, schema_ids(found)))
    _answer(reports, ("entries", "out_of_reach", "records", "outputs"), _problems, as_json=as_json)


@app.command(
    epilog="Examples:\n\n  cognistream audit replay\n\n"
    "  cognistream audit replay --prefix demo-1121 --partition 0 --policy policy-of-march.toml --json"
)
def replay(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partition: Partitions = None,
    policy: Policies = None,
    as_json: Json = False,
) -> None:
    """Decide everything anew, along the journal, and compare each decision, row and hash with what the topics hold.

    The first difference of a partition is named: entry, topic, offset, field. Exit status 1 when there is one.
    """
    from agents.replaying import replay_partition

    found = settings(bootstrap, prefix)
    numbers, count = chosen(found, partition)
    known, ids = policies(found, policy), schema_ids(found)
    with progress() as tell:
        reports = {number: replay_partition(found, number, count, known, ids, tell) for number in numbers}
    _answer(reports, ("entries", "records", "outputs", "rows"), _differences, as_json=as_json)


R = TypeVar("R", bound="Report | replaying.Report")


def _answer(
    reports: Mapping[int, R], counts: tuple[str, ...], remarks: Callable[[R], Iterable[str]], *, as_json: bool
) -> None:
    """A row of counts and a verdict per partition, the remarks below; exit status 1 unless all of them hold."""
    ok = all(report.ok for report in reports.values())
    if as_json:
        say_json({"ok": ok, "partitions": {n: _told(report) for n, report in reports.items()}})
    else:
        rows = [
            [str(n), *(f"{getattr(report, name):,}" for name in counts), "holds" if report.ok else "does not hold"]
            for n, report in reports.items()
        ]
        say_table(["partition", *(name.replace("_", " ") for name in counts), "verdict"], rows)
        for number, report in reports.items():
            for remark in remarks(report):
                say(f"partition {number}: {remark}")
    if not ok:
        raise typer.Exit(1)


def _told(report: Report | replaying.Report) -> dict[str, Any]:
    return {"ok": report.ok, **asdict(report)}


def _problems(report: Report) -> Iterable[str]:
    return report.problems


def _differences(report: replaying.Report) -> Iterator[str]:
    yield from (f"not compared: {left}" for left in report.not_compared)
    if report.difference:
        yield str(report.difference)
