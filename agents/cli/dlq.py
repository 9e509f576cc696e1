"""`cognistream dlq`: look at what was refused, send it again, and let a partition that was stopped go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import Bootstrap, Json, Prefix, progress, say, say_json, say_table, schema_ids, settings

if TYPE_CHECKING:
    from agents.letters import Letter, Letters, Wanted
    from agents.redriving import Plan
    from agents.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Dead letters: list and show them, send them again, resume a partition.")

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason. May be repeated.")]
Sources = Annotated[
    list[str] | None, typer.Option("--source", metavar="TOPIC", help="Only of this source. May be repeated.")
]
Partitions = Annotated[list[int] | None, typer.Option("--partition", min=0, help="Only this one. May be repeated.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Refused at this time or later: 2026-11-21T17:00 (UTC), or 90m, 12h, 7d ago."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Refused before this time.")]
Agent = Annotated[str | None, typer.Option(metavar="TENANT/AGENT", help="Only records with this key.")]


@app.command(
    "list",
    epilog="Examples:\n\n  cognistream dlq list\n\n  cognistream dlq list --since 2h --each\n\n"
    "  cognistream dlq list --reason wrong_partition --json | jq .count",
)
def list_(
    reason: Reasons = None,
    source: Sources = None,
    partition: Partitions = None,
    since: Since = None,
    until: Until = None,
    agent: Agent = None,
    each: Annotated[bool, typer.Option("--each", help="The letters themselves, one a line.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Count the dead letters by reason, source and partition, or list each. With --json one object per line."""
    wanted = _wanted(reason, source, partition, since, until, agent)
    letters = _letters(settings(bootstrap, prefix))
    if each:
        _say_each(letters.read(wanted), as_json)
        return
    with progress() as tell:
        counts = _counts(_told(letters.read(wanted), tell))
    _say_counts(counts, as_json)


@app.command(
    epilog="Examples:\n\n  cognistream dlq show 3:1042\n\n  cognistream dlq show 3:1042 --json | jq -r .decoded"
)
def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="A letter, as `dlq list --each` names it.")],
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Show one letter whole: what was said about it, its bytes, and what they say as far as they can be read."""
    from agents.cli.letters import lines, whole

    found = settings(bootstrap, prefix)
    shown = whole(_letters(found).one(*_place(place)), schema_ids(found))
    if as_json:
        say_json(shown)
        return
    for line in lines(shown):
        say(line)


@app.command(
    epilog="Examples:\n\n  cognistream dlq redrive --reason unknown_schema --since 2h\n\n"
    "  cognistream dlq redrive --reason unknown_schema --since 2h --yes\n\n"
    "  cognistream dlq redrive 3:1042 3:1043 --again --yes"
)
def redrive(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PARTITION:OFFSET]...", help="These letters; none: all that the filters let through."),
    ] = None,
    reason: Reasons = None,
    source: Sources = None,
    partition: Partitions = None,
    since: Since = None,
    until: Until = None,
    agent: Agent = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was sent again before and refused another time.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send; without it only say what would be sent.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Send letters again: the original key, value, headers and timestamp, and a header that names the letter.

    Each goes to the partition of its key. What was sent again before is not sent twice: the marks in the source topics
    are looked up first, so that a redrive which died half way can be started again.
    """
    from agents.redriving import Redrive

    found = settings(bootstrap, prefix)
    wanted = _wanted(reason, source, partition, since, until, agent, places)
    run = Redrive(found, _letters(found), wanted, again=again)
    with progress() as tell:
        plan = asyncio.run(run.send(tell) if yes else run.plan(tell))
    _say_plan(plan, sent=yes, as_json=as_json)


