"""`cognistream worker`: decide, until told to stop."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli.options import Bootstrap, Prefix, progress, settings

if TYPE_CHECKING:
    from agents.runtime.decider import Decider
    from agents.settings import Settings
    from schemas.catalog import SchemaIds


EXAMPLES = (
    "Examples:\n\n  cognistream worker\n\n  cognistream worker --policy policy.toml --port 0\n\n"
    "  BOOTSTRAP_SERVERS=kafka:9092 cognistream worker"
)


def worker(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file.", show_default="COGNISTREAM_POLICY, else the built-in policy")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of /ready and /metrics on loopback; 0: any.", show_default="9464"),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more in the log.")] = False,
) -> None:
    """Run a worker: it takes its share of the partitions, decides, and commits until SIGTERM or Ctrl-C.

    Start as many as you like, on one machine or many; they share the partitions among them.
    """
    import logging

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("agents").setLevel(logging.DEBUG if verbose else logging.INFO)
    raise typer.Exit(_run(settings(bootstrap, prefix, policy_file=policy, port=port)))


def _run(found: Settings) -> int:
    from agents.worker import run, warm
    from schemas.catalog import LocalIds
    from streams.pipeline import Lane
    from streams.policy import Policy

    policy = Policy.load(found.policy_file) if found.policy_file else Policy()
    ids = _ids(found, LocalIds())
    build = f"cognistream-{version('cognistream')}"

    def lane(partition: int, partitions: int) -> Decider:
        return Lane(partition, partitions, policy=policy, ids=ids, build=build)

    with progress() as report:
        warm(
            found.state, lambda done, total, name: report(f"compiling, the first time only: {done} of {total}, {name}")
        )
    return run(found, lane)


def _ids(found: Settings, local: SchemaIds) -> SchemaIds:
    if not found.registry_url:
        return local
    from connectors.registry import RegisteredIds, Registry

    ids = RegisteredIds(Registry(found.registry_url), local)
    ids.register_all()
    return ids
