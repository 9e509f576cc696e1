"""Sends dead letters again: the original record, untouched but for a mark that says of which letter it was made.

The source topic is the truth about what was sent again: the marks in it are looked up first, so that a redrive that
died half way can be started again, and sends what is missing. All of it goes out in transactions of one id, taken
before anything is looked up: of two redrives at the same time the first is fenced.

A record that was redriven and refused again is not sent in circles: its letter bears the mark, and is left where it is
unless a person insists.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.column_reader import Place, column_reader
from agents.letters import MARK, Letter, Letters, Wanted
from agents.settings import Settings
from schemas.columns import ColumnBatch
from schemas.errors import CognistreamError
from schemas.murmur import partition_of
from schemas.record_headers import NO_HEADERS, find_header
from schemas.topics import EARLY_MS, LATE_MS, SOURCE_BYTES

TOGETHER: Final = 1_000
"""Letters of a transaction, at most."""
TOGETHER_BYTES: Final = 8 << 20
TRANSACTION_MS: Final = 10_000
"""After this time the broker ends the transaction of a redrive that died: workers do not read past it before."""

Tell = Callable[[str], None]


class RedriveFailed(CognistreamError):
    """Letters that could not be sent again."""


class Fate(StrEnum):
    """What a redrive does with a letter."""

    SEND = "send"
    SENT_BEFORE = "sent before"
    REFUSED_AGAIN = "refused again"
    WHOLE_BATCH = "whole batch"
    OUT_OF_TIME = "out of time"


@dataclass(slots=True)
class Plan:
    """What a redrive is about to do: `counts` by fate, source and reason; `sending` names the letters to send."""

    counts: Counter[tuple[Fate, str, str]] = field(default_factory=Counter)
    sending: set[str] = field(default_factory=set)

    def of(self, fate: Fate) -> int:
        """Letters of that fate."""
        return sum(count for (met, _, _), count in self.counts.items() if met is fate)


@dataclass(slots=True)
class _Sought:
    """The marks to look for in a partition of a source: none lies before a record of the time `since` (ms)."""

    since: int = 1 << 62
    letters: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Place of the letter -> its source and reason."""
    records: dict[str, tuple[bytes | None, bytes | None]] = field(default_factory=dict)
    """Place of the letter -> key and SHA-256 of the value that its record has."""


