"""Every metric of the product, in one list: what it counts, in which unit, and when a person should look at it.

Served by the worker on `/metrics`. Prometheus adds `_total` to counters. Labels stay few: topics by their name without
prefix, partitions as numbers, reasons as in docs/rules.md.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Info

from connectors.bulk_histogram import BulkHistogram

_SIZES: Final = tuple(10.0**power * step for power in range(6) for step in (1, 3))
_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LATENCIES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)

# What comes in -------------------------------------------------------------------------------------------------------

# Records read of each source, valid or not. Falls to zero: nobody publishes, or nothing is fetched.
EVENTS_IN: Final = Counter("cognistream_events_in", "Records read of a source topic", ["topic"])
# Column batches, one for each fetch and partition. Events per batch tell how well fetching bundles.
BATCHES_IN: Final = Counter("cognistream_batches_in", "Column batches read of a source topic", ["topic"])
# Bytes of the batches that wait in a lane: near the lane's limit, deciding is what is slow.
LANE_WAITING_BYTES: Final = Gauge("cognistream_lane_waiting_bytes", "Bytes fetched and not yet decided", ["partition"])

# What is decided -----------------------------------------------------------------------------------------------------

# Events decided by all stages. In = decided + repeats + dead letters.
EVENTS_DECIDED: Final = Counter("cognistream_events_decided", "Events decided", ["partition"])
# Records that were seen before: a publisher that sends twice.
EVENTS_REPEATED: Final = Counter("cognistream_events_repeated", "Repeats, counted and not decided again", ["partition"])
# Records that could not be decided, by reason. More than one in a thousand: ask the producer.
DEAD_LETTERS: Final = Counter("cognistream_dead_letters", "Dead letters by reason", ["reason"])
# Events of one step (one step = one journal entry = one commit). Small when idle, large when busy.
STEP_EVENTS: Final = Histogram("cognistream_step_events", "Events decided in one step", buckets=_SIZES)
# Where the time of a step goes.
STAGE_SECONDS: Final = Histogram(
    "cognistream_stage_seconds", "Time of one stage in one step", ["stage"], buckets=_SECONDS
)
# Levels of the clock that were told to the lanes: stops rising when lanes do not reach the end of their sources.
TICKS: Final = Counter("cognistream_ticks", "Ticks applied", ["partition"])

# What goes out -------------------------------------------------------------------------------------------------------

# Records written, every topic, `agent.state` and `audit.log` included.
RECORDS_OUT: Final = Counter("cognistream_records_out", "Records written to a topic", ["topic"])
# Transactions by how they ended: `done` or `aborted`.
COMMITS: Final = Counter("cognistream_commits", "Transactions of the lanes", ["outcome"])
# From the first record handed over to the broker's answer to the commit.
COMMIT_SECONDS: Final = Histogram("cognistream_commit_seconds", "Time of one transaction", buckets=_SECONDS)
# From the timestamp of a source record to its committed decision.
LATENCY_SECONDS: Final = BulkHistogram(
    "cognistream_latency_seconds", "From the timestamp of a source record to its commit", "topic", _LATENCIES
)

# How the worker stands -----------------------------------------------------------------------------------------------

# Records of a partition not yet decided. Grows: the worker is too slow, or a partition has stopped.
LAG: Final = Gauge("cognistream_lag", "Records of a source partition that are not decided yet", ["topic", "partition"])
# Agents known to a partition.
STATE_ROWS: Final = Gauge("cognistream_state_rows", "Agents known to a partition", ["partition"])
# Recovery after a start: rows read back, and offsets of `agent.state`, then of the sources, still to read. Both rest
# once it is done.
RECOVERED_ROWS: Final = Counter("cognistream_recovered_rows", "Rows read back from agent.state", ["partition"])
RECOVERY_REMAINING: Final = Gauge(
    "cognistream_recovery_remaining", "Offsets of agent.state and sources still to read", ["partition"]
)
# 1 while a partition is held: `registry` (does not answer), `crc` (bytes damaged thrice), `breaker` (a bad deploy; see
# `cognistream dlq resume --help`). Look at the log at once.
PARTITION_PAUSED: Final = Gauge("cognistream_partition_paused", "Whether a partition is held", ["partition", "reason"])
# 1 when every assigned partition is recovered and read.
READY: Final = Gauge("cognistream_ready", "Whether the worker decides all its partitions")
# Policy version and build that decide now.
RUNNING: Final = Info("cognistream_running", "What decides: policy version and build")

# What the gateway answers --------------------------------------------------------------------------------------------

# Answers to "may this agent do that now?". Reason `view_stale`: workers or Kafka are away; `limits_away`: Redis is.
CHECKS: Final = Counter("cognistream_checks", "Checks answered", ["decision", "reason"])
# From the request's arrival to its answer.
CHECK_SECONDS: Final = Histogram("cognistream_check_seconds", "Time of one check", buckets=_SECONDS)
# Age of the oldest partition of what the gateway knows of agents. Over its limit (15 s) everybody is denied.
VIEW_AGE_SECONDS: Final = Gauge("cognistream_view_age_seconds", "Age of what the gateway knows of agents")
# Agents that the gateway knows of.
VIEW_AGENTS: Final = Gauge("cognistream_view_agents", "Agents that the gateway knows of")
# Clients that follow a topic now. At its limit (64, or the rules') further ones are turned away.
STREAMS: Final = Gauge("cognistream_streams", "Streams of decisions that are open")

# Events that the gateway took for callers and Kafka has acknowledged.
EVENTS_TAKEN: Final = Counter("cognistream_events_taken", "Events published through the gateway", ["source"])
# From the request's arrival to its answer, which waits for Kafka; streams are not counted.
PUBLISH_SECONDS: Final = Histogram("cognistream_publish_seconds", "Time of one request to publish", buckets=_SECONDS)

# What a publisher of ours does ---------------------------------------------------------------------------------------

# Events handed to the publisher, by what became of them: `delivered` or `failed`.
PUBLISHED: Final = Counter("cognistream_published", "Events published", ["outcome"])
# Events handed over and not yet acknowledged. At its limit: the broker is what is slow.
PUBLISHING: Final = Gauge("cognistream_publishing", "Events handed to the publisher and not yet acknowledged")
