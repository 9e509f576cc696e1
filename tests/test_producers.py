"""The programs of the producers' guide, really run: whichever language an event comes from, it is decided alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary

from cognistream_client import Consumer
from cognistream_client.cloudevents import type_of
from connectors.admin import TopicAdmin
from connectors.gateway.key_topic import TOPIC, write_key
from connectors.gateway.keys import make
from connectors.local_kafka import borrowed_kafka
from connectors.local_registry import borrowed_registry
from connectors.maven import locked
from connectors.registry import RegisteredIds, Registry
from connectors.state_folder import state_folder
from connectors.subjects import Subjects, rows
from connectors.topic_reader import Record, TopicReader
from schemas.murmur import partition_of
from schemas.topics import DEFAULT_PARTITIONS
from schemas.wire import decode, encode

from .producers import LOCK, ROOT, Unreachable, begun, curl_program, java_program, node_program, python_program, roots
from .test_client_headers import Bytes

pytestmark = [pytest.mark.kafka, pytest.mark.registry, pytest.mark.usefixtures("warm_kernels")]

LANGUAGES = ("python", "node", "java", "curl")
AT = 1_767_225_600_007
SOURCE = "kaizen.events"
SAID: list[dict[str, Any]] = [
    {"event_type": "execution_completed", "risk": "low", "duration_ms": 812, "tokens_in": 940, "cost_usd": 0.004},
    {"event_type": "execution_failed", "risk": "critical", "user_facing": True, "error": "größer als 2³¹ 🤖"},
    {"event_type": "security_violation", "severity": "major", "security_relevant": True, "revenue_usd": -12.5},
    {"event_type": "intent_declared", "intent": "read", "correlation_id": "c-1", "attributes": {"region": "eu"}},
    {"event_type": "policy_decision", "decision": "ESCALATE", "component": "gate", "tokens_out": 2**40},
]
NAMES = ["a", "Ä", "é/ü", "代理", "🤖", "ﬁ", "e\u0301", "\u00a0", "a b", "%2F"]
KEYS = [f"{name}{number}" for name in NAMES for number in range(20)]
"""Agents whose names have bytes beyond ASCII, with the sign bit set and at every remainder of four."""


@dataclass(frozen=True)
class Fleet:
    """A broker, a registry, and a worker that decides what comes."""

    kafka: str
    registry: str


@dataclass(frozen=True)
class Published:
    """What was decided per event id, as a program prints it, and the records that it wrote."""

    decisions: dict[str, dict[str, Any]]
    records: list[Record]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Of this module's own: the programs speak of live topics, and a session shares only prefixed ones."""
    kafka = borrowed_kafka(state_folder() / "test-brokers", state_folder() / "maven")
    registry = borrowed_registry(state_folder() / "test-registries", state_folder() / "programs")
    with ThreadPoolExecutor() as pool:
        entered = [pool.submit(one.__enter__) for one in (kafka, registry)]
    try:
        running = Fleet(entered[0].result().bootstrap, entered[1].result().address)
        Subjects(Registry(running.registry)).register_all(rows(None))
        TopicAdmin({"bootstrap.servers": running.kafka}).create()
        with _worker(running):
            yield running
    finally:
        kafka.__exit__(None, None, None)
        registry.__exit__(None, None, None)


def _environment(fleet: Fleet) -> dict[str, str]:
    return {"BOOTSTRAP_SERVERS": fleet.kafka, "SCHEMA_REGISTRY_URL": fleet.registry, "COGNISTREAM_COMPRESSION": "lz4"}


@contextmanager
def _worker(fleet: Fleet) -> Iterator[None]:
    command = [sys.executable, "-m", "agents.cli", "worker", "--port", "0"]
    worker = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **_environment(fleet)})
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(30)


