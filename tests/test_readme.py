"""What the README shows works as it stands there: its Python blocks run, on live topics of a Kafka of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.cli.main import run
from connectors.admin import TopicAdmin
from connectors.local_kafka import borrowed_kafka
from connectors.state_folder import state_folder

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("warm_kernels")]

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "publishing.md").read_text()
PUBLISH, READ, READ_RAW = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """A broker of this module's own: the README speaks of live topics, and a session shares only prefixed ones."""
    with borrowed_kafka(state_folder() / "test-brokers", state_folder() / "maven") as own:
        TopicAdmin({"bootstrap.servers": own.bootstrap}).create(partitions=2)
        worker = subprocess.Popen(
            [sys.executable, "-m", "agents.cli", "worker", "--bootstrap", own.bootstrap, "--port", "0"], cwd=ROOT
        )
        try:
            yield own.bootstrap
        finally:
            worker.terminate()
            worker.wait(30)


def _shown(code: str, broker: str) -> str:
    """What a block of the README prints, with the address of the test's broker in place of the usual one."""
    program = code.replace("127.0.0.1:9092", broker)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_published_event_comes_out_of_the_pool_that_the_reader_reads(broker: str) -> None:
    _shown(PUBLISH, broker)
    deadline, told = time.monotonic() + 120, [""]
    with ThreadPoolExecutor() as pool:
        while not all("planner-1" in shown for shown in told) and time.monotonic() < deadline:
            told = list(pool.map(lambda code: _shown(code, broker), (READ, READ_RAW)))
    for shown in told:
        assert "b'acme/planner-1'" in shown
        assert "'event_type': 'execution_completed'" in shown
        assert "'tier': 'T0'" in shown


@pytest.mark.parametrize("program", re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL), ids=range(4))
def test_each_program_of_the_producers_guide_runs(broker: str, program: str) -> None:
    _shown(program, broker)


def test_its_trust_card_can_be_asked_for(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agent", "acme/planner-1", "--bootstrap", broker, "--json"]) == 0
    assert '"unregistered"' in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^cognistream ((?:\w+ )?\w+)", README, re.MULTILINE))))
def test_each_command_that_it_names_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in command.split() if word.isidentifier()]
    group = words[0] in {"kafka", "topics", "policy", "audit", "state", "dlq", "keys", "registry", "schemas"}
    assert run([*words[: 2 if group else 1], "--help"]) == 0
    assert "Examples" in capsys.readouterr().out


@pytest.mark.parametrize("page", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_each_page_that_it_links_exists(page: str) -> None:
    assert (ROOT / page).exists()
