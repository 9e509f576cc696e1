"""All commands under one name, and how they end: 0 well, 1 failed, 2 used wrongly, 130 interrupted.

Whatever goes wrong is told in one message without a stack trace. `COGNISTREAM_DEBUG=1` shows the trace as well.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from agents.cli import (
    agent,
    audit,
    demo,
    dlq,
    gateway,
    kafka,
    keys,
    lag,
    policy,
    registry,
    schemas,
    state,
    tail,
    topics,
    worker,
)
from connectors.state_folder import use_kernel_cache
from schemas.errors import CognistreamError

app = typer.Typer(
    name="cognistream",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Governs fleets of AI agents over Kafka: trust, rate limits, cognitive priority and an audit journal.",
    epilog="Settings of a process are environment variables, listed in docs/settings.md; options win over them.",
)
app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
app.command("worker", epilog=worker.EXAMPLES)(worker.worker)
app.command("gateway", epilog=gateway.EXAMPLES)(gateway.gateway)
app.command("tail", epilog=tail.EXAMPLES)(tail.tail)
app.command("agent", epilog=agent.EXAMPLES)(agent.agent)
app.command("lag", epilog=lag.EXAMPLES)(lag.lag)
app.add_typer(topics.app, name="topics")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(dlq.app, name="dlq")
app.add_typer(state.app, name="state")
app.add_typer(keys.app, name="keys")
app.add_typer(kafka.app, name="kafka")
app.add_typer(registry.app, name="registry")
app.add_typer(schemas.app, name="schemas")


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status."""
    use_kernel_cache()
    try:
        app(arguments, prog_name="cognistream")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except CognistreamError as error:
        return _tell(str(error), error, 2 if _misused(error) else 1)
    except Exception as error:  # the last place where a person can be told
        told = f"this should not happen: {type(error).__name__}: {error} (COGNISTREAM_DEBUG=1 shows where)"
        return _tell(told, error, 1)
    return 0


def _misused(error: CognistreamError) -> bool:
    """Whether what was typed or set is wrong, not what was found."""
    from agents.settings import SettingsError
    from schemas.topics import TopicError

    return isinstance(error, SettingsError | TopicError)


def _tell(message: str, error: Exception, status: int) -> int:
    if os.environ.get("COGNISTREAM_DEBUG"):
        traceback.print_exception(error)
    print(f"cognistream: {message}", file=sys.stderr)  # noqa: T201
    return status
