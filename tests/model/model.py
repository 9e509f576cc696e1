"""One partition, decided an event at a time: what each record becomes and what the rows are afterwards."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from . import form, limits, priority, trust
from .numbers import MOST_UNREGISTERED, SOURCES, WINDOW


@dataclass
class Outcome:
    """What became of one record: a reason (dead letter), `repeat`, or what was decided."""

    source: str
    offset: int
    reason: str | None = None
    repeat: bool = False
    event: dict[str, Any] = field(default_factory=dict)
    now: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    limit: dict[str, Any] | None = None
    priority: dict[str, Any] = field(default_factory=dict)
    points: int = 0
    tier: int = 0
    status: str = ""


class Window:
    """The last valid records of a source: (key, event id) -> value, with repeats counted as records."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.order: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self.newest: dict[tuple[bytes, str], tuple[int, bytes]] = {}
        self.number = 0

    def value_of(self, identity: tuple[bytes, str]) -> bytes | None:
        """The newest value known of this key and id."""
        return self.newest[identity][1] if identity in self.newest else None

    def remember(self, identity: tuple[bytes, str], value: bytes) -> None:
        """One more valid record; the oldest falls out."""
        self.order[self.number] = identity
        self.newest[identity] = (self.number, value)
        self.number += 1
        if len(self.order) > self.size:
            number, old = self.order.popitem(last=False)
            if self.newest[old][0] == number:
                del self.newest[old]


class Model:
    """State of a partition as dictionaries."""

    def __init__(
        self, partition: int, partitions: int, writers: dict[int, Any], readers: dict[str, Any],
        *, window: int = WINDOW, most_unregistered: int = MOST_UNREGISTERED,
    ) -> None:  # fmt: skip
        self.partition, self.partitions, self.writers, self.readers = partition, partitions, writers, readers
        self.windows = {source: Window(window) for source in SOURCES}
        self.most_unregistered = most_unregistered
        self.rows: dict[bytes, dict[str, Any]] = {}
        self.strangers: set[bytes] = set()

    def feed(self, source: str, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> Outcome:
        """Decide one record."""
        try:
            event = form.read(value, self.writers, self.readers[source])
            form.check(event, key, timestamp)
            assert key is not None
            assert value is not None
            window, identity = self.windows[source], (key, event["event_id"])
            known = window.value_of(identity)
            if known is not None and known != value:
                raise form.Refused("event_id_reused")
            if known is None:
                self.admit(key, event)
            window.remember(identity, value)
        except form.Refused as refused:
            return Outcome(source, offset, reason=str(refused))
        if known is not None:
            return Outcome(source, offset, repeat=True)
        return self.decide(source, offset, timestamp, key, event)

    def admit(self, key: bytes, event: dict[str, Any]) -> None:
        """May a key without a row have one?"""
        if key in self.rows:
            return
        if not form.at_home(key, self.partition, self.partitions):
            raise form.Refused("wrong_partition")
        if event["event_type"] != "agent_registered" and len(self.strangers) >= self.most_unregistered:
            raise form.Refused("too_many_unregistered")

    def decide(self, source: str, offset: int, timestamp: int, key: bytes, event: dict[str, Any]) -> Outcome:
        """Trust, limit, priority."""
        row = self.rows.setdefault(key, {})
        last = row["trust"]["last"] if row else None
        now = timestamp if last is None else max(timestamp, last)
        standing = row.setdefault("trust", trust.new_row(now))
        changes = trust.decide(standing, event, now)
        tier, status = standing["tier"], trust.status(standing)
        (self.strangers.discard if standing["registered"] else self.strangers.add)(key)
        limiter = row.setdefault("limit", limits.new_row(now * 1000, tier))
        limit = limits.decide(limiter, event, now, tier, status)
        habits = row.setdefault("habits", priority.new_row(now))
        return Outcome(
            source, offset, event=event, now=now, changes=changes, limit=limit,
            priority=priority.decide(habits, event, now), points=standing["points"], tier=tier, status=status,
        )  # fmt: skip
