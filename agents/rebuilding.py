"""Makes the state of a partition anew from what it was made of: the sources, in the order of the journal.

For a changelog that is lost, cut or damaged, while sources and journal reach back to their beginning. In this order:

1. The partition is fenced: a worker that still decides it is refused from now on, and the journal has its end.
2. Everything is decided anew; each step must give the entry that the journal has, hash by hash. A difference, a missing
   record or an unknown policy ends it here, with nothing written.
3. All rows and the position are written in one transaction: there is a whole state again, or it is as it was.
4. What stood in the changelog before is deleted. A death before this is mended by rebuilding again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agents.replaying import PartitionTopics, Tell, follow
from agents.runtime.producer import Fenced, LaneProducer
from agents.settings import Settings
from connectors.trim import delete_before
from schemas.catalog import SchemaIds
from schemas.errors import CognistreamError, FormatError
from schemas.topics import POSITION_KEY, SOURCE_TOPICS
from schemas.wire import encode
from streams.compare import Differs
from streams.journal import JOURNAL
from streams.outputs import Outbox
from streams.pipeline import Lane
from streams.policy import Policy
from streams.replay import Replay
from streams.standing import compare_state, positions
from streams.state_codec import STATE, StateCodec

WRITTEN_MS = 900_000
"""How long writing all rows may take: as long as a broker lets a transaction be open by default."""
_FROM = (*(row.name for row in SOURCE_TOPICS), JOURNAL)


class JournalShort(CognistreamError):
    """The journal ends before the state does: what it does not tell of would be decided twice, or lost."""


class StillDecided(CognistreamError):
    """A worker took the partition back while it was decided anew."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found, and did if it was to write."""

    entries: int
    records: int
    rows: int
    before: str | None
    """How the state was wrong, None: it was not."""
    written: bool


def rebuild(
    settings: Settings,
    partition: int,
    partitions: int,
    policies: Iterable[Policy],
    ids: SchemaIds,
    tell: Tell,
    *,
    write: bool,
) -> Rebuilt:
    """Make the state of `partition` anew; without `write` only tell what that would give.

    Raises OutOfReach when sources or journal do not reach back, JournalShort, Differs when they do not agree,
    UnknownPolicy; and StillDecided.
    """
    with PartitionTopics(settings, partition).reading() as there:
        producer = there.run(_fence(settings, partition)) if write else None
        try:
            topics = {name: there.batches(name) for name in _FROM}
            again = Replay(topics, partition, partitions, policies=policies, ids=ids)
            follow(again, there, tell)
            _reaches_the_state(again.lane, there, ids)
            before = _compared(again.lane, there, ids)
            if producer is not None:
                tell(f"partition {partition}: writing {again.lane.rows:,} rows")
                _replace(settings, producer, again.lane, there, ids)
        finally:
            if producer is not None:
                there.run(producer.stop())
    report = again.report
    return Rebuilt(report.entries, report.records, again.lane.rows, before, write)


def _reaches_the_state(lane: Lane, there: PartitionTopics, ids: SchemaIds) -> None:
    """Raises JournalShort when the newest position that can be read is ahead of the journal, or the journal is empty
    beside a state that was written.
    """
    entry = _newest_entry(there, ids) or int(there.spans([STATE])[STATE][1] > 0)
    if entry > lane.entry:
        raise JournalShort(
            f"{STATE}[{lane.partition}] stands after entry {entry} or a later one, but {JOURNAL}[{lane.partition}] "
            f"ends with entry {lane.entry}: the journal was cut, restored or made anew. A state made from it would "
            f"forget what was decided since. Restore {JOURNAL}; or start from nothing with another prefix "
            "(COGNISTREAM_PREFIX)."
        )


def _newest_entry(there: PartitionTopics, ids: SchemaIds) -> int:
    """Number of the last entry that the state names, 0 when it cannot be read."""
    newest = 0
    try:
        for batch in there.batches(STATE):
            for _, entry in positions(batch, ids):
                newest = max(newest, entry)
    except FormatError:  # damage is a reason to rebuild
        pass
    return newest


def _compared(lane: Lane, there: PartitionTopics, ids: SchemaIds) -> str | None:
    """How the state differs that there is now, or what keeps it from being read."""
    try:
        compare_state(lane, there.batches(STATE), ids)
    except (Differs, FormatError) as found:
        return str(found)
    return None


async def _fence(settings: Settings, partition: int) -> LaneProducer:
    name = f"{settings.group}.{partition}"
    producer = LaneProducer(name, partition, transaction_ms=WRITTEN_MS, **settings.aiokafka())
    await producer.start([settings.topic(STATE)])
    return producer


def _replace(settings: Settings, producer: LaneProducer, lane: Lane, there: PartitionTopics, ids: SchemaIds) -> None:
    """Steps 3 and 4."""
    topic, bodies = settings.topic(STATE), _whole(lane, ids).bodies[STATE]
    _, begins = there.spans([STATE])[STATE]
    try:
        there.run(producer.write([producer.frame(topic, body, settings.codec) for body in bodies]))
    except Fenced as error:
        raise StillDecided(
            f"partition {lane.partition}: a worker of the group {settings.group} runs and took the partition back. "
            "Nothing was written. Stop the workers and rebuild again."
        ) from error
    if begins:
        delete_before(settings.confluent(), topic, lane.partition, begins)


def _whole(lane: Lane, ids: SchemaIds) -> Outbox:
    """All rows, and the position last."""
    out = Outbox()
    StateCodec(ids).write(out, lane.table, np.arange(lane.rows))
    latest = int(lane.table.trust["last"][: lane.rows].max(initial=0))
    out.add(STATE, POSITION_KEY, encode(STATE, lane.position.as_value(), ids), latest)
    return out
