"""Where events wait while cognistream is behind: on disk like those that Kafka could not take, and sent as gently.

Background and normal events have a room each, made when the first of them has to wait. A room remembers the places
(topic and partition) of what is in it: newer events of these places queue up behind, all others pass by. It opens when
none of its places is held any more, slowly at first, so that a thousand senders that were held together do not push all
at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .consequence import Consequence
from .events import AgentAnchorEvent, AuraisEvent, KaizenEvent
from .handles import Fates, Handle
from .identity import now_ms
from .keeper import Keeper, WhenFull
from .line import Line
from .pressure import Place, Situation
from .spool import Spool

FIRST_SECOND: Final = 1_000
"""Events that a room sends in the first second; in each second it sends twice as many as in the one before."""
_LOOK_EVERY: Final = 64

_log = logging.getLogger(__name__)


class WaitingRoom(Keeper):
    """The room of one consequence, in a folder of its own."""

    def __init__(
        self, consequence: Consequence, situation: Situation, outage: Keeper, spool: Spool, line: Line, fates: Fates,
        lock: threading.Lock, limit: int, when_full: WhenFull, poll: float,
    ) -> None:  # fmt: skip
        self._consequence = consequence
        self._situation = situation
        self._outage = outage
        self._places: set[Place] = set()
        if spool.units():  # of a predecessor, who knew where they belong
            self._places |= {(kind.TOPIC, None) for kind in (KaizenEvent, AgentAnchorEvent, AuraisEvent)}
        self._opened: float | None = None
        self._sent = 0
        super().__init__(spool, line, fates, lock, limit, when_full, poll)

    @property
    def may_soon_be_empty(self) -> bool:
        """Whether what it keeps is on its way, as far as it knows."""
        return super().may_soon_be_empty and self._may_send()

    def keeps(self, place: Place) -> bool:
        """Whether older events of `place` are still here."""
        return self.on and (place in self._places or (place[0], None) in self._places)

    def keep(self, handle: Handle, place: Place) -> bool:
        """Keep an event of `place`; the caller holds the lock. Answers and raises as `offer` does."""
        if not self.on:
            self.on = True
            _log.warning("%s events wait in the spool %s", self._consequence.value, self._spool.folder)
        self._places.add(place)
        return self.offer(handle)

    def _cause(self) -> str:
        return "cognistream is behind"

    def _may_send(self) -> bool:
        held = self._situation.holds(self._consequence, tuple(self._places), now_ms())
        return not held and not self._outage.on

    def _may_send_one(self) -> bool:
        if self._sent % _LOOK_EVERY == 0 and not self._may_send():
            self._opened = None
            self._holding = False  # else whoever publishes would wait as long as what is in here
            return False
        now = time.monotonic()
        if self._opened is None:
            self._opened, self._sent = now, 0
        if self._sent >= FIRST_SECOND * (2 ** min(now - self._opened, 30) - 1):
            return False
        self._sent += 1
        return True

    def _over(self) -> None:
        self._places.clear()
        self._opened = None
        super()._over()


class Rooms:
    """Makes the rooms of a publisher, when they are needed. Without a keeper of outages it has no spool, nor rooms."""

    def __init__(
        self, outage: Keeper | None, line: Line, fates: Fates, lock: threading.Lock, limit: int, when_full: WhenFull,
        poll: float,
    ) -> None:  # fmt: skip
        self.situation = Situation()
        self._outage = outage
        self._shared = (line, fates, lock, limit, when_full, poll)
        self._made: dict[Consequence, WaitingRoom] = {}
        for consequence in (Consequence.BACKGROUND, Consequence.NORMAL):
            if outage and self._folder(outage, consequence).exists():
                self.make(consequence)

    def __iter__(self) -> Iterator[WaitingRoom]:
        return iter(tuple(self._made.values()))

    def __bool__(self) -> bool:
        return bool(self._made)

    @property
    def outage(self) -> bool:
        """Whether Kafka is away, so that everything goes to the spool."""
        return self._outage is not None and self._outage.on

    def of(self, consequence: Consequence) -> WaitingRoom | None:
        """The room, None while nothing had to wait."""
        return self._made.get(consequence)

    def make(self, consequence: Consequence) -> WaitingRoom | None:
        """The room; None without a spool. The caller holds the lock."""
        if consequence not in self._made and self._outage:
            spool = Spool(self._folder(self._outage, consequence))
            self._made[consequence] = WaitingRoom(consequence, self.situation, self._outage, spool, *self._shared)
        return self._made.get(consequence)

    def _folder(self, outage: Keeper, consequence: Consequence) -> Path:
        return outage.folder / consequence.value
