"""`cognistream registry`: the real schema registry that the project brings itself, started and stopped by hand."""

from __future__ import annotations

import typer

from agents.cli.options import Json
from agents.cli.servers import Port, ServerCommands

app = typer.Typer(
    no_args_is_help=True,
    help="The local schema registry: start it, stop it, ask how it is. Downloaded once (159 MB), kept in the state "
    "folder. Only who wants a registry needs it.",
)


@app.command(
    epilog="Examples:\n\n  cognistream registry start\n\n  cognistream registry start --port 8081\n\n"
    "  export SCHEMA_REGISTRY_URL=$(cognistream registry start --json | jq -r .url)"
)
def start(port: Port = 0, as_json: Json = False) -> None:
    """Start the local registry, or find it running; returns when it answers."""
    _commands().start(port, as_json)


@app.command(epilog="Examples:\n\n  cognistream registry stop")
def stop(as_json: Json = False) -> None:
    """Stop the local registry; its schemas and their ids are kept for the next start."""
    _commands().stop(as_json)


@app.command(epilog="Examples:\n\n  cognistream registry status\n\n  cognistream registry status --json | jq -r .url")
def status(as_json: Json = False) -> None:
    """Say whether the local registry runs, and where; exit status 1 when it does not."""
    _commands().status(as_json)


def _commands() -> ServerCommands:
    from connectors.local_registry import LocalRegistry

    return ServerCommands(LocalRegistry.default(), "registry", "url")
