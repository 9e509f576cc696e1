"""A worker started by the command line decides a small fleet's events; tail, agent and topics show what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.cli.main import run
from agents.demo.processes import free_port
from connectors.admin import TopicAdmin
from connectors.publisher import Publisher, agent_key
from schemas.catalog import LocalIds
from schemas.topics import full_name
from schemas.wire import encode

pytestmark = pytest.mark.kafka

Out = pytest.CaptureFixture[str]
IDS = LocalIds()
PREFIX = "t-cli-fleet"
HOUR_MS = 3_600_000
BEGAN = 1_767_225_600_000


def _event(kind: str, number: int, at: int, agent: str, **fields: Any) -> dict[str, Any]:
    who = {"tenant_id": "acme", "agent_id": agent, "event_id": f"{kind}-{number}", "event_type": kind}
    return {**who, "occurred_at": at, "correlation_id": None, "attributes": {}, **fields}


def _kaizen(kind: str, number: int, at: int, agent: str, **fields: Any) -> bytes:
    nulls = ("intent", "action", "risk", "decision", "component", "model", "duration_ms", "tokens_in", "tokens_out")
    more = ("cost_usd", "revenue_usd", "severity", "error")
    flags = {"user_facing": False, "security_relevant": False}
    return encode(
        "kaizen.events", _event(kind, number, at, agent, **dict.fromkeys(nulls + more), **flags, **fields), IDS
    )


def _registered(agent: str) -> bytes:
    fields = {"creation": "fresh", "observability": "verified"}
    rest = dict.fromkeys(("signal_kind", "signal_weight", "certification"))
    return encode("agentanchor.events", _event("agent_registered", 0, BEGAN, agent, **fields, **rest), IDS)


def _publish(kafka: str) -> None:
    """Two agents register; then one works well, and one asks for more than it may."""
    good, greedy = agent_key("acme", "good"), agent_key("acme", "greedy")
    with Publisher({"bootstrap.servers": kafka}) as publisher:
        for key in (good, greedy):
            name = key.decode().removeprefix("acme/")
            publisher.publish(full_name(PREFIX, "agentanchor.events"), key, _registered(name), BEGAN)
        publisher.flush()
        time.sleep(1.0)  # the sources of a partition are decided in the order of their arrival
        work = full_name(PREFIX, "kaizen.events")
        for number in range(1, 21):
            at = BEGAN + number * HOUR_MS
            publisher.publish(work, good, _kaizen("execution_completed", number, at, "good"), at)
            publisher.publish(
                work, greedy, _kaizen("execution_started", number, BEGAN + number, "greedy"), BEGAN + number
            )
        publisher.publish(work, good, b"\x01not a frame", BEGAN + 21 * HOUR_MS)


@pytest.fixture(scope="module")
def fleet(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has decided everything that was published."""
    admin = TopicAdmin({"bootstrap.servers": kafka}, PREFIX)
    admin.create(partitions=2)
    port = free_port()
    log = tmp_path_factory.mktemp("worker") / "log"
    options = ["--bootstrap", kafka, "--prefix", PREFIX, "--port", str(port)]
    with log.open("wb") as words:
        worker = subprocess.Popen(
            [sys.executable, "-m", "agents.cli", "worker", *options],
            stderr=words,
            env=os.environ | {"COGNISTREAM_STATE": str(log.parent)},
        )
    try:
        _until_ready(worker, port, log)
        _publish(kafka)
        _until_decided(admin)
        yield worker
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()


def _until_ready(worker: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 240
    while worker.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


def _until_decided(admin: TopicAdmin) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pools = admin.describe(["priority.urgent", "priority.normal", "priority.background"])
        if sum(pool.offsets for pool in pools) >= 42 and admin.describe(["dead.letters"])[0].offsets:
            return
        time.sleep(0.2)
    pytest.fail("not everything was decided")


@pytest.fixture
def ask(kafka: str, fleet: subprocess.Popen[bytes], capsys: Out) -> Any:
    """Runs a command on the fleet and gives its lines, decoded when they are JSON."""
    assert fleet.poll() is None

    def command(*arguments: str) -> list[Any]:
        assert run([*arguments, "--bootstrap", kafka, "--prefix", PREFIX]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line) for line in lines] if "--json" in arguments else lines

    return command


