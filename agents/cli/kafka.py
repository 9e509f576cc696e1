"""`cognistream kafka`: the real Kafka that the project brings itself, started and stopped by hand."""

from __future__ import annotations

import typer

from agents.cli.options import Json
from agents.cli.servers import Port, ServerCommands

app = typer.Typer(
    no_args_is_help=True,
    help="The local Kafka: start it, stop it, ask how it is. Downloaded once (45 MB), kept in the state folder.",
)


@app.command(
    epilog="Examples:\n\n  cognistream kafka start\n\n  cognistream kafka start --port 9092\n\n"
    "  export BOOTSTRAP_SERVERS=$(cognistream kafka start --json | jq -r .bootstrap)"
)
def start(port: Port = 0, as_json: Json = False) -> None:
    """Start the local Kafka, or find it running; returns when it answers."""
    _commands().start(port, as_json)


@app.command(epilog="Examples:\n\n  cognistream kafka stop")
def stop(as_json: Json = False) -> None:
    """Stop the local Kafka; its topics are kept for the next start."""
    _commands().stop(as_json)


@app.command(epilog="Examples:\n\n  cognistream kafka status\n\n  cognistream kafka status --json | jq -r .bootstrap")
def status(as_json: Json = False) -> None:
    """Say whether the local Kafka runs, and where; exit status 1 when it does not."""
    _commands().status(as_json)


def _commands() -> ServerCommands:
    from connectors.local_kafka import LocalKafka

    return ServerCommands(LocalKafka.default(), "kafka", "bootstrap")
