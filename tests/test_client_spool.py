"""What the spool has fsynced comes back whole and in order, whatever a crash tore off behind it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cognistream_client.errors import SpoolBusy
from cognistream_client.handles import Parcel
from cognistream_client.spool import SEGMENT_EVENTS, Spool, read_spooled


def parcel(number: int) -> Parcel:
    return Parcel("kaizen.events", b"acme/a", b"%d" % number, 1_767_225_600_000 + number, {"ce_id": b"e-%d" % number})


def numbers(spool: Spool) -> list[int]:
    """The values of all events in the order of sending."""
    return [int(one.value) for unit in spool.units() for one in spool.read(unit)]


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("b", [(1, parcel(1))])
    (unit,) = spool.units()
    assert spool.read(unit) == [parcel(1)]
    assert spool.bytes == sum(path.stat().st_size for path in unit)
    spool.remove(unit)
    assert (spool.units(), spool.bytes) == ([], 0)
    spool.close()


def test_what_was_on_its_way_comes_before_what_was_published_since(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("b", [(4, parcel(4)), (5, parcel(5))])
    spool.append("a", [(2, parcel(2)), (1, parcel(1))])
    spool.append("b", [(6, parcel(6))])
    spool.append("a", [(3, parcel(3))])
    spool.next_generation()
    spool.append("a", [(7, parcel(7))])
    assert numbers(spool) == [1, 2, 3, 4, 5, 6, 7]
    spool.close()


def test_a_successor_continues_behind_what_was_left(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.append("b", [(1, parcel(1))])
    first.close()
    second = Spool(tmp_path)
    second.append("a", [(1, parcel(2))])
    assert numbers(second) == [1, 2]
    second.close()


def test_many_events_take_several_files_that_are_sent_one_by_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("b", [(i, parcel(i)) for i in range(SEGMENT_EVENTS + 10)])
    assert [len(spool.read(unit)) for unit in spool.units()] == [SEGMENT_EVENTS, 10]
    spool.close()


@pytest.mark.parametrize("torn", [1, 7, 9, 40])
def test_a_torn_tail_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, torn: int) -> None:
    spool = Spool(tmp_path)
    spool.append("b", [(1, parcel(1))])
    (path,) = spool.units()[0]
    whole = path.stat().st_size
    spool.append("b", [(2, parcel(2))])
    spool.close()
    with path.open("r+b") as file:
        file.truncate(whole + torn)
    successor = Spool(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert numbers(successor) == [1]
    assert f"the last {torn} bytes were torn off" in caplog.text
    successor.close()


def test_damage_ends_a_file_and_nothing_damaged_is_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("b", [(i, parcel(i)) for i in range(3)])
    (path,) = spool.units()[0]
    spool.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [int(one.value) for one in read_spooled(path)] == [0]


def test_two_publishers_do_not_share_a_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(SpoolBusy, match="give each process a folder of its own"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_what_kafka_never_takes_is_put_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.refuse([parcel(1), parcel(2)])
    assert read_spooled(path) == [parcel(1), parcel(2)]
    assert spool.units() == []
    spool.close()
