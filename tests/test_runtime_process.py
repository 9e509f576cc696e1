"""A worker as a process: signals, a death at any moment, and starts that are refused."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.local_kafka import borrowed_kafka
from connectors.state_folder import state_folder

from .counting_decider import OUTPUT, POISON, SLOW
from .runtime_tools import PARTITIONS, SOURCES, assert_counted_once, committed, events, publish

pytestmark = pytest.mark.kafka
_STARTED: list[Process] = []


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of a worker whose topics do not exist yet."""
    return Settings.read({}, bootstrap_servers=kafka, prefix=prefix, state=tmp_path, port=0)


@pytest.fixture
def topics(settings: Settings) -> None:
    """The topics of the test."""
    TopicAdmin(settings.confluent(), settings.prefix).create(partitions=PARTITIONS)


@pytest.fixture(autouse=True)
async def started() -> AsyncIterator[None]:
    """No worker outlives its test."""
    _STARTED.clear()
    yield
    for worker in _STARTED:
        if worker.returncode is None:
            worker.kill()
            await worker.communicate()


async def start(settings: Settings) -> Process:
    """A worker process."""
    environment = {
        "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "COGNISTREAM_PREFIX": settings.prefix,
        "COGNISTREAM_STATE": str(settings.state),
        "COGNISTREAM_PORT": "0",
    }
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.counting_worker", env=os.environ | environment, stderr=PIPE
    )
    _STARTED.append(worker)
    return worker


async def end(worker: Process) -> tuple[int, str]:
    """Exit status, and what was said."""
    _, said = await asyncio.wait_for(worker.communicate(), 280)
    assert worker.returncode is not None
    return worker.returncode, said.decode()


async def deciding(worker: Process) -> None:
    """Until it says that it decides."""
    assert worker.stderr is not None
    async with asyncio.timeout(280):  # kernels may have to be compiled
        said = b""
        while b"deciding as" not in said:
            assert not worker.stderr.at_eof(), said.decode()
            said += await worker.stderr.readline()


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_worker_in_order(settings: Settings, number: signal.Signals) -> None:
    worker = await start(settings)
    await deciding(worker)
    await publish(settings, events(100))
    worker.send_signal(number)
    status, said = await end(worker)
    assert (status, "Traceback" in said, "took longer" in said) == (0, False, False)


@pytest.mark.usefixtures("topics")
async def test_a_second_signal_ends_it_at_once_and_loses_nothing(settings: Settings) -> None:
    worker = await start(settings)
    await deciding(worker)
    slow = [(SOURCES[0], 0, b"0-key-0", SLOW), (SOURCES[1], 1, b"1-key-0", SLOW)]
    await publish(settings, [*events(10), *(5 * slow)])
    await asyncio.sleep(0.5)
    worker.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.1)
    worker.send_signal(signal.SIGTERM)
    status, said = await end(worker)
    assert (status, "took longer" in said) == (128 + signal.SIGTERM, False)
    again = await start(settings)
    await deciding(again)
    found = await committed(settings, OUTPUT, 70)
    again.send_signal(signal.SIGTERM)
    await end(again)
    assert len(found) == len(set(found)) == 70


@pytest.mark.usefixtures("topics")
async def test_a_worker_that_is_killed_under_load_loses_and_repeats_nothing(settings: Settings) -> None:
    for number in range(3):
        worker = await start(settings)
        publishing = asyncio.create_task(publish(settings, events(100)))
        await deciding(worker)
        await asyncio.sleep(0.3 * number)
        worker.kill()
        await end(worker)
        await publishing
    last = await start(settings)
    await deciding(last)
    found = await committed(settings, OUTPUT, 300 * PARTITIONS * len(SOURCES))
    last.send_signal(signal.SIGTERM)
    assert (await end(last))[0] == 0
    assert_counted_once(found, 300)


@pytest.mark.usefixtures("topics")
async def test_a_worker_that_slept_through_its_replacement_spoils_nothing(settings: Settings) -> None:
    sleeper = await start(settings)
    await deciding(sleeper)
    publishing = asyncio.create_task(publish(settings, events(100)))
    sleeper.send_signal(signal.SIGSTOP)
    await publishing
    successor = await start(settings)
    await deciding(successor)
    await committed(settings, OUTPUT, 100 * PARTITIONS * len(SOURCES))
    publishing = asyncio.create_task(publish(settings, events(100)))
    sleeper.send_signal(signal.SIGCONT)
    await publishing
    found = await committed(settings, OUTPUT, 200 * PARTITIONS * len(SOURCES))
    assert_counted_once(found, 200)


async def test_a_worker_stops_when_its_broker_is_gone(tmp_path: Path, prefix: str, settings: Settings) -> None:
    with borrowed_kafka(tmp_path / "brokers", state_folder() / "maven") as broker:
        alone = settings.model_copy(update={"bootstrap_servers": broker.bootstrap})
        TopicAdmin(alone.confluent(), prefix).create(partitions=PARTITIONS)
        worker = await start(alone)
        await deciding(worker)
    await asyncio.sleep(1)
    worker.send_signal(signal.SIGTERM)
    assert (await end(worker))[0] == 0


async def test_a_worker_does_not_start_without_its_topics(settings: Settings) -> None:
    status, said = await end(await start(settings))
    assert status == 1
    assert "does not exist: make it with `cognistream topics create`" in said


@pytest.mark.usefixtures("topics")
async def test_a_failure_is_told_in_words_and_by_the_exit_status(settings: Settings) -> None:
    await publish(settings, [(SOURCES[0], 0, b"key", POISON)])
    status, said = await end(await start(settings))
    assert status == 1
    assert "cognistream worker: partition 0: deciding kaizen.events 0..0 failed: ValueError: a stage met poison" in said
