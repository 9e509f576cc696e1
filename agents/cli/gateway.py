"""`cognistream gateway`: answer over HTTP whether an agent may act, until told to stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agents.cli.options import Bootstrap, Prefix, say, settings

EXAMPLES = (
    "Examples:\n\n  cognistream gateway\n\n  cognistream gateway --port 0 --rules gateway.toml\n\n"
    "  REDIS_URL=redis://127.0.0.1:6379/0 cognistream gateway"
)


def gateway(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file, the workers'.", show_default="COGNISTREAM_POLICY, else built in")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Rules of the gateway: plans, runs, capabilities, age.", show_default="built in")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port on loopback; 0: any.", show_default="8464")
    ] = None,
) -> None:
    """Run the gateway: POST /v1/check and /v1/events, GET /v1/agents/TENANT/AGENT, /ready, /metrics, /openapi.json.

    Callers send a key that `cognistream keys create` made. Start as many gateways as you like; with REDIS_URL they
    share the limits. Without fresh decisions of workers, or without Redis, every check is denied and says so.
    """
    import logging

    from agents.gateway import run

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    found = settings(bootstrap, prefix, policy_file=policy, gateway_rules=rules, gateway_port=port)
    run(found, _listening)


def _listening(address: str) -> None:
    say(f"the gateway listens on {address}")
    sys.stdout.flush()  # who started it reads this from a pipe, and waits for it
