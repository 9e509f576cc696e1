"""`cognistream kafka`: the real Kafka that the project brings itself, started and stopped by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli.options import Json, progress, say, say_json

if TYPE_CHECKING:
    from connectors.local_kafka import Broker, LocalKafka

app = typer.Typer(
    no_args_is_help=True,
    help="The local Kafka: start it, stop it, ask how it is. Downloaded once (45 MB), kept in the state folder.",
)


@app.command(
    epilog="Examples:\n\n  cognistream kafka start\n\n  cognistream kafka start --port 9092\n\n"
    "  export BOOTSTRAP_SERVERS=$(cognistream kafka start --json | jq -r .bootstrap)"
)
def start(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0: the last one, or a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Start the local Kafka, or find it running; returns when it answers."""
    from connectors.local_kafka import LocalKafka

    kafka = LocalKafka.default()
    with progress() as report:
        broker = kafka.start(port, report)
    _tell(kafka, broker, as_json)


@app.command(epilog="Examples:\n\n  cognistream kafka stop")
def stop(as_json: Json = False) -> None:
    """Stop the local Kafka; its topics are kept for the next start."""
    from connectors.local_kafka import LocalKafka

    broker = LocalKafka.default().stop()
    if as_json:
        say_json({"stopped": broker is not None})
    else:
        say(
            "the local Kafka did not run"
            if broker is None
            else f"stopped Kafka {broker.version} (process {broker.pid})"
        )


@app.command(epilog="Examples:\n\n  cognistream kafka status\n\n  cognistream kafka status --json | jq -r .bootstrap")
def status(as_json: Json = False) -> None:
    """Say whether the local Kafka runs, and where; exit status 1 when it does not."""
    from connectors.local_kafka import LocalKafka

    kafka = LocalKafka.default()
    broker = kafka.status()
    _tell(kafka, broker, as_json)
    if broker is None:
        raise typer.Exit(1)


def _tell(kafka: LocalKafka, broker: Broker | None, as_json: bool) -> None:
    if as_json:
        running = {} if broker is None else {**asdict(broker), "bootstrap": broker.bootstrap}
        say_json({"running": broker is not None, "log": str(kafka.log), **running})
    elif broker is None:
        say("the local Kafka does not run; start it with `cognistream kafka start`")
    else:
        say(f"Kafka {broker.version} runs on {broker.bootstrap} (process {broker.pid})")
        say(f"log: {kafka.log}")
