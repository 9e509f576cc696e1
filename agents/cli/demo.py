"""`cognistream demo`: a fleet of agents governed before one's eyes, on a Kafka that is started if none is named."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agents.cli.options import progress, say

if TYPE_CHECKING:
    from agents.demo.plan import Plan
    from agents.demo.report import Report
    from agents.settings import Settings

EXAMPLES = (
    "Examples:\n\n  cognistream demo\n\n  cognistream demo --seconds 60 --rate max --agents 100000\n\n"
    "  cognistream demo --source tau-bench:runs.json.gz --json report.json\n\n"
    "  cognistream demo --rate 200 --keep   # then: cognistream tail priority.urgent --prefix demo-..."
)
EXTERNAL = "not the local one"


def _rate(text: str) -> float | None:
    """Events a second, or None for `max`."""
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise typer.BadParameter(f"{text!r} is no rate: give events a second, such as 20000, or max")
    return rate


def demo(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to publish.")] = 30.0,
    rate: Annotated[str, typer.Option(metavar="N|max", help="Events a second.")] = "20000",
    agents: Annotated[int, typer.Option(min=1, max=1_000_000, help="Agents of the invented fleet.")] = 1000,
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help="generator, azure-llm:FILE or tau-bench:FILE (docs/traces.md).")
    ] = "generator",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same events.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report there.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="NAME", help="Topics' prefix.", show_default="demo-TIME")
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka brokers. Without it BOOTSTRAP_SERVERS, else the local Kafka."),
    ] = None,
    partitions: Annotated[int, typer.Option(min=1, max=256, help="Partitions of each topic.")] = 4,
    repeats: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are sent twice.")] = 0.002,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Share of events with a damaged copy.")] = 0.0005,
    compression: Annotated[
        Literal["none", "gzip", "snappy", "lz4", "zstd"], typer.Option(help="Codec of what is published.")
    ] = "none",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the topics, and the local Kafka running.")] = False,
) -> None:
    """Invent a fleet of agents (or read a real trace), govern it with a real worker, and watch.

    Ends when everything published is decided and every record is accounted for. Exit status 1 when one is not.
    """
    from agents.demo.plan import GENERATOR, Plan

    plan = Plan(
        seconds=seconds, rate=_rate(rate), agents=agents, source=source, seed=seed,
        repeats=repeats, poison=poison, partitions=partitions, compression=compression,
    )  # fmt: skip
    if source != GENERATOR:
        plan.traffic()  # what is wrong with the file is told before anything is started
    with _kafka(bootstrap, keep) as (address, version):
        from agents.settings import Settings

        settings = Settings.read(bootstrap_servers=address, prefix=prefix or time.strftime("demo-%m%d-%H%M%S"))
        report = _run(plan, settings, version, keep)
    if json_file:
        report.write(json_file)
    for line in report.lines():
        say(line)
    if keep:
        say(f"kept: look with `cognistream tail priority.urgent --prefix {settings.prefix}`")
    raise typer.Exit(0 if report.good else 1)


@contextmanager
def _kafka(bootstrap: str | None, keep: bool) -> Iterator[tuple[str | None, str]]:
    """Address and version of the Kafka to use; the local one is stopped again if it was started here."""
    if bootstrap or os.environ.get("BOOTSTRAP_SERVERS"):
        yield bootstrap, EXTERNAL
        return
    from connectors.local_kafka import LocalKafka

    kafka = LocalKafka.default(brief=not keep)
    ran = kafka.status() is not None
    with progress() as tell:
        broker = kafka.start(report=tell)
    try:
        yield broker.bootstrap, broker.version
    finally:
        if not ran and not keep:
            kafka.stop()


def _run(plan: Plan, settings: Settings, version: str, keep: bool) -> Report:
    import asyncio

    from rich.console import Console

    from agents.demo.run import Demo
    from agents.demo.view import face
    from connectors.admin import TopicAdmin

    _warm(settings)
    with face(Console()) as shown:
        demo = Demo(plan, settings, shown, version, settings.state / "demo" / settings.prefix)
        try:
            return asyncio.run(demo.run())
        except asyncio.CancelledError:
            raise typer.Exit(130) from None
        finally:
            if demo.made_topics and not keep:
                shown.say("deleting the topics of the demo")
                TopicAdmin(settings.confluent(), settings.prefix).remove()


def _warm(settings: Settings) -> None:
    """Compile the kernels of all three processes here, where progress can be seen; they load them from the cache."""
    import agents.demo.run  # noqa: F401  the kernels of both are to be compiled
    import streams.pipeline  # noqa: F401
    from agents.worker import warm

    with progress() as report:
        warm(
            settings.state,
            lambda done, total, name: report(f"compiling, the first time only: {done} of {total}, {name}"),
        )
