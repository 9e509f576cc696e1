"""Keeps events while Kafka is away, and sends them in their order when it is back.

The first event that Kafka did not take in time turns the keeper on. From then on new events go to the spool, and so
does what was on its way; a handle is done once its event is fsynced. When nothing is on its way any more and Kafka
answers, the spool is sent from its oldest event on, file after file; when it is empty, events go straight to Kafka
again. Nothing overtakes: an agent's events arrive in the order in which they were published.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final, Literal

from confluent_kafka import KafkaError, KafkaException

from .consequence import Consequence
from .errors import NotDelivered, SpoolFull
from .handles import Fates, Handle, Parcel
from .identity import now_ms
from .line import Line
from .spool import Numbered, Part, Spool, Unit

WhenFull = Literal["block", "drop_background", "raise"]

BACKGROUND_SHARE: Final = 0.8
"""With `drop_background`: the part of the spool that background events may fill."""
OLDEST_MS: Final = 6 * 86_400_000
"""Live topics take no record older than seven days: what waited longer is stamped younger."""
_RETRY: Final = 1.0
_PAUSE: Final = 0.05

NEVER: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.RECORD_LIST_TOO_LARGE,
}
"""What Kafka says of an event that it takes neither now nor later."""

_log = logging.getLogger(__name__)


class Resent(Handle):
    """An event out of the spool on its way; its own handle was done long ago."""

    __slots__ = ("refusal",)
    resent = True

    def __init__(self, fates: Fates, parcel: Parcel) -> None:
        super().__init__(fates, "", parcel)
        self.refusal: KafkaError | None = None


class Keeper:
    """The spool of one publisher and the thread that serves it. `lock` is the publisher's: it guards `on`."""

    def __init__(
        self, spool: Spool, line: Line, fates: Fates, lock: threading.Lock, limit: int, when_full: WhenFull, poll: float
    ) -> None:
        self._spool = spool
        self._line = line
        self._fates = fates
        self._lock = lock
        self._work = threading.Condition(lock)
        self._limit = limit
        self._when_full = when_full
        self._poll = poll
        self._new: list[Handle] = []
        self._late: list[Handle] = []
        self._writing = 0
        self._promised = 0
        self._holding = False
        self._ending = False
        self.on = bool(spool.units())
        self.away = False
        """Whether Kafka did not answer when it was asked last."""
        self._thread = threading.Thread(target=self._run, name="cognistream-client-spool", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> int:
        """Events that are to be kept and are not yet."""
        return len(self._new) + len(self._late) + self._writing

    @property
    def folder(self) -> Path:
        """Where its spool is."""
        return self._spool.folder

    @property
    def bytes(self) -> int:
        """What the spool holds."""
        return self._spool.bytes

    @property
    def may_soon_be_empty(self) -> bool:
        """Whether what it keeps is on its way, as far as it knows."""
        return self.on and not self.away

    def offer(self, handle: Handle) -> bool:
        """Keep a new event while `on`; the caller holds the lock. False: it has to wait, and be offered again.

        With `raise`, and with `drop_background` for what is not background, SpoolFull.
        """
        if self._holding:
            return False
        size = sum(map(len, handle.parcel[1:3]))
        filled = self._spool.bytes + self._promised + size
        droppable = self._when_full == "drop_background" and handle.consequence is Consequence.BACKGROUND
        if droppable and filled > self._limit * BACKGROUND_SHARE:
            handle.settle(SpoolFull(f"background event {handle.event_id} was dropped: {self._full()}"))
            return True
        if filled > self._limit:
            if self._when_full == "block":
                return False
            raise SpoolFull(f"event {handle.event_id} was not published: {self._full()}")
        self._promised += size
        self._new.append(handle)
        self._work.notify()
        return True

    def take_back(self, handle: Handle) -> None:
        """Keep an event that was on its way when Kafka went; always, for its publisher has gone on."""
        with self._lock:
            if not self.on:
                self.on = self.away = True
                _log.warning("Kafka is away: events go to the spool %s", self._spool.folder)
                self._line.hurry()
            self._late.append(handle)
            self._work.notify()

    def close(self) -> None:
        """End the thread; what is in the spool stays for the next publisher of the folder."""
        with self._lock:
            self._ending = True
            self._work.notify()
        self._thread.join()
        if self.on:
            _log.warning("%d bytes of events stay in the spool %s", self._spool.bytes, self._spool.folder)
        self._spool.close()

    def _full(self) -> str:
        folder, held = self._spool.folder, self._spool.bytes
        return f"{self._cause()} and the spool {folder} holds {held:,} of {self._limit:,} bytes"

    def _cause(self) -> str:
        """Why events are kept."""
        return "Kafka is away"

    def _may_send(self) -> bool:
        """Whether what is kept may be sent now: not while something is on its way that comes before it."""
        return not self._line.waiting

    def _may_send_one(self) -> bool:
        """Whether one more may be sent."""
        return True

    def _over(self) -> None:
        """Nothing is kept any more; with the lock."""
        self._spool.next_generation()
        self.on = False
        _log.warning("%s no more: Kafka has what the spool %s held", self._cause(), self._spool.folder)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._new or self._late or self._ending or self.on):
                    self._work.wait()
                ending = self._ending
            self._write()
            if ending:
                return
            if self.on and self._may_send() and not self.unwritten:
                self._try_to_send()
            with self._lock:
                if self.on and not self.unwritten and not self._ending:
                    self._work.wait(_RETRY if self.away else _PAUSE)

    def _write(self) -> None:
        """Put on disk what came, and tell its publishers."""
        with self._lock:
            self._writing = len(self._late) + len(self._new)
            late, new, self._late, self._new = self._late, self._new, [], []
            self._promised = 0
        self._keep("a", late)
        self._keep("b", new)
        self._writing = 0
        if late or new:
            self._fates.tell()

    def _keep(self, part: Part, handles: list[Handle]) -> None:
        rows: list[Numbered] = [(handle.number, handle.parcel) for handle in handles]
        failure: NotDelivered | None = None
        try:
            if rows:
                self._spool.append(part, rows)
        except OSError as error:
            self._spool.abandon(part)
            failure = NotDelivered(f"{self._cause()}, and the spool {self._spool.folder} cannot be written: {error}")
            failure.__cause__ = error
            _log.error("%d events are lost: %s", len(rows), failure)
        for handle in handles:
            handle.spooled = failure is None
            handle.settle(failure)

    def _try_to_send(self) -> None:
        try:
            self._send_all()
        except OSError:
            self.away = True
            _log.exception("the spool %s cannot be read; it is tried again", self._spool.folder)

    def _send_all(self) -> None:
        """Send the spool from its oldest event on, as far as Kafka takes it, and turn off when it is empty."""
        if not all(map(self._send, self._spool.units())):
            return
        try:
            self._holding = True  # else whoever publishes all the time would never be caught up with
            self._write()
            if all(map(self._send, self._spool.units())):
                self._turn_off()
        finally:
            self._holding = False
            self._fates.tell()

    def _turn_off(self) -> None:
        with self._lock:
            if not self.unwritten and not self._spool.units():
                self._over()

    def _send(self, unit: Unit) -> bool:
        """Whether Kafka has all of a unit now. What it says of single events to be impossible is put aside."""
        parcels = self._spool.read(unit)
        refused: list[Parcel] = []
        while parcels:
            self.away = not self._line.answers(parcels[0].topic, self._poll)
            if self.away or not (sent := self._hand(parcels)):
                return False
            if all(one.refusal and not _never(one) for one in sent):
                self.away = True
                _log.warning("Kafka takes nothing of the spool yet: %s", sent[0].refusal)
                return False
            refused += [parcel for parcel, one in zip(parcels, sent, strict=True) if _never(one)]
            parcels = [parcel for parcel, one in zip(parcels, sent, strict=True) if one.refusal and not _never(one)]
        if refused:
            _log.error("%d events are never taken by Kafka: %s", len(refused), self._spool.refuse(refused))
        self._spool.remove(unit)
        self._fates.tell()
        return True

    def _hand(self, parcels: list[Parcel]) -> list[Resent]:
        """Send `parcels` and wait for all answers; none when the publisher closes meanwhile."""
        oldest = now_ms() - OLDEST_MS
        sent = [Resent(self._fates, one._replace(timestamp=max(one.timestamp, oldest))) for one in parcels]
        for handle in sent:
            while not (self._may_send_one() and self._hand_one(handle)):
                self._write()
                self._fates.wait(lambda: False, _PAUSE)
                if self._ending:
                    return []
        while not self._fates.wait(lambda: all(one.done or one.refusal for one in sent), _PAUSE):
            self._write()
            if self._ending:
                return []
        return sent

    def _hand_one(self, handle: Resent) -> bool:
        with self._lock:
            try:
                self._line.hand(handle)
            except BufferError:
                return False
            except KafkaException as error:
                handle.refusal = error.args[0]
        return True


def _never(handle: Resent) -> bool:
    return handle.refusal is not None and handle.refusal.code() in NEVER
