"""Where a worker reads on: the position in the state, and what is refused because it cannot be right.

The position record in `agent.state` is the only authority. Group offsets are committed for lag displays, and serve here
for one thing: when they say that records were decided, and no state knows of it, the state was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from faust.types import TP

from schemas.errors import CognistreamError

from .commit import STATE

if TYPE_CHECKING:
    from .app import ColumnApp


class PositionLost(CognistreamError):
    """The state asks for records that are not in the topic, or the state is not where it was."""


class StateDamaged(CognistreamError):
    """The bytes of the state are not those that were written."""

    def __init__(self, partition: int, error: Exception) -> None:
        super().__init__(
            f"{error} Where no replica is whole, make the state anew from sources and journal: cognistream state "
            f"rebuild --partition {partition}"
        )


class PartitionsApart(CognistreamError):
    """What belongs to one lane was given to several workers, or a topic has grown."""


class Positions:
    """Starting points of the sources of a worker's partitions."""

    def __init__(self, app: ColumnApp) -> None:
        self._app = app

    async def starting_points(self, sources: set[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Where to read each source from. Raises `PositionLost` and `PartitionsApart`."""
        self._together(sources)
        known = {tp: offset for tp in sources if (offset := self._position(tp)) is not None}
        await self.check_reachable(known)
        fresh = sources - set(known)
        for tp in fresh:
            self._refuse_lost_state(tp, committed.get(tp))
        earliest = await self._app.consumer.earliest_offsets(*fresh) if fresh else {}
        return known | {TP(tp.topic, tp.partition): offset for tp, offset in earliest.items()}

    def _together(self, sources: set[TP]) -> None:
        """A lane needs the same partition of all sources and of the state."""
        app, active = self._app, self._app.table.active
        due = {TP(topic, partition) for topic in app.sources for partition in active}
        if sources != due or any(partition >= app.partitions for partition in active):
            raise PartitionsApart(
                f"group {app.settings.group} gave this worker {sorted(map(tuple, sources))} and the state of "
                f"partitions {sorted(active)} of {app.partitions}: all topics need the same number of partitions. See "
                "`cognistream topics list`, and start all workers again when the topics are even."
            )

    def _position(self, tp: TP) -> int | None:
        app = self._app
        name = app.bare(tp.topic) or ""
        if tp.partition in app.lanes:
            return app.lanes[tp.partition].wanted.get(name)
        return app.table.states[tp.partition].decider.positions.get(name)

    def _refuse_lost_state(self, tp: TP, committed: int | None) -> None:
        """Records of the source were decided once, and no state of the partition knows of any source."""
        settings, state = self._app.settings, self._app.table.states[tp.partition]
        if committed and not state.decider.positions:
            raise PositionLost(
                f"group {settings.group} has decided partition {tp.partition} of {tp.topic} up to offset {committed}, "
                f"but {settings.topic(STATE)} holds no state of it. Restore that topic; or start from nothing with "
                "another prefix (COGNISTREAM_PREFIX), or delete the group: kafka-consumer-groups.sh --delete --group "
                f"{settings.group}"
            )

    async def check_reachable(self, positions: Mapping[TP, int]) -> None:
        """Raises `PositionLost` when a source does not hold the records from these offsets on."""
        if not positions:
            return
        consumer, settings = self._app.columns, self._app.settings
        earliest, ends = await asyncio.gather(consumer.earliest_offsets(*positions), consumer.ends(positions))
        for tp, offset in positions.items():
            if not earliest[tp] <= offset <= ends[tp]:
                raise PositionLost(
                    f"partition {tp.partition} must read on at offset {offset} of {tp.topic}, which holds "
                    f"{earliest[tp]}..{ends[tp]}: records were deleted before they were decided, or the topic was made "
                    "anew. Start from nothing with another prefix (COGNISTREAM_PREFIX), or delete "
                    f"{settings.topic(STATE)} and the group {settings.group} together."
                )
