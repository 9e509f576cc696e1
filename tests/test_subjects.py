"""A real registry takes our schemas at FULL_TRANSITIVE, refuses what contradicts them, and says how they stand."""

from __future__ import annotations

import copy
import json

import pytest

from agents.cli.main import run
from connectors.registry import Registry, RegistryRefused, subject
from connectors.schema_changes import refusals
from connectors.subjects import LEVEL, Subjects, rows
from schemas.catalog import Schema, schema_of
from schemas.topics import TOPICS, topic

from .registry_contract import RegistryContract
from .schema_cases import CASES, Case

pytestmark = pytest.mark.registry
Out = pytest.CaptureFixture[str]

ROW = topic("trust.levels")


@pytest.fixture
def registry(registry_url: str) -> Registry:
    return Registry(registry_url)


@pytest.fixture
def subjects(registry: Registry, prefix: str) -> Subjects:
    return Subjects(registry, prefix)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, registry_url: str, prefix: str) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", registry_url)
    monkeypatch.setenv("COGNISTREAM_PREFIX", prefix)


def evolved(**more: object) -> Schema:
    """The schema of `ROW` with a field more."""
    schema = copy.deepcopy(schema_of(ROW.name))
    schema["fields"].append({"name": "region", "type": "string", **more})
    return schema


class TestApicurio(RegistryContract):
    pass


def test_a_schema_is_registered_once_and_at_full_transitive(registry: Registry, subjects: Subjects) -> None:
    assert subjects.standing(ROW).state == "absent"
    first, second = subjects.register(ROW), subjects.register(ROW)
    assert (first.schema_id, first.added, second.added) == (second.schema_id, True, False)
    assert [version.number for version in registry.versions(first.subject)] == [1]
    standing = subjects.standing(ROW)
    assert (standing.state, standing.level, standing.ours) == ("newest", LEVEL, standing.latest)


def test_a_subject_of_another_level_gets_ours(registry: Registry, subjects: Subjects, prefix: str) -> None:
    name = subject(ROW.name, prefix)
    registry.register(name, schema_of(ROW.name))
    registry.set_level(name, "BACKWARD")
    assert not subjects.register(ROW).added
    assert registry.level(name) == LEVEL


def test_the_registry_refuses_what_contradicts_any_version(registry: Registry, subjects: Subjects) -> None:
    name = subjects.register(ROW).subject
    registry.register(name, evolved(default="eu"))
    with pytest.raises(RegistryRefused, match=r"trust\.levels-value"):
        registry.register(name, evolved())
    turned = copy.deepcopy(schema_of(ROW.name))
    turned["fields"].append({"name": "region", "type": "int", "default": 0})  # fits version 1, not version 2
    assert [registry.takes(name, version, turned) for version in (1, 2)] == [True, False]
    with pytest.raises(RegistryRefused):
        registry.register(name, turned)


def test_what_would_be_refused_is_told_with_its_reason(registry: Registry, subjects: Subjects, prefix: str) -> None:
    assert subjects.refusals(ROW) == []
    registry.register(subject(ROW.name, prefix), evolved())
    assert subjects.refusals(ROW) == [
        "version 1 cannot read what it writes: a field that is not there has no default (region)"
    ]
    with pytest.raises(RegistryRefused):
        subjects.register(ROW)
    assert [str(change) for change in subjects.changes(ROW) or ()] == ["- region: string"]


def test_ours_is_not_refused_where_it_is_an_older_version(registry: Registry, subjects: Subjects) -> None:
    registry.register(subjects.register(ROW).subject, evolved(default="eu"))
    assert subjects.standing(ROW).state == "older"
    assert subjects.refusals(ROW) == []
    assert not subjects.register(ROW).added


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_the_registry_judges_as_we_do(registry: Registry, prefix: str, case: Case) -> None:
    registry.set_level(prefix, LEVEL)
    registry.register(prefix, case.old)
    assert registry.takes(prefix, 1, case.new) == (not refusals(case.old, case.new, "1"))


@pytest.mark.usefixtures("command")
def test_the_commands_register_list_check_and_compare(registry: Registry, prefix: str, capsys: Out) -> None:
    assert run(["schemas", "diff", "trust.levels"]) == 0
    assert "nothing is registered" in capsys.readouterr().out
    assert run(["schemas", "check"]) == 0
    assert run(["schemas", "register", "--json"]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["subject"] for one in done] == [f"{prefix}.{row.name}-value" for row in rows(None)]
    assert run(["schemas", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {(row["state"], row["level"], row["version"]) for row in listed} == {("newest", LEVEL, 1)}
    assert [row["id"] for row in listed] == [one["id"] for one in done]
    registry.register(subject("trust.levels", prefix), evolved(default="eu"))
    assert run(["schemas", "diff", "trust.levels"]) == 0
    assert '  - region: string, default "eu"' in capsys.readouterr().out


@pytest.mark.usefixtures("command")
def test_a_schema_that_would_be_refused_is_exit_status_1(registry: Registry, prefix: str, capsys: Out) -> None:
    registry.register(subject("trust.levels", prefix), evolved())
    assert run(["schemas", "check"]) == 1
    said = capsys.readouterr().out
    assert "REFUSED trust.levels: version 1 cannot read what it writes" in said
    assert f"{len(TOPICS) - 1} of {len(TOPICS)} topics" in said
    assert run(["schemas", "register"]) == 1
    assert "nothing was registered" in capsys.readouterr().err
    assert registry.versions(subject("kaizen.events", prefix)) == []
