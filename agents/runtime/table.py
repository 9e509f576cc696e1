"""The state of the worker's partitions as a Faust table: Faust recovers it, keeps standbys warm and says whose it is.

Faust's `Recovery` reads the changelog `agent.state` and hands events to a table. Here an event is a whole
`ColumnBatch`, applied at once to the decider of its partition. The store, the data and the buffers of stock tables are
not used.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from faust.tables.base import Collection
from faust.tables.manager import TableManager

from schemas.columns import ColumnBatch
from streams.intake import part_from

from .commit import STATE
from .consumer import ColumnSchema
from .decider import Decider
from .remembering import Remembering

if TYPE_CHECKING:
    from .app import ColumnApp

log = logging.getLogger(__name__)


@dataclass(slots=True)
class State:
    """Memory of one partition; `next` is the changelog offset that it stands for, None before anything was read;
    `remembers`: whether it also holds what stands in no changelog.
    """

    decider: Decider
    next: int | None = None
    remembers: bool = False


class ColumnTable(Collection):
    """`states` holds the partitions that this worker owns or keeps warm; `active` names those that it owns."""

    app: ColumnApp
    mundane_level = "debug"

    def __init__(self, app: ColumnApp) -> None:
        topic = app.settings.topic(STATE)
        schema = ColumnSchema()
        # A buffer of 1 would make Faust read its own changelog for ever after recovery.
        super().__init__(
            app, name=STATE, schema=schema, key_type=bytes, value_type=bytes, recovery_buffer_size=2,
            changelog_topic=app.topic(topic, schema=schema, key_type=bytes, value_type=bytes, acks=False),
        )  # fmt: skip
        self.states: dict[int, State] = {}
        self.active: set[int] = set()
        self.shares = 0
        """How often the partitions were shared anew."""
        self._mine: set[int] = set()
        """Partitions that this worker was given, warm copies among them; none between two shares."""
        self.remembering = Remembering(app)
        self.settled = False
        """Whether `active` is what this worker owns now, all of it recovered."""

    def _unsupported(self, *_: Any) -> Any:
        raise TypeError("the state of a partition belongs to its decider")

    _has_key = _get_key = _set_key = _del_key = _unsupported  # type: ignore[assignment]
    as_ansitable = hopping = tumbling = using_window = _unsupported  # type: ignore[assignment]

    def _changelog_topic_name(self) -> str:
        return self.app.settings.topic(STATE)

    async def on_stop(self) -> None:
        """Read nothing more."""
        self.remembering.stop()

    async def on_start(self) -> None:
        """Stock would open a store and create the changelog topic; the checks at start have seen that it exists."""

    async def need_active_standby_for(self, tp: Any) -> bool:
        """Whether nothing is known of a partition yet."""
        return tp.partition not in self.states

    def reset_state(self) -> None:
        """Forget everything."""
        self.states.clear()

    def apply_changelog_batch(self, *_: Any, **__: Any) -> None:
        """Nothing: applied in `on_changelog_event`, the buffers of Recovery would delay it."""

    def persisted_offset(self, tp: Any) -> int:
        """Last changelog offset that memory stands for; -1, never None (Recovery would keep one of an earlier time)."""
        state = self.states.get(tp.partition)
        return -1 if state is None or state.next is None else state.next - 1

    async def on_changelog_event(self, event: Any) -> None:
        """Apply a batch. Recovery would log an exception and go on: here it ends the worker."""
        try:
            await self._apply(event.value, event.message.tp)
        except Exception as error:
            self.app.fail(error)
            raise

    async def _apply(self, batch: ColumnBatch, tp: Any) -> None:
        if tp.partition not in self._mine:  # Faust lets through what it had fetched of a partition that left
            return
        state = self.states.get(tp.partition)
        if state is None:
            state = self.states[tp.partition] = State(self.app.new_decider(tp.partition))
        if state.next is not None and batch.start > state.next:
            await self._seek_back(tp, batch, state.next)
            return
        if state.next is not None and batch.next <= state.next:
            return
        if state.next is not None and batch.start < state.next:  # recovery begins with the last record it knows
            batch = part_from(batch, state.next)
        if batch.n or batch.refused:
            state.remembers = False
            await asyncio.get_running_loop().run_in_executor(self.app.pool, state.decider.restore, batch)
        state.next = batch.next
        self.app.counting.recovered(tp.partition, batch.n)

    async def _seek_back(self, tp: Any, batch: ColumnBatch, expected: int) -> None:
        """A queue of Faust was emptied under it: read again from where memory stands."""
        log.warning("%s: changelog came from %d, expected %d: reading it again", tp, batch.start, expected)
        recovery = cast(TableManager, self.app.tables).recovery
        offsets = recovery.active_offsets if tp in recovery.active_tps else recovery.standby_offsets
        offsets[tp] = expected - 1
        await self.app.columns.seek_wait({tp: expected})

    def recovers(self, partition: int) -> bool:
        """Whether a partition that this worker owns is being recovered."""
        recovery = cast(TableManager, self.app.tables).recovery
        return recovery.in_recovery and any(tp.partition == partition for tp in recovery.active_tps)

    def unsettle(self) -> None:
        """Nothing is owned until the next recovery ends."""
        self._mine, self.active, self.settled = set(), set(), False
        self.shares += 1
        self.remembering.stop()

    def remaining(self) -> dict[int, int]:
        """Offsets still to read before deciding begins, by owned partition: of the changelog, then of the sources."""
        recovery = cast(TableManager, self.app.tables).recovery
        if not recovery.in_recovery:
            return dict.fromkeys(self.active, 0) | self.remembering.left
        return {tp.partition: max(0, offsets) for tp, offsets in recovery.active_remaining().items()}

    async def on_rebalance(self, assigned: Any, *_: Any, **__: Any) -> None:
        """Forget partitions that left; fence the owners of those that came, before their changelog is read."""
        topic = self.changelog_topic_name
        mine = {tp.partition for tp in assigned if tp.topic == topic}
        for partition in set(self.states) - mine:
            del self.states[partition]
        self.unsettle()
        self._mine = mine
        await self.app.producers.own({tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == topic})

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        """The owned partitions are recovered; seeking follows, then reading. Their changelog is ours alone now."""
        try:
            await self._complete(set(active_tps), set(standby_tps))
        except Exception as error:  # Recovery does not look at what becomes of this call
            self.app.fail(error)
            raise

    async def _complete(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
        owned, shares = {tp.partition for tp in active_tps}, self.shares
        if not owned <= self._mine:  # a recovery may end after its partitions were taken away
            return
        await self.app.columns.stop_fetching(active_tps - standby_tps)
        if shares != self.shares:
            return
        self.active = owned
        for partition in self.active:
            if partition not in self.states:
                self.states[partition] = State(self.app.new_decider(partition))
        if await self.remembering.fill(self.active) and shares == self.shares:
            self.settled = True
            await self.call_recover_callbacks()
