"""What Kafka's clients compress comes back whole, and no more than the room that was given."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from aiokafka import codec as aiokafka
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import CorruptData, Room, TooLarge, compress, decompress

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
THEIRS = {1: aiokafka.gzip_decode, 2: aiokafka.snappy_decode, 3: aiokafka.lz4_decode, 4: aiokafka.zstd_decode}

some = settings(max_examples=100, deadline=None)
codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
contents = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=50), st.integers(1, 5000)),
)


@codecs
@some
@given(data=contents.filter(bool))
def test_what_we_compress_aiokafka_reads_and_so_do_we(codec: int, data: bytes) -> None:
    packed = compress(codec, data)
    assert THEIRS[codec](packed) == data
    assert decompress(codec, packed, len(data)) == data


@some
@given(contents)
def test_snappy_without_xerial_framing_is_read_too(data: bytes) -> None:
    packed = bytes(aiokafka.snappy_encode(data, xerial_compatible=False))
    assert decompress(2, packed, len(data)) == data


@codecs
@some
@given(data=contents.filter(bool), missing=st.integers(1, 100_000))
def test_one_byte_too_many_is_too_large(codec: int, data: bytes, missing: int) -> None:
    with pytest.raises(TooLarge):
        decompress(codec, compress(codec, data), max(0, len(data) - missing))


@codecs
@some
@given(data=contents, cut=st.floats(0, 1, exclude_max=True))
def test_a_cut_off_stream_is_corrupt(codec: int, data: bytes, cut: float) -> None:
    packed = compress(codec, data)
    with suppress(CorruptData):
        read = decompress(codec, packed[: int(len(packed) * cut)], 1 << 20)
        assert codec == CODECS["snappy"], "only a stream of snappy blocks does not say where it ends"
        assert data.startswith(read)
        assert read != data


@codecs
@some
@given(junk=st.binary(max_size=200), at=st.integers(0, 200))
def test_junk_is_refused_or_read_but_never_more(codec: int, junk: bytes, at: int) -> None:
    packed = compress(codec, b"tenant/agent" * 20)
    for data in (junk, packed[:at] + junk + packed[at + len(junk) :]):
        with suppress(TooLarge, CorruptData):
            assert len(decompress(codec, data, 1000)) <= 1000


@pytest.mark.parametrize("codec", [-1, 5, 6, 7])
def test_a_codec_that_kafka_does_not_have_is_corrupt(codec: int) -> None:
    with pytest.raises(CorruptData, match=f"codec {codec}"):
        decompress(codec, b"", 10)


@codecs
def test_a_room_grows_with_what_comes_and_keeps_what_is_there(codec: int) -> None:
    pieces = [b"a", bytes(100_000), os.urandom(3000), b"b" * 200_000]
    room = Room(10, 1 << 20)
    sizes = [room.add(codec, memoryview(compress(codec, piece)), 1 << 19) for piece in pieces]
    assert sizes == [len(piece) for piece in pieces]
    assert room.buf[: room.used].tobytes() == b"".join(pieces)


@codecs
def test_a_room_has_an_end(codec: int) -> None:
    room = Room(10, 10_000)
    room.add(codec, memoryview(compress(codec, bytes(9_000))), 20_000)
    with pytest.raises(TooLarge):
        room.add(codec, memoryview(compress(codec, bytes(1_001))), 20_000)
    assert room.add(codec, memoryview(compress(codec, bytes(1_000))), 20_000) == 1_000


BOMB = """
import resource, sys, cramjam
from schemas.codec import Room, TooLarge
name, codec = sys.argv[1], int(sys.argv[2])
packer = getattr(cramjam, name).Compressor()
for _ in range(512):
    packer.compress(bytes(1 << 20))
bomb = bytes(packer.finish())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Room(len(bomb), 128 << 20).add(codec, memoryview(bomb), 64 << 20)
except TooLarge:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(("name", "codec"), [("gzip", 1), ("lz4", 3), ("zstd", 4)])
def test_a_bomb_of_half_a_gigabyte_takes_its_limit_and_no_more(name: str, codec: int) -> None:
    run = subprocess.run([sys.executable, "-c", BOMB, name, str(codec)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100 << 10, f"{run.stdout} KiB for a limit of 64 MiB"


@codecs
def test_other_threads_run_while_it_compresses_and_decompresses(codec: int) -> None:
    data = b"".join(os.urandom(64) * 2 for _ in range(1 << 16))
    packed = compress(codec, data)
    assert others_run_during(lambda: compress(codec, data)), "it holds the interpreter's lock"
    assert others_run_during(lambda: decompress(codec, packed, len(data))), "it holds the interpreter's lock"


def others_run_during(work: Callable[[], bytes]) -> bool:
    """Whether this thread gets a turn in the middle of what another one does."""
    middles: list[tuple[float, float]] = []

    def repeat() -> None:
        for _ in range(5):
            begun = time.perf_counter()
            work()
            took = time.perf_counter() - begun
            middles.append((begun + 0.3 * took, begun + 0.7 * took))

    thread, turns = threading.Thread(target=repeat), list[float]()
    thread.start()
    while thread.is_alive():
        time.sleep(0.0005)
        turns.append(time.perf_counter())
    return any(first < turn < last for turn in turns for first, last in middles)
