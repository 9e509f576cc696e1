"""How a restored lane gets its windows of repeats back: from the journal, and from the records behind its position.

The windows stand in no changelog: everything in them lies in the sources. The last entry of the journal names the
oldest record of each window, the entries back to there name the records that were refused (those were never in a
window), and what the sources still hold from there on is entered again. A window that can be filled only in part,
because a source or the journal no longer reaches back, is a shorter window, and the next entry says so.

Whoever reads the topics hands over here what was read. It is also where state and journal must agree: the last entry
is the one that the position names, by number and hash, and the rows are as many as the position says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from schemas.columns import ColumnBatch, Longs
from schemas.errors import CognistreamError

from .audit import NO_HASH
from .journal import JOURNAL, Entry, entries
from .pipeline import Lane
from .state_codec import STATE


class StateApart(CognistreamError):
    """The state of a partition is not the one that its journal was written with, or rows of it are missing."""


class Recollection:
    """Fills the windows of `lane`, which was restored. Raises `StateApart` when rows are missing."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._last: Entry | None = None
        self._first: dict[str, int] = {}
        """Source -> first offset of which the entries heard so far speak."""
        self._refused: defaultdict[str, list[int]] = defaultdict(list)
        self._left_out: dict[str, Longs] = {}
        lane.forget({})
        self._check_rows()

    def hear(self, journal: Iterable[ColumnBatch]) -> None:
        """Take batches of `audit.log` that end where those taken before began; at first, its last ones.

        Raises `StateApart` when the last entry of all is not the one of the position.
        """
        first: dict[str, int] = {}
        last: Entry | None = None
        for entry in entries(journal, self._lane.ids):
            last = entry
            for read in entry.says["reads"]:
                first.setdefault(read["source"], read["first"])
                self._refused[read["source"]] += read["refused"]
        self._first |= first
        if self._last is None and last is not None:
            self._agree(last.number, last.hash)
            self._last = last

    def wants_more(self, earliest: Mapping[str, int]) -> bool:
        """Whether older entries are needed; `earliest`: topic -> first offset that it still holds."""
        if self._last is None:
            return True
        begins = self._begins(earliest)
        return any(name not in self._first or self._first[name] > begin for name, begin in begins.items())

    def spans(self, earliest: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Topic of a source -> first offset to read and the one to stop before, once no more entries are wanted or to
        be had. Raises `StateApart` when the journal that the position speaks of is not there.
        """
        if self._last is None and not earliest[JOURNAL]:
            self._agree(0, NO_HASH)
        ends = self._lane.positions
        known = {name: begin for name, begin in self._begins(earliest).items() if name in self._first}
        return {
            f"{name}.events": (max(begin, self._first[name]), ends[f"{name}.events"]) for name, begin in known.items()
        }

    def remember(self, batch: ColumnBatch) -> None:
        """Enter records of a source, oldest first. RegistryUnreachable before anything was entered."""
        name = batch.topic.removesuffix(".events")
        if name not in self._left_out:
            self._left_out[name] = np.array(sorted(self._refused[name]), np.int64)
        self._lane.remember(batch, self._left_out[name])

    def _begins(self, earliest: Mapping[str, int]) -> dict[str, int]:
        """Source -> the oldest record of its window, as far as the source still reaches back; without those that do not
        reach back behind the position.
        """
        if self._last is None:
            return {}
        begins: dict[str, int] = {}
        for read in self._last.says["reads"]:
            begins.setdefault(read["source"], read["first"])
        begins |= {edge["source"]: edge["offset"] for edge in self._last.says["window_oldest"]}
        held = {name: max(begin, earliest[f"{name}.events"]) for name, begin in begins.items()}
        ends = self._lane.positions
        return {name: begin for name, begin in held.items() if begin < ends[f"{name}.events"]}

    def _agree(self, number: int, value_hash: bytes) -> None:
        position, partition = self._lane.position, self._lane.partition
        if (number, value_hash) != (position.entry, position.entry_hash):
            raise StateApart(
                f"{STATE}[{partition}] stands after entry {position.entry} of the journal "
                f"({position.entry_hash.hex()[:12]}), but {JOURNAL}[{partition}] ends with entry {number} "
                f"({value_hash.hex()[:12]}): they were not written together, one of them was restored, cut or made "
                f"anew. Nothing is decided on it. Restore both topics to the same moment; or, when {JOURNAL} is the "
                f"one that is whole, make the state anew from it: cognistream state rebuild --partition {partition}"
            )

    def _check_rows(self) -> None:
        lane, said = self._lane, self._lane.position.rows
        if said >= 0 and said != lane.rows:
            raise StateApart(
                f"{STATE}[{lane.partition}] holds the rows of {lane.rows} agents, its position says {said}: records of "
                "the topic were deleted, or somebody else writes to it. Nothing is decided on half a state. Make it "
                f"anew from sources and journal: cognistream state rebuild --partition {lane.partition}"
            )
