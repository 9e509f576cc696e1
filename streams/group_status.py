"""How a consumer group stands at a partition, told from what was seen of it over a while.

The rules are those of LinkedIn's Burrow ("Consumer Lag Evaluation Rules"), which needs no threshold of lag: a group
that moves and catches up now and then is fine, however much waits. Burrow tells a stopped consumer by commits that no
longer come; who asks a broker sees offsets but not when they were committed, so here a partition that nobody owns tells
it.

Pure: what was seen, and nothing else, decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

WINDOW: Final = 10
"""Looks at a partition that are judged together."""


class Status(Enum):
    """From the best to the worst; of a group, that of its worst partition."""

    FINE = "fine"
    FALLING_BEHIND = "falling behind"
    """It moves, and more waits at every look."""
    STALLED = "stalled"
    """Somebody has the partition and does not move."""
    STOPPED = "stopped"
    """Work waits and nobody has the partition."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a partition found: `committed` None while the group never committed there."""

    committed: int | None
    lag: int
    owned: bool = True


def judge(looks: Sequence[Look]) -> Status:
    """The status of a partition by its last `WINDOW` looks, oldest first; fine while there are none."""
    seen = looks[-WINDOW:]
    if any(look.lag <= 0 for look in seen) or not seen:
        return Status.FINE
    moved = [(after.committed or 0) - (before.committed or 0) for before, after in pairwise(seen)]
    if not seen[-1].owned and not any(moved[-1:]):
        return Status.STOPPED
    if len(seen) < WINDOW or any(step < 0 for step in moved):  # too little was seen, or somebody set it back
        return Status.FINE
    grew = all(after.lag >= before.lag for before, after in pairwise(seen))
    if not grew:
        return Status.FINE
    return Status.FALLING_BEHIND if any(moved) else Status.STALLED


def worst(statuses: Sequence[Status]) -> Status:
    """Of a group, by those of its partitions."""
    order = list(Status)
    return max(statuses, key=order.index, default=Status.FINE)