@contextmanager
def _gateway(fleet: Fleet) -> Iterator[dict[str, str]]:
    """A gateway that runs, as the curl program is told of it."""
    text, key = make("curl", "curl", ("publish",), ("kaizen",), 0, None)
    write_key({"bootstrap.servers": fleet.kafka}, TOPIC, key, int(time.time() * 1000))
    command = [sys.executable, "-m", "agents.cli", "gateway", "--port", "0"]
    gateway = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **_environment(fleet)}, stdout=subprocess.PIPE, text=True
    )
    assert gateway.stdout is not None
    try:
        url = gateway.stdout.readline().strip().removeprefix("the gateway listens on ")
        _until_open(url, text)
        yield {"GATEWAY": url, "KEY": text}
    finally:
        gateway.terminate()
        gateway.communicate(timeout=30)


def _until_open(url: str, key: str) -> None:
    """The gateway knows the key; until then it answers 401."""
    for _ in range(300):
        if httpx.post(f"{url}/v1/events", headers={"Authorization": f"Bearer {key}"}).status_code != 401:
            return
        time.sleep(0.1)
    raise AssertionError("the gateway does not learn its keys")


def _events(language: str) -> list[dict[str, Any]]:
    """The same for all languages but for the tenant and the ids; every agent has one event."""
    said = [{"agent_id": f"agent-{number}", **one} for number, one in enumerate(SAID)]
    said += [{"agent_id": name, "event_type": "intent_declared"} for name in KEYS]
    return [
        {"event_id": f"{language}-{number}", "tenant_id": language, "occurred_at": AT, **one}
        for number, one in enumerate(said)
    ]


@pytest.fixture(scope="module")
def published(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Published]:
    """What each language's program did with the same events."""
    java = tmp_path_factory.mktemp("classes")
    commands = {"python": python_program(), "java": java_program(java), "curl": curl_program()}
    with suppress(Unreachable):
        commands["node"] = node_program()
    running = {}
    with _gateway(fleet) as gateway:
        for language, command in commands.items():
            lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in _events(language))
            environment = _environment(fleet) | gateway
            running[language] = begun(command, lines, tmp_path_factory.mktemp(language), **environment)
        with ThreadPoolExecutor() as pool:
            printed = dict(zip(running, pool.map(_printed, running.values()), strict=True))
    printed["curl"] = _decided(fleet, set(printed["curl"]))
    written: dict[str, list[Record]] = {language: [] for language in LANGUAGES}
    for record in _read(fleet):
        written[(record.key or b"").split(b"/")[0].decode()].append(record)
    return {language: Published(printed[language], written[language]) for language in commands}


@pytest.fixture
def one(published: dict[str, Published], language: str) -> Published:
    """What a test's language published."""
    if language not in published:
        pytest.skip("npm's registry cannot be reached, from which the Node program has its packages")
    return published[language]


