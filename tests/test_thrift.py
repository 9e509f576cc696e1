"""A worker that rests holds no more memory than what it knows takes."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from agents.runtime import thrift
from agents.runtime.thrift import ENOUGH_BYTES, PAUSE_SECONDS, TIMES, Thrift, give_back
from schemas.recordbatch_write import RecordsBody
from streams.outputs import Outbox


def resident() -> float:
    """MB of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be asked to")
def test_free_pages_between_used_ones_are_given_back() -> None:
    blocks = [np.ones(4096, np.int64) for _ in range(4000)]
    full, kept = resident(), blocks[::50]
    del blocks
    give_back()
    assert resident() < full - 80
    assert all(block[-1] == 1 for block in kept)


def test_memory_is_given_back_after_work_that_was_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(thrift, "give_back", lambda: calls.append(1))

    def rested(spared: Thrift, moments: range) -> int:
        before = len(calls)
        for moment in moments:
            spared.rests(float(moment))
        pool.submit(int).result()
        return len(calls) - before

    with ThreadPoolExecutor(1) as pool:
        spared = Thrift(pool)
        assert rested(spared, range(100)) == TIMES
        spared.worked(ENOUGH_BYTES - 1)
        assert rested(spared, range(100, 200)) == 0
        spared.worked(1)
        assert rested(spared, range(200, 200 + int(PAUSE_SECONDS))) == 1
        assert rested(spared, range(300, 400)) == TIMES - 1


def test_an_outbox_keeps_the_memory_of_the_last_step_alone() -> None:
    out = Outbox()
    wide: list[RecordsBody] = []
    for count in (5, 1, 1):
        for _ in range(count):
            out._next("priority.normal")
        wide = wide or list(out.bodies["priority.normal"])
        out.emptied()
    out._next("priority.normal")
    out._next("priority.normal")
    first, second = out.bodies["priority.normal"]
    assert any(first is body for body in wide)
    assert not any(second is body for body in wide)
