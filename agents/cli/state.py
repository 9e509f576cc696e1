"""`cognistream state`: the workers' state, made anew when its changelog is lost or damaged."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

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
    schema_ids,
    settings,
)

if TYPE_CHECKING:
    from agents.rebuilding import Rebuilt

app = typer.Typer(no_args_is_help=True, help="The workers' state: make it anew when it is lost or damaged.")


@app.callback()
def _group() -> None:
    """One command so far; a callback keeps its name."""


@app.command(
    epilog="Examples:\n\n  cognistream state rebuild\n\n  cognistream state rebuild --partition 2 --yes\n\n"
    "  cognistream state rebuild --policy policy-of-march.toml --json"
)
def rebuild(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    partition: Partitions = None,
    policy: Policies = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write it. Without this nothing is changed.")] = False,
    as_json: Json = False,
) -> None:
    """Decide everything anew from sources and journal, check it against each entry, and replace agent.state.

    Works while the sources and the journal hold everything from the first record that was decided; else it is refused
    and tells what is missing. With --yes a worker that still decides these partitions is fenced: stop the workers.
    """
    from agents import rebuilding

    found = settings(bootstrap, prefix)
    numbers, count = chosen(found, partition)
    known, ids = policies(found, policy), schema_ids(found)
    done: dict[int, Rebuilt] = {}
    with progress() as tell:
        for number in numbers:
            done[number] = rebuilding.rebuild(found, number, count, known, ids, tell, write=yes)
    if as_json:
        say_json({"written": yes, "partitions": {number: asdict(made) for number, made in done.items()}})
        return
    for number, made in done.items():
        say(f"partition {number}: {made.entries:,} entries, {made.records:,} records decided anew: {_found(made)}")
    if not yes:
        say("nothing was written: --yes replaces the rows of these partitions")


def _found(made: Rebuilt) -> str:
    verb = "written" if made.written else "to write"
    was = "the state was right" if made.before is None else f"the state is wrong: {made.before}"
    return f"{made.rows:,} rows {verb}; {was}"
