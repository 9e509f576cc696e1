"""`cognistream policy`: the numbers that decide, shown and checked before they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli.options import Json, say, say_json

if TYPE_CHECKING:
    from streams.policy import Policy

app = typer.Typer(
    no_args_is_help=True, help="The policy file: show the numbers that decide, check a file before it does."
)


@app.command(
    epilog="Examples:\n\n  cognistream policy show\n\n  cognistream policy show > policy.toml"
    "\n\n  cognistream policy show policy.toml --json | jq .version"
)
def show(
    file: Annotated[
        Path | None, typer.Argument(help="A policy file.", show_default="COGNISTREAM_POLICY, else the built-in policy")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a whole policy as TOML: every number, with what it means."""
    policy = _policy(file)
    if as_json:
        say_json({"version": policy.version, "policy": policy.model_dump(mode="json")})
    else:
        say(f"# Policy {policy.version}\n\n{policy.to_toml()}")


@app.command(epilog="Examples:\n\n  cognistream policy check policy.toml && systemctl restart cognistream-worker")
def check(file: Annotated[Path, typer.Argument(help="The policy file to check.")], as_json: Json = False) -> None:
    """Check a policy file; a mistake is named with its line and field, with exit status 1."""
    from streams.policy import Policy, PolicyError

    try:
        policy = Policy.load(file)
    except PolicyError as error:
        if as_json:
            say_json({"ok": False, "problems": str(error).splitlines()})
            raise typer.Exit(1) from None
        raise
    if as_json:
        say_json({"ok": True, "version": policy.version})
    else:
        say(f"{file} is a policy: version {policy.version}{_same(policy)}")


def _same(policy: Policy) -> str:
    from streams.policy import Policy as Built

    return ", the same as the built-in one" if policy.version == Built().version else ""


def _policy(file: Path | None) -> Policy:
    from agents.settings import Settings
    from streams.policy import Policy

    chosen = file or Settings.read().policy_file
    return Policy.load(chosen) if chosen else Policy()
