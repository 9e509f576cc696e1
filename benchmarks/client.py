"""`python -m benchmarks.client`: what the client costs beside bare confluent-kafka and fastavro.

All three make the same events from the same words, write them, send them with the same settings of librdkafka and hear
of every delivery; the client also checks them and adds the headers of CloudEvents. They take turns on one broker, each
in this process; compared are events per second of its CPU time, which includes the threads of librdkafka.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import struct
import time
from collections.abc import Callable
from typing import Any

import fastavro
from confluent_kafka import Producer

from cognistream_client import KaizenEvent, Publisher
from cognistream_client.identity import new_id, now_ms
from cognistream_client.line import REQUIRED
from connectors.admin import TopicAdmin
from connectors.local_kafka import borrowed_kafka
from connectors.state_folder import state_folder
from schemas.catalog import LocalIds, schema_of
from schemas.topics import full_name

PREFIX = "bench-client"
TOPIC = "kaizen.events"
AGENTS = 1_000
BATCH = 1_000


def words(number: int) -> dict[str, Any]:
    """What the service says of an event."""
    return {
        "tenant_id": "acme", "agent_id": f"agent-{number % AGENTS}", "event_type": "execution_completed",
        "risk": "medium", "action": "data:read/internal", "component": "executor", "model": "large-3",
        "duration_ms": 812.5, "tokens_in": number, "tokens_out": 310, "cost_usd": 0.0125, "user_facing": True,
    }  # fmt: skip


def bare(bootstrap: str, events: int) -> None:
    """The least that a service without the client must do."""
    schema = fastavro.parse_schema(schema_of(TOPIC))
    frame = struct.pack(">bi", 0, LocalIds().id_of(TOPIC))
    nulls = {field["name"]: field.get("default") for field in schema_of(TOPIC)["fields"]}
    producer = Producer({**REQUIRED, "bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 5})
    delivered = itertools.count()
    topic = full_name(PREFIX, TOPIC)
    for number in range(events):
        value = {**nulls, "event_id": new_id(), "occurred_at": now_ms(), **words(number)}
        out = io.BytesIO()
        out.write(frame)
        fastavro.schemaless_writer(out, schema, value)
        key = f"{value['tenant_id']}/{value['agent_id']}".encode()
        while True:
            try:
                producer.produce(topic, out.getvalue(), key, on_delivery=lambda *_: next(delivered))
                break
            except BufferError:
                producer.poll(0.05)
        if number % 256 == 0:
            producer.poll(0)
    producer.flush()


def one_by_one(bootstrap: str, events: int) -> None:
    """`publish` for each."""
    with Publisher(bootstrap, prefix=PREFIX) as publisher:
        for number in range(events):
            publisher.publish(KaizenEvent(**words(number)))


def many(bootstrap: str, events: int) -> None:
    """`publish_many` for a thousand at a time."""
    with Publisher(bootstrap, prefix=PREFIX) as publisher:
        for first in range(0, events, BATCH):
            publisher.publish_many(KaizenEvent(**words(number)) for number in range(first, first + BATCH))


WAYS: dict[str, Callable[[str, int], None]] = {"bare": bare, "publish": one_by_one, "publish_many": many}


def rate(way: Callable[[str, int], None], bootstrap: str, events: int) -> float:
    """Events per second of this process's CPU time."""
    began = time.process_time()
    way(bootstrap, events)
    return events / (time.process_time() - began)


def main() -> None:
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="of one turn, a multiple of 1,000 (100,000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    given = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    with borrowed_kafka(state_folder() / "bench-brokers", state_folder() / "maven", brief=False) as broker:
        TopicAdmin({"bootstrap.servers": broker.bootstrap}, PREFIX).create([TOPIC])
        for _ in range(given.rounds):
            for name, way in WAYS.items():
                rates[name].append(rate(way, broker.bootstrap, given.events))
    ratios = {
        name: statistics.median(one / base for one, base in zip(rates[name], rates["bare"], strict=True))
        for name in WAYS
    }
    middle = {name: round(statistics.median(found)) for name, found in rates.items()}
    print(json.dumps({"events_per_cpu_second": middle, "of_bare": {k: round(v, 2) for k, v in ratios.items()}}))


if __name__ == "__main__":
    main()
