"""A gateway behind a real worker: what services publish is decided, and the next check goes by it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.cli.main import run
from cognistream_client import AgentAnchorEvent, KaizenEvent, Publisher
from connectors.admin import TopicAdmin

from .test_gateway_view import until

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("warm_kernels")]

PREFIX = "t-gateway-worker"
OLDEST_S = 5
"""Age of the view beyond which this gateway admits nobody; the worker ticks five times as often."""


class Governed:
    """A worker and a gateway as processes, a publisher, and a key."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self._options = ["--bootstrap", kafka, "--prefix", PREFIX]
        self._environment = os.environ | {"COGNISTREAM_STATE": str(folder), "COGNISTREAM_TICK_SECONDS": "1"}
        rules = folder / "gateway.toml"
        rules.write_text(f"[freshness]\noldest_s = {OLDEST_S}\n")
        self.worker = self._start("worker", "--port", "0", log=folder / "worker.log")
        self.gateway = self._start("gateway", "--port", "0", "--rules", str(rules), log=folder / "gateway.log")
        self.publisher = Publisher(kafka, prefix=PREFIX)
        assert self.gateway.stdout is not None
        self.url = self.gateway.stdout.readline().strip().removeprefix("the gateway listens on ")
        self.login: dict[str, str] = {}

    def _start(self, command: str, *more: str, log: Path) -> subprocess.Popen[str]:
        with log.open("w") as words:
            return subprocess.Popen(
                [sys.executable, "-m", "agents.cli", command, *self._options, *more],
                stdout=subprocess.PIPE, stderr=words, text=True, env=self._environment,
            )  # fmt: skip

    def happens(self, agent: str, event_type: Any, **says: Any) -> None:
        """Publish an event of the source that tells of such things, and wait until Kafka has it."""
        source: Any = AgentAnchorEvent if event_type.startswith(("agent_", "trust_", "obs")) else KaizenEvent
        self.publisher.publish(source(tenant_id="acme", agent_id=agent, event_type=event_type, **says)).wait(30)

    def check(self, agent: str, action: str) -> tuple[str, str]:
        asked = {"agent": f"acme/{agent}", "action": action}
        told = httpx.post(f"{self.url}/v1/check", json=asked, headers=self.login).json()
        return told["decision"], told["reason"]

    def ready(self) -> bool:
        return httpx.get(f"{self.url}/ready").status_code == 200

    def end(self) -> None:
        self.publisher.close()
        for process in (self.worker, self.gateway):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="module")
def governed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    TopicAdmin({"bootstrap.servers": kafka}, PREFIX).create(partitions=2)
    made = Governed(kafka, tmp_path_factory.mktemp("governed"))
    try:
        until(made.ready)
        yield made
    finally:
        made.end()


@pytest.fixture(autouse=True)
def login(governed: Governed, kafka: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not governed.login:
        assert run(["keys", "create", "acme", "--json", "--bootstrap", kafka, "--prefix", PREFIX]) == 0
        governed.login = {"Authorization": f"Bearer {json.loads(capsys.readouterr().out)['key']}"}
        until(lambda: httpx.get(f"{governed.url}/v1/agents", headers=governed.login).status_code != 401)


def test_a_suspended_agent_is_admitted_no_more_until_it_is_reinstated(governed: Governed) -> None:
    assert governed.check("planner", "data:read/public") == ("DENY", "unknown_agent")
    governed.happens("planner", "agent_registered")
    until(lambda: governed.check("planner", "data:read/public") == ("ALLOW", "allowed"))
    governed.happens("planner", "agent_suspended")
    until(lambda: governed.check("planner", "data:read/public") == ("DENY", "suspended"))
    governed.happens("planner", "agent_reinstated")
    until(lambda: governed.check("planner", "sandbox:run") == ("ALLOW", "allowed"))


def test_a_violation_takes_the_tier_that_opened_the_action_and_the_next_one_all(governed: Governed) -> None:
    governed.happens("buyer", "agent_registered", creation="promoted")
    for _ in range(5):
        governed.happens("buyer", "execution_completed", risk="critical")
    until(lambda: governed.check("buyer", "data:read/internal") == ("ALLOW", "allowed"))
    governed.happens("buyer", "security_violation", severity="minor")
    until(lambda: governed.check("buyer", "data:read/internal") == ("ESCALATE", "tier_too_low"))
    governed.happens("buyer", "security_violation", severity="critical")
    until(lambda: governed.check("buyer", "sandbox:run") == ("DENY", "suspended"))


def test_what_is_decided_is_streamed_and_the_agents_are_listed(governed: Governed) -> None:
    def tiers() -> dict[str, str]:
        told = httpx.get(f"{governed.url}/v1/agents", params={"tier": "T1"}, headers=governed.login).json()
        return {agent["agent"]: agent["tier"] for agent in told["agents"]}

    with httpx.stream("GET", f"{governed.url}/v1/streams/trust.changes", headers=governed.login, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)  # from here on
        governed.happens("seller", "agent_registered")
        data = next(line for line in lines if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: "))["value"]["agent_id"] == "seller"
    until(lambda: tiers().get("acme/seller") == "T1")


def test_without_its_worker_the_gateway_admits_nobody_and_says_so(governed: Governed) -> None:
    governed.happens("idler", "agent_registered")
    until(lambda: governed.check("idler", "data:read/public") == ("ALLOW", "allowed"))
    governed.worker.send_signal(signal.SIGTERM)
    assert governed.worker.wait(30) == 0
    until(lambda: governed.check("idler", "data:read/public") == ("DENY", "view_stale"))
    assert not governed.ready()
