"""A worker that must not run says so before it asks for a broker (for topics: `test_admin`, `test_runtime_process`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.cli.main import run

from .registry_server import schema_server

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Kafka that does not answer, and a state folder of its own."""
    for name in ("COGNISTREAM_POLICY", "COGNISTREAM_PREFIX", "SCHEMA_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("COGNISTREAM_STATE", str(tmp_path))


def test_schemas_that_the_registry_holds_incompatible_are_named(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    with schema_server() as store:
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", store.url)
        store.closed_subjects.add("agent.state-value")
        assert run(["worker", "--port", "0"]) == 1
    assert "agent.state-value: Schema being registered is incompatible" in capsys.readouterr().err


def test_a_policy_with_a_mistake_is_named_with_its_line(tmp_path: Path, capsys: Out) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[trust]\nnonsense = 1\n")
    assert run(["worker", "--port", "0", "--policy", str(policy)]) == 1
    assert f"{policy}:2: trust.nonsense: there is no such field" in capsys.readouterr().err
