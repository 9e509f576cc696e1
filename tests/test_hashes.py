"""Hashes and checksums are those that the rest of the world computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import crc32c as checksums
from schemas.columns import Bytes
from schemas.crc32c import crc32c
from schemas.kernels import kernel
from schemas.murmur import murmur2, partition_of
from schemas.siphash import sip64

CPYTHON_SEED = 42
many = settings(max_examples=200, deadline=None)


@kernel("uint64(uint8[::1], int64, int64, uint64, uint64)")
def sip(buf, start, length, k0, k1):  # type: ignore[no-untyped-def]
    return sip64(buf, start, length, k0, k1)


@kernel("int64(uint8[::1], int64, int64)")
def murmur(buf, start, length):  # type: ignore[no-untyped-def]
    return murmur2(buf, start, length)


@kernel("uint64(uint64, uint64)")
def crc_step_by_tables(crc, word):  # type: ignore[no-untyped-def]
    return checksums.by_tables(crc, word)


def array(data: bytes) -> Bytes:
    return np.frombuffer(bytearray(data), np.uint8)


def cpython_key(seed: int) -> list[int]:
    """How CPython makes its hash key from PYTHONHASHSEED (`lcg_urandom`)."""
    made, x = bytearray(), seed
    for _ in range(16):
        x = (x * 214013 + 2531011) % 2**32
        made.append(x >> 16 & 0xFF)
    return [int.from_bytes(made[:8], "little"), int.from_bytes(made[8:], "little")]


@pytest.mark.parametrize(("length", "expected"), [(0, 0xD1FBA762150C532C), (1, 0x68A914128E01E473)])
def test_siphash_of_the_reference_vectors(length: int, expected: int) -> None:
    assert sip(array(bytes(range(length))), 0, length, 0, 0) == expected


def test_siphash_is_what_cpython_hashes_with() -> None:
    texts = [os.urandom(length) for length in range(1, 70)]
    program = f"print(*(hash(text) % 2**64 for text in {texts!r}))"
    python = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": str(CPYTHON_SEED)},
        capture_output=True,
        text=True,
        check=True,
    )
    key = cpython_key(CPYTHON_SEED)
    ours = [int(sip(array(b"before" + text + b"after"), 6, len(text), *key)) for text in texts]
    assert ours == [int(word) for word in python.stdout.split()]


@many
@given(st.binary(max_size=40), st.integers(1, 1000))
def test_a_key_goes_where_kafkas_clients_send_it(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(
    ("key", "java"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_murmur2_of_the_vectors_of_kafkas_own_test(key: bytes, java: int) -> None:
    assert murmur(array(b"xyz" + key), 3, len(key)) == java & 0x7FFFFFFF


@many
@given(st.binary(max_size=40))
def test_murmur2_compiled_is_murmur2_plain(key: bytes) -> None:
    with np.errstate(over="ignore"):
        assert murmur(array(key), 0, len(key)) == murmur2.py_func(array(key), 0, len(key))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_crc_of_the_vectors_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c(array(data), 0, len(data)) == expected


@many
@given(st.integers(0, 2**32), st.integers(0, 20_000), st.integers(0, 20))
def test_crc_of_any_span_is_aiokafkas(seed: int, length: int, start: int) -> None:
    data = np.random.default_rng(seed).bytes(start + length)
    assert crc32c(array(data), start, start + length) == calc_crc32c(data[start:])


@many
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_a_processor_without_the_instruction_computes_the_same_crc(crc: int, word: int) -> None:
    data = (word ^ 0xFFFFFFFF).to_bytes(8, "little")
    assert crc_step_by_tables(0xFFFFFFFF, word ^ 0xFFFFFFFF) ^ 0xFFFFFFFF == calc_crc32c(data)
    assert crc_step_by_tables(crc, word) == crc_step_by_tables(0, word ^ crc)


@pytest.mark.parametrize("processor", ["generic", "x86-64-v3"])
def test_code_for_a_named_processor_computes_the_same_crc(processor: str, tmp_path: Path) -> None:
    program = "import numpy, schemas.crc32c as c; print(c.crc32c(numpy.arange(5000).astype('u1'), 1, 5000))"
    named = {"NUMBA_CPU_NAME": processor, "NUMBA_CACHE_DIR": str(tmp_path)}
    python = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | named, capture_output=True, text=True, check=True
    )
    assert int(python.stdout) == calc_crc32c(np.arange(5000).astype("u1").tobytes()[1:])
