"""The command line explains itself, ends with the right status, and never shows a person a stack trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.cli.decoded import clock
from agents.cli.main import app, run
from agents.cli.options import complete_topic
from connectors.state_folder import state_folder
from schemas.topics import TOPICS
from streams.policy import Policy

Out = pytest.CaptureFixture[str]

JARS = state_folder() / "maven"
"""Downloaded once, for all tests."""

COMMANDS = (
    *("demo", "worker", "tail", "agent", "topics list", "topics create", "topics describe"),
    *("policy show", "policy check", "kafka start", "kafka stop", "kafka status"),
    *("registry start", "registry stop", "registry status"),
    *("schemas list", "schemas check", "schemas register", "schemas diff"),
    "lag",
    *("gateway", "keys create", "keys list", "keys revoke"),
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Kafka, no policy, and a state folder of its own."""
    for name in ("BOOTSTRAP_SERVERS", "COGNISTREAM_POLICY", "COGNISTREAM_PREFIX", "COGNISTREAM_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COGNISTREAM_STATE", str(tmp_path / "state"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, capsys: Out) -> None:
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"cognistream {command}" in said
    assert "Examples:" in said


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, agents.cli.main as m; m.run(['--help']);"
        "heavy = {'numba', 'numpy', 'faust', 'confluent_kafka', 'fastavro', 'pydantic', 'aiokafka', 'polars'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "No such command"),
        (["tail"], "Missing argument"),
        (["tail", "no.such.topic"], "there is no topic"),
        (["tail", "trust.levels", "--agent", "billing"], "not TENANT/AGENT"),
        (["tail", "trust.levels", "--where", "tier"], "not FIELD=VALUE"),
        (["agent", "billing"], "not TENANT/AGENT"),
        (["kafka", "start", "--port", "70000"], "less than or equal to 65535"),
        (["topics", "describe", "no.such.topic"], "there is no topic"),
        (["keys", "create", "acme", "--verb", "own"], "there is no verb 'own': check, read, publish"),
        (["keys", "create", "acme", "--source", "kafka"], "there is no source 'kafka'"),
    ],
)
def test_wrong_use_is_status_2_and_says_what_was_meant(arguments: list[str], told: str, capsys: Out) -> None:
    assert run(arguments) == 2
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    "arguments", [["tail", "trust.levels"], ["agent", "acme/a"], ["topics", "create"], ["worker"], ["gateway"]]
)
def test_without_a_kafka_every_command_says_how_to_get_one(arguments: list[str], capsys: Out) -> None:
    assert run(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("cognistream: no Kafka: start the local one with `cognistream kafka start`")
    assert "Traceback" not in said


def test_a_mistake_of_ours_is_told_in_one_line_unless_the_trace_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
    app.command("broken")(broken)
    assert run(["broken"]) == 1
    assert capsys.readouterr().err == (
        "cognistream: this should not happen: ZeroDivisionError: by zero (COGNISTREAM_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("COGNISTREAM_DEBUG", "1")
    assert run(["broken"]) == 1
    assert "in broken" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    program = f"{sys.executable} -m agents.cli policy show | head -1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("# Policy p-")
    assert done.stderr == ""


def test_topics_are_listed_and_completed_without_a_kafka(capsys: Out) -> None:
    assert run(["topics", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [row.name for row in TOPICS]
    assert run(["topics", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(row.name in shown for row in TOPICS)
    assert list(complete_topic("priority.")) == ["priority.urgent", "priority.normal", "priority.background"]


def test_the_policy_that_is_shown_is_a_file_that_checks(tmp_path: Path, capsys: Out) -> None:
    assert run(["policy", "show"]) == 0
    file = tmp_path / "policy.toml"
    file.write_text(capsys.readouterr().out)
    assert run(["policy", "check", str(file)]) == 0
    assert f"version {Policy().version}, the same as the built-in one" in capsys.readouterr().out
    assert run(["policy", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == Policy().version


def test_a_policy_with_a_mistake_is_refused_with_line_and_field(tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[trust]\npenalty = 3\ntel = 5\n")
    assert run(["policy", "check", str(file)]) == 1
    assert f"{file}:3: trust.tel: there is no such field; did you mean tell?" in capsys.readouterr().err
    assert run(["policy", "check", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_wrong_setting_names_its_variable(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("COGNISTREAM_PREFIX", "Not A Prefix")
    assert run(["topics", "describe", "--bootstrap", "127.0.0.1:9"]) == 2
    assert "COGNISTREAM_PREFIX" in capsys.readouterr().err


def test_a_local_kafka_that_does_not_run_is_status_1(capsys: Out) -> None:
    assert run(["kafka", "status"]) == 1
    assert "does not run" in capsys.readouterr().out
    assert run(["kafka", "stop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": False}


@pytest.mark.kafka
def test_the_local_kafka_starts_is_found_by_other_commands_and_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path
) -> None:
    monkeypatch.setenv("COGNISTREAM_STATE", str(tmp_path))
    JARS.mkdir(parents=True, exist_ok=True)
    (tmp_path / "maven").symlink_to(JARS)
    try:
        assert run(["kafka", "start", "--json"]) == 0
        started = json.loads(capsys.readouterr().out)
        assert started["running"] is True
        assert run(["kafka", "status"]) == 0
        assert f"runs on {started['bootstrap']} (process {started['pid']})" in capsys.readouterr().out
        assert run(["topics", "create", "--prefix", "cli-1", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["created"]) == len(TOPICS)
    finally:
        assert run(["kafka", "stop"]) == 0
    assert f"(process {started['pid']})" in capsys.readouterr().out
    assert run(["kafka", "status"]) == 1


def test_completion_is_offered_for_shells() -> None:
    environment = os.environ | {
        "_COGNISTREAM_COMPLETE": "complete_bash",
        "COMP_WORDS": "cognistream ka",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "agents.cli"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.split() == ["kafka"]


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [(0, "1970-01-01 00:00:00.000"), (-1, "1969-12-31 23:59:59.999"), (1 << 60, f"{1 << 60} ms")],
)
def test_a_time_beyond_all_calendars_is_shown_as_its_number(timestamp: int, shown: str) -> None:
    assert clock(timestamp) == shown
