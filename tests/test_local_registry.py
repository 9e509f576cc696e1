"""The local registry starts on loopback alone, keeps ids over a restart, and is found by the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents.cli.main import run
from connectors.local_registry import APICURIO_VERSION, LOCK, LocalRegistry, program
from connectors.local_server import HOST, ServerNotStarted
from connectors.maven import locked
from connectors.state_folder import state_folder
from schemas.topics import TOPICS

Out = pytest.CaptureFixture[str]

PROGRAMS = state_folder() / "programs"
"""Downloaded once, for all tests."""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of its own, whose registry ends with the test; an environment that would move it elsewhere."""
    for name in ("SCHEMA_REGISTRY_URL", "COGNISTREAM_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COGNISTREAM_STATE", str(tmp_path))
    monkeypatch.setenv("QUARKUS_HTTP_HOST", "0.0.0.0")  # noqa: S104 - must have no effect
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    (tmp_path / "programs").symlink_to(PROGRAMS)
    yield tmp_path
    LocalRegistry.default().stop()


@pytest.mark.registry
def test_a_restart_finds_the_address_and_the_ids_again(state: Path, capsys: Out) -> None:
    assert run(["registry", "start", "--json"]) == 0
    started = json.loads(capsys.readouterr().out)
    listening = [each for each in psutil.Process(started["pid"]).net_connections() if each.status == "LISTEN"]
    assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} == {HOST}
    assert run(["schemas", "register", "--json"]) == 0
    registered = json.loads(capsys.readouterr().out)
    assert len(registered) == len(TOPICS)

    assert run(["registry", "stop"]) == 0
    assert f"(process {started['pid']})" in capsys.readouterr().out
    assert run(["registry", "status"]) == 1
    assert run(["schemas", "register"]) == 1
    assert "cognistream registry start" in capsys.readouterr().err

    assert run(["registry", "start", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["url"], again["pid"] != started["pid"]) == (started["url"], True)
    assert run(["schemas", "register", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{**one, "added": False} for one in registered]
    assert {path.name for path in state.iterdir()} == {"registry", "programs"}


@pytest.mark.registry
@pytest.mark.usefixtures("state")
def test_a_registry_that_can_keep_nothing_says_why_and_ends() -> None:
    local = LocalRegistry.default()
    local.folder.mkdir()
    (local.folder / "data").write_text("no folder")
    with pytest.raises(ServerNotStarted, match="NotDirectory"):
        local.start()
    assert local.status() is None


def test_a_registry_that_was_never_started_is_status_1(state: Path, capsys: Out) -> None:
    assert run(["registry", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "running": False,
        "log": str(state / "registry" / "logs" / "console.log"),
    }
    assert run(["registry", "stop"]) == 0
    assert "did not run" in capsys.readouterr().out


@pytest.mark.usefixtures("state")
def test_schemas_are_listed_and_checked_without_a_registry(capsys: Out) -> None:
    assert run(["schemas", "list"]) == 0
    assert "no registry: records bear the local ids" in capsys.readouterr().out
    assert run(["schemas", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == {}


@pytest.mark.registry
def test_the_program_is_whole_or_not_there(tmp_path: Path) -> None:
    folder = program(PROGRAMS)
    (archive,) = locked(LOCK)
    assert folder.name == f"apicurio-{APICURIO_VERSION}-{archive.sha256[:8]}"
    assert (folder / "quarkus-run.jar").is_file()
    (tmp_path / folder.name).symlink_to(folder)
    assert program(tmp_path, pytest.fail) == tmp_path / folder.name, "nothing is downloaded twice"