@app.command(
    epilog="Examples:\n\n  cognistream dlq resume --source kaizen.events --partition 3\n\n"
    "  cognistream dlq resume --source kaizen.events --partition 3 --until 120000"
)
def resume(
    source: Annotated[str, typer.Option(metavar="TOPIC", help="Source topic that the breaker speaks of.")],
    partition: Annotated[int, typer.Option(min=0, help="Its partition.")],
    until: Annotated[
        int | None, typer.Option(min=0, help="Offset to begin to count again.", show_default="its end now")
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Let a partition go on that a breaker stopped, when the cause is mended or the records may go to the dead letters.

    Records before the offset are decided whatever they are; from it on the breaker counts again. Workers take note
    within a second or two.
    """
    from agents import resumes
    from agents.cli.letters import known_sources

    found = settings(bootstrap, prefix)
    (name,) = known_sources([source])
    last = _end(found, name, partition)
    end = last if until is None else until
    if end > last:
        raise typer.BadParameter(f"partition {partition} of {name} ends at offset {last}", param_hint="--until")
    asyncio.run(resumes.resume(found, name, partition, end))
    if as_json:
        say_json({"source": name, "partition": partition, "until": end})
    else:
        say(f"the records of partition {partition} of {name} before offset {end} are decided, whatever is in them")


def _end(found: Settings, source: str, partition: int) -> int:
    """Offset behind the last record; BadParameter for a partition that there is not."""
    from connectors.topic_reader import TopicReader

    with TopicReader(found.confluent(), found.topic(source)) as reader:
        if partition >= reader.partitions:
            raise typer.BadParameter(f"{source} has partitions 0 to {reader.partitions - 1}", param_hint="--partition")
        return reader.spans([partition])[partition][1]


def _letters(found: Settings) -> Letters:
    from agents.letters import Letters

    return Letters(found, schema_ids(found))


def _wanted(
    reasons: list[str] | None,
    sources: list[str] | None,
    partitions: list[int] | None,
    since: str | None,
    until: str | None,
    agent: str | None,
    places: list[str] | None = None,
) -> Wanted:
    from agents.cli.letters import known_reasons, known_sources, moment
    from agents.letters import Wanted

    chosen = [_place(place) for place in places or ()]
    return Wanted(
        reasons=known_reasons(reasons),
        sources=known_sources(sources),
        partitions=frozenset(partitions or ()) or frozenset(number for number, _ in chosen),
        places=frozenset(f"{number}:{offset}" for number, offset in chosen),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        agent=None if agent is None else agent.encode(),
    )


def _place(place: str) -> tuple[int, int]:
    partition, colon, offset = place.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{place!r} is not PARTITION:OFFSET, like 3:1042")
    return int(partition), int(offset)


def _told(letters: Iterable[Letter], tell: Any) -> Iterator[Letter]:
    for number, letter in enumerate(letters, 1):
        if number % 1000 == 0:
            tell(f"read {number:,} letters")
        yield letter


def _counts(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    """A row per reason, source and partition, with the times of the first and the last letter."""
    counts = Counter[tuple[str, str, int]]()
    first: dict[tuple[str, str, int], int] = {}
    last: dict[tuple[str, str, int], int] = {}
    for letter in letters:
        group = letter.says["reason"], letter.says["source"], letter.says["partition"]
        counts[group] += 1
        first[group] = min(letter.time, first.get(group, letter.time))
        last[group] = max(letter.time, last.get(group, letter.time))
    return [
        dict(zip(("reason", "source", "partition"), group, strict=True))
        | {"count": count, "first": first[group], "last": last[group]}
        for group, count in sorted(counts.items())
    ]


def _say_counts(counts: list[dict[str, Any]], as_json: bool) -> None:
    from agents.cli.decoded import clock

    if as_json:
        for row in counts:
            say_json(row)
        return
    heads = ["reason", "source", "partition", "letters", "first", "last"]
    rows = [[row["reason"], row["source"], str(row["partition"]), f"{row['count']:,}"] for row in counts]
    times = [[clock(row["first"]), clock(row["last"])] for row in counts]
    say_table(heads, [[*row, *told] for row, told in zip(rows, times, strict=True)])
    say(f"{sum(row['count'] for row in counts):,} letters")


def _say_each(letters: Iterable[Letter], as_json: bool) -> None:
    from agents.cli.letters import brief, line

    for letter in letters:
        if as_json:
            say_json(brief(letter))
        else:
            say(line(letter))


def _say_plan(plan: Plan, *, sent: bool, as_json: bool) -> None:
    from agents.cli.letters import FATES
    from agents.redriving import Fate

    if as_json:
        say_json({"sent": sent, **{fate.name.lower(): plan.of(fate) for fate in Fate}})
        return
    rows = [[*map(str, group), f"{count:,}"] for group, count in sorted(plan.counts.items())]
    say_table(["", "source", "reason", "letters"], rows)
    for fate in Fate:
        if plan.of(fate) and fate in FATES:
            say(f"{fate}: {FATES[fate]}")
    count = plan.of(Fate.SEND)
    say(f"{count:,} letters were sent again" if sent else f"{count:,} letters would be sent again: say --yes to do it")
