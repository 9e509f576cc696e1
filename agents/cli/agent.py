"""`cognistream agent`: the trust card of one agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import Bootstrap, Json, Prefix, say, say_json, schema_ids, settings

if TYPE_CHECKING:
    from agents.card import Card, Habit

EXAMPLES = (
    "Examples:\n\n  cognistream agent acme/agent-7\n\n  cognistream agent acme/agent-7 --prefix demo\n\n"
    "  cognistream agent acme/agent-7 --json | jq .level.score"
)


def agent(
    name: Annotated[str, typer.Argument(metavar="TENANT/AGENT", help="The agent, as in the key of its events.")],
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Show what is known of an agent: its level now and why, its bucket, its habits, the last decisions about it."""
    if "/" not in name:
        raise typer.BadParameter(f"{name!r} is not TENANT/AGENT", param_hint="TENANT/AGENT")
    from agents.card import card
    from agents.deciding import policy_of

    found = settings(bootstrap, prefix)
    shown = card(found, name, policy_of(found), schema_ids(found))
    if as_json:
        say_json(shown.model_dump(mode="json"))
    else:
        _show(shown)


def _show(card: Card) -> None:
    from agents.cli.decoded import clock, printable

    level, bucket = card.level, card.bucket
    say(f"{printable(card.tenant_id)}/{printable(card.agent_id)}   {card.status}, as of {clock(card.as_of)} UTC")
    say()
    _row("level", f"{level.score} of 1000, {level.tier} {level.tier_name} since {clock(level.since)}")
    if level.score != level.stored_score:
        _row("", f"decayed from {level.stored_score}: idle for {level.idle_days} days")
    _row("why", f"last changed by {level.why}")
    _row("ceiling", f"{level.ceiling:g} ({level.observability.replace('_', ' ')})")
    _row("last event", clock(level.last_activity))
    _row("bucket", f"{bucket.available} of {bucket.capacity} requests now, {bucket.refill_per_s:g} a second come back")
    if bucket.throttled_until is not None:
        _row("", f"throttled until {clock(bucket.throttled_until)}")
    if bucket.violations:
        _row("", f"{bucket.violations} denials in this window")
    _several("usually", [_habit(habit) for habit in card.habits])
    _several("limits", [_limit(one) for one in card.limits])
    _several("changes", [_change(one) for one in card.changes])
    _several("events", [_event(one) for one in card.events])
    if card.decided_under not in ("", card.policy_version):
        say(f"\nshown with policy {card.policy_version}; the worker decided under {card.decided_under}:")
        say("give its file in COGNISTREAM_POLICY to see the same numbers")


def _row(name: str, told: str) -> None:
    say(f"  {name:<11}{told}")


def _several(name: str, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        _row("" if number else name, line)


def _habit(habit: Habit) -> str:
    every = "" if habit.every_s is None else f", every {_span(habit.every_s)}"
    return f"{habit.event_type:<22}{habit.share:>4.0%}{every}"


def _span(seconds: float) -> str:
    """`seconds` in the unit that people would take: `40 ms`, `2.5 s`, `11.6 h`."""
    for most, size, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def _limit(one: dict[str, Any]) -> str:
    return f"{_at(one)}  {one['decision']:<9}{_dotted(one['event_type'])}: {one['remaining']} left ({one['limit']})"


def _change(one: dict[str, Any]) -> str:
    tiers = "" if one["tier_before"] == one["tier_after"] else f", {one['tier_before']} to {one['tier_after']}"
    return f"{_at(one)}  {one['before'] // 1000} to {one['after'] // 1000}{tiers} by {_dotted(one['cause'])}"


def _event(one: dict[str, Any]) -> str:
    pool = one["topic"].removeprefix("priority.")
    return f"{_at(one)}  {pool:<11}{_dotted(one['event_type'])}: score {one['score']:.3f}"


def _at(one: dict[str, Any]) -> str:
    from agents.cli.decoded import clock

    return clock(one["time"])


def _dotted(symbol: str) -> str:
    return symbol.replace("_", ".")
