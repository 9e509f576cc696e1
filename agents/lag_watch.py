"""Looks at the lag of groups again and again: rates, time to drain, and how each partition stands.

Rates count offsets, so a topic that is written in transactions has its markers in them; what waits counts records only.
Where the workers of this release read on is taken from `agent.state`, which is what they go by themselves; other groups
tell no more than what they committed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from connectors.lag import NOWHERE, LagReader, PartitionLag, Place
from connectors.topic_reader import TopicReader
from schemas.catalog import SchemaIds
from schemas.topics import POSITION_KEY, full_name
from schemas.wire import decode
from streams.group_status import WINDOW, Look, Status, judge

LOOK_BACK: Final = 5_000
"""Records of `agent.state` that are looked over for the newest position of a partition."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One partition of a group at one look; rates in offsets per second, None at the first look."""

    lag: PartitionLag
    rate_in: float | None
    rate_out: float | None
    status: Status

    @property
    def drain_s(self) -> float | None:
        """Seconds that the waiting records take at the present rate; None when that cannot be told."""
        if self.lag.lag == 0:
            return 0.0
        return self.lag.lag / self.rate_out if self.rate_out else None

    def as_json(self) -> dict[str, Any]:
        """All of it, flat."""
        rates = {"rate_in": self.rate_in, "rate_out": self.rate_out, "drain_s": self.drain_s}
        return {**asdict(self.lag), **rates, "status": self.status.value}


class Watch:
    """Of one cluster; keeps what the last looks found."""

    def __init__(self, reader: LagReader) -> None:
        self._reader = reader
        self._before: dict[tuple[str, Place], tuple[int, PartitionLag]] = {}
        self._looks: defaultdict[tuple[str, Place], deque[Look]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def look(self, groups: Iterable[str], now_ms: int, positions: Mapping[str, Mapping[Place, int]]) -> list[Seen]:
        """How all partitions of `groups` stand; `positions` by group. Raises what LagReader raises."""
        found = (one for group in groups for one in self._reader.look(group, now_ms, positions.get(group, NOWHERE)))
        return [self._see(one, now_ms) for one in found]

    def _see(self, lag: PartitionLag, now_ms: int) -> Seen:
        name = lag.group, (lag.topic, lag.partition)
        looks = self._looks[name]
        looks.append(Look(_at(lag), lag.lag, lag.owner is not None))
        at, before = self._before.get(name, (now_ms, lag))
        self._before[name] = now_ms, lag
        if now_ms <= at:
            return Seen(lag, None, None, judge(list(looks)))
        seconds = (now_ms - at) / 1_000
        came = max(0, lag.end - before.end) / seconds
        taken = max(0, (_at(lag) or 0) - (_at(before) or 0)) / seconds
        return Seen(lag, came, taken, judge(list(looks)))


def _at(lag: PartitionLag) -> int | None:
    return lag.committed if lag.position is None else lag.position


def positions_of_workers(connection: Mapping[str, str], prefix: str, ids: SchemaIds) -> dict[Place, int]:
    """Where the workers read on, by the newest positions in `agent.state`; empty where none is near its end.

    Raises BrokerUnreachable and TopicsUnfit.
    """
    found: dict[Place, int] = {}
    with TopicReader(connection, full_name(prefix, "agent.state")) as reader:
        spans = reader.spans(range(reader.partitions))
        starts = {p: max(first, following - LOOK_BACK) for p, (first, following) in spans.items()}
        for record in reader.read_to_end(starts):
            if record.key == POSITION_KEY and record.value is not None:
                position = decode(record.value, ids)[1]["position"] or {"sources": []}
                for source in position["sources"]:
                    found[full_name(prefix, f"{source['source']}.events"), record.partition] = source["next"]
    return found
