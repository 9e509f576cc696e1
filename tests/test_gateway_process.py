"""A gateway as a person starts it: real Kafka, real Redis, keys from the command line, and the end of each of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.cli.main import run
from connectors.admin import TopicAdmin

from .redis_server import RedisServer, redis_server
from .test_gateway_view import Lane, level, tick, until

pytestmark = pytest.mark.kafka

PREFIX = "t-gateway"
ASK = {"agent": "acme/agent-7", "action": "comm:internal/chat"}
Out = pytest.CaptureFixture[str]


class Running:
    """Two gateways on one Kafka and one Redis, and the lane that tells them of agents."""

    def __init__(self, kafka: str, redis: RedisServer, folder: Path) -> None:
        self.kafka, self.redis = kafka, redis
        self.lane = Lane(kafka, PREFIX)
        self._entries = 0
        self.processes = [self._start(folder / f"log-{number}") for number in range(2)]
        self.urls = [self._address(process) for process in self.processes]

    def _start(self, log: Path) -> subprocess.Popen[str]:
        options = ["--bootstrap", self.kafka, "--prefix", PREFIX, "--port", "0"]
        with log.open("w") as words:
            return subprocess.Popen(
                [sys.executable, "-m", "agents.cli", "gateway", *options],
                stdout=subprocess.PIPE, stderr=words, text=True, env=os.environ | {"REDIS_URL": self.redis.url},
            )  # fmt: skip

    @staticmethod
    def _address(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip().removeprefix("the gateway listens on ")

    def decide(self, **told: Any) -> None:
        """A level, and a tick of each partition: the views of the gateways are fresh afterwards."""
        self._entries += 1
        now = int(time.time() * 1000)
        self.lane.commit(("trust.levels", 0, level(**{"last": now, **told})))
        self.lane.commit(*(("audit.log", partition, tick(self._entries, now)) for partition in range(2)))

    def check(self, key: str, gateway: int = 0, **change: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.urls[gateway]}/v1/check", json={**ASK, **change}, headers={"Authorization": f"Bearer {key}"}
        )
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    TopicAdmin({"bootstrap.servers": kafka}, PREFIX).create(partitions=2)
    folder = tmp_path_factory.mktemp("gateway")
    with redis_server(folder) as redis:
        made = Running(kafka, redis, folder)
        try:
            until(lambda: all(httpx.get(f"{url}/health").status_code == 200 for url in made.urls))
            yield made
        finally:
            for process in made.processes:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


@pytest.fixture
def keys(running: Running, capsys: Out) -> Any:
    """Runs `cognistream keys ...` and gives its JSON."""

    def command(*arguments: str) -> Any:
        assert run(["keys", *arguments, "--bootstrap", running.kafka, "--prefix", PREFIX, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return command


def test_until_a_lane_ticks_a_gateway_denies_and_is_not_ready(running: Running, keys: Any) -> None:
    made = keys("create", "acme", "--name", "billing")
    until(lambda: "decision" in running.check(made["key"]))
    assert running.check(made["key"])["reason"] == "view_stale"
    answer = httpx.get(f"{running.urls[0]}/ready")
    assert (answer.status_code, answer.json()["view_age_s"]) == (503, None)


def test_two_gateways_admit_together_what_one_may(running: Running, keys: Any) -> None:
    key = keys("create", "acme")["key"]
    running.decide(points=150_000, tier="T1")
    for number in range(2):
        until(lambda: running.check(key, number, cost=1_000).get("reason") == "cost_too_high")  # noqa: B023
    runs = [running.check(key, number % 2, run=f"run-{number}", cost=1)["reason"] for number in range(8)]
    assert 5 <= runs.count("allowed") < 8
    assert running.check(key, 0, action="admin:write/users")["decision"] == "DENY"
    running.redis.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    assert running.check(key)["reason"] == "limits_away"
    running.redis.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    until(lambda: running.check(key, cost=1_000)["reason"] == "cost_too_high")


def test_a_key_that_is_revoked_opens_no_gateway_any_more(running: Running, keys: Any) -> None:
    made = keys("create", "acme", "--verb", "read", "--days", "1")
    login = {"Authorization": f"Bearer {made['key']}"}

    def status(number: int) -> int:
        return httpx.get(f"{running.urls[number]}/v1/agents/acme/nobody", headers=login).status_code

    until(lambda: [status(0), status(1)] == [404, 404])
    assert keys("revoke", made["number"])["state"] == "revoked"
    until(lambda: [status(0), status(1)] == [401, 401])
    states = {row["number"]: row["state"] for row in keys("list")}
    assert states[made["number"]] == "revoked"
    assert "active" in states.values()


def test_a_number_that_is_no_key_cannot_be_revoked(running: Running, capsys: Out) -> None:
    assert run(["keys", "revoke", "nothing", "--bootstrap", running.kafka, "--prefix", PREFIX]) == 1
    assert "there is no key 'nothing': `cognistream keys list` shows them" in capsys.readouterr().err


def test_a_gateway_that_is_told_to_stop_ends_well(running: Running) -> None:
    process = running.processes[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