def test_tail_decodes_the_records_of_one_agent_in_order(ask: Any) -> None:
    records = ask("tail", "priority.background", "--agent", "acme/good", "--no-follow", "--json")
    records += ask("tail", "priority.normal", "--agent", "acme/good", "--no-follow", "--json")
    assert {record["key"] for record in records} == {"acme/good"}
    assert len(records) <= 21
    assert [record["timestamp"] for record in records[:3]] == sorted(record["timestamp"] for record in records[:3])


def test_tail_filters_by_fields_and_ends_after_as_many_as_asked(ask: Any) -> None:
    denied = ask("tail", "ratelimit.decisions", "--where", "decision=deny", "--no-follow", "--json")
    assert denied
    assert {(record["key"], record["value"]["decision"]) for record in denied} == {("acme/greedy", "deny")}
    assert len(ask("tail", "ratelimit.decisions", "--from-start", "--limit", "2")) == 2
    assert len(ask("tail", "ratelimit.decisions", "--last", "3", "--no-follow")) == 3


def test_tail_shows_dead_letters_and_the_journal(ask: Any) -> None:
    (letter,) = ask("tail", "dead.letters", "--no-follow", "--json")
    assert letter["value"]["reason"] == "bad_magic"
    assert bytes.fromhex(letter["value"]["value"]) == b"\x01not a frame"
    (line,) = ask("tail", "dead.letters", "--no-follow")
    assert "acme/good" in line
    assert "reason=bad_magic" in line
    throttled = ask("tail", "audit.log", "--agent", "acme/greedy", "--no-follow", "--json")
    assert "throttle_started" in {record["value"]["decision"]["what"] for record in throttled}


def test_the_card_tells_level_habits_and_the_last_decisions(ask: Any) -> None:
    (card,) = ask("agent", "acme/good", "--json")
    assert card["status"] == "active"
    assert card["level"]["score"] == 100 + 20 * 10
    assert (card["level"]["tier"], card["level"]["why"]) == ("T2", "execution.completed")
    assert card["habits"][0]["event_type"] == "execution.completed"
    assert card["habits"][0]["every_s"] == 3600
    assert [change["kind"] for change in card["changes"]].count("score_changed") >= 1
    assert len(card["events"]) == 5
    assert card["policy_version"] == card["decided_under"]


def test_the_card_of_a_throttled_agent_says_until_when(ask: Any) -> None:
    (card,) = ask("agent", "acme/greedy", "--json")
    assert card["limits"][0]["decision"] in ("deny", "throttle")
    shown = "\n".join(ask("agent", "acme/greedy"))
    assert "acme/greedy   active" in shown
    assert "limits" in shown
    assert "execution.started" in shown


def test_an_unknown_agent_is_said_to_be_unknown(kafka: str, fleet: object, capsys: Out) -> None:
    assert fleet
    assert run(["agent", "acme/nobody", "--bootstrap", kafka, "--prefix", PREFIX]) == 1
    assert "no event of acme/nobody was decided yet" in capsys.readouterr().err


def test_topics_are_described_as_they_stand(ask: Any) -> None:
    (answer,) = ask("topics", "describe", "kaizen.events", "--json")
    (topic,) = answer["topics"]
    assert answer["problems"] == []
    assert topic["offsets"] == 41
    assert len(topic["partitions"]) == 2


def test_ctrl_c_ends_a_tail_quietly(kafka: str, fleet: object) -> None:
    assert fleet
    arguments = ["tail", "trust.changes", "--from-start", "--bootstrap", kafka, "--prefix", PREFIX]
    with subprocess.Popen(
        [sys.executable, "-m", "agents.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as tail:
        assert tail.stdout is not None
        assert b"acme/" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        _, said = tail.communicate(timeout=10)
    assert (tail.returncode, said) == (130, b"")
