"""`cognistream topics`: the one table of topics, and how they stand on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import (
    Bootstrap,
    Json,
    Prefix,
    complete_topic,
    known_topics,
    say,
    say_json,
    say_table,
    settings,
)

if TYPE_CHECKING:
    from agents.settings import Settings
    from connectors.admin import Standing
    from schemas.topics import Topic

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Topics, without prefix; none: all.", autocompletion=complete_topic, show_default=False),
]

app = typer.Typer(no_args_is_help=True, help="The table of topics: list it, create what is missing, see how it stands.")


@app.command(
    "list", epilog="Examples:\n\n  cognistream topics list\n\n  cognistream topics list --json | jq -r .[].name"
)
def list_(as_json: Json = False) -> None:
    """List the topics of the product; needs no Kafka."""
    from schemas.topics import TOPICS

    if as_json:
        say_json([_row(row) for row in TOPICS])
        return
    say_table(
        ["topic", "role", "key", "kept", "what"],
        [[row.name, row.role, row.key, _kept(row), row.purpose] for row in TOPICS],
    )


@app.command(
    epilog="Examples:\n\n  cognistream topics create\n\n  cognistream topics create --partitions 12 --replicas 3\n\n"
    "  cognistream topics create --prefix replay-1"
)
def create(
    names: Names = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of every topic.", show_default="as many as are there, else 4")
    ] = None,
    replicas: Annotated[int, typer.Option(help="Copies of every partition; -1: the cluster's default.")] = -1,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing, and register their schemas when SCHEMA_REGISTRY_URL is set."""
    from connectors.admin import TopicAdmin

    wanted = known_topics(names)
    found = settings(bootstrap, prefix)
    admin = TopicAdmin(found.confluent(), found.prefix)
    created = admin.create(wanted, partitions=partitions, replicas=replicas)
    registered = _register(found)
    if as_json:
        say_json({"created": created, "registered": registered})
        return
    for name in created:
        say(f"created {name}")
    say("nothing was missing" if not created else f"{len(created)} topics created")
    if registered:
        say(f"{len(registered)} schemas are registered")


@app.command(epilog="Examples:\n\n  cognistream topics describe\n\n  cognistream topics describe audit.log --json")
def describe(names: Names = None, bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Show partitions, offsets and settings as they are; exit status 1 when a worker could not run on them."""
    from connectors.admin import TopicAdmin, TopicsUnfit

    wanted = known_topics(names)
    found = settings(bootstrap, prefix)
    admin = TopicAdmin(found.confluent(), found.prefix)
    standings, problems = admin.describe(wanted), []
    try:
        admin.check()
    except TopicsUnfit as unfit:
        problems = unfit.problems
    if as_json:
        say_json({"topics": [_standing(one) for one in standings], "problems": problems})
    else:
        _show(standings, problems, detailed=wanted is not None)
    if problems:
        raise typer.Exit(1)


def _register(found: Settings) -> dict[str, int]:
    if not found.registry_url:
        return {}
    from connectors.registry import Registry
    from connectors.subjects import Subjects, rows

    subjects = Subjects(Registry(found.registry_url), found.prefix)
    return {one.topic.name: one.schema_id for one in subjects.register_all(rows(None))}


def _show(standings: list[Standing], problems: list[str], *, detailed: bool) -> None:
    heads = ["topic", "partitions", "offsets", "cleanup.policy", "max.message.bytes"]
    rows = [[s.full_name, str(s.partitions), f"{s.offsets:,}", *(s.configs[h] for h in heads[3:])] for s in standings]
    say_table(heads, rows)
    for standing in standings if detailed else ():
        say(f"{standing.full_name}: {standing.topic.purpose}")
        for number, (first, following) in enumerate(standing.spans):
            say(f"  partition {number}: offsets {first} to {following}")
        for name, value in sorted(standing.configs.items()):
            say(f"  {name} = {value}")
    for problem in problems:
        say(f"PROBLEM: {problem}")


def _kept(row: Topic) -> str:
    if row.retention_ms is None:
        return "newest of each key"
    return f"{row.retention_ms // 86_400_000} days"


def _row(row: Topic) -> dict[str, Any]:
    from schemas.topics import configs

    return {
        "name": row.name,
        "schema": row.schema,
        "role": row.role,
        "key": row.key,
        "purpose": row.purpose,
        "configs": configs(row, live=True),
    }


def _standing(one: Standing) -> dict[str, Any]:
    spans = [{"partition": p, "first": first, "next": following} for p, (first, following) in enumerate(one.spans)]
    return {"topic": one.full_name, "offsets": one.offsets, "partitions": spans, "configs": one.configs}
