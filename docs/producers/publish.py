"""Publishes events of agents, lines of JSON on standard input, and prints what was decided of each.

Needs cognistream-client[otel] and opentelemetry-sdk:

    echo '{"tenant_id": "acme", "agent_id": "planner-1", "event_type": "execution_completed"}' | python publish.py
"""

import json
import os
import sys

from opentelemetry.sdk.trace import TracerProvider

from cognistream_client import Consumer, KaizenEvent, Publisher

KAFKA = os.environ.get("BOOTSTRAP_SERVERS", "127.0.0.1:9092")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL")  # None: the ids of this release
POOLS = ["priority.urgent", "priority.normal", "priority.background"]

# A service that is traced has a span already; whatever is current goes along as `traceparent`.
span = TracerProvider().get_tracer("producer").start_as_current_span("publish")
with span, Publisher(KAFKA, source="/producers/python", registry=REGISTRY) as publisher:
    handles = publisher.publish_many(KaizenEvent(**json.loads(line)) for line in sys.stdin)
    undecided = {handle.event_id for handle in handles.wait(30)}

with Consumer(KAFKA, POOLS, group="producer-python", registry=REGISTRY) as consumer:
    for received in consumer.records(timeout=60):
        if received.record.event_id in undecided:
            undecided.remove(received.record.event_id)
            trace = received.headers.get("traceparent", b"").decode()
            print(json.dumps({"pool": received.topic, "traceparent": trace, "record": vars(received.record)}))
        if not undecided:
            break
sys.exit(f"no decision within a minute: {undecided}" if undecided else 0)
