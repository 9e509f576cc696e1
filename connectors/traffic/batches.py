"""From stretches to the record batches of the source topics, one body for each topic and partition.

Events keep their order within a partition; a repeat follows its event, spoiled copies come last. Some events carry
the moment of publishing in a `traceparent` header, which the pipeline copies to what it decides: so the latency from
here to a reader is measured on the wall clock, whatever time the events themselves are in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.avro_encode import Encoder
from schemas.catalog import SchemaIds, schema_of
from schemas.columns import Bytes, Frame, Longs
from schemas.recordbatch_write import RecordsBody, frame_batch

from .flaws import Flaws, Record, spoil
from .stretch import SOURCES, Fleet, Part, Stretch, layout_of

_MARK = b"c0617e5700000000"
"""First half of the trace id of a probe; the second is the wall clock in nanoseconds."""
_PROBE = b"00-%s%016x-0000000000000001-01"
PROBE_BYTES = len(_PROBE % (_MARK, 0))


def probe(now_ns: int) -> bytes:
    """The `traceparent` of an event that is published at `now_ns` (wall clock)."""
    return _PROBE % (_MARK, now_ns)


def probed_at(headers: bytes) -> int | None:
    """When the event whose record has these headers (encoded) was published, ns; None when it is no probe."""
    at = headers.find(_MARK)
    return int(headers[at + len(_MARK) :][:16], 16) if at >= 0 else None


@dataclass(slots=True)
class Packed:
    """Bodies by (source topic, partition), and what is in them; `poison` counts by the reason to be refused for."""

    bodies: dict[tuple[str, int], RecordsBody] = field(default_factory=dict)
    events: int = 0
    repeats: int = 0
    poison: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """All that will be published."""
        return self.events + self.repeats + sum(self.poison.values())


class Packer:
    """Packs traffic of one fleet for topics of `partitions` partitions; every `probe_every`-th event is a probe."""

    def __init__(
        self, fleet: Fleet, ids: SchemaIds, partitions: int, flaws: Flaws | None = None, probe_every: int = 1
    ) -> None:
        self._fleet, self._ids, self._partitions = fleet, ids, partitions
        self._flaws = flaws or Flaws()
        self._every = probe_every
        self._home = fleet.partitions(partitions)
        self._encoders = {t: Encoder(schema_of(t), ids.id_of(t), layout_of(t)) for t in SOURCES}
        self._banks: dict[str, tuple[Bytes, Bytes]] = {}

    def pack(self, stretch: Stretch, first: int, last: int, now_ns: int | None = None) -> Packed:
        """The events `first`..`last` (exclusive) of `stretch`; probes say `now_ns`, None: there are none."""
        packed = Packed(events=last - first)
        for part in stretch.parts:
            low, high = np.searchsorted(part.place, (first, last))
            if high > low:
                self._pack(packed, part, stretch.first, int(low), int(high), now_ns)
        return packed

    def _pack(self, packed: Packed, part: Part, base: int, low: int, high: int, now_ns: int | None) -> None:
        numbers = base + part.place[low:high]
        frame, traces = self._traced(part, low, numbers, now_ns)
        copies = self._flaws.copies(numbers)
        rows = np.repeat(np.arange(low, high), copies)
        packed.repeats += int(copies.sum()) - (high - low)
        home = self._home[part.agent[rows]]
        agents = part.agent
        key = (self._fleet.start[agents], self._fleet.length[agents], self._fleet.bank)
        for partition in np.unique(home):
            body = packed.bodies.setdefault((part.topic, int(partition)), RecordsBody())
            self._encoders[part.topic].append(body, frame, rows[home == partition], part.ts, key, traces)
        for row in low + np.flatnonzero(self._flaws.spoiled(numbers)):
            self._spoil(packed, part, frame, int(row), base + int(part.place[row]))

    def _traced(self, part: Part, low: int, numbers: Longs, now_ns: int | None) -> tuple[Frame, Any]:
        """The part's frame with room for a probe behind its bank, and the spans of `traceparent`."""
        if now_ns is None:
            return part.frame, None
        known, bank = self._banks.get(part.topic, (None, None))
        if known is not part.frame.buf or bank is None:
            bank = np.concatenate([part.frame.buf, np.zeros(PROBE_BYTES, np.uint8)])
            self._banks[part.topic] = part.frame.buf, bank
        bank[-PROBE_BYTES:] = np.frombuffer(probe(now_ns), np.uint8)
        length = np.full(part.frame.n, -1)
        length[low : low + len(numbers)][numbers % self._every == 0] = PROBE_BYTES
        spans = np.full(part.frame.n, len(bank) - PROBE_BYTES), length
        return Frame(part.frame.layout, part.frame.matrix, bank, part.frame.aux), spans

    def _spoil(self, packed: Packed, part: Part, frame: Frame, row: int, number: int) -> None:
        values, _, _ = self._encoders[part.topic].append_values(frame, np.array([row]))
        agent = int(part.agent[row])
        home = int(self._home[agent])
        good = Record(part.topic, home, self._partitions, self._fleet.key(agent), values.tobytes(), int(part.ts[row]))
        bad, reason = spoil(good, number, self._ids)
        packed.bodies[part.topic, home].append(bad.key, bad.value, bad.ms)
        packed.poison[reason.label] += 1


class SourceBatch(BatchBuilder):  # type: ignore[misc]
    """A body as a record batch for `AIOKafkaProducer.send_batch`; made when the producer tells its state."""

    def __init__(self, body: RecordsBody, codec: int = 0) -> None:
        self._body, self._codec = body, codec
        self._closed = True
        self._owner = (-1, -1, -1)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._owner = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        return frame_batch(self._body, codec=self._codec, producer=self._owner)

    def size(self) -> int:
        """Bytes of the batch, uncompressed."""
        return self._body.size

    def record_count(self) -> int:
        """Records in it."""
        return self._body.count
