"""`cognistream keys`: who may ask the gateway."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import Bootstrap, Json, Prefix, say, say_json, say_table, settings

if TYPE_CHECKING:
    from connectors.gateway.keys import ApiKey

app = typer.Typer(no_args_is_help=True, help="Keys of the gateway: make them, list them, revoke them.")

DAY_MS = 86_400_000


@app.command(
    epilog="Examples:\n\n  cognistream keys create acme\n\n"
    "  cognistream keys create acme --name billing --verb check --days 90\n\n"
    "  cognistream keys create acme --verb publish --source kaizen --json | jq -r .key"
)
def create(
    tenant: Annotated[str, typer.Argument(help="The tenant whose agents the key speaks of.")],
    name: Annotated[str, typer.Option(help="What you call it.")] = "",
    verb: Annotated[
        list[str] | None, typer.Option(help="check, read or publish. May be repeated.", show_default="check, read")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Source that it may publish to. May be repeated.", show_default="all")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3_650, help="Days until it expires.", show_default="never")
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only the hash of its secret is kept."""
    from connectors.gateway.key_topic import TOPIC, write_key
    from connectors.gateway.keys import make
    from schemas.event_types import SOURCES

    if strange := sorted(set(source or ()) - set(SOURCES)):
        raise typer.BadParameter(f"there is no source {strange[0]!r}: {', '.join(SOURCES)}", param_hint="--source")
    now = _now_ms()
    expires = None if days is None else now + days * DAY_MS
    text, key = make(name, tenant, _verbs(verb), tuple(source or SOURCES), now, expires)
    found = settings(bootstrap, prefix)
    write_key(found.confluent(), found.topic(TOPIC), key, now)
    if as_json:
        say_json({"key": text, **_shown(key)})
        return
    say(text)
    say(f"this is the only time that it is shown; the gateway takes it from now on. Its number is {key.number}")


@app.command(
    "list", epilog="Examples:\n\n  cognistream keys list\n\n  cognistream keys list --json | jq -r '.[].number'"
)
def list_(bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """List all keys, the expired and the revoked ones too."""
    from connectors.gateway.key_topic import TOPIC, read_keys

    found = settings(bootstrap, prefix)
    rows = [_shown(key) for key in read_keys(found.confluent(), found.topic(TOPIC))]
    if as_json:
        say_json(rows)
        return
    heads = ["number", "name", "tenant", "verbs", "sources", "state"]
    say_table(heads, [[_cell(row[head]) for head in heads] for row in rows])


@app.command(
    epilog="Examples:\n\n  cognistream keys revoke mzxw6ytboi2gk3tu\n\n  cognistream keys revoke NUMBER --json"
)
def revoke(
    number: Annotated[str, typer.Argument(help="Number of the key: `keys list` shows it.")],
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Revoke a key, for good; running gateways refuse it within a second."""
    from connectors.gateway.key_topic import TOPIC, read_keys, write_key

    found = settings(bootstrap, prefix)
    key = read_keys(found.confluent(), found.topic(TOPIC)).number(number)
    if key.revoked is None:
        key = replace(key, revoked=_now_ms())
        write_key(found.confluent(), found.topic(TOPIC), key, _now_ms())
    if as_json:
        say_json(_shown(key))
    else:
        say(f"key {number} ({key.name or 'without a name'}) of {key.tenant_id} is revoked")


def _verbs(named: list[str] | None) -> Any:
    from connectors.gateway.keys import VERBS

    if strange := sorted(set(named or ()) - set(VERBS)):
        raise typer.BadParameter(f"there is no verb {strange[0]!r}: {', '.join(VERBS)}", param_hint="--verb")
    return tuple(dict.fromkeys(named or ("check", "read")))


def _shown(key: ApiKey) -> dict[str, Any]:
    shown = {"number": key.number, "name": key.name, "tenant": key.tenant_id, "verbs": list(key.verbs)}
    times = {"created": key.created, "expires": key.expires, "revoked": key.revoked}
    return {**shown, "sources": list(key.sources), "state": key.state(_now_ms()), **times}


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
