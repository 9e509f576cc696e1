"""What the runtime leans on inside Faust, mode and aiokafka, beyond what they promise.

A row names a class or function of a library, the module of ours that relies on how it behaves, and what would go wrong
if it behaved otherwise. Its fingerprint is a hash of its syntax tree, docstrings left out: another version that only
moves or describes it is the same. `python -m tests.seams` prints the present fingerprints; take them over only after
reading what changed.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

FINGERPRINTS = Path(__file__).with_name("seams.txt")

FETCHER = "aiokafka.consumer.fetcher"
CONSUMER = "faust.transport.consumer:Consumer"
DRIVER = "faust.transport.drivers.aiokafka"
THREADED = "faust.transport.consumer:ThreadDelegateConsumer"
RECOVERY = "faust.tables.recovery:Recovery"
TABLE = "faust.tables.base:Collection"
AIOKAFKA = "aiokafka.consumer.consumer:AIOKafkaConsumer"
CLIENT = "aiokafka.client:AIOKafkaClient"
COORDINATOR = "aiokafka.consumer.group_coordinator:GroupCoordinator"
THREAD = f"{DRIVER}:AIOKafkaConsumerThread"


@dataclass(frozen=True, slots=True)
class Seam:
    """`target` of a library, `ours` the module that relies on it, `because` what it relies on."""

    target: str
    ours: str
    because: str


SEAMS = (
    Seam(f"{FETCHER}:Fetcher._proc_fetch_request", "records", "its code runs with three of its names bound to ours"),
    Seam(f"{FETCHER}:Fetcher.fetched_records", "records", "its code runs with three of its names bound to ours"),
    Seam(f"{FETCHER}:Fetcher._notify", "records", "wakes a waiting fetch when a partition is wanted again"),
    Seam(f"{FETCHER}:Fetcher._fetch_requests_routine", "records", "awaits one fetch per node, which is paced"),
    Seam(f"{FETCHER}:PartitionRecords", "records", "keeps bytes, isolation and aborted transactions of a fetch"),
    Seam(f"{FETCHER}:FetchResult", "records", "hands out what was fetched and moves the position"),
    Seam(f"{AIOKAFKA}.start", "consumer", "gives waiting time, bytes and isolation that were set to the fetcher"),
    Seam(f"{AIOKAFKA}.last_stable_offset", "consumer", "tells how far a source can be read"),
    Seam(f"{CLIENT}.send", "producer", "sends a request to a node and gives its answer"),
    Seam(f"{CLIENT}.coordinator_lookup", "producer", "finds the coordinator of a transactional id"),
    Seam(f"{CLIENT}.set_topics", "producer", "learns the leaders of topics"),
    Seam(f"{CLIENT}.force_metadata_update", "producer", "learns of leaders that moved"),
    Seam(f"{COORDINATOR}.request_rejoin", "consumer", "joins the group anew, at once"),
    Seam("aiokafka.conn:AIOKafkaConnection.send", "requests", "joins header, body and size by adding from the left"),
    Seam("aiokafka.protocol.produce:ProduceRequest", "requests", "builds the version that the broker takes"),
    Seam("aiokafka.protocol.transaction:AddPartitionsToTxnRequest", "producer", "the first request of a transaction"),
    Seam("aiokafka.protocol.transaction:EndTxnRequest", "producer", "the last request of a transaction"),
    Seam("aiokafka.protocol.transaction:InitProducerIdRequest", "producer", "fences the former owner of a partition"),
    Seam("faust.app.base:App._new_transport", "app", "the transport with our consumer is made here"),
    Seam("faust.app.base:BootStrategy.kafka_producer", "producers", "our producers start before the consumer"),
    Seam("faust.serializers.schemas:Schema.compile", "consumer", "is asked once for the decoder of a topic"),
    Seam("mode.services:Service._crash", "app", "is told of every service that fails"),
    Seam("mode.threads:MethodQueue", "consumer", "carries calls into the thread of the consumer"),
    Seam(f"{THREAD}._create_worker_consumer", "consumer", "makes aiokafka's consumer, not started"),
    Seam(f"{THREAD}.on_start", "consumer", "starts aiokafka's consumer, nothing subscribed yet"),
    Seam(f"{THREAD}._ensure_consumer", "consumer", "gives aiokafka's consumer"),
    Seam(f"{THREAD}._fetch_records", "consumer", "asks for the active partitions alone"),
    Seam(f"{DRIVER}:Consumer._new_consumer_thread", "consumer", "makes the thread that fetches"),
    Seam(f"{DRIVER}:Consumer._to_message", "consumer", "makes a message of a record; ours makes one of a batch"),
    Seam(f"{DRIVER}:Consumer.on_stop", "consumer", "commits before it leaves"),
    Seam(f"{THREADED}.__init__", "consumer", "makes the thread"),
    Seam(f"{THREADED}._getmany", "consumer", "passes the set of active partitions on"),
    Seam(f"{CONSUMER}._wait_next_records", "consumer", "sleeps when no partition is asked for; ours waits for one"),
    Seam(f"{CONSUMER}._drain_messages", "consumer", "drops by the offset read last, delivers by the callback"),
    Seam(f"{CONSUMER}._get_active_partitions", "consumer", "which partitions are asked for"),
    Seam(f"{CONSUMER}.on_buffer_full", "consumer", "takes a partition out of those asked for"),
    Seam(f"{CONSUMER}.on_buffer_drop", "consumer", "puts it back"),
    Seam(f"{CONSUMER}.ack", "consumer", "counts a message as done; ours does not for batches"),
    Seam(f"{CONSUMER}.resume_flow", "consumer", "is called when the queues of streams were emptied"),
    Seam("mode.utils.queues:FlowControlEvent.resume", "consumer", "empties the queues of streams"),
    Seam(f"{CONSUMER}.perform_seek", "consumer", "seeks to committed offsets; ours goes on to those of the state"),
    Seam(f"{CONSUMER}.commit", "consumer", "commits group offsets, which serve lag displays"),
    Seam(f"{CONSUMER}._filter_tps_with_pending_acks", "consumer", "which partitions have something to commit"),
    Seam(f"{CONSUMER}._new_offset", "consumer", "offset to commit; ours is the durable position"),
    Seam(f"{CONSUMER}.on_partitions_revoked", "consumer", "forgets what was done; ours finishes it before"),
    Seam("faust.transport.conductor:Conductor._compile_message_handler", "consumer", "puts an event into its stream"),
    Seam(f"{TABLE}.__init__", "table", "takes the changelog topic and the size of the recovery buffer"),
    Seam(f"{TABLE}.on_start", "table", "would open a store and declare the changelog"),
    Seam(f"{TABLE}.need_active_standby_for", "table", "whether a partition is kept warm"),
    Seam(f"{TABLE}.reset_state", "table", "forgets everything"),
    Seam(f"{TABLE}.apply_changelog_batch", "table", "applies what recovery buffered; ours has applied it already"),
    Seam(f"{TABLE}.persisted_offset", "table", "says where recovery goes on"),
    Seam(f"{TABLE}.on_changelog_event", "table", "is given each event of the changelog"),
    Seam(f"{TABLE}.on_rebalance", "table", "is told what was assigned before anything is recovered"),
    Seam(f"{TABLE}.on_recovery_completed", "table", "is told when all is recovered, before the sources are sought"),
    Seam(f"{TABLE}.call_recover_callbacks", "table", "tells whoever waits for recovery"),
    Seam(f"{TABLE}._changelog_topic_name", "table", "names the changelog"),
    Seam(f"{RECOVERY}.on_rebalance", "table", "begins recovery after a rebalance"),
    Seam(f"{RECOVERY}._slurp_changelogs", "table", "hands changelog events on and counts their offsets"),
    Seam(f"{RECOVERY}._restart_recovery", "table", "recovers actives, then standbys, then seeks and resumes"),
    Seam(f"{RECOVERY}.active_remaining", "table", "offsets still to read"),
    Seam("faust.assignor.partition_assignor:PartitionAssignor.assigned_actives", "table", "partitions owned, not warm"),
)  # fmt: skip


def fingerprint(target: str) -> str:
    """Of the syntax tree of a class or function, docstrings left out."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(_plain(resolve_name(target)))))
    return hashlib.sha256(ast.unparse(_without_words(ast.parse(source))).encode()).hexdigest()[:12]


def known() -> dict[str, str]:
    """Fingerprint by target, as read and found right."""
    return dict(line.split()[::-1] for line in FINGERPRINTS.read_text().splitlines())


def _plain(found: Any) -> Any:
    """The function in a property or in a task of a service."""
    return getattr(found, "fget", None) or getattr(found, "fun", None) or found


def _without_words(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


if __name__ == "__main__":
    for seam in SEAMS:
        print(fingerprint(seam.target), seam.target)
