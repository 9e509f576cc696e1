"""What every measurement stands on: one broker of its own, a folder that goes away, and topics that begin empty."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from agents.demo.processes import Child, free_port
from agents.settings import CODECS, Compression, Settings
from connectors.admin import TopicAdmin
from connectors.local_kafka import Broker, borrowed_kafka
from connectors.state_folder import state_folder
from connectors.topic_configs import set_configs
from schemas.topics import SOURCE_TOPICS, TOPICS

PARTITIONS = 4
SOURCES = tuple(topic.name for topic in SOURCE_TOPICS)
WRITTEN = tuple(topic.name for topic in TOPICS if topic.role != "source")
"""The topics that a worker writes."""
WORKER = ("-m", "agents.cli", "worker")

Say = Callable[[str], None]

_PATIENCE = 60.0
_FOREVER_MS = str(1 << 50)


@dataclass(frozen=True, slots=True)
class Rig:
    """A broker and a folder, `say` tells a person how far things are."""

    broker: Broker
    folder: Path
    say: Say

    def settings(self, prefix: str, codec: str = "none") -> Settings:
        """Settings of a process that works on the topics of `prefix` and compresses with `codec`."""
        return Settings.read(
            {}, bootstrap_servers=self.broker.bootstrap, prefix=prefix, state=self.folder, compression=codec
        )

    def create(self, prefix: str, names: Sequence[str] | None = None) -> None:
        """Make topics of `prefix` that are missing, all by default."""
        TopicAdmin(self.settings(prefix).confluent(), prefix).create(names, partitions=PARTITIONS)

    def remove(self, prefix: str) -> None:
        """Delete all topics of `prefix`."""
        TopicAdmin(self.settings(prefix).confluent(), prefix).remove()

    def renew(self, prefix: str, names: Sequence[str] = WRITTEN) -> None:
        """Delete `names` and the group, and make the topics anew: a worker starts from nothing, on the same sources."""
        settings = self.settings(prefix)
        client = AdminClient({**settings.confluent(), "log_level": 0})
        topics = {settings.topic(name) for name in names}
        _retried(lambda: _wait(client.delete_topics(list(topics))), KafkaError.UNKNOWN_TOPIC_OR_PART)
        if settings.group in {group.group_id for group in client.list_consumer_groups().result(30).valid}:
            _retried(lambda: _wait(client.delete_consumer_groups([settings.group])), KafkaError.GROUP_ID_NOT_FOUND)
        deadline = time.monotonic() + _PATIENCE
        while topics & client.list_topics(timeout=10).topics.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.create(prefix, names)

    def compact_never(self, prefix: str, name: str) -> None:
        """Keep every version of every row in a compacted topic."""
        settings = {"min.compaction.lag.ms": _FOREVER_MS, "max.compaction.lag.ms": _FOREVER_MS}
        set_configs(AdminClient({**self.settings(prefix).confluent()}), self.settings(prefix).topic(name), settings)

    def environment(self, prefix: str, port: int = 0, codec: Compression = "none") -> dict[str, str]:
        """What a child process of ours must know."""
        assert codec in CODECS  # noqa: S101  a slip here would measure something else
        return {
            "BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "COGNISTREAM_PREFIX": prefix,
            "COGNISTREAM_STATE": str(self.folder),
            "COGNISTREAM_COMPRESSION": codec,
            "COGNISTREAM_PORT": str(port),
        }

    @asynccontextmanager
    async def child(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, piped: bool = False
    ) -> AsyncIterator[Child]:
        """A process of ours for as long as the block runs."""
        log = self.folder / "logs" / f"{name}.log"
        child = await Child.start(name, arguments, environment, log, piped=piped)
        try:
            yield child
        finally:
            await asyncio.shield(child.stop())

    @asynccontextmanager
    async def worker(
        self, prefix: str, codec: Compression = "none", program: Sequence[str] = WORKER
    ) -> AsyncIterator[tuple[Child, int]]:
        """A worker process and the port that it answers on."""
        port = free_port()
        async with self.child("worker", program, self.environment(prefix, port, codec)) as child:
            yield child, port


@contextmanager
def rig(say: Say) -> Iterator[Rig]:
    """A rig for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="cognistream-bench-"))
    try:
        jars = state_folder() / "maven"
        with borrowed_kafka(folder / "broker", jars, lambda line: say(line), brief=False) as broker:
            yield Rig(broker, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(answers: Mapping[Any, Future[Any]]) -> None:
    for answer in answers.values():
        answer.result(30)


def _retried(ask: Callable[[], None], nothing: int) -> None:
    """Do it until the broker agrees; `nothing` is its word that there was nothing to do."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() == nothing:
                return None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
