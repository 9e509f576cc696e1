"""What several commands share: their options, the settings these make, and how answers are printed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import CognistreamError

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.catalog import SchemaIds
    from streams.policy import Policy

Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap",
        metavar="HOST:PORT",
        help="Kafka brokers. Without it BOOTSTRAP_SERVERS, else the local Kafka if it runs.",
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option("--prefix", metavar="NAME", help="Topics of a demo, replay or test. Without it COGNISTREAM_PREFIX."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for a machine.")]
Partitions = Annotated[list[int] | None, typer.Option("--partition", min=0, help="Only these; may be repeated.")]
Policies = Annotated[
    list[Path] | None,
    typer.Option("--policy", metavar="FILE", help="A policy that was in force once; may be repeated."),
]


class NoKafka(CognistreamError):
    """Nobody said which Kafka, and the local one does not run."""


def settings(bootstrap: str | None, prefix: str | None, **more: Any) -> Settings:
    """Settings of the environment with these options, on the local Kafka when no other is named."""
    from agents.settings import Settings

    return Settings.read(bootstrap_servers=bootstrap or _local(), prefix=prefix, **more)


def _local() -> str | None:
    """The local broker when the environment names none."""
    if os.environ.get("BOOTSTRAP_SERVERS"):
        return None
    from connectors.local_kafka import LocalKafka

    broker = LocalKafka.default().status()
    if broker is None:
        raise NoKafka(
            "no Kafka: start the local one with `cognistream kafka start`, or name yours with --bootstrap or in "
            "BOOTSTRAP_SERVERS"
        )
    return broker.bootstrap


def schema_ids(found: Settings) -> SchemaIds:
    """What schema ids mean: the table's, and the registry's when there is one."""
    from schemas.catalog import LocalIds

    if not found.registry_url:
        return LocalIds()
    from connectors.registry import RegisteredIds, Registry

    return RegisteredIds(Registry(found.registry_url))


def policies(found: Settings, files: list[Path] | None) -> list[Policy]:
    """The policies that journal entries may name: those of `files`, that of the settings, and the built-in one."""
    from streams.policy import Policy

    named = [*(files or []), *([found.policy_file] if found.policy_file else [])]
    return [*(Policy.load(file) for file in named), Policy()]


def chosen(found: Settings, partitions: list[int] | None) -> tuple[list[int], int]:
    """The partitions a person named, or all; and how many there are. BadParameter for one that there is not."""
    from connectors.admin import TopicAdmin

    count = TopicAdmin(found.confluent(), found.prefix).check()
    if strange := [number for number in partitions or () if number >= count]:
        raise typer.BadParameter(f"there is no partition {strange[0]}: there are 0 to {count - 1}")
    return partitions or list(range(count)), count


def complete_topic(incomplete: str) -> Iterator[str]:
    """Topic names for tab completion."""
    from schemas.topics import TOPICS

    return (row.name for row in TOPICS if row.name.startswith(incomplete))


def known_topics(names: list[str] | None) -> list[str] | None:
    """The names a person gave; BadParameter when one is not in the table."""
    from schemas.topics import TopicError, topic

    try:
        return [topic(name).name for name in names] if names else None
    except TopicError as error:
        raise typer.BadParameter(str(error)) from None


def say(text: str = "") -> None:
    """A line of the answer."""
    sys.stdout.write(text + "\n")


def say_json(answer: Any) -> None:
    """The answer as one JSON document on one line."""
    say(json.dumps(answer, ensure_ascii=False, default=str))


def say_table(heads: list[str], rows: list[list[str]]) -> None:
    """An answer in columns; as wide as it is where nobody looks at a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(table)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Tells on standard error how far a long step is: on a terminal in one line that changes, else a line a second."""
    if not sys.stderr.isatty():
        yield _now_and_then(1.0)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update


def _now_and_then(seconds: float) -> Callable[[str], None]:
    told = 0.0

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told >= seconds:
            told = time.monotonic()
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    return tell
