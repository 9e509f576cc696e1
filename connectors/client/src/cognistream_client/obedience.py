"""Does with every event what pressure asks for, while there is any.

The deciding itself is in `pressure` (what becomes of an event), `throttle` (how fast) and `waiting_room` (how long);
here they meet the publisher.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from .errors import LeftOut
from .follower import Follower
from .handles import Handle
from .identity import now_ms
from .line import Line
from .pressure import Level, Place, Verdict, level_of, partitioner, verdict
from .records import Pressure
from .registry import Registry
from .throttle import Throttle
from .waiting_room import Rooms

SOFT_LINGER: Final = 0.05
"""Least seconds that an event waits for others while there is pressure; tenfold what is usual, if that is more."""

TRY_AGAIN: Final = 10.0
"""Seconds until a change of the linger that failed is tried again: while it is tried nobody can publish."""


class Obedience:
    """Of one publisher, whose `lock` is held by whoever calls `weigh`."""

    def __init__(
        self,
        cluster: Mapping[str, Any],
        prefix: str,
        linger: float,
        registry: Registry | None,
        line: Line,
        lock: threading.Lock,
        rooms: Rooms,
    ) -> None:
        self.rooms = rooms
        self._situation = rooms.situation
        self._prefix = f"{prefix}." if prefix else ""
        self._usual = self._linger = linger
        self._line = line
        self._lock = lock
        self._try_again = 0.0
        self._throttles: dict[str, Throttle] = {}
        self._answers = threading.Lock()
        """Guards the throttles: answers come in other threads."""
        self._follower = Follower(cluster, self._prefix, self._situation, registry, self._on_tick)
        self._place = partitioner(self._follower.partitions.get)

    @property
    def on(self) -> bool:
        """Whether events have to be weighed at all."""
        return self._situation.on or bool(self.rooms)

    @property
    def pressing(self) -> tuple[Pressure, ...]:
        """All that presses now."""
        return self._situation.pressing(now_ms())

    def weigh(self, handle: Handle) -> bool | None:
        """None: it may go. True: it is dealt with. False: not yet, it is to be brought again.

        Raises SpoolFull.
        """
        place = self._place(handle.parcel.topic.removeprefix(self._prefix), handle.parcel.key)
        told = self._situation.worst(handle.consequence, place, now_ms())
        level, paced = (level_of(told), told.concern in self._throttles) if told else (Level.NONE, False)
        found = verdict(handle.consequence, level, handle.event_id, paced=paced)
        room = self.rooms.of(handle.consequence)
        if told and found is Verdict.LEAVE_OUT:
            return _leave_out(handle, told)
        if told and found is Verdict.WAIT:
            return self._make_wait(handle, place, told)
        if room and room.keeps(place):
            return room.keep(handle, place)
        if told and found is Verdict.PACE and not handle.paced and not self.rooms.outage:
            return self._pace(handle, told)
        return None

    def close(self) -> None:
        """End the thread that follows the topic."""
        self._follower.close()

    def _make_wait(self, handle: Handle, place: Place, told: Pressure) -> bool:
        room = self.rooms.make(handle.consequence)
        return room.keep(handle, place) if room else _leave_out(handle, told)

    def _pace(self, handle: Handle, told: Pressure) -> bool | None:
        now = time.monotonic()
        with self._answers:
            throttle = self._throttles.setdefault(told.concern, Throttle(now))
            if not throttle.passes(now):
                return False
        handle.paced = True
        handle.add_done_callback(lambda handle: self._count(throttle, handle, told))
        return None

    def _count(self, throttle: Throttle, handle: Handle, told: Pressure) -> None:
        if handle.spooled:  # Kafka is away: that says nothing of who works on its events
            return
        with self._answers:
            throttle.answered(time.monotonic(), told.accepts if handle.error is None else 0.0)

    def _on_tick(self) -> None:
        pressing = {told.concern for told in self.pressing}
        with self._answers:
            self._throttles = {name: one for name, one in self._throttles.items() if name in pressing}
        self._set_linger()

    def _set_linger(self) -> None:
        wanted = max(SOFT_LINGER, 10 * self._usual) if self._situation.on else self._usual
        if wanted == self._linger or time.monotonic() < self._try_again:
            return
        if self._line.change_linger(wanted, self._lock):
            self._linger = wanted
        else:
            self._try_again = time.monotonic() + TRY_AGAIN


def _leave_out(handle: Handle, told: Pressure) -> bool:
    why = f"pressure on {told.concern} is {told.level}: {told.reason}"
    handle.settle(LeftOut(f"{handle.consequence.value} event {handle.event_id} was left out: {why}"))
    return True
