"""The dead letters, read back: what was refused, of whom, when and why, and which of them a person asks for.

A letter is known by its place in `dead.letters`, `PARTITION:OFFSET`: it names the letter on the command line, and marks
the record that is made of it when it is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.settings import Settings
from connectors.topic_reader import Record, TopicReader
from schemas.catalog import SchemaIds
from schemas.errors import CognistreamError
from schemas.wire import decode

TOPIC: Final = "dead.letters"
MARK: Final = "cognistream-redriven"
"""Header of a record that was sent again; its value is the place of the letter that it was made of."""

Span = tuple[int, int]
"""First offset, and the one behind the last."""


class NoLetter(CognistreamError):
    """There is no letter at a place."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter at `partition`:`offset` of `dead.letters`, refused at `time` (ms): `says` is the Avro record."""

    partition: int
    offset: int
    time: int
    says: Mapping[str, Any]

    @property
    def place(self) -> str:
        """`PARTITION:OFFSET`."""
        return f"{self.partition}:{self.offset}"

    @property
    def mark(self) -> str | None:
        """Place of the letter that the refused record was made of; None when it came from a producer."""
        marks = [header["value"] for header in self.says["headers"] if header["key"] == MARK]
        return (marks[-1] or b"").decode(errors="replace") if marks else None

    @property
    def whole_batch(self) -> bool:
        """Whether it is a record batch that was refused whole."""
        return self.says["raw_batch"] is not None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are asked for; what is empty or None asks for all.

    `since` (inclusive) and `until` (exclusive) are ms since 1970 and speak of the time of refusal. Reasons and sources
    are named as in the letter.
    """

    reasons: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    places: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    agent: bytes | None = None

    def place(self, partition: int, offset: int, time: int) -> bool:
        """Whether a letter there may be meant; spares decoding it."""
        return (
            (not self.places or f"{partition}:{offset}" in self.places)
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
        )

    def letter(self, letter: Letter) -> bool:
        """Whether a letter at such a place is meant."""
        says = letter.says
        return (
            (not self.reasons or says["reason"] in self.reasons)
            and (not self.sources or says["source"] in self.sources)
            and (self.agent is None or says["key"] == self.agent)
        )


class Letters:
    """Reads `dead.letters`, as it was when this was made: what is refused meanwhile is not seen."""

    def __init__(self, settings: Settings, ids: SchemaIds) -> None:
        """Raises BrokerUnreachable and TopicsUnfit."""
        self._settings, self._ids = settings, ids
        with self._reader() as reader:
            self.partitions = reader.partitions
            self.spans: dict[int, Span] = reader.spans(range(reader.partitions))

    def read(self, wanted: Wanted) -> Iterator[Letter]:
        """The letters asked for, partition by partition in order."""
        with self._reader() as reader:
            for partition, span in sorted(self.spans.items()):
                if not wanted.partitions or partition in wanted.partitions:
                    records = _records(reader, partition, span)
                    yield from (letter for record in records if (letter := self._letter(record, wanted)) is not None)

    def one(self, partition: int, offset: int) -> Letter:
        """The letter at a place; NoLetter when there is none."""
        first, end = self.spans.get(partition, (0, 0))
        with self._reader() as reader:
            for record in _records(reader, partition, (offset, min(offset + 1, end))) if offset >= first else ():
                return Letter(partition, offset, record.timestamp, decode(record.value, self._ids)[1])
        raise NoLetter(
            f"no letter at {partition}:{offset} of {self._settings.topic(TOPIC)}: list them with "
            "`cognistream dlq list --each`"
        )

    def _reader(self) -> TopicReader:
        return TopicReader(self._settings.confluent(), self._settings.topic(TOPIC))

    def _letter(self, record: Record, wanted: Wanted) -> Letter | None:
        if not wanted.place(record.partition, record.offset, record.timestamp):
            return None
        letter = Letter(record.partition, record.offset, record.timestamp, decode(record.value, self._ids)[1])
        return letter if wanted.letter(letter) else None


def _records(reader: TopicReader, partition: int, span: Span) -> Iterator[Record]:
    """Records of a partition between two offsets."""
    start, end = span
    if start >= end:
        return
    for record in reader.read_to_end({partition: start}):
        if record.offset >= end:
            return
        yield record
