"""`cognistream worker`: decide, until told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli.options import Bootstrap, Prefix, progress, settings

if TYPE_CHECKING:
    from agents.settings import Settings


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

    Start as many as you like, on one machine or many; they share the partitions among them. SIGHUP reads the policy
    file again; one with a mistake is refused, and the old policy stays.
    """
    _log(verbose=verbose)
    raise typer.Exit(_run(settings(bootstrap, prefix, policy_file=policy, port=port)))


def _log(*, verbose: bool) -> None:
    import logging

    from agents.damping import Damper

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("agents").setLevel(logging.DEBUG if verbose else logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Damper())


def _run(found: Settings) -> int:
    from contextlib import ExitStack, closing

    from agents.cli.recovery import RecoveryView
    from agents.deciding import Deciders
    from agents.worker import run

    with ExitStack() as compiling, closing(RecoveryView()) as recovery:
        report = compiling.enter_context(progress())

        def ready(done: int, total: int, name: str) -> None:
            report(f"preparing kernels, slow the first time only: {done} of {total}, {name}")
            if done == total:
                compiling.close()

        new = Deciders(found)
        return run(found, new, progress=ready, reload=new.reload, recovery=recovery)