def _printed(program: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    try:
        out, said = program.communicate(timeout=120)
    finally:
        program.kill()
    assert program.returncode == 0, said
    told = [json.loads(line) for line in out.splitlines()]
    return {one.get("record", one)["event_id"]: one for one in told}


def _decided(fleet: Fleet, events: set[str]) -> dict[str, dict[str, Any]]:
    """What was decided of `events`, as the programs print it that read it themselves."""
    found: dict[str, dict[str, Any]] = {}
    pools = ["priority.urgent", "priority.normal", "priority.background"]
    with Consumer(fleet.kafka, pools, "curl", registry=fleet.registry) as consumer:
        for one in consumer.records(timeout=60):
            if one.record.event_id in events:
                trace = one.headers["traceparent"].decode()
                found[one.record.event_id] = {"pool": one.topic, "traceparent": trace, "record": vars(one.record)}
            if set(found) == events:
                break
    return found


def _read(fleet: Fleet) -> Iterator[Record]:
    with TopicReader({"bootstrap.servers": fleet.kafka}, SOURCE) as reader:
        for record in reader.read(dict.fromkeys(range(DEFAULT_PARTITIONS), 0)):
            if record is None:
                return
            yield record


@pytest.fixture(scope="module")
def ids(fleet: Fleet) -> RegisteredIds:
    """What the registry's ids mean."""
    found = RegisteredIds(Registry(fleet.registry))
    found.register_all()
    return found


def _alike(published: Published, language: str) -> list[tuple[str, dict[str, Any]]]:
    """Pool and decision of each event, in its order, without what tells the languages apart."""
    decisions = [published.decisions[event["event_id"]] for event in _events(language)]
    apart = {"event_id", "tenant_id", "offset"}
    return [(one["pool"], {k: v for k, v in one["record"].items() if k not in apart}) for one in decisions]


@pytest.mark.parametrize("language", ["node", "java", "curl"])
def test_an_event_is_decided_alike_whatever_language_it_comes_from(
    published: dict[str, Published], one: Published, language: str
) -> None:
    ours = _alike(published["python"], "python")
    assert len({pool for pool, _ in ours}) > 1
    assert {record["agent_id"] for _, record in ours} >= set(KEYS)
    assert _alike(one, language) == ours


@pytest.mark.parametrize("language", LANGUAGES)
def test_its_bytes_are_ours(one: Published, ids: RegisteredIds, language: str) -> None:
    events = {event["event_id"]: event for event in _events(language)}
    for record in one.records:
        number, value = decode(record.value, ids)
        assert number == ids.id_of(SOURCE)
        assert value.items() >= events.pop(value["event_id"]).items()
        assert record.value == encode(SOURCE, value, ids)
    assert not events, "every event lies in the log"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_agent_has_one_partition_for_all_languages(one: Published, language: str) -> None:
    found = {record.key: record.partition for record in one.records}
    assert found == {key: partition_of(key or b"", DEFAULT_PARTITIONS) for key in found}
    assert {f"{language}/{name}".encode() for name in KEYS} <= set(found)
    assert set(found.values()) == set(range(DEFAULT_PARTITIONS))


@pytest.mark.parametrize(
    ("language", "source"),
    [("python", "/producers/python"), ("node", "/producers/node"), ("java", "/producers/java"), ("curl", "/kaizen")],
)
def test_its_headers_are_a_cloudevent_of_which_the_trace_goes_on(
    one: Published, ids: RegisteredIds, language: str, source: str
) -> None:
    unread: Any = Bytes()
    for record in one.records:
        headers: Any = {name: value or b"" for name, value in record.headers}
        event = from_binary(KafkaMessage(headers, record.key, record.value or b""), unread)
        value = decode(event.get_data(), ids)[1]  # type: ignore[arg-type]
        assert event.get_id() == value["event_id"]
        assert event.get_source() == source
        assert event.get_type() == type_of("kaizen", value["event_type"])
        assert event.get_subject() == f"{language}/{value['agent_id']}"
        assert event.get_time() == datetime.fromisoformat("2026-01-01T00:00:00.007+00:00")
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", headers["traceparent"])
        assert one.decisions[event.get_id()]["traceparent"] == headers["traceparent"].decode()


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed: apt-get install kcat")
@pytest.mark.usefixtures("published")
def test_kcat_reads_the_headers(fleet: Fleet) -> None:
    command = ["kcat", "-C", "-q", "-e", "-o", "beginning", "-b", fleet.kafka, "-t", SOURCE, "-f", "%k|%h\n"]
    shown = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()
    for language in LANGUAGES:
        (line,) = (one for one in shown.splitlines() if one.startswith(f"{language}/🤖7|"))
        told = dict(pair.split("=", 1) for pair in line.split("|")[1].split(","))
        assert told["ce_specversion"] == "1.0"
        assert told["ce_type"] == "cognistream.kaizen.intent.declared"
        assert told["ce_subject"] == f"{language}/🤖7"
        assert told["content-type"] == "application/avro"


def test_the_lock_holds_what_the_pom_asks_for() -> None:
    assert set(roots()) <= {jar.coordinate for jar in locked(LOCK)}