class Redrive:
    """Sends again the letters that are `wanted`; with `again` also those that were sent again before, and refused."""

    def __init__(self, settings: Settings, letters: Letters, wanted: Wanted, *, again: bool = False) -> None:
        self._settings, self._letters, self._wanted, self._again = settings, letters, wanted, again

    async def plan(self, tell: Tell = lambda _: None) -> Plan:
        """What `send` would do now; changes nothing."""
        plan, sought = await asyncio.to_thread(self._sort_out, tell)
        sent = await self._sent_before(sought, tell)
        for place in sought.values():
            for mark, (source, reason) in place.letters.items():
                plan.counts[Fate.SENT_BEFORE if mark in sent else Fate.SEND, source, reason] += 1
                if mark not in sent:
                    plan.sending.add(mark)
        return plan

    async def send(self, tell: Tell = lambda _: None) -> Plan:
        """Send them; the answer says what was done. RedriveFailed when the broker refuses some; the rest may be sent
        then, and the next redrive knows of it.
        """
        async with _producer(self._settings) as producer:
            plan = await self.plan(tell)
            left = self._letters.read(self._wanted)
            done = 0
            while letters := await asyncio.to_thread(_some, left, plan.sending):
                async with producer.transaction():
                    sent = [await producer.send(**self._record(letter)) for letter in letters]
                    await asyncio.gather(*sent)
                done += len(letters)
                tell(f"sent {done:,} of {len(plan.sending):,} letters")
        return plan

    def _sort_out(self, tell: Tell) -> tuple[Plan, dict[Place, _Sought]]:
        """The letters that may not be sent whatever the sources hold, and where to look for the marks of the others."""
        plan, sought = Plan(), defaultdict[Place, _Sought](_Sought)
        for number, letter in enumerate(self._letters.read(self._wanted)):
            source, reason = letter.says["source"], letter.says["reason"]
            fate = self._fate(letter)
            if fate is not Fate.SEND:
                plan.counts[fate, source, reason] += 1
                continue
            place = sought[source, self._partition(letter)]
            place.since = min(place.since, letter.says["timestamp"])
            place.letters[letter.place] = source, reason
            place.records[letter.place] = letter.says["key"], _digest(letter.says["value"])
            if number % TOGETHER == 0:
                tell(f"read {number:,} letters")
        return plan, sought

    def _fate(self, letter: Letter) -> Fate:
        if letter.whole_batch:
            return Fate.WHOLE_BATCH
        if letter.mark is not None and not self._again:
            return Fate.REFUSED_AGAIN
        now = int(time.time() * 1000)
        if self._settings.live and not now - LATE_MS < letter.says["timestamp"] < now + EARLY_MS:
            return Fate.OUT_OF_TIME
        return Fate.SEND

    def _partition(self, letter: Letter) -> int:
        """Where the record belongs: by its key, else where it was."""
        key: bytes | None = letter.says["key"]
        return partition_of(key, self._letters.partitions) if key else int(letter.says["partition"])

    async def _sent_before(self, sought: dict[Place, _Sought], tell: Tell) -> set[str]:
        """Those of the letters whose mark stands in the source."""
        if not sought:
            return set()
        found: set[str] = set()
        async with column_reader(self._settings) as reader:
            starts = await reader.since({place: max(0, marks.since) for place, marks in sought.items()})
            async for batch in reader.read(starts):
                known = sought[batch.topic, batch.partition].records
                found.update(mark for mark, record in _marks(batch) if known.get(mark) == record)
                tell(f"looking for what was sent before: {batch.topic}[{batch.partition}] {batch.next:,}")
        return found

    def _record(self, letter: Letter) -> dict[str, object]:
        """What aiokafka is to send."""
        says = letter.says
        return {
            "topic": self._settings.topic(says["source"]),
            "partition": self._partition(letter),
            "key": says["key"],
            "value": says["value"],
            "timestamp_ms": says["timestamp"],
            "headers": [*((h["key"], h["value"]) for h in says["headers"]), (MARK, letter.place.encode())],
        }


def _digest(value: bytes | None) -> bytes | None:
    return None if value is None else hashlib.sha256(value).digest()


def _marks(batch: ColumnBatch) -> Iterator[tuple[str, tuple[bytes | None, bytes | None]]]:
    """The marks of the records that have one, with key and SHA-256 of the value: anybody may write such a header, and
    only the letter's own record counts.
    """
    if not (batch.hl > NO_HEADERS).any():
        return
    starts, lengths = find_header(batch.buf, batch.hs, batch.hl, MARK.encode())
    for i in np.flatnonzero(lengths >= 0).tolist():
        mark = batch.buf[starts[i] : starts[i] + lengths[i]].tobytes().decode(errors="replace")
        yield mark, (batch.key(i), _digest(batch.value(i)))


def _some(letters: Iterator[Letter], sending: set[str]) -> list[Letter]:
    """The next letters that are to be sent, for one transaction."""
    found: list[Letter] = []
    size = 0
    for letter in letters:
        if letter.place in sending:
            found.append(letter)
            size += len(letter.says["value"] or b"")
            if len(found) == TOGETHER or size >= TOGETHER_BYTES:
                break
    return found


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """The one producer of redrives; starting it ends whatever another one left open."""
    producer = AIOKafkaProducer(
        **settings.aiokafka(),
        transactional_id=f"{settings.group}.redrive",
        transaction_timeout_ms=TRANSACTION_MS,
        max_request_size=SOURCE_BYTES,
    )
    await producer.start()
    try:
        yield producer
    except KafkaError as error:
        raise RedriveFailed(
            f"the redrive stopped: {type(error).__name__}: {error}. What was sent before stands; start it again when "
            "the cause is gone, and it sends what is missing."
        ) from error
    finally:
        await producer.stop()
