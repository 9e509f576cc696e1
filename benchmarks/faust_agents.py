"""The same decisions by stock Faust agents, as a process: one event a message, the way Faust's manual shows.

Three agents on the three sources; each event is decoded by fastavro, decided by the dictionary model that the tests
hold the product against, its row kept in a Faust table with a changelog, and what it brings about encoded by fastavro
and sent, acknowledged by all replicas. Where there was a choice, the faster way for Faust was taken: a table in
memory, no journal of what was read, no transactions, plain numbers for times, one schema lookup a topic.
It prints a line {"done": events} ten times a second, and ends when all it sent is acknowledged.

    python -m benchmarks.faust_agents SOURCE_PREFIX TARGET_PREFIX EVENTS
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import os
import sys
from typing import Any, cast

import fastavro
import faust

from agents.settings import Settings
from schemas.catalog import LocalIds, schema_of
from tests.lanes import WRITERS, plain
from tests.model.model import Model, Outcome
from tests.model.numbers import SOURCES

from .rig import PARTITIONS

OUTPUTS = (
    "trust.levels", "trust.changes", "ratelimit.decisions", "priority.urgent", "priority.normal", "priority.background",
)  # fmt: skip
_SAME = dict.fromkeys(SOURCES)
"""Readers' schemas: none, as the writers' are the same, which fastavro decodes faster."""


class Encoded:
    """Values of a topic as bytes, in a Confluent frame."""

    def __init__(self, topic: str) -> None:
        self._schema = fastavro.parse_schema(copy.deepcopy(plain(schema_of(topic))))
        self._frame = b"\0" + LocalIds().id_of(topic).to_bytes(4)

    def __call__(self, value: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._frame)
        fastavro.schemaless_writer(out, self._schema, value)
        return out.getvalue()


def records(done: Outcome, row: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(topic, value) of what a decision brings about."""
    event, trust = done.event, row["trust"]
    agent = {"tenant_id": event["tenant_id"], "agent_id": event["agent_id"]}
    base = {**agent, "event_id": event["event_id"], "source": SOURCES[done.source], "offset": done.offset}
    told = {name: event[name] for name in ("event_type", "occurred_at", "correlation_id")}
    tier = f"T{done.tier}"
    found = [("trust.changes", {**base, **c, **{t: f"T{c[t]}" for t in ("tier_before", "tier_after")}})
             for c in done.changes]  # fmt: skip
    if done.limit:
        found.append(("ratelimit.decisions", {**base, **told, **done.limit, "tier": tier}))
    about = {name: done.priority[name] / 1e6 for name in ("score", "surprise", "impact")}
    subject = event.get("action") if done.source == "kaizen.events" else event.get("request_kind")
    standing = {"points": done.points, "tier": tier, "status": done.status}
    limit = done.limit["decision"] if done.limit else None
    pool = {**base, **told, "subject": subject, **about, **standing, "limit_decision": limit}
    found.append((f"priority.{done.priority['pool']}", pool))
    level = {**agent, "points": done.points, "last_activity": done.now, "tier": tier, "since": trust["since"],
             "status": done.status, "observability": trust["class"], "why": trust["why"]}  # fmt: skip
    return [*found, ("trust.levels", level)]


class Fleet:
    """The app, its agents, and how many events they have decided."""

    def __init__(self, source: Settings, target: Settings, events: int) -> None:
        self.done, self._events = 0, events
        self.finished = asyncio.Event()
        self.app = faust.App(
            f"{target.prefix}.faust", broker=f"kafka://{source.bootstrap_servers}", store="memory://",
            topic_partitions=PARTITIONS, key_serializer="raw", value_serializer="raw", web_enabled=False,
            consumer_auto_offset_reset="earliest", datadir=source.state / "faust-agents",
        )  # fmt: skip
        rows: Any = faust.Schema(
            key_type=bytes, value_type=cast(Any, dict), key_serializer="raw", value_serializer="json"
        )
        self._rows = self.app.Table("rows", default=dict, partitions=PARTITIONS, schema=rows)
        self._models = [Model(p, PARTITIONS, WRITERS, _SAME) for p in range(PARTITIONS)]
        self._out = {name: (self._topic(target.topic(name)), Encoded(name)) for name in OUTPUTS}
        for name in SOURCES:
            self.app.agent(self._topic(source.topic(name)), name=f"decide.{name}")(self._agent(name))

    def _topic(self, name: str) -> Any:
        return self.app.topic(name, key_type=bytes, value_type=bytes)

    def _agent(self, name: str) -> Any:
        async def decide(stream: Any) -> None:
            async for event in stream.events():
                await self._decide(name, event.message)

        return decide

    async def _decide(self, name: str, message: Any) -> None:
        if self.done >= self._events:
            return
        key, model = message.key, self._models[message.partition]
        outcome = model.feed(name, message.offset, int(message.timestamp * 1000), key, message.value)
        assert outcome.event, outcome.reason  # noqa: S101  the traffic of the benchmarks has no flaws
        row = model.rows[key]
        self._rows[key] = row
        for topic, value in records(outcome, row):
            channel, encode = self._out[topic]
            await channel.send(key=key, value=encode(value), timestamp=outcome.now / 1000)
        self.done += 1
        if self.done == self._events:
            self.finished.set()

    async def run(self) -> None:
        """Decide, print how far it is, and end when everything is acknowledged."""
        starting = asyncio.create_task(self.app.start())
        while not self.finished.is_set():
            if starting.done():
                starting.result()
            say(min(self.done, self._events - 1))
            await asyncio.sleep(0.1)
        await self.app.producer.flush()
        say(self._events)


def say(done: int) -> None:
    """Print how far it is."""
    print(json.dumps({"done": done}), flush=True)


if __name__ == "__main__":
    asyncio.run(Fleet(Settings.read(prefix=sys.argv[1]), Settings.read(prefix=sys.argv[2]), int(sys.argv[3])).run())
    os._exit(0)
