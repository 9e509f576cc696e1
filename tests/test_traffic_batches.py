"""Traffic as record batches: they say what the columns say, and every flaw meets the reason it was made for."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from connectors.traffic.batches import Packed, Packer, SourceBatch, probed_at
from connectors.traffic.flaws import KINDS, Flaws, Record, spoil
from connectors.traffic.generator import Generator
from connectors.traffic.stretch import SOURCES, Stretch
from schemas import wire
from schemas.catalog import LocalIds
from schemas.columns import ColumnBatch
from schemas.murmur import partition_of
from schemas.reasons import Reason
from schemas.record_headers import headers_of
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from streams.pipeline import Lane
from streams.policy import Policy

PARTITIONS = 3
IDS = LocalIds()


def columns(body: RecordsBody, topic: str, partition: int, start: int = 0) -> ColumnBatch:
    """The body as the broker would give it back, from offset `start` on."""
    data = bytearray(frame_batch(body))
    data[:8] = start.to_bytes(8, "big")
    (batch,) = read(bytes(data), topic=topic, partition=partition, start=start)
    return batch


def packed(flaws: Flaws, blocks: int = 1, now_ns: int | None = None) -> tuple[list[Stretch], list[Packed]]:
    generator = Generator(seed=11, agents=80)
    packer = Packer(generator.fleet, IDS, PARTITIONS, flaws, probe_every=10)
    stretches = list(islice(generator.stretches(), blocks))
    return stretches, [packer.pack(one, 0, one.n, now_ns) for one in stretches]


def test_records_say_what_the_columns_say() -> None:
    (stretch,), (batch,) = packed(Flaws(0.0, 0.0))
    found = 0
    for (topic, partition), body in batch.bodies.items():
        part = stretch.parts[SOURCES.index(topic)]
        records = columns(body, topic, partition)
        ids = {part.frame.bytes("event_id", i): i for i in range(part.frame.n)}
        places = []
        for i in range(0, records.n, 17):
            schema_id, value = wire.decode(records.value(i), IDS)
            row = ids[value["event_id"].encode()]
            places.append(row)
            assert schema_id == IDS.id_of(topic)
            assert records.key(i) == f"{value['tenant_id']}/{value['agent_id']}".encode()
            assert partition_of(records.key(i) or b"", PARTITIONS) == partition
            assert records.ts[i] == part.ts[row]
            assert value["correlation_id"].encode() == part.frame.bytes("correlation_id", row)
        assert places == sorted(places), "events keep their order"
        found += records.n
    assert found == stretch.n == batch.events == batch.records


def test_a_repeat_follows_its_event_byte_for_byte() -> None:
    _, (batch,) = packed(Flaws(repeats=0.05, poison=0.0))
    doubles = 0
    for (topic, partition), body in batch.bodies.items():
        records = columns(body, topic, partition)
        values = [records.value(i) for i in range(records.n)]
        doubles += sum(one == two for one, two in pairwise(values))
    assert doubles == batch.repeats > 100


def test_slices_publish_what_the_whole_publishes() -> None:
    generator = Generator(seed=2, agents=30)
    packer = Packer(generator.fleet, IDS, PARTITIONS, Flaws(0.01, 0.001))
    stretch = next(iter(generator.stretches()))
    whole = packer.pack(stretch, 0, stretch.n)
    cuts = [0, 1, 7, 1000, stretch.n]
    parts = [packer.pack(stretch, low, high) for low, high in pairwise(cuts)]
    assert sum(part.events for part in parts) == whole.events
    assert sum(part.repeats for part in parts) == whole.repeats
    assert sum((part.poison for part in parts), Counter()) == whole.poison


def test_probes_carry_the_moment_of_publishing() -> None:
    now = 1_767_000_000_123_456_789
    _, (batch,) = packed(Flaws(0.0, 0.0), now_ns=now)
    probes = 0
    for (topic, partition), body in batch.bodies.items():
        records = columns(body, topic, partition)
        for i in np.flatnonzero(records.hl > 1).tolist():
            start, length = int(records.hs[i]), int(records.hl[i])
            assert probed_at(records.buf[start : start + length].tobytes()) == now
            ((name, value),) = headers_of(records, i)
            assert name == "traceparent"
            version, trace, parent, flags = (value or b"").split(b"-")
            assert (len(version), len(trace), len(parent), len(flags)) == (2, 32, 16, 2), "W3C trace context"
            probes += 1
    assert probes == -(-batch.events // 10)
    assert probed_at(b"\x02\x16traceparent\x6e00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") is None


@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
@pytest.mark.parametrize("topic", SOURCES)
def test_a_spoiled_record_is_refused_for_its_reason(topic: str, number: int) -> None:
    good = example(topic)
    bad, reason = spoil(good, number, IDS)
    body = RecordsBody()
    body.append(good.key, good.value, good.ms)
    body.append(bad.key, bad.value, bad.ms)
    lane = new_lane(good.partition)
    counts = lane.step([columns(body, topic, good.partition)]).counts
    assert counts.decided == 1
    assert counts.refused == {reason.label: 1}


def example(topic: str) -> Record:
    """A good record of a source."""
    (stretch,) = packed(Flaws(0.0, 0.0))[0]
    part = stretch.parts[SOURCES.index(topic)]
    values = Packer(Generator(seed=11, agents=80).fleet, IDS, PARTITIONS)
    one = values.pack(stretch, int(part.place[0]), int(part.place[0]) + 1)
    ((_, partition), body) = next((place, body) for place, body in one.bodies.items() if place[0] == topic)
    records = columns(body, topic, partition)
    return Record(topic, partition, PARTITIONS, records.key(0), records.value(0), int(records.ts[0]))


def new_lane(partition: int) -> Lane:
    return Lane(partition, PARTITIONS, policy=Policy(), ids=IDS, build="test")


def test_with_one_partition_there_is_no_wrong_one() -> None:
    good = example(SOURCES[0])
    alone = Record(good.topic, 0, 1, good.key, good.value, good.ms)
    reasons = {spoil(alone, number, IDS)[1] for number in range(len(KINDS))}
    assert Reason.WRONG_PARTITION not in reasons


def test_everything_published_is_decided_refused_or_a_repeat() -> None:
    """Conservation without a broker: two blocks of traffic with many flaws, through the lanes."""
    _, batches = packed(Flaws(repeats=0.02, poison=0.005), blocks=2)
    lanes = {partition: new_lane(partition) for partition in range(PARTITIONS)}
    decided, repeats, refused = 0, 0, Counter[str]()
    ends: Counter[tuple[str, int]] = Counter()
    for batch in batches:
        for (topic, partition), body in batch.bodies.items():
            columned = columns(body, topic, partition, ends[topic, partition])
            ends[topic, partition] += body.count
            counts = lanes[partition].step([columned]).counts
            decided, repeats, refused = (
                decided + counts.decided,
                repeats + counts.repeats,
                refused + Counter(counts.refused),
            )
    assert decided == sum(batch.events for batch in batches)
    assert repeats == sum(batch.repeats for batch in batches)
    assert refused == sum((batch.poison for batch in batches), Counter())


def test_a_batch_for_the_producer_is_the_body_with_its_state() -> None:
    _, (batch,) = packed(Flaws(0.0, 0.0))
    body = next(iter(batch.bodies.values()))
    built = SourceBatch(body)
    built._set_producer_state(7, 2, 5)
    assert built._build() == frame_batch(body, producer=(7, 2, 5))
    assert (built.record_count(), built.size()) == (body.count, body.size)
