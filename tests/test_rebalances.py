"""Workers come and go under load: partitions follow, warm copies take over, and every agent's order is kept."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from agents.checking import check
from agents.column_reader import column_reader
from agents.demo.plan import Plan
from agents.demo.processes import Child, free_port, until_ready
from agents.demo.publisher import Orders, Publisher, Told
from agents.runtime.positions import PartitionsApart
from agents.settings import Settings
from connectors.admin import TopicAdmin
from connectors.local_kafka import LocalKafka
from connectors.state_folder import state_folder
from schemas.catalog import LocalIds
from streams.outputs import POOLS

from .counting_decider import OUTPUT
from .runtime_tools import PARTITIONS, SOURCES, Seen, assert_counted_once, committed, events, publish
from .test_runtime_worker import Running

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("warm_kernels")]

COUNTING = ("-m", "tests.counting_worker")
DECIDING = ("-m", "agents.cli", "worker")


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings of workers that keep a warm copy of each other's partitions."""
    return Settings.read({}, bootstrap_servers=kafka, prefix=prefix, state=tmp_path, standbys=1)


def create(settings: Settings, partitions: int = PARTITIONS) -> None:
    """The topics of the test."""
    TopicAdmin(settings.confluent(), settings.prefix).create(partitions=partitions)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and the port that it answers on."""

    child: Child
    port: int

    async def partitions(self) -> list[int]:
        """Those that it decides now."""
        try:
            async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}/ready") as answer:
                told = await answer.json()
        except aiohttp.ClientError:
            return []
        return list(told["partitions"]) if told["ready"] else []

    async def recovered(self, partition: int) -> float:
        """Rows of the changelog of a partition that it has read so far."""
        name = f'cognistream_recovered_rows_total{{partition="{partition}"}} '
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


class Crew:
    """The workers of a test; none outlives it."""

    def __init__(self, settings: Settings, program: Sequence[str]) -> None:
        self._settings, self._program = settings, program
        self.workers: list[Worker] = []

    async def hire(self) -> Worker:
        """Another worker, which decides its share when this returns."""
        settings, port = self._settings, free_port()
        environment = {
            "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "COGNISTREAM_PREFIX": settings.prefix,
            "COGNISTREAM_STATE": str(settings.state),
            "COGNISTREAM_STANDBYS": str(settings.standbys),
            "COGNISTREAM_PORT": str(port),
        }
        log = settings.state / f"worker-{port}.log"
        worker = Worker(await Child.start("worker", self._program, environment, log), port)
        self.workers.append(worker)
        await until_ready(worker.child, port)
        return worker

    async def dismiss(self, worker: Worker) -> None:
        """Stop it as a signal does. It must have ended well; `make chaos` asks how long that takes."""
        self.workers.remove(worker)
        await worker.child.stop()
        assert worker.child.process.returncode == 0, worker.child.failure()

    async def kill(self, worker: Worker) -> None:
        """End it at once."""
        self.workers.remove(worker)
        worker.child.process.kill()
        await worker.child.process.wait()


@asynccontextmanager
async def crew(settings: Settings, program: Sequence[str], number: int) -> AsyncIterator[Crew]:
    """`number` workers of `program`, and those that join them."""
    hired = Crew(settings, program)
    try:
        for _ in range(number):
            await hired.hire()
        yield hired
    finally:
        for worker in list(hired.workers):
            await hired.kill(worker)


@asynccontextmanager
async def traffic(settings: Settings, plan: Plan) -> AsyncIterator[Told]:
    """Publish all the time; ends with the block, all of it acknowledged."""
    stop = asyncio.Event()
    publisher = Publisher(Orders(plan=plan, bootstrap=settings.bootstrap_servers, prefix=settings.prefix), stop)
    async with AIOKafkaProducer(**settings.aiokafka(), enable_idempotence=True, linger_ms=0) as producer:
        publishing = asyncio.create_task(publisher.run(producer))
        try:
            yield publisher.told
        finally:
            stop.set()
            await publishing


async def assert_conserved(settings: Settings, partitions: int, told: Told) -> None:
    """The journals hold against all that the topics hold and cover all that was sent; each event was decided once."""
    ids = LocalIds()
    reports = [await check(settings, partition, ids) for partition in range(partitions)]
    assert [report.problems for report in reports] == [[]] * partitions
    assert sum(end - begin for report in reports for begin, end in report.spans.values()) == told.published
    places = [(pool, partition) for pool in POOLS for partition in range(partitions)]
    async with column_reader(settings) as reader:
        assert sum([batch.n async for batch in reader.whole(places)]) == told.events


def assert_in_order(found: list[Seen]) -> None:
    """What was decided of each key came in the order of its source."""
    offsets: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for _, key, value in found:
        source, offset, _ = value.split(b"/")
        offsets[key, source].append(int(offset))
    assert all(one == sorted(one) for one in offsets.values())


async def test_a_warm_copy_takes_over_and_reads_the_rest_of_the_changelog_only(settings: Settings) -> None:
    create(settings)
    plan = Plan(seconds=120, rate=3000, agents=3000, partitions=PARTITIONS)
    async with crew(settings, DECIDING, 2) as workers:
        victim, survivor = workers.workers
        async with traffic(settings, plan) as told:
            async with asyncio.timeout(90):
                while not (theirs := await victim.partitions()) or await survivor.recovered(theirs[0]) < 2000:
                    await asyncio.sleep(0.1)
            (partition,) = theirs
            warm = await survivor.recovered(partition)
            await workers.kill(victim)
            async with asyncio.timeout(60):
                while await survivor.partitions() != [0, 1]:
                    await asyncio.sleep(0.1)
            rest = await survivor.recovered(partition) - warm
        await until_drained(survivor)
    assert rest < warm / 5
    await assert_conserved(settings, PARTITIONS, told)


async def until_drained(worker: Worker) -> None:
    """Until it has decided all that there is."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        for _ in range(3):  # the lag is as of the last fetch
            while (await (await client.get(f"http://127.0.0.1:{worker.port}/ready")).json())["lag"]:
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.3)


