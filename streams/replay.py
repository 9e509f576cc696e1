"""The oracle: a partition decided once more along its journal, and compared to the bit with what its topics hold.

The journal says what each step read and in which order, under which policy, when time was told and how far back repeats
were looked for. A lane without state that follows it must write the same journal, byte for byte, and the same outputs:
whatever a crash, a rebalance or a zombie did meanwhile shows as a difference, named by entry, topic, offset and field.

    report = Replay(topics, 0, 4, policies=[Policy()], ids=LocalIds()).whole()
    assert report.ok, report.difference

`topics` maps names without prefix to the partition's column batches, read committed, from the first offset kept: lists,
or iterators that read when asked, for nothing is looked at twice and no more is held than a step reads. Sources and
`audit.log` must be there from their beginning; of the others those that are there are compared. `entries` goes step by
step, for whoever tells progress or goes on with the lane: a rebuild of the state writes what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.catalog import Schema, SchemaIds, fingerprint
from schemas.columns import ColumnBatch, Longs
from schemas.errors import CognistreamError
from schemas.topics import SOURCE_TOPICS, TOPICS

from .compare import NOTHING, Cursor, Difference, Differs, as_read, first_other, named, others, place_told, told
from .intake import part_of
from .journal import JOURNAL, Entry, by_step, entry_of
from .pipeline import Effects, Lane
from .policy import Policy
from .repeats import WINDOW
from .standing import compare_levels, compare_state
from .state_codec import LEVELS, STATE

Topics = Mapping[str, Iterable[ColumnBatch]]
"""Topic without prefix -> its column batches of one partition, in the order of offsets."""

Place = tuple[int, str, int]
"""Number of a step entry, `audit.log`, its offset there."""

OUTPUTS = tuple(row.name for row in TOPICS if row.role == "derived" and not row.compacted and row.name != JOURNAL)
"""Compared step by step; the journal itself comes after them, rows at the end."""
FIRST_TOLD = ("previous_hash", "records_hash", "reads")
"""Fields of an entry that explain why others differ."""


class OutOfReach(CognistreamError):
    """The journal or a source does not reach back to the beginning: there is nothing to decide anew from."""


class UnknownPolicy(CognistreamError):
    """A step was decided under a policy that nobody gave."""


@dataclass(slots=True)
class Report:
    """What was decided anew and compared, and the first difference."""

    entries: int = 0
    records: int = 0
    outputs: int = 0
    """Records of derived topics found equal, entries of steps included; those of compacted topics not."""
    rows: int = 0
    """Rows of `agent.state` found equal."""
    policies: list[str] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    """Topics that could not be compared, each with the reason."""
    difference: Difference | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None


class Replay:
    """`whole`, or `entries` to the end and then `compare_rows`; `lane` stands where the last entry left it."""

    def __init__(
        self,
        topics: Topics,
        partition: int,
        partitions: int,
        *,
        policies: Iterable[Policy],
        ids: SchemaIds,
        window: int = WINDOW,
    ) -> None:
        self.report = Report()
        self.partition = partition
        self._topics, self._ids, self._then = topics, ids, _KnownThen(ids)
        self._policies = {policy.version: policy for policy in policies}
        self._read_to: dict[str, int] = {}
        self._sources = {row.name: Cursor(topics.get(row.name, ())) for row in SOURCE_TOPICS}
        self._outputs: dict[str, Cursor] = {}
        self.lane = Lane(partition, partitions, policy=Policy(), ids=self._then, build="", window=window, reuse=True)

    def whole(self) -> Report:
        """Decide everything anew and compare it, rows at the end. Raises OutOfReach, UnknownPolicy."""
        try:
            for _ in self.entries():
                pass
            self.compare_rows()
        except Differs as found:
            self.report.difference = found.difference
        return self.report

    def entries(self) -> Iterator[Entry]:
        """Each step entry after it was decided anew and found equal. Raises Differs, OutOfReach, UnknownPolicy."""
        for entry, said in by_step(self._topics.get(JOURNAL, ()), self._ids):
            if not self.lane.entry:
                self._begin(entry)
            self._one(entry, said)
            yield entry
        self._nothing_else()

    def compare_rows(self) -> None:
        """Compare `trust.levels` and `agent.state`, where they are given, with the rows of the lane. Raises Differs."""
        if LEVELS in self._topics:
            compare_levels(self.lane, self._topics[LEVELS], self._ids)
        if STATE in self._topics:
            self.report.rows = compare_state(self.lane, self._topics[STATE], self._ids)

    def _begin(self, entry: Entry) -> None:
        """Look at the outputs only now: on a partition in use, they must not end before the journal does."""
        if entry.number != 1:
            raise OutOfReach(
                f"{JOURNAL}[{self.partition}] begins with entry {entry.number}: those before it were deleted, and what "
                "they decided cannot be decided anew"
            )
        for name in OUTPUTS:
            cursor = Cursor(self._topics.get(name, ()))
            if cursor.head is not None and cursor.head.start > 0:
                why = f"begins at offset {cursor.head.start}, older records were deleted"
                self.report.not_compared.append(f"{name}: {why}")
            elif name in self._topics:
                self._outputs[name] = cursor

    # One step

    def _one(self, entry: Entry, said: list[ColumnBatch]) -> None:
        says, lane = entry.says, self.lane
        place = entry.number, JOURNAL, int(said[-1].off[-1])
        policy = self._policy(entry)
        lane.build = says["build"]
        lane.forget({edge["source"]: edge["offset"] for edge in says["window_oldest"]})
        self._then.known = frozenset(says["schemas"])
        batches = [part for read in says["reads"] for part in self._read(place, read)]
        effects = lane.step(batches, tick=says["tick"], policy=None if policy is lane.policy else policy)
        self._compare(place, says, effects, Cursor(said))
        self.report.entries += 1
        self.report.records += effects.counts.read
        for name, seen in (("policy_version", self.report.policies), ("build", self.report.builds)):
            if says[name] not in seen:
                seen.append(says[name])

    def _policy(self, entry: Entry) -> Policy:
        version = entry.says["policy_version"]
        if version == self.lane.policy.version:
            return self.lane.policy
        if version not in self._policies:
            known = ", ".join(self._policies) or "none"
            raise UnknownPolicy(
                f"entry {entry.number} of partition {self.partition} was decided under policy {version}, and only "
                f"{known} are known here: give its file with --policy FILE"
            )
        return self._policies[version]

    def _read(self, place: Place, read: dict[str, Any]) -> list[ColumnBatch]:
        """The records of a span that the step read."""
        topic, first, until = f"{read['source']}.events", read["first"], read["next"]
        expected = self._read_to.setdefault(topic, first)
        if first != expected or until < first:
            raise Differs(Difference(*place, "reads", f"{topic} from {expected} on", f"{first} to {until}"))
        self._read_to[topic] = until
        cursor = self._sources[topic]
        for _ in cursor.cut(first):  # what nobody decided: it had expired before the first worker came
            pass
        parts = list(cursor.cut(until))
        if first < until and not (parts and parts[0].start == first and parts[-1].next == until):
            there = f"offsets {parts[0].start} to {parts[-1].next}" if parts else "nothing"
            raise OutOfReach(
                f"entry {place[0]} read {topic}[{self.partition}] from offset {first} to {until}, and of that {there} "
                "can be read: records were deleted, and what was decided of them cannot be decided anew"
            )
        return parts or [_nothing(topic, self.partition, first)]

    # What it wrote

    def _compare(self, place: Place, says: dict[str, Any], effects: Effects, said: Cursor) -> None:
        made = {
            name: list(as_read(name, self.partition, bodies))
            for name, bodies in effects.outputs.items()
            if name in self._outputs or name == JOURNAL
        }
        last = made[JOURNAL][-1]
        mine = entry_of(last.value(last.n - 1) or b"", self._ids).says
        for name in (*FIRST_TOLD, *(name for name in mine if name != "outputs_hash")):
            if other := first_other(mine[name], says[name], name):
                raise Differs(Difference(*place, *other))
        for name, cursor in self._outputs.items():
            self._same(place[0], name, made.get(name, []), cursor)
        self._same(place[0], JOURNAL, made[JOURNAL], said)
        self._nothing_before(place[0], JOURNAL, said)

    def _same(self, entry: int, name: str, made: list[ColumnBatch], cursor: Cursor) -> None:
        """Compare the next records of a topic with those that were made."""
        for mine in made:
            done = 0
            for theirs in cursor.take(mine.n):
                self._equal(entry, part_of(mine, slice(done, done + theirs.n), 0, 0), theirs)
                done += theirs.n
            if done < mine.n:
                raise Differs(Difference(entry, name, None, "record", told(mine, done, self._ids), NOTHING))
            self.report.outputs += mine.n

    def _equal(self, entry: int, mine: ColumnBatch, theirs: ColumnBatch) -> None:
        if len(other := np.flatnonzero(others(mine, theirs))):
            i = int(other[0])
            which = named(mine, i, theirs, i, self._ids)
            raise Differs(Difference(entry, theirs.topic, int(theirs.off[i]), *which))

    def _nothing_else(self) -> None:
        """No output tells of what was read and is left over; what a worker decided meanwhile may follow."""
        for name, cursor in self._outputs.items():
            self._nothing_before(self.lane.entry, name, cursor)

    def _nothing_before(self, entry: int, name: str, cursor: Cursor) -> None:
        batch = cursor.next_record()
        if batch is None:
            return
        first = part_of(batch, slice(0, 1), batch.start, batch.next)
        source, offset = place_told(first, self._ids)
        if name == JOURNAL or offset < self._read_to.get(source, 0):
            record = told(first, 0, self._ids)
            raise Differs(Difference(entry, name, int(first.off[0]), "record", NOTHING, record))


class _KnownThen:
    """Schema ids as they were when a step was decided: a schema that was registered later was unknown then."""

    def __init__(self, ids: SchemaIds) -> None:
        self._ids = ids
        self._marks: dict[int, bytes] = {}
        self.known: frozenset[bytes] = frozenset()

    def writer_schema(self, schema_id: int) -> Schema | None:
        """The schema of an id, None when nobody knew it."""
        schema = self._ids.writer_schema(schema_id)
        if schema is None:
            return None
        if schema_id not in self._marks:
            self._marks[schema_id] = fingerprint(schema)
        return schema if self._marks[schema_id] in self.known else None

    def id_of(self, name: str) -> int:
        """The id for new records of a topic."""
        return self._ids.id_of(name)


def _nothing(topic: str, partition: int, offset: int) -> ColumnBatch:
    """A batch that brought no offset."""
    no: Longs = np.zeros(0, np.int64)
    return ColumnBatch(topic, partition, offset, offset, np.zeros(0, np.uint8), no, no, no, no, no, no, no, no)
