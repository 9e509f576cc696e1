"""The account of a demo: every record that was published must turn up exactly once, as what it became.

A place in the account is (source, partition, offset). A pool, a dead letter and a repeat named in the journal each
put one mark on it. In the end every place below the end of its partition has one mark: none is lost, none is counted
twice, and none was made up. The journal is checked beside it: its reads tile each source without gap or overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Longs

Place = tuple[int, int]
"""(number of the source, partition)."""
Marks = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Conservation:
    """What the account says: `published` records = those with one mark + `lost` + `twice`; `invented` never were.

    `gaps` are offsets that the journal skipped, or read twice, by its own words.
    """

    published: int
    lost: int
    twice: int
    invented: int
    gaps: int

    @property
    def holds(self) -> bool:
        """Whether nothing is lost, doubled, invented, or missing from the journal."""
        return not (self.lost or self.twice or self.invented or self.gaps)

    def sentence(self) -> str:
        """What a person is told."""
        if self.holds:
            return f"conservation holds: each of {self.published:,} records came out exactly once"
        faults = {
            "lost": self.lost,
            "counted twice": self.twice,
            "never published": self.invented,
            "offsets skipped or read twice by the journal": self.gaps,
        }
        return "CONSERVATION VIOLATED: " + ", ".join(f"{count:,} {what}" for what, count in faults.items() if count)


@dataclass(slots=True)
class Tally:
    """Marks by place; a mark is a count that stops at 255."""

    marked: int = 0
    _marks: dict[Place, Marks] = field(default_factory=dict)
    _journal: dict[Place, int] = field(default_factory=dict)
    _gaps: int = 0

    def mark(self, place: Place, offsets: Longs) -> None:
        """Put a mark on each of `offsets`, shape (n,), n > 0."""
        low, high = int(offsets.min()), int(offsets.max()) + 1
        marks = self._room(place, high)
        counts = marks[low:high] + np.bincount(offsets - low, minlength=high - low)
        marks[low:high] = np.minimum(counts, 255)
        self.marked += len(offsets)

    def read(self, place: Place, first: int, following: int) -> None:
        """The journal says that the offsets `first`..`following` (exclusive) were read next."""
        expected = self._journal.get(place, 0)
        self._gaps += abs(first - expected)
        self._journal[place] = following

    def read_to(self, place: Place) -> int:
        """Offset up to which the journal says that everything is decided."""
        return self._journal.get(place, 0)

    def conservation(self, ends: dict[Place, int]) -> Conservation:
        """The account against the ends of the sources: next offset by place."""
        lost = twice = invented = gaps = 0
        for place in ends.keys() | self._marks.keys():
            end = ends.get(place, 0)
            marks = self._room(place, end)
            lost += int((marks[:end] == 0).sum())
            twice += int((marks[:end] > 1).sum())
            invented += int((marks[end:] > 0).sum())
            gaps += abs(end - self._journal.get(place, 0))
        return Conservation(sum(ends.values()), lost, twice, invented, gaps + self._gaps)

    def _room(self, place: Place, size: int) -> Marks:
        marks = self._marks.get(place, np.zeros(0, np.uint8))
        if len(marks) < size:
            grown = np.zeros(max(size, 2 * len(marks), 4096), np.uint8)
            grown[: len(marks)] = marks
            self._marks[place] = marks = grown
        return marks
