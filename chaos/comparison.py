"""The comparison that ends every scenario: what was acknowledged, what the topics hold, and what was decided of it.

Per partition, all read-committed and from the first offset on:
1. The journal: its chain and hashes, its reads tile every source from offset 0 to the end (`streams.verify`).
2. The ledger: every acknowledged record stands where the broker said, nothing stands there that was not sent, and of
   what was aborted nothing does.
3. The books: a good event is in a pool once, any further copy of it is a repeat; a bad one is in the dead letters once,
   for the reason it was spoiled for, with its bytes.
4. The order: outputs follow their source.
5. The oracle: decided anew along the journal by a lane that nothing ever happened to, outputs, journal and state are
   equal to the bit (`streams.replay`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch, Longs
from schemas.errors import CognistreamError
from schemas.event_types import SOURCES
from schemas.reasons import Reason
from streams.policy import Policy
from streams.replay import Replay
from streams.verify import Batches, verify

from . import ledger
from .books import Books, books, disorder
from .ledger import Ledger, Rows

PARTITIONS = 4
"""Partitions of every topic of a scenario."""


@dataclass(slots=True)
class Verdict:
    """What was counted, and what differs."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, problems: Iterable[str], partition: int) -> None:
        """Take note of problems of a partition."""
        self.problems += [f"partition {partition}: {problem}" for problem in problems]


@dataclass(frozen=True, slots=True)
class Account:
    """The rows of a ledger."""

    sent: Rows
    acknowledged: Rows
    aborted: Rows
    forgetful: bool
    """Whether the broker was started again. It forgets sequence numbers then of producers whose last record bears a
    timestamp older than a day, as all do here, and takes a batch once more whose answer was lost: the second copy is a
    repeat like any other."""

    @classmethod
    def read(cls, files: Ledger, *, forgetful: bool) -> Account:
        """All that was written so far."""
        return cls(ledger.read(files.sent), ledger.read(files.acknowledged), ledger.read(files.aborted), forgetful)

    def of(self, column: str, number: int) -> Account:
        """The rows of one source, or of one partition."""
        sent, acknowledged, aborted = (
            rows[rows[column] == number] for rows in (self.sent, self.acknowledged, self.aborted)
        )
        return Account(sent, acknowledged, aborted, self.forgetful)


def compare(
    verdict: Verdict, partition: int, batches: Batches, account: Account, ends: Sequence[int], ids: SchemaIds
) -> None:
    """Check one partition; `ends` are the next offsets of its sources, in their order."""
    report = verify(batches, ids)
    verdict.add(report.problems, partition)
    verdict.add(_untiled(report.spans, ends), partition)
    verdict.add(disorder(batches, ids), partition)
    verdict.counts += Counter({"journal entries": report.entries, "records": report.records})
    verdict.add(_replayed(verdict.counts, partition, batches, ids), partition)
    for number, name in enumerate(SOURCES):
        there = _Topic.of(batches.get(f"{name}.events", ()))
        problems = _source(verdict.counts, there, account.of("source", number), books(batches, number, ids))
        verdict.add((f"{name}: {problem}" for problem in problems), partition)


def _replayed(counts: Counter[str], partition: int, batches: Batches, ids: SchemaIds) -> Iterator[str]:
    try:
        report = Replay(batches, partition, PARTITIONS, policies=[Policy()], ids=ids).whole()
    except CognistreamError as error:
        yield f"cannot be decided anew: {error}"
        return
    counts["equal outputs"] += report.outputs
    counts["equal rows"] += report.rows
    if report.difference is not None:
        yield f"decided anew it differs: {report.difference}"


def _untiled(spans: dict[str, tuple[int, int]], ends: Sequence[int]) -> Iterator[str]:
    for name, end in zip(SOURCES, ends, strict=True):
        first, until = spans.get(name, (0, 0))
        if (first, until) != (0, end):
            yield f"the journal covers {name} from {first} to {until}, the topic reaches from 0 to {end}"


@dataclass(frozen=True, slots=True)
class _Topic:
    """The records of a source: where, and which."""

    batches: Sequence[ColumnBatch]
    offsets: Longs
    digests: Rows

    @classmethod
    def of(cls, batches: Sequence[ColumnBatch]) -> _Topic:
        offsets = np.concatenate([np.zeros(0, np.int64), *(batch.off for batch in batches)])
        digests = np.concatenate([np.zeros(0, np.uint64), *map(ledger.digests, batches)])
        return cls(batches, offsets, digests)

    def bytes_at(self) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """Offset, key and value of each record."""
        for batch in self.batches:
            for i, offset in enumerate(batch.off.tolist()):
                yield offset, batch.key(i), batch.value(i)


