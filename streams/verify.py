"""Whether the journal of a partition is true: checked by nothing but what stands in the topics.

Four questions, for the entries whose records can still be read. Do they follow one another, each with the hash of the
one before? Do their spans tile each source, every offset once? Do the records read have the hash that the entry says,
and the values written? And is every record there exactly once: in a pool, among the dead letters, or as a repeat?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch, Longs
from schemas.errors import FormatError
from schemas.event_types import SOURCES
from schemas.topics import TOPICS

from .audit import NO_HASH, OutputsHash, RecordsHash
from .dead_letters import TOPIC as LETTERS
from .intake import part_from, part_until
from .journal import JOURNAL, STEP, Entry, columns, entries
from .outputs import POOLS

Batches = Mapping[str, Sequence[ColumnBatch]]
"""Topic without prefix -> its column batches of one partition, in the order of offsets."""


@dataclass(slots=True)
class Report:
    """What was checked, and what is wrong."""

    entries: int = 0
    out_of_reach: int = 0
    """Entries that read records older than those at hand: chain and tiling were checked, hashes not."""
    records: int = 0
    outputs: int = 0
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Source -> first offset and the one after the last that the journal covers."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(batches: Batches, ids: SchemaIds) -> Report:
    """Check the journal in `batches` of one partition: sources, derived topics and `audit.log`, read committed."""
    report = Report()
    try:
        _check(report, batches, ids)
    except FormatError as error:
        report.problems.append(str(error))
    return report


def _check(report: Report, batches: Batches, ids: SchemaIds) -> None:
    said = list(entries(batches.get(JOURNAL, ()), ids))
    report.entries = len(said)
    _chain(report, said)
    _tiling(report, said)
    if report.ok:
        checked = [at for at, entry in enumerate(said) if _in_reach(entry, batches)]
        report.out_of_reach = len(said) - len(checked)
        _records(report, [said[at] for at in checked], batches)
        told = _told(report, said, batches, ids)
        _outputs(report, said, checked, told)
        _conservation(report, said, checked, told, batches)


def _chain(report: Report, said: Sequence[Entry]) -> None:
    if said and said[0].number == 1 and said[0].says["previous_hash"] != NO_HASH:
        report.problems.append("entry 1 has an entry before it")
    for before, entry in pairwise(said):
        if entry.number != before.number + 1:
            report.problems.append(f"entry {entry.number} follows entry {before.number}")
        elif entry.says["previous_hash"] != before.hash:
            report.problems.append(f"entry {entry.number} does not bear the hash of entry {before.number}")


def _tiling(report: Report, said: Sequence[Entry]) -> None:
    for entry in said:
        for read in entry.says["reads"]:
            first, until = report.spans.get(read["source"], (read["first"], read["first"]))
            if read["first"] != until or read["next"] < read["first"]:
                report.problems.append(
                    f"entry {entry.number} reads {read['source']} from {read['first']} to {read['next']}, "
                    f"expected from {until}"
                )
            report.spans[read["source"]] = first, read["next"]


def _in_reach(entry: Entry, batches: Batches) -> bool:
    """Whether all that the entry read is at hand."""
    for read in entry.says["reads"]:
        source = batches.get(f"{read['source']}.events", ())
        if read["next"] > read["first"] and (not source or source[0].start > read["first"]):
            return False
    return True


def _records(report: Report, checked: Sequence[Entry], batches: Batches) -> None:
    for entry in checked:
        found = RecordsHash()
        for read in entry.says["reads"]:
            count = 0
            for part in _between(batches.get(f"{read['source']}.events", ()), read["first"], read["next"]):
                found.add(part)
                count += part.n + len(part.refused)
            report.records += count
            if count != read["records"]:
                report.problems.append(
                    f"entry {entry.number} read {read['records']} records of {read['source']}, there are {count}"
                )
        if found.digest() != entry.says["records_hash"]:
            report.problems.append(f"entry {entry.number}: the records it read are others (records_hash)")


def _between(batches: Sequence[ColumnBatch], first: int, until: int) -> Iterator[ColumnBatch]:
    """The parts of `batches` with offsets from `first` up to `until`."""
    for batch in batches:
        if batch.next > first and batch.start < until:
            yield part_until(part_from(batch, max(first, batch.start)), until)


@dataclass(slots=True)
class _Told:
    """Outputs of one batch of a topic: which step each is of (index into the entries), source and offset."""

    batch: ColumnBatch
    index: Longs
    """Positions in the batch, decisions only for the journal."""
    step: Longs
    source: Longs
    offset: Longs


Told = Mapping[str, Sequence[_Told]]
"""Per topic with hashed values, in the order of the table."""


def _told(report: Report, said: Sequence[Entry], batches: Batches, ids: SchemaIds) -> Told:
    """Whose step each value written is of."""
    places = _places(said)
    told: dict[str, list[_Told]] = {}
    for row in TOPICS:
        if row.role == "derived" and not row.compacted:
            told[row.name] = [_placed(batch, places, ids) for batch in batches.get(row.name, ())]
            steps = np.concatenate([part.step for part in told[row.name]] or [np.zeros(0, np.int64)])
            if (np.diff(steps) < 0).any():
                report.problems.append(f"{row.name}: its records are not in the order of the steps")
            if said and said[0].number == 1 and (steps < 0).any():
                report.problems.append(f"{row.name}: {int((steps < 0).sum())} records tell of what no entry read")
    return told


def _places(said: Sequence[Entry]) -> dict[int, tuple[Longs, Longs, Longs]]:
    """Per source number the spans read: first offset, offset after the last, index of the entry."""
    spans: dict[int, list[tuple[int, int, int]]] = {number: [] for number in range(len(SOURCES))}
    for at, entry in enumerate(said):
        for read in entry.says["reads"]:
            spans[SOURCES.index(read["source"])].append((read["first"], read["next"], at))
    table = {number: np.array(rows, np.int64).reshape(-1, 3).T for number, rows in spans.items()}
    return {number: (rows[0], rows[1], rows[2]) for number, rows in table.items()}


def _placed(batch: ColumnBatch, places: dict[int, tuple[Longs, Longs, Longs]], ids: SchemaIds) -> _Told:
    index: Longs = np.arange(batch.n)
    if batch.topic == JOURNAL:
        frame = columns(batch, ("kind", "decision.source", "decision.offset"), ids)
        index = np.flatnonzero(frame["kind"] != STEP)
        source, offset = frame["decision.source"][index], frame["decision.offset"][index]
    elif batch.topic == LETTERS:
        frame = columns(batch, ("source", "offset"), ids)
        names = {f"{name}.events".encode(): number for number, name in enumerate(SOURCES)}
        source = np.array([names.get(frame.bytes("source", i) or b"", -1) for i in range(batch.n)], np.int64)
        offset = frame["offset"]
    else:
        frame = columns(batch, ("source", "offset"), ids)
        source, offset = frame["source"], frame["offset"]
    step: Longs = np.full(len(index), -1, np.int64)
    for number, (first, until, entry) in places.items():
        mine = np.flatnonzero(source == number)
        at = np.searchsorted(first, offset[mine], side="right") - 1
        inside = (at >= 0) & (offset[mine] < np.append(until, 0)[at])
        step[mine[inside]] = entry[at[inside]]
    return _Told(batch, index, step, source, offset)


def _outputs(report: Report, said: Sequence[Entry], checked: Sequence[int], told: Told) -> None:
    for at in checked:
        found = OutputsHash()
        for name, parts in told.items():
            mine = [(part, *np.searchsorted(part.step, (at, at + 1)).tolist()) for part in parts]
            values = sum(end - begin for _, begin, end in mine)
            report.outputs += values
            if values:
                found.begin(name, values)
            for part, begin, end in mine:
                index = part.index[begin:end]
                found.spans(part.batch.buf, part.batch.vs[index], part.batch.vl[index])
        if found.digest() != said[at].says["outputs_hash"]:
            report.problems.append(f"entry {said[at].number}: the values written are others (outputs_hash)")


def _conservation(report: Report, said: Sequence[Entry], checked: Sequence[int], told: Told, batches: Batches) -> None:
    """Every record read in a pool, among the dead letters or a repeat: in one of them, and once."""
    reads = [read for at in checked for read in said[at].says["reads"]]
    for number, name in enumerate(SOURCES):
        spans = [(read["first"], read["next"]) for read in reads if read["source"] == name]
        there = [part for span in spans for part in _between(batches.get(f"{name}.events", ()), *span)]
        expected = _sorted(*(part.off for part in there), [whole.first for part in there for whole in part.refused])
        kept = [
            part.offset[(part.source == number) & np.isin(part.step, checked)]
            for topic in (*POOLS, LETTERS)
            for part in told[topic]
        ]
        found = _sorted(*kept, *(read["repeats"] for read in reads if read["source"] == name))
        if not np.array_equal(expected, found):
            missing, surplus = np.setdiff1d(expected, found), len(found) - len(np.unique(found))
            some = f", such as {missing[:3].tolist()}" if len(missing) else ""
            report.problems.append(
                f"{name}: {len(missing)} records are in no pool, no dead letter and no repeat{some}; "
                f"{surplus} are there twice; {len(np.setdiff1d(found, expected))} were never read"
            )


def _sorted(*parts: Longs | list[int]) -> Longs:
    return np.sort(np.concatenate([np.zeros(0, np.int64), *(np.asarray(part, np.int64) for part in parts)]))
