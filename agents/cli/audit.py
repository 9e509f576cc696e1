"""`cognistream audit`: is the journal true? Checked against the topics themselves, or by deciding everything anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

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
    from connectors.admin import TopicAdmin

    found = settings(bootstrap, prefix)
    count = TopicAdmin(found.confluent(), found.prefix).check()
    reports: dict[int, Report] = {}
    with progress() as tell:
        for number in chosen(partition, count):
            tell(f"checking partition {number} of {count}")
            reports[number] = asyncio.run(check(found, number, schema_ids(found)))
    (_say_json if as_json else _say)(reports)
    if not all(report.ok for report in reports.values()):
        raise typer.Exit(1)


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
    from connectors.admin import TopicAdmin

    found = settings(bootstrap, prefix)
    count = TopicAdmin(found.confluent(), found.prefix).check()
    known, ids = policies(found, policy), schema_ids(found)
    with progress() as tell:
        reports = {n: replay_partition(found, n, count, known, ids, tell) for n in chosen(partition, count)}
    if as_json:
        say_json({"ok": all(r.ok for r in reports.values()), "partitions": {n: _told(r) for n, r in reports.items()}})
    else:
        _say_replayed(reports)
    if not all(report.ok for report in reports.values()):
        raise typer.Exit(1)


def _told(report: replaying.Report) -> dict[str, Any]:
    from dataclasses import asdict

    return {"ok": report.ok, **asdict(report)}


def _say_replayed(reports: dict[int, replaying.Report]) -> None:
    heads = ["partition", "entries", "records", "outputs", "rows", "verdict"]
    figures = {n: (r.entries, r.records, r.outputs, r.rows) for n, r in reports.items()}
    verdicts = {n: "alike to the bit" if r.ok else "differs" for n, r in reports.items()}
    say_table(heads, [[str(n), *map(str, figures[n]), verdicts[n]] for n in reports])
    for number, report in reports.items():
        for left in report.not_compared:
            say(f"partition {number}: not compared: {left}")
        if report.difference:
            say(f"partition {number}: {report.difference}")


def _say(reports: dict[int, Report]) -> None:
    heads = ["partition", "entries", "out of reach", "records", "outputs", "verdict"]
    figures = {n: (r.entries, r.out_of_reach, r.records, r.outputs) for n, r in reports.items()}
    verdicts = {n: "true" if r.ok else f"{len(r.problems)} problems" for n, r in reports.items()}
    say_table(heads, [[str(n), *map(str, figures[n]), verdicts[n]] for n in reports])
    for number, report in reports.items():
        for problem in report.problems:
            say(f"partition {number}: {problem}")


def _say_json(reports: dict[int, Report]) -> None:
    from dataclasses import asdict

    say_json({"ok": all(r.ok for r in reports.values()), "partitions": {n: asdict(r) for n, r in reports.items()}})