def _source(counts: Counter[str], there: _Topic, account: Account, found: Books) -> Iterator[str]:
    yield from _promised(counts, there, account)
    reasons = dict(zip(account.sent["digest"].tolist(), account.sent["reason"].tolist(), strict=True))
    counts["acknowledged"] += len(account.acknowledged)
    counts["aborted"] += len(account.aborted)
    counts["pooled"] += len(found.pooled)
    counts["repeats"] += len(found.repeated)
    counts["dead letters"] += sum(map(len, found.letters.values()))
    yield from _good(there, reasons, found)
    yield from _bad(there, reasons, found)


def _promised(counts: Counter[str], there: _Topic, account: Account) -> Iterator[str]:
    """What the broker acknowledged is there, and nothing else than what was sent."""
    known = account.acknowledged[account.acknowledged["offset"] != ledger.UNKNOWN]
    at = np.searchsorted(there.offsets, known["offset"])
    inside = at < len(there.offsets)
    held = np.zeros(len(known), bool)
    held[inside] = (there.offsets[at[inside]] == known["offset"][inside]) & (
        there.digests[at[inside]] == known["digest"][inside]
    )
    if not held.all():
        yield f"{int((~held).sum())} acknowledged records are not in the topic where the broker said"
    have, sent = _tally(there.digests), _tally(account.sent["digest"])
    missing = _tally(account.acknowledged["digest"]) - have
    if missing:
        yield f"{missing.total()} acknowledged records are not in the topic"
    surplus = have - sent
    aborted = sum(count for digest, count in surplus.items() if digest in set(account.aborted["digest"].tolist()))
    strange = sum(count for digest, count in surplus.items() if digest not in sent or not account.forgetful)
    if strange:
        yield f"{strange} records are in the topic that were not sent, {aborted} of them aborted"
    counts["sent again by the producer"] += surplus.total() - strange


def _tally(digests: Rows) -> Counter[int]:
    return Counter(digests.tolist())


def _good(there: _Topic, reasons: dict[int, int], found: Books) -> Iterator[str]:
    """Of the copies of an event the first is in a pool, the others are repeats."""
    copies: defaultdict[int, list[int]] = defaultdict(list)
    for offset, digest in zip(there.offsets.tolist(), there.digests.tolist(), strict=True):
        if not reasons.get(digest, 0):
            copies[digest].append(offset)
    first = {offsets[0] for offsets in copies.values()}
    further = {offset for offsets in copies.values() for offset in offsets[1:]}
    yield from _differ("good events", "in a pool", first, found.pooled)
    yield from _differ("second copies", "told as repeats", further, found.repeated)


def _differ(what: str, where: str, wanted: set[int], found: Longs) -> Iterator[str]:
    seen = Counter(found.tolist())
    if lost := wanted - seen.keys():
        yield f"{len(lost)} {what} are not {where}, such as offsets {sorted(lost)[:3]}"
    if surplus := seen.keys() - wanted:
        yield f"{len(surplus)} others than {what} are {where}, such as offsets {sorted(surplus)[:3]}"
    if twice := [offset for offset, count in seen.items() if count > 1]:
        yield f"{len(twice)} {what} are {where} twice, such as offsets {sorted(twice)[:3]}"


def _bad(there: _Topic, reasons: dict[int, int], found: Books) -> Iterator[str]:
    """A record that was spoiled lies in the dead letters once, for its reason, with its bytes."""
    wrong = []
    expected = dict(zip(there.offsets.tolist(), (reasons.get(d, 0) for d in there.digests.tolist()), strict=True))
    for offset, key, value in there.bytes_at():
        letters = [(one.reason, one.key, one.value) for one in found.letters.get(offset, ())]
        reason = expected[offset]
        if letters != ([(Reason(reason).label, key, value)] if reason else []):
            wrong.append(offset)
    if wrong:
        yield f"{len(wrong)} records have other dead letters than their spoiling asks for, such as offsets {wrong[:3]}"
    if strangers := found.letters.keys() - expected.keys():
        yield f"{len(strangers)} dead letters are of no record, such as offsets {sorted(strangers)[:3]}"
