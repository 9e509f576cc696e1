"""The Kafka that the project brings itself: a real broker of one node, run as `local_server` says.

Its folder holds `data/` (kept from one start to the next), `server.properties` and `broker.json`, the card; its jars
come as `kafka_jars` says.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from connectors.kafka_jars import KAFKA_VERSION, class_path
from connectors.local_server import (
    HOST,
    HUSH,
    Command,
    LocalServer,
    Running,
    ServerNotStarted,
    borrowed,
    complaint,
    java,
)
from connectors.maven import Report, silent
from connectors.state_folder import state_folder

_LOG4J = Path(__file__).with_name("kafka_log4j2.xml")
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_BRIEF = ("-Xmx1g", *_QUICK)
_LASTING = ("-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A topic is made on purpose, from the table of topics, or not at all.
    "auto.create.topics.enable": "false",
    # One node: what Kafka keeps for itself has one copy, and few partitions so that it exists quickly.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Nobody to wait for: groups form at once, and tests may ask for short sessions.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A quarter of the default: one cleaner thread, a heap of 1 GB.
    "log.cleaner.dedupe.buffer.size": str(32 << 20),
}
"""Settings of the broker beside its ports and folders."""


@dataclass(frozen=True, slots=True)
class Broker(Running):
    """A broker that runs."""

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return self.address


@dataclass(frozen=True, slots=True)
class LocalKafka(LocalServer[Broker]):
    """The broker of one folder; `jars` is the Maven repository that may be shared by many.

    A `brief` one lives for seconds or minutes: its code is compiled quickly instead of well. It starts with less than
    two thirds of the processor time and is slower once a lasting one has warmed up.
    """

    jars: Path
    brief: bool = False

    NAME = "Apache Kafka"
    VERSION = KAFKA_VERSION
    CARD = "broker.json"

    @classmethod
    def default(cls, *, brief: bool = False) -> LocalKafka:
        """That of this machine's user."""
        return cls(state_folder() / "kafka", state_folder() / "maven", brief)

    @property
    def log(self) -> Path:
        """The file the broker writes its log to."""
        return self._logs / "server.log"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _card(self, pid: int, began: float, port: int, version: str, folder: str) -> Broker:
        return Broker(pid, began, port, version, folder)

    def _install(self, report: Report) -> str:
        return class_path(self.jars, report)

    def _command(self, installed: str, port: int, inner_port: int, report: Report) -> Command:
        self._configure(port, inner_port)
        if not (self.folder / "data" / "meta.properties").exists():
            report(f"Formatting the storage of Apache Kafka {KAFKA_VERSION}")
            self._format(installed)
        options = [*(_BRIEF if self.brief else _LASTING), *self._java_options()]
        return Command([java(), *options, "-cp", installed, "kafka.Kafka", str(self._properties)], os.environ)

    def _configure(self, port: int, controller: int) -> None:
        listeners = {
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "log.dirs": str(self.folder / "data"),
        }
        lines = [f"{name}={value}" for name, value in {**listeners, **PROPERTIES}.items()]
        self._properties.write_text("\n".join(lines) + "\n")

    def _format(self, jars: str) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # "=": an id may begin with a dash.
        arguments = ["format", f"--cluster-id={cluster}", "--config", str(self._properties)]
        done = subprocess.run(  # noqa: S603 - our own Java with our own arguments
            [java(), *_QUICK, "-Xmx256m", *self._java_options(), "-cp", jars, "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            raise ServerNotStarted(f"the storage in {self.folder} could not be formatted: {complaint(done.stderr)}")

    def _java_options(self) -> list[str]:
        return [*HUSH, f"-Dlog4j2.configurationFile={_LOG4J}", f"-Dcognistream.logs={self._logs}"]

    def _serves(self, running: Broker) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        client = AdminClient({"bootstrap.servers": running.bootstrap, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=5).brokers)
        except KafkaException:
            return False


def borrowed_kafka(
    root: Path, jars: Path, report: Report = silent, *, brief: bool = True
) -> AbstractContextManager[Broker]:
    """A fresh broker for as long as the block runs; see `borrowed`."""
    return borrowed(root, lambda folder: LocalKafka(folder, jars, brief), report)