async def test_a_rolling_restart_under_load_loses_repeats_and_reorders_nothing(settings: Settings) -> None:
    create(settings)
    rounds = 30
    async with crew(settings, COUNTING, 2) as workers:

        async def load() -> None:
            for _ in range(rounds):
                await publish(settings, events(10))
                await asyncio.sleep(0.2)

        loading = asyncio.create_task(load())
        for old in list(workers.workers):
            await workers.dismiss(old)
            await workers.hire()
        await loading
        found = await committed(settings, OUTPUT, 10 * rounds * PARTITIONS * len(SOURCES))
    assert_counted_once(found, 10 * rounds)
    assert_in_order(found)


async def test_a_worker_under_full_load_ends_well_when_it_is_told_to(settings: Settings) -> None:
    create(settings, 4)
    plan = Plan(seconds=120, rate=None, agents=2000, partitions=4)
    async with crew(settings.model_copy(update={"standbys": 0}), DECIDING, 1) as workers:
        async with traffic(settings, plan) as told:
            while told.published < 200_000:
                await asyncio.sleep(0.05)
            await workers.dismiss(workers.workers[0])
        await until_drained(await workers.hire())
    await assert_conserved(settings, 4, told)


async def test_a_broker_that_goes_away_under_load_is_waited_for(prefix: str, tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "broker", state_folder() / "maven", brief=True)
    settings = Settings.read({}, bootstrap_servers=kafka.start().bootstrap, prefix=prefix, state=tmp_path)
    try:
        create(settings)
        async with crew(settings, COUNTING, 2) as workers:
            for _ in range(2):
                await publish(settings, events(1000))
                await asyncio.to_thread(kafka.stop)
                await asyncio.sleep(3)
                await asyncio.to_thread(kafka.start)
            await publish(settings, events(10))
            found = await committed(settings, OUTPUT, 2010 * PARTITIONS * len(SOURCES))
            assert all(worker.child.running for worker in workers.workers)
    finally:
        kafka.stop()
    assert_counted_once(found, 2010)
    assert_in_order(found)


async def test_a_worker_that_gets_partitions_apart_refuses_to_run(settings: Settings) -> None:
    create(settings)
    admin = TopicAdmin(settings.confluent(), settings.prefix)
    admin._client.delete_topics([settings.topic(SOURCES[0])])[settings.topic(SOURCES[0])].result()
    await asyncio.sleep(1)
    admin.create(partitions=PARTITIONS + 1)
    with pytest.raises(PartitionsApart, match="all topics need the same number of partitions"):
        await asyncio.wait_for(Running(settings.model_copy(update={"port": 0})).task, 30)
