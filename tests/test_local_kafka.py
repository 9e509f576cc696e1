"""The local Kafka starts, answers, keeps its data, ends by its own process id, and says clearly what went wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from connectors import local_kafka
from connectors.kafka_jars import KAFKA_VERSION, LOCK, class_path
from connectors.local_kafka import Broker, LocalKafka, borrowed_kafka
from connectors.local_server import HOST, ServerNotStarted
from connectors.maven import DownloadFailed, Jar, locked
from connectors.state_folder import state_folder


@pytest.fixture(scope="module")
def jars() -> Path:
    return state_folder() / "maven"


@pytest.fixture
def local(tmp_path: Path, jars: Path) -> Iterator[LocalKafka]:
    kafka = LocalKafka(tmp_path / "kafka", jars)
    yield kafka
    kafka.stop()


def _admin(broker: Broker) -> AdminClient:
    """A client that does not print when its broker goes."""
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


@pytest.mark.kafka
def test_a_restart_finds_port_and_topics_again(local: LocalKafka) -> None:
    said: list[str] = []
    first = local.start(report=said.append)
    admin = _admin(first)
    admin.create_topics([NewTopic("kept", 2, 1)])["kept"].result(10)
    assert local.status() == first
    assert local.start() == first, "a second start finds the broker that runs"
    with pytest.raises(ServerNotStarted, match="already runs"):
        local.start(port=first.port + 1)
    assert any(line.startswith("Formatting") for line in said)

    assert local.stop() == first
    assert not psutil.pid_exists(first.pid)
    assert local.status() is None
    assert local.stop() is None

    second = local.start()
    assert (second.port, second.pid != first.pid) == (first.port, True)
    assert "kept" in _admin(second).list_topics(timeout=10).topics
    assert "Kafka Server started" in local.log.read_text()
    with socket.create_connection((HOST, second.port)) as client:
        assert client.getpeername()[0] == HOST


@pytest.mark.kafka
def test_a_borrowed_broker_goes_with_its_folder_and_sweeps_up_after_the_dead(tmp_path: Path, jars: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = LocalKafka(tmp_path / f"{gone.pid}-abcdef", jars)
    orphan = left.start()
    with borrowed_kafka(tmp_path, jars) as broker:
        assert not orphan.alive
        assert not left.folder.exists()
        assert broker.alive
    assert not broker.alive
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_named(local: LocalKafka) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerNotStarted, match=f"port {port} .*taken"):
            local.start(port=port)


@pytest.mark.kafka
def test_a_port_that_was_lost_to_another_while_it_started_is_replaced(
    local: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = LocalKafka._ports
    with socket.create_server((HOST, 0)) as others:
        lost = iter([others.getsockname()[1]])

        def ports(kafka: LocalKafka, port: int) -> tuple[int, int]:
            own, inner = free(kafka, port)
            return own, next(lost, inner)

        monkeypatch.setattr(
            LocalKafka, "_ports", lambda kafka, port: (free(kafka, port)[0], next(lost, free(kafka, 0)[1]))
        )
        assert local.start().alive


@pytest.mark.kafka
def test_a_broker_that_gives_up_says_why(local: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(local_kafka.PROPERTIES, "num.io.threads", "0")
    with pytest.raises(ServerNotStarted, match=r"num\.io\.threads"):
        local.start()
    assert local.status() is None


def test_a_stranger_with_the_number_of_a_dead_broker_is_left_alone(local: LocalKafka) -> None:
    local.folder.mkdir()
    card = Broker(pid=os.getpid(), began=1.0, port=9, version=KAFKA_VERSION, folder="x")
    (local.folder / "broker.json").write_text(json.dumps(asdict(card)))
    assert local.status() is None
    assert local.stop() is None


def test_the_lock_file_names_the_pinned_broker_and_every_hash() -> None:
    names = {jar.coordinate for jar in locked(LOCK)}
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in names
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in locked(LOCK))


def test_a_damaged_jar_is_fetched_again(tmp_path: Path, jars: Path) -> None:
    jar = min(locked(LOCK), key=lambda jar: jar.size)
    here = Path(class_path(jars, jars=[jar]))
    copy = tmp_path / here.relative_to(jars)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(here.read_bytes()[:-1] + b"?")
    assert class_path(tmp_path, jars=[jar]) == str(copy)
    assert copy.read_bytes() == here.read_bytes()


def test_no_connection_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="Check the connection"):
        class_path(tmp_path, repositories={"nowhere": "http://127.0.0.1:9/maven2"}, jars=[locked(LOCK)[0]])


def test_an_altered_jar_is_refused_and_not_kept(tmp_path: Path) -> None:
    jar = min(locked(LOCK), key=lambda jar: jar.size)
    expected = Jar(jar.coordinate, jar.size, "0" * 64)
    with pytest.raises(DownloadFailed, match="SHA-256"):
        class_path(tmp_path, jars=[expected])
    assert not list(tmp_path.rglob("*.jar"))
