"""`cognistream schemas`: what the values of the topics look like, here and in a schema registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import Json, Prefix, complete_topic, known_topics, say, say_json, say_table
from schemas.errors import CognistreamError

if TYPE_CHECKING:
    from connectors.subjects import Standing, Subjects
    from schemas.topics import Topic

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Topics, without prefix; none: all.", autocompletion=complete_topic, show_default=False),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="Schema registry. Without it SCHEMA_REGISTRY_URL, else the local registry if it runs.",
    ),
]

app = typer.Typer(
    no_args_is_help=True,
    help="The schemas of the topics: list them, check and register them, compare them with a registry's.",
)


class NoRegistry(CognistreamError):
    """Nobody said which registry, and the local one does not run."""


@app.command(
    "list",
    epilog="Examples:\n\n  cognistream schemas list\n\n  cognistream schemas list --registry http://127.0.0.1:8081\n\n"
    "  cognistream schemas list --json | jq -r '.[] | [.subject, .id] | @tsv'",
)
def list_(names: Names = None, registry: Address = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """List the subjects with their ids, and how they stand in the registry; needs none."""
    from connectors.registry import subject
    from connectors.subjects import local_id, rows

    wanted, found = rows(known_topics(names)), _subjects(registry, prefix)
    standings = {row.name: found.standing(row) for row in wanted} if found else {}
    answer = [
        {
            "topic": row.name,
            "subject": subject(row.name, _prefix(prefix)),
            "schema": f"{row.schema}.avsc",
            "local_id": local_id(row),
            **_standing(standings.get(row.name)),
        }
        for row in wanted
    ]
    if as_json:
        say_json(answer)
        return
    heads = ["subject", "schema", "local_id", *(["id", "version", "state", "level"] if found else [])]
    say_table(heads, [["" if row[head] is None else str(row[head]) for head in heads] for row in answer])
    if found is None:
        say("no registry: records bear the local ids")


@app.command(
    epilog="Examples:\n\n  cognistream schemas check\n\n  cognistream schemas check trust.levels\n\n"
    "  cognistream schemas check --json | jq .refused"
)
def check(names: Names = None, registry: Address = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Say which schemas would be refused, and why; exit status 1 when there are any.

    Each is held against all that was released before it and, when there is a registry, against all that this has.
    """
    from connectors.subjects import released_refusals, rows

    wanted, found = rows(known_topics(names)), _subjects(registry, prefix)
    reasons = {row.name: dict.fromkeys(released_refusals(row)) for row in wanted}
    for row in wanted if found else ():
        reasons[row.name] |= dict.fromkeys(found.refusals(row) if found else ())
    refused = {name: list(told) for name, told in reasons.items() if told}
    if as_json:
        say_json({"registry": found and found.registry.url, "checked": list(reasons), "refused": refused})
    else:
        for name, told in refused.items():
            say("\n".join(f"REFUSED {name}: {reason}" for reason in told))
        against = f" and by {found.registry.url}" if found else "; no registry was asked"
        say(f"{len(reasons) - len(refused)} of {len(reasons)} topics: taken by what was released{against}")
    if refused:
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\n  cognistream schemas register\n\n"
    "  cognistream schemas register --registry https://name:password@registry.example --prefix replay-1"
)
def register(names: Names = None, registry: Address = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Register the schemas, each at level FULL_TRANSITIVE; what is there already stays as it is."""
    from connectors.subjects import rows

    found = _required(registry, prefix)
    done = found.register_all(rows(known_topics(names)))
    if as_json:
        say_json([{"subject": one.subject, "id": one.schema_id, "added": one.added} for one in done])
        return
    for one in done:
        say(f"{one.subject}: id {one.schema_id}, {'registered' if one.added else 'as it was'}")


@app.command(
    epilog="Examples:\n\n  cognistream schemas diff\n\n  cognistream schemas diff trust.levels\n\n"
    "  cognistream schemas diff --json | jq '.[] | select(.changes != [])'"
)
def diff(names: Names = None, registry: Address = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Show field by field what ours have that the registry's newest versions have not (+), and the other way (-)."""
    from dataclasses import asdict

    from connectors.subjects import rows

    found = _required(registry, prefix)
    differences = [(row, found.changes(row)) for row in rows(known_topics(names))]
    if as_json:
        say_json(
            [
                {"topic": row.name, "registered": lines is not None, "changes": [asdict(line) for line in lines or ()]}
                for row, lines in differences
            ]
        )
        return
    for row, lines in differences:
        say(f"{row.name}: {_summary(row, lines)}")
        for line in lines or ():
            say(f"  {line}")


def _summary(row: Topic, lines: list[Any] | None) -> str:
    if lines is None:
        return "nothing is registered"
    return f"{len(lines)} differences to {row.schema}.avsc" if lines else "as registered"


def _standing(one: Standing | None) -> dict[str, Any]:
    ours = one.ours if one else None
    return {
        "id": ours and ours.schema_id,
        "version": ours and ours.number,
        "state": one and one.state,
        "level": one and one.level,
    }


def _prefix(prefix: str | None) -> str:
    from agents.settings import Settings

    return Settings.read(prefix=prefix).prefix


def _subjects(registry: str | None, prefix: str | None) -> Subjects | None:
    """The subjects of the registry that somebody named, else of the local one; None when that does not run."""
    from agents.settings import Settings
    from connectors.local_registry import LocalRegistry
    from connectors.registry import Registry
    from connectors.subjects import Subjects

    found = Settings.read(registry_url=registry, prefix=prefix)
    local = None if found.registry_url else LocalRegistry.default().status()
    url = found.registry_url or (local and local.address)
    return Subjects(Registry(url), found.prefix) if url else None


def _required(registry: str | None, prefix: str | None) -> Subjects:
    found = _subjects(registry, prefix)
    if found is None:
        raise NoRegistry(
            "no schema registry: start the local one with `cognistream registry start`, or name yours with --registry "
            "or in SCHEMA_REGISTRY_URL"
        )
    return found
