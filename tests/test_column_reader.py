"""A reader leaves nothing open, whenever it is given up."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import pytest

from agents.column_reader import column_reader
from agents.finishing import finished
from agents.settings import Settings

pytestmark = pytest.mark.kafka


async def test_a_reader_that_is_cancelled_while_it_connects_leaves_no_connection_open(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    settings = Settings.read({}, bootstrap_servers=kafka, prefix=prefix, state=tmp_path)

    async def read() -> None:
        async with column_reader(settings):
            await asyncio.sleep(60)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for attempt in range(40):
            reading = asyncio.create_task(read())
            await asyncio.sleep(attempt / 2000)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        gc.collect()
    assert [text for warning in told if "AIOKafkaConnection" in (text := str(warning.message))] == []


async def test_who_is_cancelled_waits_for_the_end_of_what_must_be_finished() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.set()

    waiting = asyncio.create_task(finished(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done.is_set()
    assert await finished(asyncio.sleep(0, "result")) == "result"
