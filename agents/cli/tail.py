"""`cognistream tail`: the records of any topic, decoded, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import (
    Bootstrap,
    Json,
    Prefix,
    complete_topic,
    known_topics,
    say,
    say_json,
    schema_ids,
    settings,
)

if TYPE_CHECKING:
    from agents.settings import Settings
    from connectors.topic_reader import Record, TopicReader

LOOK_BACK = 10
LOOK_BACK_FOR = 100_000
"""Records to look back over when only some of them are asked for."""

EXAMPLES = (
    "Examples:\n\n  cognistream tail priority.urgent\n\n  cognistream tail trust.changes --agent acme/agent-7\n\n"
    "  cognistream tail ratelimit.decisions --where decision=deny --where tier=T0\n\n"
    "  cognistream tail dead.letters --from-start --no-follow --json | jq -r .value.reason | sort | uniq -c"
)


def tail(
    topic: Annotated[str, typer.Argument(help="Topic, without prefix.", autocompletion=complete_topic)],
    agent: Annotated[str | None, typer.Option(metavar="TENANT/AGENT", help="Only records of this agent.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Only records with this value; dots lead inside. May be repeated."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last",
            "-n",
            min=0,
            help="Begin this many records before the end.",
            show_default="10; with a filter 100,000",
        ),
    ] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record.")] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more at the end.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="End after this many records.")] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Print the records of a topic, decoded, and wait for more until Ctrl-C. With --json one object per line."""
    known_topics([topic])
    wanted = _conditions(agent, where or [])
    back = None if from_start else last if last is not None else LOOK_BACK_FOR if wanted or agent else LOOK_BACK
    found = settings(bootstrap, prefix)
    shown = _shown(found, topic, agent, wanted, back, follow=follow)
    for number, record in enumerate(shown, 1):
        _print(record, as_json)
        if number == limit:
            return


def _conditions(agent: str | None, where: list[str]) -> dict[str, str]:
    if agent is not None and "/" not in agent:
        raise typer.BadParameter(f"{agent!r} is not TENANT/AGENT", param_hint="--agent")
    for condition in where:
        if "=" not in condition:
            raise typer.BadParameter(f"{condition!r} is not FIELD=VALUE", param_hint="--where")
    return dict(condition.split("=", 1) for condition in where)


def _shown(
    found: Settings, topic: str, agent: str | None, wanted: dict[str, str], back: int | None, *, follow: bool
) -> Iterator[dict[str, Any]]:
    """The records asked for: what is there in the order of time, then, when following, what comes."""
    from agents.cli.decoded import readable
    from connectors.topic_reader import TopicReader

    ids = schema_ids(found)
    with TopicReader(found.confluent(), found.topic(topic)) as reader:
        for record in _records(reader, _partitions(reader, topic, agent), back, follow=follow):
            if agent is not None and not _maybe_of(agent, topic, record):
                continue
            shown = readable(topic, record, ids)
            if (agent is None or _of(agent, shown)) and _meets(shown["value"], wanted):
                yield shown


def _records(reader: TopicReader, partitions: list[int], back: int | None, *, follow: bool) -> Iterator[Record]:
    from operator import attrgetter

    spans = reader.spans(partitions)
    # Transaction markers have offsets too: twice as far back is far enough even where each follows one record.
    starts = {
        p: first if back is None else max(first, following - 2 * back - 10) for p, (first, following) in spans.items()
    }
    stream = reader.read(starts)
    if back is not None:
        there = sorted(iter(lambda: next(stream), None), key=attrgetter("timestamp", "partition", "offset"))
        yield from there[len(there) - min(back, len(there)) :]
        if not follow:
            return
    for record in stream:
        if record is not None:
            yield record
        elif not follow:
            return


def _partitions(reader: TopicReader, topic: str, agent: str | None) -> list[int]:
    """Where to look: an agent's records lie in one partition of the topics that are keyed by agent."""
    from schemas.topics import topic as row

    if agent is None or row(topic).key != "agent":
        return list(range(reader.partitions))
    from schemas.murmur import partition_of

    return [partition_of(agent.encode(), reader.partitions)]


def _maybe_of(agent: str, topic: str, record: Record) -> bool:
    """Whether a look inside is worth it: most topics say in the key whose record it is."""
    return topic == "audit.log" or record.key == agent.encode()


def _of(agent: str, shown: Mapping[str, Any]) -> bool:
    from agents.cli.decoded import field

    if shown["key"] == agent:
        return True
    decision = field(shown["value"], "decision")
    return isinstance(decision, Mapping) and f"{decision['tenant_id']}/{decision['agent_id']}" == agent


def _meets(value: Any, wanted: Mapping[str, str]) -> bool:
    from agents.cli.decoded import field

    return all(_text(field(value, path)) == expected for path, expected in wanted.items())


def _text(part: Any) -> str:
    """A value as people and JSON write it."""
    if part is None or isinstance(part, bool):
        return {None: "null", True: "true", False: "false"}[part]
    return str(part)


def _print(shown: Mapping[str, Any], as_json: bool) -> None:
    import sys

    if as_json:
        say_json(shown)
    else:
        from agents.cli.decoded import line

        say(line(shown))
    sys.stdout.flush()
